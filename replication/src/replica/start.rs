//! Birth, restart, a newcomer's beginning (replication protocol sections 11, 12).

use super::agree::Withdrawal;
use super::commit::Commit;
use super::{Config, Eviction, LOOK_EVERY, Readiness, Replica};
use crate::blobs::Blobs;
use crate::catch_up::CatchUp;
use crate::checkpoint::Checkpoint;
use crate::clock::{Clock, STEP, Source};
use crate::entry::{BlobHash, Chain, Entry, EntryId, Hybrid, Stamp};
use crate::frontier::Frontier;
use crate::log::{Bounds, Log};
use crate::marks::Marks;
use crate::membership::{MemberSet, Members};
use crate::message::Prefix;
use crate::near::{Near, Set};
use crate::output::Row;
use crate::parts::Gathering;
use crate::rows::{EntryRows, Found, HeldAll, Marks as MarksRow, Standing, Unreadable, ViewRecord};
use crate::rows::{ceiling_row, incarnation_row, pieces};
use crate::settling_view::{SettlingView, SettlingViewId};
use bytes::{Buf, BufMut, Bytes};
use overlay::{Admit, Incarnation};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What a restarted peer finds that does not read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Corrupt {
    /// A row.
    Row {
        /// Where.
        tree: &'static str,
        /// Which.
        key: Vec<u8>,
    },
    /// A row that must be there.
    Missing(&'static str),
    /// The checkpoint's meta data.
    CheckpointMeta,
    /// A snapshot or stage from a sponsor.
    Snapshot,
}

/// The rows and the checkpoint meta data with which a data directory begins.
#[derive(Clone, Debug)]
pub struct Birth {
    /// Pieces for the log's database, one flush.
    pub pieces: Vec<Vec<Row>>,
    /// Stored with the zones of the checkpoint.
    pub checkpoint_meta: Bytes,
    /// Blobs that must be durable before the rows are written.
    pub blobs: BTreeSet<BlobHash>,
}

/// What a sponsor is to stream to a newcomer, not encoded yet.
#[derive(Clone, Debug)]
pub struct Staging {
    checkpoint: Stamp,
    checkpoint_meta: Bytes,
    entries: Vec<Arc<Entry>>,
    frontier: Frontier,
}

/// What a sponsor streams to a newcomer before it authors the join, besides the zones of its
/// checkpoint.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Stage {
    /// The mark of the checkpoint whose zones go with it.
    pub checkpoint: Stamp,
    /// The checkpoint's meta data.
    pub checkpoint_meta: Bytes,
    /// Entries of the log, packed.
    pub runs: Vec<Bytes>,
    /// Names this stage when it is completed.
    pub id: Bytes,
}

/// What completes a stage: all that came since, and where the sponsor stands.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Snapshot {
    pub(super) stage_id: Bytes,
    pub(super) entries: Vec<Arc<Entry>>,
    pub(super) bounds: Bounds,
    pub(super) hybrid: Hybrid,
    pub(super) floor: Hybrid,
    pub(super) frontier: Frontier,
}

impl Replica {
    /// The rows of a new cluster: its first member is the one of the self-signed `admit`.
    #[must_use]
    pub fn birth(admit: Admit, wall: Duration) -> Birth {
        let me = admit.peer();
        let checkpoint = Checkpoint {
            prefix: Prefix::EMPTY,
            frontier: Frontier::default(),
            members: Members::founded_by(admit),
            incarnations: Set::new(),
        };
        let record = ViewRecord {
            members: Set::from([(me, Incarnation(0))]),
            ..ViewRecord::default()
        };
        let marks = MarksRow {
            view: record.id,
            held_all: HeldAll::Yes,
            floor: Hybrid(0),
            published: None,
            standing: Standing::Settled,
        };
        let ceiling = Hybrid::from_wall(wall).after(STEP);
        Birth {
            pieces: first_pieces(ceiling, &record, &marks, &[]),
            checkpoint_meta: checkpoint.encode(),
            blobs: BTreeSet::new(),
        }
    }

