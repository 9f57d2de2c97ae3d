//! Runs the tour of `dnsd demo`: real peers as child processes, real sockets, and no trace left.
#![expect(
    unsafe_code,
    reason = "neither std nor tokio ties the life of a child to that of its parent"
)]

use super::admin_client::{Client, status};
use crate::admin::{Done, INVITE_EXPIRES, Majority, Manner, Request};
use crate::cli::zone::{import, load};
use crate::cli::{Demo, Failure};
use crate::config::admin_socket;
use crate::demo::{HELLO, Host, MISSED, ORIGIN, Told, WWW, ZONE, by_hand, serial_query};
use hickory_proto::op::ResponseCode;
use std::fs;
use std::future::Future;
use std::io::{self, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};
use tokio::net::UdpSocket;
use tokio::process::{Child, Command};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{sleep, timeout};

/// What one step may take on a machine that is busy: the slowest waits until the others have
/// noticed that a peer is dead.
const STEP_TIMEOUT: Duration = Duration::from_secs(20);
/// A peer that starts is asked this often.
const START_PAUSE: Duration = Duration::from_millis(20);
/// An update without a response is sent again after this, as nsupdate does; the peers know it by
/// its digest.
const UPDATE_RETRY: Duration = Duration::from_secs(1);
/// A query without a response is lost; loopback is fast.
const QUERY_TIMEOUT: Duration = Duration::from_millis(100);
/// What a peer may take to stop cleanly before it is killed.
const STOP_TIMEOUT: Duration = Duration::from_secs(3);
/// How much of a peer's log is shown when a step fails.
const LOG_LINES: usize = 15;
/// Datagrams of the tour are smaller.
const DATAGRAM_SIZE_MAX: usize = 1_232;

/// Runs the tour; Ctrl-C ends it at any time. The peers end with it in any case.
pub fn run(arguments: Demo) -> Result<(), Failure> {
    // The children are tied to the thread that starts them: the tour itself runs on this one,
    // which lives as long as the process.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| failed(&format!("cannot start: {error}")))?;
    let result = runtime.block_on(async {
        let mut cluster = Cluster::new(arguments)?;
        let toured = tokio::select! {
            toured = tour(&mut cluster, arguments) => toured,
            interrupted = interrupt() => interrupted,
        };
        let toured = toured.map_err(|failure| cluster.explain(&failure));
        cluster.stop().await;
        toured
    });
    // An admin client may still wait for a peer that is gone.
    runtime.shutdown_background();
    result
}

/// Waits for Ctrl-C or SIGTERM.
async fn interrupt() -> Result<(), Failure> {
    let no_signal = |error| failed(&format!("cannot wait for signals: {error}"));
    let mut terminate = signal(SignalKind::terminate()).map_err(no_signal)?;
    tokio::select! {
        interrupted = tokio::signal::ctrl_c() => interrupted.map_err(no_signal)?,
        _ = terminate.recv() => {}
    }
    say("\nStopping the peers.")
}

