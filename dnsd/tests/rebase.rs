//! A peer of one and its store: zones that change for ever stay small, whenever it crashes, and of
//! very many zones only those that change cost anything.
#![allow(clippy::unwrap_used, reason = "a failing case is a failing test")]
#![allow(
    clippy::disallowed_methods,
    reason = "a machine's first moment; all others are added to it"
)]

mod world;

use dnsd::birth::Seeds;
use dnsd::body::Replaces;
use dnsd::requests::CommandRefused;
use std::time::Duration;
use world::{World, host, record, soa};
use zones::{Name, Rtype, Serial, Version};

#[test]
fn a_large_zone_stays_small_however_much_it_changes() {
    let origin: Name = "example.".parse().unwrap();
    let mut world = World::new(1);
    world.allow_updates();
    world.import(&origin, 200_000);
    world.checkpoint();
    let base_rows = world.row_count("base");
    let mut changed_max = 0;
    // Each name once: nothing but a new base makes the changes fewer.
    for n in 0..45_000 {
        let address = (n % 7 != 0).then_some(n + 1);
        world.update(&origin, &host(n), address);
        changed_max = changed_max.max(world.now(&origin).changed_names());
        if n % 15_000 == 14_999 {
            let before = world.content(&origin);
            world.crash();
            assert_eq!(world.content(&origin), before, "after {n}");
        }
    }
    world.checkpoint();
    assert!(world.rebases >= 1, "{} new bases", world.rebases);
    // One name in ten, and what comes in between two checkpoints: 30 s at 333 updates a second.
    assert!(changed_max < 20_000 + 2 * 10_000, "{changed_max} names");
    let stored = world.peer.checkpoint().version(&origin).unwrap();
    assert_eq!(world.row_count("changed"), stored.changed_names());
    assert!(stored.changed_names() <= 20_000);
    assert!(
        world.row_count("base") <= base_rows,
        "the rows of old bases are gone"
    );
    assert_eq!(world.now(&origin).counts().names, 1 + 200_000 - 6_429);
}

#[test]
fn a_crash_anywhere_around_a_new_base_loses_nothing() {
    let origin: Name = "example.".parse().unwrap();
    let other: Name = "other.".parse().unwrap();
    let mut rebases = 0;
    for seed in 0..8 {
        let mut world = World::new(seed);
        world.allow_updates();
        world.import(&origin, 3_000);
        world.import(&other, 50);
        world.checkpoint();
        for round in 0..3 {
            for n in 0..1_100 {
                let n = round * 1_000 + n;
                world.update(&origin, &host(n % 3_000), Some(n + 1 + seed as u32));
            }
            // Somewhere between the first slice and the end of the checkpoint.
            world.begin_checkpoint();
            for _ in 0..world.random.u32(..40) {
                let n = world.random.u32(..3_000);
                world.update(&origin, &host(n), Some(n));
            }
            let before = (world.content(&origin), world.content(&other));
            world.crash();
            assert_eq!(
                (world.content(&origin), world.content(&other)),
                before,
                "seed {seed}"
            );
        }
        rebases += world.rebases;
    }
    assert!(rebases > 3, "{rebases} new bases");
}

#[test]
fn only_zones_that_changed_are_written() {
    let origin: Name = "example.".parse().unwrap();
    let other: Name = "other.".parse().unwrap();
    let mut world = World::new(3);
    world.allow_updates();
    world.import(&origin, 5_000);
    world.import(&other, 5_000);
    world.checkpoint();
    assert_eq!(world.zones_written, 2);
    for n in 0..1_500 {
        world.update(&origin, &host(n), Some(n + 1));
    }
    world.checkpoint();
    // The new base is written as a generation of its own, the other zone not at all.
    assert_eq!((world.rebases, world.zones_written), (1, 1));
    assert_eq!(world.row_count("changed"), 0);
    assert_eq!(world.now(&origin).changed_names(), 0);
    // An update that changes nothing any more counts: the zone's row says so, and no name is written.
    world.update(&other, &host(1), Some(7));
    world.update(&other, &host(1), Some(1));
    world.checkpoint();
    assert_eq!(world.zones_written, 1);
    assert_eq!(world.row_count("changed"), 0);
    let before = world.content(&other);
    assert_eq!(before.1, Serial(7));
    world.crash();
    assert_eq!(world.content(&other), before);
}

/// An import that was compared with an older state of its zone is refused, and changes nothing; one
/// that is to take the place of whatever stands there does so.
#[test]
fn an_import_discards_what_others_changed_only_if_it_is_told_to() {
    let mut world = World::new(3);
    world.allow_updates();
    let origin: Name = "example.test".parse().unwrap();
    let compared = world.peer.now().version(&origin).map(Version::digest);
    world.import(&origin, 10);
    world.update(&origin, "other", Some(1));
    let other = origin.child(b"other").unwrap();
    let refused = world.begin_import(&origin, 5, Replaces::Unchanged(compared));
    assert_eq!(refused, Err(CommandRefused::ZoneChanged));
    assert!(world.now(&origin).node(&other).is_some());

    let client = world.begin_import(&origin, 5, Replaces::Whatever).unwrap();
    world.expect_noerror(client);
    assert!(world.now(&origin).node(&other).is_none());
    assert_eq!(world.now(&origin).counts().names, 6);
    let before = world.content(&origin);
    world.crash();
    assert_eq!(world.content(&origin), before);
}

/// A cluster is born with thousands of zones at once: no entries, no blobs, no line for each; they
/// are shown together, after slices of work, and what one update costs does not depend on them.
#[test]
fn very_many_zones_cost_only_what_changes_in_them() {
    let cost_of = |count: u32| {
        let zones = (0..count).map(|n| {
            let origin: Name = format!("z{n}.test").parse().unwrap();
            let mut records = vec![record(&origin, "@", Rtype::SOA, &soa(5))];
            records.push(record(&origin, "@", Rtype::NS, b"\x02ns\x04test\0"));
            (Version::from_records(&origin, &records).unwrap(), Serial(n))
        });
        let seeds = Seeds {
            zones: zones.collect(),
            ..Seeds::default()
        };
        let mut world = World::born(1, seeds);
        let expect_all = |world: &mut World, shown: usize| {
            for _ in 0..1_000 {
                if world.peer.shows_all() {
                    break;
                }
                world.pass(Duration::from_millis(10));
            }
            assert!(world.peer.shows_all());
            assert_eq!(world.served.zones.len(), count as usize);
            assert!(world.shown <= shown, "shown {} times", world.shown);
            let last = format!("z{}.test", count - 1).parse().unwrap();
            assert_eq!(world.peer.now().serial(&last), Serial(count - 1));
        };
        // What there was before, that nothing is published, and all zones.
        expect_all(&mut world, 3);
        assert_eq!(world.peer.replica().status().log_len, 0);
        let batches = world.batches;

        world.allow_updates();
        let origin: Name = "z7.test".parse().unwrap();
        world.update(&origin, "a", Some(1));
        world.checkpoint();
        assert_eq!(world.zones_written, 1);
        let rows = world.rows_written;

        world.crash();
        world.shown = 0;
        expect_all(&mut world, 2);
        assert_eq!(world.peer.now().serial(&origin), Serial(8));
        (batches, rows)
    };
    assert_eq!(cost_of(10), cost_of(4_000));
}
