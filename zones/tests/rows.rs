//! Checkpoints on a disk that crashes: the store says one version or the next, never a mixture.
#![allow(clippy::unwrap_used, reason = "a failing sample is a failing test")]

mod samples;

use samples::{message, name, records};
use std::sync::Arc;
use zones::rows::{self, StoredZone, ZoneRows, checkpoint_rows, forget_rows};
use zones::staged::{recover, stage};
use zones::store::{PIECE_ROWS_MAX, pieces};
use zones::{Database, MemoryStore, Row, Serial, Store, StoreError, Update, Version};

fn zone(names: usize, salt: usize) -> Version {
    let mut all = records("@ 60 SOA ns1 7\n@ 60 NS ns1\n");
    for i in 0..names {
        all.extend(records(&format!(
            "h{i}.s{} 60 A 192.0.2.{}",
            i % 5,
            (i + salt) % 250
        )));
    }
    // Signatures, and records that are no names.
    all.extend(records(
        "h1.s1 61 RRSIG 000100\nh1.s1 62 RRSIG 001c00\nq 60 NSEC3 01000000000100\nq 60 RRSIG 003200",
    ));
    // Larger than a value of the store, and larger than a chunk.
    all.extend(records(&format!(
        "large 60 TYPE65280 {}",
        format!("{salt:02x}").repeat(15_000)
    )));
    Version::from_records(&name("@"), &all).unwrap()
}

fn updated(version: &Version, lines: &str) -> Version {
    version
        .apply(&Update::from_message(&message(lines)).unwrap(), Serial(7))
        .unwrap()
        .version
}

/// Everything that a checkpoint writes, in order.
fn writes(zone: ZoneRows) -> Vec<Vec<Row>> {
    let staged = stage(zone.commit);
    let mut all = pieces(zone.before.collect(), 100);
    all.extend(staged.stage);
    all.push(staged.commit);
    all.extend(staged.apply);
    all.extend(pieces(zone.after.collect(), PIECE_ROWS_MAX));
    all
}

fn write(store: &mut MemoryStore, zone: ZoneRows) {
    for piece in writes(zone) {
        store.write(Database::Zones, &piece).unwrap();
    }
}

fn load(store: &mut dyn Store) -> Result<Vec<StoredZone>, StoreError> {
    recover(store, Database::Zones, &rows::TREES)?;
    let mut zones = Vec::new();
    rows::load(store, |zone| {
        zones.push(zone);
        Ok(())
    })?;
    Ok(zones)
}

fn load_one(store: &mut MemoryStore) -> (Version, Vec<u8>) {
    let [zone] = <[StoredZone; 1]>::try_from(load(store).unwrap()).unwrap();
    assert_eq!(zone.origin, name("@"));
    (zone.version.unwrap(), zone.attached)
}

fn row_count(store: &MemoryStore) -> usize {
    [
        "zone",
        "base",
        "changed",
        "staged",
        "staged-delete",
        "staged-commit",
    ]
    .map(|tree| store.scan(Database::Zones, tree, &[]).count())
    .iter()
    .sum()
}

/// Versions as updates, re-bases and imports make them.
fn history() -> Vec<Version> {
    let first = zone(400, 1);
    let few = updated(
        &first,
        "add new.deep 60 A 192.0.2.1\ndelete h3.s3\nadd @ 60 TXT t",
    );
    let large: String = (0..300)
        .map(|i| format!("add h{i}.t 60 A 192.0.2.1\n"))
        .collect();
    let many = updated(&few, &large);
    let shrunk = updated(
        &many,
        "delete large\ndelete new.deep\nadd h3.s3 60 A 192.0.2.3",
    );
    let rebased = Version::from_base(Arc::new(shrunk.rebase()));
    let on_rebased = updated(&rebased, "add large 60 TXT small\ndelete h9.t");
    let base = Arc::new(rebased.rebase());
    let carried = on_rebased.carry(&rebased, &Version::from_base(base));
    let imported = zone(50, 2);
    let back = first.clone();
    vec![
        first, few, many, shrunk, rebased, on_rebased, carried, imported, back,
    ]
}