async fn tour(cluster: &mut Cluster, arguments: Demo) -> Result<(), Failure> {
    let start = Instant::now();
    let count = usize::from(arguments.peers);
    say(&format!(
        "A cluster of {count} peers on this machine, data in {}:",
        cluster.folder.0.display()
    ))?;

    cluster
        .start(0, &[("--allow-update", "127.0.0.0/8")])
        .await?;
    say(&format!("  peer1 serves DNS at {}", cluster.dns(0)))?;
    for number in 1..count {
        let token = cluster.invite().await?;
        cluster.start(number, &[("--join", &token)]).await?;
        let (name, address) = (cluster.name(number), cluster.dns(number));
        say(&format!(
            "  {name} joins by a token, and serves DNS at {address}"
        ))?;
    }

    let taken = cluster.import().await?;
    say(&format!(
        "\nImport the zone {ORIGIN} at peer1: settled after {}.",
        millis(taken)
    ))?;
    for number in 0..count {
        cluster.until_answered(number, WWW).await?;
    }
    say(&format!(
        "  all peers answer {} A {}",
        WWW.name(),
        WWW.address
    ))?;

    say(&format!(
        "\nUpdate peer2 (RFC 2136): add {} A {}.",
        HELLO.name(),
        HELLO.address
    ))?;
    let others: Vec<usize> = (0..count).filter(|number| *number != 1).collect();
    let (taken, visible) = cluster.update_and_watch(1, HELLO, &others).await?;
    say(&format!(
        "  peer2 answers NOERROR after {}: it is on the disk of all peers",
        millis(taken)
    ))?;
    for (number, after) in others.iter().zip(visible) {
        let (name, address) = (cluster.name(*number), cluster.dns(*number));
        say(&format!(
            "  {name} at {address} answers it {} after it was sent",
            millis(after)
        ))?;
    }

    say("\nKill peer1 (SIGKILL).")?;
    cluster.kill(0).await?;
    say(&format!(
        "Update peer3 meanwhile: add {} A {}.",
        MISSED.name(),
        MISSED.address
    ))?;
    let others: Vec<usize> = (1..count).filter(|number| *number != 2).collect();
    let (taken, visible) = cluster.update_and_watch(2, MISSED, &others).await?;
    say(&format!(
        "  peer3 answers NOERROR after {}: it waits until peer1 is known to be dead",
        millis(taken)
    ))?;
    let slowest = visible.iter().max().copied().unwrap_or_default();
    say(&format!(
        "  the other living peers answer it {} after it was sent",
        millis(slowest)
    ))?;

    say("\nRestart peer1.")?;
    let restarted = Instant::now();
    cluster.start(0, &[]).await?;
    cluster.until_answered(0, MISSED).await?;
    let taken = restarted.elapsed();
    say(&format!(
        "  it has caught up and answers {} {} later",
        MISSED.name(),
        millis(taken)
    ))?;
    let serial = cluster.until_serials_are_equal().await?;
    say(&format!("  all peers show serial {serial}"))?;

    say(&format!(
        "\nEvery step worked, in {:.1} s.",
        start.elapsed().as_secs_f64()
    ))?;
    if !arguments.stay {
        return say("With --stay the peers go on, to be tried with dig and nsupdate.");
    }
    let dns: Vec<SocketAddr> = (0..count).map(|number| cluster.dns(number)).collect();
    say(&format!(
        "\n{}",
        by_hand(&dns, &cluster.folder.0.display().to_string())
    ))?;
    say("Ctrl-C stops the peers and removes their data.")?;
    std::future::pending().await
}

/// The peers of the tour; dropped, it kills them and removes their data.
struct Cluster {
    peers: Vec<Peer>,
    folder: Folder,
}

struct Peer {
    data_dir: PathBuf,
    log: PathBuf,
    /// Where it serves DNS; port 0 until the system has chosen one.
    dns: SocketAddr,
    child: Option<Child>,
}

impl Cluster {
    fn new(arguments: Demo) -> Result<Self, Failure> {
        let folder = Folder::create()?;
        let mut peers = Vec::new();
        for number in 0..u16::from(arguments.peers) {
            let port = match arguments.base_port {
                None => 0,
                Some(base) => base.checked_add(number).ok_or_else(|| {
                    Failure::Message(format!("no port for all peers from {base} on"))
                })?,
            };
            let name = format!("peer{}", number + 1);
            peers.push(Peer {
                data_dir: folder.0.join(&name),
                log: folder.0.join(format!("{name}.log")),
                dns: (Ipv4Addr::LOCALHOST, port).into(),
                child: None,
            });
        }
        Ok(Self { peers, folder })
    }