    /// The rows of a newcomer, from what its sponsor streamed; `resume` follows. They are written
    /// when the zones of the stage's checkpoint and the blobs are durable.
    pub fn from_snapshot(stage: &Stage, snapshot: &[u8]) -> Result<Birth, Corrupt> {
        let checkpoint =
            Checkpoint::decode(&stage.checkpoint_meta).ok_or(Corrupt::CheckpointMeta)?;
        let snapshot = Snapshot::decode(snapshot).ok_or(Corrupt::Snapshot)?;
        // Replication protocol section 12: another stage is not completed with it.
        if snapshot.stage_id != stage.id {
            return Err(Corrupt::Snapshot);
        }
        let mut entries = BTreeMap::new();
        for run in &stage.runs {
            let mut bytes = &run[..];
            while !bytes.is_empty() {
                let entry = Entry::decode(&mut bytes).ok_or(Corrupt::Snapshot)?;
                entries.insert(entry.id(), Arc::new(entry));
            }
        }
        entries.extend(
            snapshot
                .entries
                .iter()
                .map(|entry| (entry.id(), entry.clone())),
        );
        // Staged entries above the snapshot's frontier are discarded.
        entries.retain(|id, _| {
            snapshot.frontier.holds(*id) && !checkpoint.covers(id.chain, id.sequence)
        });
        let mut covered = checkpoint.frontier.clone();
        for id in entries.keys() {
            if id.sequence == covered.get(id.chain) + 1 {
                covered.raise(id.chain, id.sequence);
            }
        }
        if !covered.covers(&snapshot.frontier) {
            return Err(Corrupt::Snapshot);
        }

        let entries: Vec<_> = entries.into_values().collect();
        let record = ViewRecord {
            id: SettlingViewId::default(),
            members: Set::new(),
            bounds: snapshot.bounds,
        };
        let marks = MarksRow {
            view: record.id,
            held_all: HeldAll::No,
            floor: snapshot.floor,
            published: None,
            standing: Standing::Newcomer,
        };
        // Replication protocol section 13: the wall clock has not been compared with anybody's.
        let ceiling = snapshot.hybrid.after(STEP);
        Ok(Birth {
            pieces: first_pieces(ceiling, &record, &marks, &entries),
            checkpoint_meta: stage.checkpoint_meta.clone(),
            blobs: entries
                .iter()
                .flat_map(|e| e.blobs.iter().copied())
                .collect(),
        })
    }

    /// A restart from `rows` (all rows of both trees) and the meta data of the checkpoint. Sends
    /// nothing before `Output::Ready`. `random` tells this life from that of a copied directory.
    pub fn resume(
        config: Config,
        rows: &[Row],
        checkpoint_meta: &[u8],
        random: u32,
        wall: Duration,
        now: Instant,
    ) -> Result<Self, Corrupt> {
        let found = Found::read(rows)?;
        let checkpoint = Checkpoint::decode(checkpoint_meta).ok_or(Corrupt::CheckpointMeta)?;
        let last = found.incarnation.max(config.known);
        let incarnation = last.next(wall.as_secs(), random);
        let own = Chain {
            author: config.me,
            incarnation,
        };
        let record = found.records[&found.marks.view].clone();
        let published_record = match found.marks.published {
            Some(published) => found.records[&published.view].clone(),
            None => record.clone(),
        };
        let log = Log::resume(
            own,
            record.bounds.clone(),
            &checkpoint.frontier,
            checkpoint.mark(),
            found.entries,
        );

        // Replication protocol section 11: h = promised = the old ceiling.
        let promised = found.ceiling;
        let floor = match found.marks.held_all {
            HeldAll::Yes => found.marks.floor.max(promised),
            HeldAll::No => found.marks.floor,
        };
        let settled = match found.marks.published {
            Some(published) => published.stamp.max(checkpoint.mark()),
            None => checkpoint.mark(),
        };
        let mut start_frontier = checkpoint.frontier.clone();
        for entry in log.after(Stamp::ZERO) {
            start_frontier.raise(entry.chain, entry.sequence);
        }
        // The current record last: the next marks name it.
        let mut records: Vec<ViewRecord> = found.records.into_values().collect();
        records.sort_by_key(|other| other.id == record.id);
        // What a crash left behind between a checkpoint and its trimming, or in the middle of a
        // batch: nothing refers to it any more.
        let unheld: Vec<EntryId> = found
            .places
            .ids()
            .filter(|id| log.get(*id).is_none())
            .collect();
        let mut commit = Commit::resume(
            found.places,
            found.next_commit,
            records,
            found.marks.held_all,
            incarnation,
            promised.after(STEP),
            found.litter,
        );
        commit.trim(unheld.into_iter());
        let mut replica = Self {
            incarnation,
            readiness: Readiness::AwaitingFlush,
            standing: found.marks.standing,
            clock: Clock::resume(promised, promised),
            log,
            blobs: Blobs::default(),
            checkpoint_meta: Bytes::copy_from_slice(checkpoint_meta),
            start_frontier,
            reach: Set::from([(config.me, incarnation)]),
            neighbors: BTreeSet::new(),
            lives: Set::from([(config.me, incarnation)]),
            nears: BTreeMap::new(),
            own_near: Near::default(),
            view: SettlingView::new(),
            withdrawal: Withdrawal::new(),
            lone_until: None,
            repeat_at: now,
            last_fetching: BTreeMap::new(),
            marks: Marks {
                settled,
                stable: Prefix {
                    stamp: checkpoint.mark(),
                    ..checkpoint.prefix
                },
                stable_incarnations: checkpoint.incarnations.clone(),
                promised,
                floor,
                reads: BTreeMap::new(),
                view: None,
            },
            members: checkpoint.members.clone(),
            excluded: BTreeSet::new(),
            member_set: MemberSet::default(),
            differing: BTreeMap::new(),
            apart: false,
            eviction: Eviction::None,
            catch_up: CatchUp::default(),
            gathering: Gathering::default(),
            look_at: now + LOOK_EVERY,
            commit,
            record,
            published: found.marks.published,
            published_record,
            queue: VecDeque::new(),
            authored: Vec::new(),
            next_read: 0,
            clock_off: None,
            called: None,
            outputs: VecDeque::new(),
            checkpoint,
            config,
        };
        replica.view.side = replica.record.members.clone();
        for entry in replica.log.entries() {
            // What was held had its blobs on disk.
            entry
                .blobs
                .iter()
                .for_each(|hash| replica.blobs.hold(*hash, now));
        }
        replica.members = replica.members_at(settled);
        replica.update_exclusion();
        if replica.is_only_member() {
            // A cluster of one has compared its clock, and waits for nobody.
            replica.clock.set_source(Source::Wall);
        } else {
            replica.lone_until = Some(now + replica.config.lone_after);
        }
        replica.start_batch(wall, now);
        Ok(replica)
    }

