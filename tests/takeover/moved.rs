//! What is done on purpose: VIPs move without a lost question, islands hold each their own.

use crate::stage::{Stage, TAKEOVER};
use std::time::Instant;
use tests::cluster::add_vip;
use tests::deadline::until;
use tests::segment::{vip, vip6};

const TRIALS: usize = 3;

#[test]
fn a_clean_stop_loses_no_question() {
    let mut stage = Stage::with_vips(3, &[vip(0), vip(1), vip6(2)]);
    for _ in 0..TRIALS {
        let prober = stage.probe();
        let host = stage.holder(stage.vips[0]);
        let start = Instant::now();
        stage.peers[host].stop();
        stage.wait_taken_from(host, &prober);
        stage.check_never_two(start);
        stage.peers[host].restart();
        stage.wait_held();
        stage.wait_served(&prober, &stage.vips);
        stage.check_never_two(start);
        stage.check_all_answered(&prober.stop(), start);
    }
}

#[test]
fn draining_loses_no_question() {
    let stage = Stage::with_vips(3, &[vip(0), vip(1), vip6(2)]);
    for _ in 0..TRIALS {
        let prober = stage.probe();
        let host = stage.holder(stage.vips[0]);
        let start = Instant::now();
        stage.peers[host].ask(&["vip", "drain"]);
        stage.wait_taken_from(host, &prober);
        stage.peers[host].ask(&["vip", "resume"]);
        // VIPs are spread anew: the one that was drained gets some.
        until(TAKEOVER, "the host that resumed holds a VIP", || {
            let mut vips = stage.vips.iter();
            vips.any(|vip| stage.kernels.announcers(*vip).contains(&host))
                .then_some(())
        });
        stage.wait_held();
        stage.wait_served(&prober, &stage.vips);
        stage.check_never_two(start);
        stage.check_all_answered(&prober.stop(), start);
    }
}

#[test]
fn all_start_again_after_a_stop_and_after_kill_9() {
    let mut stage = Stage::with_vips(3, &[vip(0), vip(1), vip6(2)]);
    let start = Instant::now();
    for peer in &mut stage.peers {
        peer.stop();
    }
    let nobody = |stage: &Stage| {
        let mut vips = stage.vips.iter();
        vips.all(|vip| stage.kernels.announcers(*vip).is_empty())
    };
    assert!(nobody(&stage), "a peer that has stopped holds nothing");
    restart_all(&mut stage);
    stage.wait_held();
    for peer in &mut stage.peers {
        peer.kill();
    }
    until(TAKEOVER, "the guards take all addresses away", || {
        nobody(&stage).then_some(())
    });
    restart_all(&mut stage);
    stage.wait_held();
    let prober = stage.probe();
    stage.wait_served(&prober, &stage.vips);
    stage.check_never_two(start);
}

/// All at once: one that waits for the others could not be waited for alone.
fn restart_all(stage: &mut Stage) {
    std::thread::scope(|scope| {
        for peer in &mut stage.peers {
            scope.spawn(|| peer.restart());
        }
    });
}

#[test]
fn each_island_has_a_holder_and_a_merge_leaves_one() {
    let mut stage = Stage::with_vips(5, &[vip(0), vip(1), vip6(2)]);
    for (left, right) in [(&[0, 1, 2][..], &[3, 4][..]), (&[1, 3], &[0, 2, 4])] {
        let start = Instant::now();
        stage.segment.partition(&[left, right]);
        stage.wait_held_by_one_of(left);
        stage.wait_held_by_one_of(right);
        stage.check_never_two(start);
        stage.segment.heal();
        let prober = stage.probe();
        stage.wait_held();
        stage.wait_served(&prober, &stage.vips);
        let calm = Instant::now();
        stage.wait_held();
        stage.check_never_two(calm);
    }
}

#[test]
fn addresses_of_one_vip_move_together() {
    let mut stage = Stage::start(3, &[vip(0), vip6(0)]);
    add_vip(&stage.peers, &[vip(0), vip6(0)], &[]);
    stage.wait_held();
    for _ in 0..TRIALS {
        let prober = stage.probe();
        let host = stage.holder(vip(0));
        assert_eq!(stage.holder(vip6(0)), host);
        let start = Instant::now();
        stage.peers[host].kill();
        stage.wait_taken_from(host, &prober);
        assert_eq!(stage.holder(vip6(0)), stage.holder(vip(0)));
        stage.peers[host].restart();
        stage.wait_held();
        stage.check_never_two(start);
    }
}

#[test]
fn a_preferred_peer_holds_its_vip_whenever_it_can() {
    let mut stage = Stage::start(3, &[vip(0), vip(1)]);
    add_vip(&stage.peers, &[vip(0)], &["--prefer", "h1"]);
    add_vip(&stage.peers, &[vip(1)], &["--prefer", "h1"]);
    let wait_preferred = |stage: &Stage| {
        until(TAKEOVER, "the preferred peer holds both", || {
            let mut vips = stage.vips.iter();
            vips.all(|vip| stage.kernels.announcers(*vip) == [1])
                .then_some(())
        });
    };
    wait_preferred(&stage);
    let prober = stage.probe();
    let start = Instant::now();
    stage.peers[1].kill();
    stage.wait_taken_from(1, &prober);
    stage.peers[1].restart();
    wait_preferred(&stage);
    stage.wait_served(&prober, &stage.vips);
    stage.check_never_two(start);
}