    /// Starts a peer and waits until it serves current data.
    async fn start(&mut self, number: usize, options: &[(&str, &str)]) -> Result<(), Failure> {
        let name = self.name(number);
        let peer = &mut self.peers[number];
        let cannot = |error: io::Error| failed(&format!("cannot start {name}: {error}"));
        let log = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(&peer.log)
            .map_err(cannot)?;
        let mut command = Command::new(std::env::current_exe().map_err(cannot)?);
        command
            .args(["serve", "--name", &name, "--listen", &peer.dns.to_string()])
            .arg("--data-dir")
            .arg(&peer.data_dir)
            .args(options.iter().flat_map(|(option, value)| [*option, *value]))
            .env_remove("DNSD_ADMIN")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .kill_on_drop(true)
            // Ctrl-C on the terminal is for the tour, which then stops its peers.
            .process_group(0);
        // SAFETY: prctl(PR_SET_PDEATHSIG) is async-signal-safe and touches no memory.
        unsafe {
            command.pre_exec(
                || match libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) {
                    0 => Ok(()),
                    _ => Err(io::Error::last_os_error()),
                },
            );
        }
        peer.child = Some(command.spawn().map_err(cannot)?);
        let socket = admin_socket(&peer.data_dir);
        let mut reason = "it does not answer".to_owned();
        let start = Instant::now();
        while start.elapsed() < STEP_TIMEOUT {
            let child = peer.child.as_mut().expect("it was started above");
            if let Some(ended) = child.try_wait().map_err(cannot)? {
                return Err(failed(&format!("{name} ended by itself: {ended}")));
            }
            let asked = socket.clone();
            match aside(move || status(&asked)).await {
                Ok(status) if status.health.is_current() => {
                    peer.dns = status.addresses.dns.first().copied().unwrap_or(peer.dns);
                    return Ok(());
                }
                Ok(status) => reason = format!("{:?}", status.health),
                Err(error) => reason = error.to_string(),
            }
            sleep(START_PAUSE).await;
        }
        Err(failed(&format!("{name} does not become ready: {reason}")))
    }

    /// Kills a peer without warning.
    async fn kill(&mut self, number: usize) -> Result<(), Failure> {
        let child = self.peers[number].child.take();
        let mut child = child.expect("the tour kills who runs");
        child
            .kill()
            .await
            .map_err(|error| failed(&format!("cannot kill a peer: {error}")))
    }

    /// Stops all peers that run: cleanly if they are quick.
    async fn stop(&mut self) {
        for peer in &self.peers {
            if peer.child.is_some() {
                let socket = admin_socket(&peer.data_dir);
                // One that does not listen any more is killed below.
                let stop =
                    aside(move || Client::connect(&socket)?.call(&Request::Stop, &mut |_| {}));
                drop(timeout(STOP_TIMEOUT, stop).await);
            }
        }
        let deadline = tokio::time::Instant::now() + STOP_TIMEOUT;
        for peer in &mut self.peers {
            if let Some(mut child) = peer.child.take() {
                // It is killed when it is dropped.
                drop(tokio::time::timeout_at(deadline, child.wait()).await);
            }
        }
    }

    /// A token of the first peer.
    async fn invite(&self) -> Result<String, Failure> {
        let socket = admin_socket(&self.peers[0].data_dir);
        let invite = Request::Invite {
            expires: INVITE_EXPIRES,
            majority: Majority::Needed,
        };
        let done = aside(move || Client::connect(&socket)?.call(&invite, &mut |_| {}));
        match step("invite", done).await? {
            Ok(Done::Invited { token, .. }) => Ok(token),
            other => Err(failed(&format!("peer1 does not invite: {other:?}"))),
        }
    }

    /// Imports the zone at the first peer, by its file.
    async fn import(&self) -> Result<Duration, Failure> {
        let path = self.folder.0.join("example.test.zone");
        fs::write(&path, ZONE).map_err(|error| failed(&format!("{}: {error}", path.display())))?;
        let origin = ORIGIN.parse().expect("the origin is a name");
        let zone = load(&origin, &path)?;
        let socket = admin_socket(&self.peers[0].data_dir);
        let start = Instant::now();
        let imported = aside(move || {
            import(
                &mut Client::connect(&socket)?,
                &origin,
                &zone.records,
                Manner::PLAIN,
                &mut |_| {},
            )
        });
        step("import", imported)
            .await?
            .map_err(|error| failed(&format!("peer1 does not import the zone: {error}")))?;
        Ok(start.elapsed())
    }

    /// Updates one peer and asks others until they answer what it says. How long after the update
    /// was sent its NOERROR came, and each of the others knew.
    async fn update_and_watch(
        &self,
        number: usize,
        host: Host,
        others: &[usize],
    ) -> Result<(Duration, Vec<Duration>), Failure> {
        let watches: Vec<_> = others
            .iter()
            .map(|other| tokio::spawn(watch(self.name(*other), self.dns(*other), host)))
            .collect();
        let start = Instant::now();
        let taken = self.update(number, host).await?;
        let mut visible = Vec::new();
        for watched in watches {
            let seen = watched.await.expect("a watch does not panic")?;
            visible.push(seen.saturating_duration_since(start));
        }
        Ok((taken, visible))
    }

    async fn update(&self, number: usize, host: Host) -> Result<Duration, Failure> {
        let name = self.name(number);
        let update = host.update();
        let mut socket = Socket::open(self.dns(number)).await?;
        let start = Instant::now();
        while start.elapsed() < STEP_TIMEOUT {
            let told = socket.ask(&update, UPDATE_RETRY).await?;
            match told.map(|told| told.rcode) {
                Some(ResponseCode::NoError) => return Ok(start.elapsed()),
                Some(rcode) => return Err(failed(&format!("{name} answers the update {rcode}"))),
                None => {}
            }
        }
        Err(failed(&format!("{name} does not answer the update")))
    }

    async fn until_answered(&self, number: usize, host: Host) -> Result<Instant, Failure> {
        watch(self.name(number), self.dns(number), host).await
    }

    /// Asks all peers for the serial until it is the same.
    async fn until_serials_are_equal(&self) -> Result<u32, Failure> {
        let mut sockets = Vec::new();
        for peer in &self.peers {
            sockets.push(Socket::open(peer.dns).await?);
        }
        let start = Instant::now();
        let mut serials = Vec::new();
        while start.elapsed() < STEP_TIMEOUT {
            serials.clear();
            for socket in &mut sockets {
                let told = socket.ask(&serial_query(), QUERY_TIMEOUT).await?;
                serials.push(told.and_then(|told| told.serial));
            }
            if let Some(Some(first)) = serials.first()
                && serials.iter().all(|serial| *serial == Some(*first))
            {
                return Ok(*first);
            }
            sleep(START_PAUSE).await;
        }
        Err(failed(&format!("the serials stay different: {serials:?}")))
    }

    fn dns(&self, number: usize) -> SocketAddr {
        self.peers[number].dns
    }

    fn name(&self, number: usize) -> String {
        format!("peer{}", number + 1)
    }

    /// A failure with the last lines of all logs.
    fn explain(&self, failure: &Failure) -> Failure {
        let Failure::Message(message) = failure else {
            return failure.clone();
        };
        let mut text = format!("dnsd: {message}");
        for peer in &self.peers {
            let log = fs::read_to_string(&peer.log).unwrap_or_default();
            let lines: Vec<&str> = log.lines().collect();
            text += &format!("\n--- the end of {}", peer.log.display());
            for line in &lines[lines.len().saturating_sub(LOG_LINES)..] {
                text.push('\n');
                text += line;
            }
        }
        Failure::Faults(text)
    }
}