    /// The entries that made the version last published before this start, in stamp order from
    /// the checkpoint: fold them once at the start. `settled` is their mark.
    pub fn published_entries(&self) -> impl Iterator<Item = Arc<Entry>> + '_ {
        let mark = self
            .published
            .map_or(Stamp::ZERO, |published| published.stamp);
        let within: BTreeMap<Stamp, Arc<Entry>> = self
            .log
            .entries()
            .filter(|entry| {
                entry.stamp() <= mark && self.published_record.bounds.contain(entry.id())
            })
            .map(|entry| (entry.stamp(), entry.clone()))
            .collect();
        within.into_values()
    }

    /// Whether nobody else is named as a member, in the log or before it.
    pub(super) fn is_only_member(&self) -> bool {
        let others = self.member_set.admitted.iter().map(Admit::peer);
        let mut others = others.filter(|peer| *peer != self.config.me);
        others.all(|peer| self.excluded.contains(&peer))
    }

    /// What to stream to a newcomer before its join is authored.
    #[must_use]
    pub fn stage(&self) -> Staging {
        Staging {
            checkpoint: self.checkpoint.mark(),
            checkpoint_meta: self.checkpoint_meta.clone(),
            entries: self.log.after(Stamp::ZERO).cloned().collect(),
            frontier: self.log_frontier(),
        }
    }

    /// What checkpoint and log cover, aside not counted.
    pub(super) fn log_frontier(&self) -> Frontier {
        let mut frontier = self.checkpoint.frontier.clone();
        for entry in self.log.after(Stamp::ZERO) {
            frontier.raise(entry.chain, entry.sequence);
        }
        frontier
    }
}

impl Staging {
    /// Packs the entries. It takes long for a long log: to be done aside.
    #[must_use]
    pub fn encode(&self) -> Stage {
        let mut runs = Vec::new();
        let mut run = Vec::new();
        for entry in &self.entries {
            entry.encode(&mut run);
            if run.len() > STAGE_RUN_SIZE {
                runs.push(Bytes::from(std::mem::take(&mut run)));
            }
        }
        if !run.is_empty() {
            runs.push(run.into());
        }
        let mut id = Vec::new();
        self.frontier.encode(&mut id);
        Stage {
            checkpoint: self.checkpoint,
            checkpoint_meta: self.checkpoint_meta.clone(),
            runs,
            id: id.into(),
        }
    }
}

impl Stage {
    /// What the stage covers of each chain; none if its id is malformed.
    pub(super) fn frontier(id: &[u8]) -> Option<Frontier> {
        Frontier::decode(&mut &id[..])
    }
}

impl Snapshot {
    pub(super) fn encode(&self) -> Bytes {
        let mut out = Vec::new();
        out.put_u32(self.stage_id.len() as u32);
        out.put_slice(&self.stage_id);
        self.bounds.encode(&mut out);
        out.put_u64(self.hybrid.0);
        out.put_u64(self.floor.0);
        self.frontier.encode(&mut out);
        for entry in &self.entries {
            entry.encode(&mut out);
        }
        out.into()
    }

