//! What a peer of one remembers of what it published: every way back leads to what was published
//! there, whenever it crashes.
#![allow(clippy::unwrap_used, reason = "a failing case is a failing test")]
#![allow(
    clippy::disallowed_methods,
    reason = "a machine's first moment; all others are added to it"
)]

mod world;

use dnsd::history::content_at;
use std::collections::BTreeMap;
use std::time::Duration;
use world::{World, host};
use zones::{Name, Serial, Version};

/// What was published with each serial.
#[derive(Default)]
struct Published(BTreeMap<u32, u128>);

impl Published {
    /// Looks at what is shown, and at all ways back from there: the oldest serial that is reached.
    fn look(&mut self, world: &World, origin: &Name) -> u32 {
        let zone = world.served.zones.get(origin).unwrap();
        let shown = zone.shown.as_ref().unwrap();
        let content = shown.version.digest();
        let first = *self.0.entry(shown.serial.0).or_insert(content);
        assert_eq!(first, content, "serial {}", shown.serial.0);
        let Some(chain) = world.served.history.get(origin) else {
            return shown.serial.0;
        };
        let mut oldest = shown.serial.0;
        for (serial, content) in &self.0 {
            let Some(records) = content_at(chain, shown, Serial(*serial)) else {
                continue;
            };
            oldest = oldest.min(*serial);
            let version = Version::from_records(origin, &records).unwrap();
            assert_eq!(
                version.digest(),
                *content,
                "from {} to {serial}",
                shown.serial.0
            );
        }
        oldest
    }
}

fn wait_shown(world: &mut World, origin: &Name) {
    let serial = world.peer.now().serial(origin);
    for _ in 0..1_000 {
        let zone = world.served.zones.get(origin);
        if zone.is_some_and(|zone| zone.shown.as_ref().unwrap().serial == serial) {
            return;
        }
        world.pass(Duration::from_millis(10));
    }
    panic!("what is settled is published in time");
}

#[test]
fn a_crash_anywhere_never_leads_to_a_wrong_way_back() {
    let origin: Name = "example.".parse().unwrap();
    let mut whole = 0;
    for seed in 0..12 {
        let mut world = World::new(seed);
        world.allow_updates();
        world.import(&origin, 40);
        wait_shown(&mut world, &origin);
        let mut published = Published::default();
        let first = published.look(&world, &origin);
        for life in 0..5 {
            let begun = world.peer.now().serial(&origin).0;
            for _ in 0..world.random.u32(0..30) {
                let n = world.random.u32(..60);
                let address = (world.random.u8(..3) > 0).then_some(n + life);
                world.update(&origin, &host(n), address);
                if world.random.bool() {
                    wait_shown(&mut world, &origin);
                    published.look(&world, &origin);
                }
                // On the way through a checkpoint now and then.
                if world.random.u8(..20) == 0 {
                    world.begin_checkpoint();
                }
            }
            wait_shown(&mut world, &origin);
            let oldest = published.look(&world, &origin);
            assert!(
                oldest <= begun,
                "seed {seed}: what this life has published is known"
            );
            whole += u32::from(oldest == first);
            world.crash();
            wait_shown(&mut world, &origin);
            let oldest = published.look(&world, &origin);
            assert!(
                oldest <= begun,
                "seed {seed}: a restart loses none of what it published"
            );
        }
    }
    assert!(
        whole > 40,
        "{whole} of 60 times all is known from the first version on"
    );
}

#[test]
fn history_survives_the_log_that_it_comes_from() {
    let origin: Name = "example.".parse().unwrap();
    let mut world = World::new(1);
    world.allow_updates();
    world.import(&origin, 5);
    wait_shown(&mut world, &origin);
    let mut published = Published::default();
    let first = published.look(&world, &origin);
    for n in 0..300 {
        world.update(&origin, &host(n % 9), Some(n + 1));
        wait_shown(&mut world, &origin);
        published.look(&world, &origin);
    }
    world.checkpoint();
    for _ in 0..3 {
        world.crash();
        wait_shown(&mut world, &origin);
        assert_eq!(world.peer.replica().status().log_len, 0);
        assert_eq!(published.look(&world, &origin), first);
    }
}
