//! Rows of a store that are not what was written: a start says what is wrong, or reads what is
//! whole. It never panics.

use bytes::Bytes;
use dnsd::cookie::{Secret, Secrets};
use dnsd::history::Step;
use dnsd::state::{Content, State};
use dnsd::vip::failover::VipConfig;
use dnsd::vip::timing::VipTiming;
use dnsd::{body, durable, stage, state_rows, zone_data};
use overlay::Profile;
use overlay::{Admit, ClusterId, PublicKey};
use replication::{Config, Replica, Stamp};
use ring::signature::{Ed25519KeyPair, KeyPair};
use std::sync::LazyLock;
use std::time::{Duration, Instant};
use zones::rows::{checkpoint_rows, load};
use zones::store::{Database, Store};
use zones::{MemoryStore, Name, Row, Serial, Update, Version};

const WALL: Duration = Duration::from_secs(1_700_000_000);

/// All rows of the store of a new peer, and of a store with a zone.
static ROWS: LazyLock<[Vec<(Database, Row)>; 2]> = LazyLock::new(|| {
    let key = Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap();
    let public = PublicKey(key.public_key().as_ref().try_into().unwrap());
    let (name, me) = ("one".to_owned(), public.peer_id());
    let cluster = ClusterId([1; 16]);
    let admit = Admit::sign(&key, cluster, public, name, Vec::new(), me, WALL);
    let mut peer = MemoryStore::new(1);
    durable::give_birth(&mut peer, &admit, State::empty(), WALL).unwrap();

    let origin: Name = "example.".parse().unwrap();
    let text = "@ 60 SOA ns x 1 2 3 4 5\n@ 60 NS ns\nns 60 A 192.0.2.1\nb.a 60 TXT deep\n";
    let records = crate::zone_text::read(&origin, text);
    let mut version = Version::from_records(&origin, &records).unwrap();
    for message in super::message::samples() {
        if let Ok(update) = Update::from_message(&message) {
            version = version.apply(&update, Serial(1)).unwrap().version;
        }
    }
    let mut zone = MemoryStore::new(1);
    let rows = checkpoint_rows(&origin, None, Some(&version), b"attached");
    for row in rows.before.chain(rows.commit) {
        zone.write(Database::Zones, &[row]).unwrap();
    }
    [rows_of(&peer), rows_of(&zone)]
});

fn rows_of(store: &MemoryStore) -> Vec<(Database, Row)> {
    let trees = [
        "zone",
        "base",
        "changed",
        "cluster",
        "peer",
        "members",
        "join",
        "entries",
        "start",
        "staged",
        "staged-delete",
        "staged-commit",
        "steps",
    ];
    let mut rows = Vec::new();
    for database in Database::ALL {
        for tree in trees {
            for row in store.scan(database, tree, &[]) {
                let (key, value) = row.unwrap();
                rows.push((database, Row::put(tree, key, value)));
            }
        }
    }
    rows
}

/// The first byte chooses the store or a decoder; the rest changes rows: which row, where in it,
/// what stands there.
pub fn run(input: &[u8]) {
    let Some((kind, bytes)) = input.split_first() else {
        return;
    };
    match kind {
        0 | 1 => {
            let mut rows = ROWS[usize::from(*kind)].clone();
            for change in bytes.chunks_exact(4) {
                let count = rows.len();
                let at = usize::from(change[0]) % count;
                let row = &mut rows[at].1;
                let value = row.value.get_or_insert_default();
                let place = usize::from(u16::from_be_bytes([change[1] & 3, change[2]]));
                match change[1] >> 5 {
                    0 => value.truncate(place),
                    1 => value.insert(place.min(value.len()), change[3]),
                    2 if row.key.len() > 1 => {
                        let place = place % row.key.len();
                        row.key[place] = change[3];
                    }
                    3 => {
                        let row = rows[at].clone();
                        rows.push(row);
                    }
                    4 if count > 1 => {
                        rows.remove(at);
                    }
                    _ => {
                        let size = value.len();
                        if let Some(byte) = value.get_mut(place % size.max(1)) {
                            *byte = change[3];
                        }
                    }
                }
            }
            start(rows);
        }
        2 => drop(body::Body::decode(&Bytes::copy_from_slice(bytes))),
        3 => drop(zone_data::decode_blob(bytes)),
        4 => drop(state_rows::decode(bytes, |_| None)),
        6 => {
            if let Some((origin, step)) = Step::decode(bytes) {
                let mut again = Vec::new();
                step.encode(&origin, &mut again);
                assert_eq!(again, bytes, "what is read is written as the same");
            }
        }
        _ => {
            let mut receiver = stage::Receiver::default();
            if receiver.push(bytes).is_ok() {
                drop(receiver.finish());
            }
        }
    }
}

fn start(rows: Vec<(Database, Row)>) {
    let mut store = MemoryStore::new(1);
    for (database, row) in rows {
        if row.value.as_ref().is_some_and(|value| value.len() <= 6_000) {
            store.write(database, &[row]).unwrap();
        }
    }
    let _ = load(&mut store, |_| Ok(()));
    let Ok(Some(member)) = durable::member(&mut store) else {
        return;
    };
    let limit = Duration::from_millis(100);
    let config = Config::new(member.admit.peer(), member.admit.cluster, limit, limit);
    let now = Instant::now();
    if let Ok(replica) = Replica::resume(config, &member.rows, &member.meta, 1, WALL, now) {
        let imports = member.imports;
        drop(dnsd::peer::Peer::resume(
            replica,
            member.checkpoint,
            imports,
            member.history,
            VipConfig::new(
                member.admit.peer(),
                member.admit.name.clone(),
                VipTiming::of(Profile::Lan),
            ),
            WALL,
            now,
        ));
    }
}

/// Each row once, with a change in its middle; and what the decoders take.
pub fn samples() -> Vec<Vec<u8>> {
    let mut samples = Vec::new();
    for kind in 0..2u8 {
        samples.push(vec![kind]);
        for row in 0..ROWS[usize::from(kind)].len().min(256) {
            samples.push(vec![kind, row as u8, 0xa0, 7, 1]);
        }
    }
    let origin: Name = "example.".parse().unwrap();
    let body = body::Body::Update {
        origin: origin.clone(),
        offset: Some(5),
        cause: body::Cause::Request([127, 0, 0, 1].into()),
        key: Some(origin.clone()),
        terms: vec![zones::Terms::default()],
        message: Bytes::from_static(b"message"),
    };
    let records = crate::zone_text::read(&origin, "@ 60 SOA ns x 1 2 3 4 5\na 60 A 192.0.2.1\n");
    let blob = zone_data::encode_blob(&origin, &records);
    let state = state_rows::encode(&State::empty());
    samples.push([&[2], &body.encode()[..]].concat());
    let secrets = Secrets::new(Secret([1; 16])).stage(Secret([2; 16]));
    samples.push([&[2], &body::Body::Cookies(secrets).encode()[..]].concat());
    samples.push([&[3], &blob[..]].concat());
    samples.push([&[4], &state[..]].concat());
    samples.push(vec![5, 6, 0, 0, 0, 0]);
    let content = |text: &str, serial| Content {
        version: Version::from_records(&origin, &crate::zone_text::read(&origin, text)).ok(),
        serial: Serial(serial),
    };
    let step = Step::between(
        &content("a 60 A 192.0.2.1\n", 1),
        &content("a 60 A 192.0.2.2\nb 60 TXT x\n", 2),
        Stamp::ZERO,
    );
    let mut bytes = vec![6];
    step.encode(&origin, &mut bytes);
    samples.push(bytes);
    samples
}