    fn decode(mut bytes: &[u8]) -> Option<Self> {
        let bytes = &mut bytes;
        let id_size = bytes.try_get_u32().ok()? as usize;
        if id_size > bytes.len() {
            return None;
        }
        let stage_id = Bytes::copy_from_slice(&bytes[..id_size]);
        bytes.advance(id_size);
        let mut snapshot = Self {
            stage_id,
            bounds: Bounds::decode(bytes)?,
            hybrid: Hybrid(bytes.try_get_u64().ok()?),
            floor: Hybrid(bytes.try_get_u64().ok()?),
            frontier: Frontier::decode(bytes)?,
            entries: Vec::new(),
        };
        while !bytes.is_empty() {
            snapshot.entries.push(Arc::new(Entry::decode(bytes)?));
        }
        Some(snapshot)
    }
}

impl From<Unreadable> for Corrupt {
    fn from(unreadable: Unreadable) -> Self {
        match unreadable {
            Unreadable::Row(row) => Self::Row {
                tree: row.tree,
                key: row.key,
            },
            Unreadable::Missing(what) => Self::Missing(what),
        }
    }
}

/// One flush: an incarnation before all others, the ceiling, the entries, the record, the marks.
fn first_pieces(
    ceiling: Hybrid,
    record: &ViewRecord,
    marks: &MarksRow,
    entries: &[Arc<Entry>],
) -> Vec<Vec<Row>> {
    let mut rows = vec![incarnation_row(Incarnation(0)), ceiling_row(ceiling)];
    let mut places = EntryRows::default();
    for (commit, some) in entries.chunks(STAGE_COMMIT_ENTRIES).enumerate() {
        rows.extend(places.add(commit as u64, some));
    }
    rows.extend(record.rows());
    rows.push(marks.row());
    pieces(rows)
}

/// Entries of one run of a stage.
const STAGE_RUN_SIZE: usize = 256 * 1024;
/// Entries of one commit of a newcomer's rows; a commit numbers its rows in 16 bits.
const STAGE_COMMIT_ENTRIES: usize = 4_000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::Body;
    use crate::output::Output;
    use overlay::{ClusterId, PeerId, PublicKey};
    use ring::signature::{Ed25519KeyPair, KeyPair};

    const WALL: Duration = Duration::from_secs(1_700_000_000);
    const CLUSTER: ClusterId = ClusterId([1; 16]);
    const OLD: Chain = Chain {
        author: PeerId([9; 8]),
        incarnation: Incarnation(3),
    };

    fn admit() -> Admit {
        let key = Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap();
        let public = PublicKey(key.public_key().as_ref().try_into().unwrap());
        let (me, name) = (public.peer_id(), "one".to_owned());
        Admit::sign(&key, CLUSTER, public, name, Vec::new(), me, WALL)
    }

    fn entry(sequence: u64, size: usize) -> Arc<Entry> {
        Arc::new(Entry {
            chain: OLD,
            sequence,
            hybrid: Hybrid(sequence),
            digest: None,
            blobs: Vec::new(),
            body: Body::Data(Bytes::from(vec![9; size])),
        })
    }

    #[test]
    fn a_start_removes_rows_that_a_crash_has_left_without_use() {
        let birth = Replica::birth(admit(), WALL);
        let mut checkpoint = Checkpoint::decode(&birth.checkpoint_meta).unwrap();
        checkpoint.frontier.raise(OLD, 5);
        let mut places = EntryRows::default();
        let held = places.add(10, &[entry(6, 10)]);
        // Below the checkpoint, beyond a gap, and cut short; a view that no mark names.
        let mut useless = places.add(11, &[entry(4, 10), entry(5, 10)]);
        useless.extend(places.add(12, &[entry(9, 10)]));
        let mut large = places.add(13, &[entry(7, 60_000)]);
        large.pop();
        useless.extend(large);
        let record = ViewRecord {
            id: SettlingViewId([5; 16]),
            ..ViewRecord::default()
        };
        useless.extend(record.rows());
        let rows = [birth.pieces.concat(), held.clone(), useless.clone()].concat();

        let limit = Duration::from_millis(100);
        let config = Config::new(admit().peer(), CLUSTER, limit, limit);
        let now = crate::testing::start();
        let meta = checkpoint.encode();
        let mut replica = Replica::resume(config, &rows, &meta, 1, WALL, now).unwrap();
        let mut removed = Vec::new();
        while let Some(output) = replica.poll_output() {
            if let Output::Write(batch) = output {
                let rows = batch.pieces.concat().into_iter();
                removed.extend(rows.filter(|row| row.value.is_none()));
            }
        }
        let mut expected: Vec<Row> = useless
            .into_iter()
            .map(|row| Row { value: None, ..row })
            .collect();
        expected.sort_by(|a, b| (a.tree, &a.key).cmp(&(b.tree, &b.key)));
        removed.sort_by(|a, b| (a.tree, &a.key).cmp(&(b.tree, &b.key)));
        assert_eq!(removed, expected);
    }
}