#[test]
fn what_a_checkpoint_wrote_is_loaded() {
    let mut store = MemoryStore::new(1);
    let mut previous: Option<Version> = None;
    for (i, version) in history().into_iter().enumerate() {
        let attached = vec![i as u8; i];
        write(
            &mut store,
            checkpoint_rows(&name("@"), previous.as_ref(), Some(&version), &attached),
        );
        let rows_written = row_count(&store);
        let (loaded, found) = load_one(&mut store);
        assert_eq!(
            row_count(&store),
            rows_written,
            "nothing is left over, step {i}"
        );
        assert!(loaded.is_same_as(&version), "step {i}");
        assert_eq!(loaded.digest(), version.digest());
        assert_eq!(loaded.counts(), version.counts());
        assert_eq!(found, attached);
        // Half of the time the peer goes on from what it loaded.
        previous = Some(if i % 2 == 0 { loaded } else { version });
    }
    write(
        &mut store,
        checkpoint_rows(&name("@"), previous.as_ref(), None, b"kept"),
    );
    let zones = load(&mut store).unwrap();
    assert!(zones[0].version.is_none() && zones[0].attached == b"kept");
    assert_eq!(row_count(&store), 1);
    write(&mut store, forget_rows(&name("@"), None));
    assert_eq!(row_count(&store), 0);
}

#[test]
fn a_crash_leaves_the_checkpoint_before_or_this_one() {
    let mut outcomes = [0; 2];
    for seed in 0..12 {
        let mut store = MemoryStore::new(seed);
        let versions = history();
        write(
            &mut store,
            checkpoint_rows(&name("@"), None, Some(&versions[0]), &[0]),
        );
        store.flush(Database::Zones).unwrap();
        let mut stands = (versions[0].clone(), 0u8);
        for (i, version) in versions.iter().enumerate().skip(1) {
            let attached = [i as u8];
            write(
                &mut store,
                checkpoint_rows(&name("@"), Some(&stands.0), Some(version), &attached),
            );
            store.crash();
            let (loaded, found) = load_one(&mut store);
            let is_new = found == attached;
            assert!(is_new || found == [stands.1], "seed {seed} step {i}");
            let expected = if is_new { version } else { &stands.0 };
            assert!(loaded.is_same_as(expected), "seed {seed} step {i}");
            outcomes[usize::from(is_new)] += 1;
            store.flush(Database::Zones).unwrap();
            stands = (loaded, found[0]);
        }
    }
    assert!(
        outcomes[0] > 10 && outcomes[1] > 10,
        "both outcomes are met: {outcomes:?}"
    );
}

#[test]
fn zones_with_equal_content_do_not_share_rows() {
    let mut store = MemoryStore::new(1);
    let origins = ["one.test.", "two.test."].map(|origin| origin.parse().unwrap());
    let versions = origins
        .each_ref()
        .map(|origin| Version::from_records(origin, &[]).unwrap());
    for (origin, version) in origins.iter().zip(&versions) {
        write(
            &mut store,
            checkpoint_rows(origin, None, Some(version), b"x"),
        );
    }
    assert_eq!(load(&mut store).unwrap().len(), 2);
    write(&mut store, forget_rows(&origins[0], Some(&versions[0])));
    let left = load(&mut store).unwrap();
    assert_eq!(left.len(), 1);
    assert!(left[0].version.as_ref().unwrap().is_same_as(&versions[1]));
}

#[test]
fn rows_that_went_missing_are_corruption() {
    let version = updated(&zone(400, 1), "add new 60 A 192.0.2.1");
    let full = || {
        let mut store = MemoryStore::new(1);
        write(
            &mut store,
            checkpoint_rows(&name("@"), None, Some(&version), b""),
        );
        store
    };
    let base: Vec<_> = full()
        .scan(Database::Zones, "base", &[])
        .map(|row| row.unwrap().0)
        .collect();
    assert!(base.len() > 5);
    for key in &base {
        let mut store = full();
        store
            .write(Database::Zones, &[Row::delete("base", key.clone())])
            .unwrap();
        let found = load(&mut store);
        assert!(
            matches!(found, Err(StoreError::Corrupt { .. })),
            "{}",
            key.escape_ascii()
        );

        let mut store = full();
        store
            .write(
                Database::Zones,
                &[Row::put("base", key.clone(), vec![7; 50])],
            )
            .unwrap();
        assert!(matches!(load(&mut store), Err(StoreError::Corrupt { .. })));

        let mut store = full();
        store.damage(Database::Zones, "base", key);
        assert!(matches!(load(&mut store), Err(StoreError::Corrupt { .. })));
    }
    let mut store = full();
    let changed = store
        .scan(Database::Zones, "changed", &[])
        .next()
        .unwrap()
        .unwrap()
        .0;
    store
        .write(Database::Zones, &[Row::put("changed", changed, vec![7; 9])])
        .unwrap();
    assert!(matches!(load(&mut store), Err(StoreError::Corrupt { .. })));
}
