//! A cluster on a segment, its VIPs, and what is asked of them.

use std::net::IpAddr;
use std::process::Command;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tests::cluster::{add_vip, peers_on};
use tests::daemon::Daemon;
use tests::deadline::until;
use tests::segment::Segment;
use tests::watch::kernels::Kernels;
use tests::watch::prober::{Log, Prober};

/// How long a VIP may be without a holder on a machine that is busy with other tests.
pub(crate) const TAKEOVER: Duration = Duration::from_secs(30);
/// Between two questions to one VIP.
pub(crate) const PERIOD: Duration = Duration::from_millis(1);
/// No kernel changes for so long: what an event brought about is over. VIPs that are spread anew
/// later on do no harm.
const CALM: Duration = Duration::from_millis(500);

/// A cluster with a peer on each host. The fields are dropped in this order.
pub(crate) struct Stage {
    pub(crate) peers: Vec<Daemon>,
    pub(crate) kernels: Kernels,
    pub(crate) segment: Segment,
    pub(crate) vips: Vec<IpAddr>,
    /// Where peer `h0` has its data in `h0`, and so on.
    pub(crate) folder: TempDir,
}

impl Stage {
    /// Starts it, without VIPs. These may be added.
    pub(crate) fn start(hosts: usize, vips: &[IpAddr]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let segment = Segment::new(hosts);
        let kernels = Kernels::watch(&segment, vips);
        let peers = peers_on(&segment, folder.path(), &[]);
        Self {
            peers,
            kernels,
            segment,
            vips: vips.to_vec(),
            folder,
        }
    }

    /// Starts it, each VIP for itself, and waits until all are held.
    pub(crate) fn with_vips(hosts: usize, vips: &[IpAddr]) -> Self {
        let stage = Self::start(hosts, vips);
        for vip in vips {
            add_vip(&stage.peers, &[*vip], &[]);
        }
        stage.wait_held();
        stage
    }

    pub(crate) fn probe(&self) -> Prober {
        let prober = Prober::start(&self.segment, &self.vips, PERIOD);
        self.wait_served(&prober, &self.vips);
        prober
    }

    /// Waits until each VIP has one announcer among those whom the client reaches, and for a while
    /// nothing changes.
    pub(crate) fn wait_held(&self) {
        self.wait_held_by_one_of(&self.segment.reach_of_client());
    }

    /// The same for some hosts.
    pub(crate) fn wait_held_by_one_of(&self, hosts: &[usize]) {
        let start = Instant::now();
        until(
            TAKEOVER,
            &format!("each VIP is held by one of {hosts:?}"),
            || {
                let last = self.kernels.last_change().max(Some(start))?;
                let mut vips = self.vips.iter();
                let all = vips.all(|vip| self.kernels.holder(*vip, hosts).is_some());
                (all && last.elapsed() > CALM).then_some(())
            },
        );
        self.check_lists();
    }

    /// Waits until the one announcer answers for each of these VIPs.
    pub(crate) fn wait_served(&self, prober: &Prober, vips: &[IpAddr]) {
        let reach = self.segment.reach_of_client();
        until(TAKEOVER, "the holders answer", || {
            let serves = |vip| {
                let holder = self.kernels.holder(vip, &reach);
                holder.is_some() && prober.server(vip) == holder
            };
            vips.iter().copied().all(serves).then_some(())
        });
    }

    /// Waits until others than this host hold and serve all VIPs.
    pub(crate) fn wait_taken_from(&self, host: usize, prober: &Prober) {
        let mut others = self.segment.reach_of_client();
        others.retain(|other| *other != host);
        self.wait_held_by_one_of(&others);
        self.wait_served(prober, &self.vips);
    }

    /// The host that holds a VIP.
    pub(crate) fn holder(&self, vip: IpAddr) -> usize {
        let reach = self.segment.reach_of_client();
        self.kernels.holder(vip, &reach).expect("it is held")
    }

    /// No two hosts that reached each other announced a VIP since then.
    pub(crate) fn check_never_two(&self, since: Instant) {
        for vip in &self.vips {
            let held = self
                .kernels
                .held(&self.segment, *vip, since, Instant::now());
            let shown = self.kernels.show(*vip, since);
            assert_eq!(held.times_by_two, 0, "{vip}: {held:?}\n{shown}");
            assert_eq!(held.by_two, Duration::ZERO, "{vip}: {held:?}\n{shown}");
        }
    }

    /// Each question since then to each VIP was answered.
    pub(crate) fn check_all_answered(&self, log: &Log, since: Instant) {
        for vip in &self.vips {
            let outage = log.outage(*vip, since, PERIOD);
            let shown = self.kernels.show(*vip, since);
            assert_eq!(outage.unanswered, 0, "{vip}: {outage:?}\n{shown}");
        }
    }

    /// What the observer heard is what the kernels list.
    fn check_lists(&self) {
        for host in &self.segment.hosts {
            let mut ip = Command::new("ip");
            ip.args([
                "-n",
                host.namespace.name(),
                "-o",
                "address",
                "show",
                "dev",
                "eth0",
            ]);
            let listed = String::from_utf8(ip.output().unwrap().stdout).unwrap();
            for vip in &self.vips {
                let is_listed = listed.contains(&format!(" {vip}/"));
                let is_heard = self.kernels.announcers(*vip).contains(&host.number);
                assert_eq!(is_heard, is_listed, "{vip} on {}: {listed}", host.number);
            }
        }
    }
}