/// Asks a peer for a host's address until it answers it.
async fn watch(name: String, dns: SocketAddr, host: Host) -> Result<Instant, Failure> {
    let mut socket = Socket::open(dns).await?;
    let start = Instant::now();
    let mut last = None;
    while start.elapsed() < STEP_TIMEOUT {
        last = socket.ask(&host.query(), QUERY_TIMEOUT).await?;
        if last
            .as_ref()
            .is_some_and(|told| told.addresses == [host.address])
        {
            return Ok(Instant::now());
        }
    }
    let last = last.map_or_else(|| "nothing".to_owned(), |told| told.rcode.to_string());
    Err(failed(&format!(
        "{name} answers {last} for {}, not {}",
        host.name(),
        host.address
    )))
}

/// A socket toward one peer.
struct Socket(UdpSocket);

impl Socket {
    async fn open(peer: SocketAddr) -> Result<Self, Failure> {
        let cannot = |error| failed(&format!("cannot open a socket: {error}"));
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))
            .await
            .map_err(cannot)?;
        socket.connect(peer).await.map_err(cannot)?;
        Ok(Self(socket))
    }

    /// Sends a request once; none if no response comes in time.
    async fn ask(
        &mut self,
        question: &crate::demo::Question,
        patience: Duration,
    ) -> Result<Option<Told>, Failure> {
        let mut datagram = [0; DATAGRAM_SIZE_MAX];
        let asked = timeout(patience, async {
            self.0.send(&question.bytes).await?;
            loop {
                let size = self.0.recv(&mut datagram).await?;
                if let Some(told) = question.read(&datagram[..size]) {
                    return Ok::<_, io::Error>(told);
                }
            }
        });
        match asked.await {
            Ok(Ok(told)) => Ok(Some(told)),
            // Refused by the system: the peer has not bound its port yet, or is dead.
            Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused => {
                sleep(START_PAUSE).await;
                Ok(None)
            }
            Ok(Err(error)) => Err(failed(&format!("cannot ask a peer: {error}"))),
            Err(_) => Ok(None),
        }
    }
}

/// A folder of its own that goes away with the tour.
struct Folder(PathBuf);

impl Folder {
    fn create() -> Result<Self, Failure> {
        let random = fastrand::u32(..);
        let path = std::env::temp_dir().join(format!("dnsd-demo-{random:08x}"));
        fs::DirBuilder::new()
            .mode(0o700)
            .create(&path)
            .map_err(|error| failed(&format!("{}: {error}", path.display())))?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        remove(&self.0);
    }
}

fn remove(folder: &Path) {
    if let Err(error) = fs::remove_dir_all(folder) {
        eprintln!("cannot remove {}: {error}", folder.display());
    }
}

/// Runs what blocks on a thread of its own, so that Ctrl-C is heard meanwhile.
async fn aside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work)
        .await
        .expect("an admin client does not panic")
}

async fn step<T>(name: &str, work: impl Future<Output = T>) -> Result<T, Failure> {
    timeout(STEP_TIMEOUT, work)
        .await
        .map_err(|_| failed(&format!("{name} takes too long")))
}

fn failed(message: &str) -> Failure {
    Failure::Message(format!("the demo failed: {message}"))
}

fn say(line: &str) -> Result<(), Failure> {
    writeln!(io::stdout(), "{line}").map_err(|_| Failure::OutputClosed)
}

fn millis(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1e3)
}
