//! Another import of a zone: what the file changes in what is served, and the UPDATE that makes the
//! same change.
//!
//! ```text
//! served ─┐
//!         ├─ difference ─┬─ none: nothing is done
//! file ───┘              ├─ fits an UPDATE: an entry as any other, so what others change meanwhile stays
//!                        └─ does not: the whole zone as a blob, unless it changes meanwhile
//! ```

use crate::delta_text::{line, lines};
use crate::message::{MESSAGE_SIZE_MAX, UPDATE_RECORD_SIZE_MIN, UpdateBuilder, UpdateRecord};
use crate::state::State;
use crate::status::Reload;
use bytes::Bytes;
use std::collections::BTreeSet;
use zones::rdata::{canonical, with_soa_serial};
use zones::rtype::Class;
use zones::version::Delta;
use zones::{Name, Record, Rtype, Serial, Update, Version};

/// What a file changes in a zone.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Comparison {
    /// The change in figures.
    pub reload: Reload,
    /// Its records, the SOA apart.
    delta: Delta,
    /// The SOA before, if there is one, and after.
    soa: (Option<Record>, Option<Record>),
}

impl Comparison {
    /// Compares what is served with the zone of a file, whose SOA has this serial. For a zone that
    /// is new all records are added.
    #[must_use]
    pub fn new(state: &State, file: &Version, wanted: Serial) -> Self {
        let origin = file.origin();
        let held = state.version(origin);
        let before = held.map(|_| state.serial(origin));
        let empty = Version::from_records(origin, &[]).expect("no record lies outside");
        let mut delta = Version::difference(held.unwrap_or(&empty), file);
        // The serial that is signed is no choice.
        let is_serial_signed = file.signed_serial().is_some();
        let takes_wanted = is_serial_signed || state.offset(origin, wanted).is_some();
        let after = match before {
            Some(before) if delta.is_empty() && (is_serial_signed || !takes_wanted) => before,
            _ if takes_wanted => wanted,
            before => before.unwrap_or_default().plus(1),
        };
        let reload = Reload {
            origin: origin.clone(),
            before: before.map(|serial| serial.0),
            after: after.0,
            wanted: wanted.0,
            added: delta.added.len() as u64,
            removed: delta.removed.len() as u64,
            rrsets: rrset_count(&delta),
        };
        delta.added.retain(|record| record.rtype != Rtype::SOA);
        delta.removed.retain(|record| record.rtype != Rtype::SOA);
        let soa = (
            held.zip(before)
                .and_then(|(held, serial)| soa_of(held, serial)),
            soa_of(file, after),
        );
        Self { reload, delta, soa }
    }

    /// The UPDATE that makes the zone of the file of what is served; none if it is too large, or
    /// the rules of RFC 2136 let none do it.
    #[must_use]
    pub fn update(&self, state: &State, file: &Version) -> Option<Bytes> {
        let origin = file.origin();
        let (held, serial) = (state.version(origin)?, state.serial(origin));
        let message = self.message(origin)?;
        let update = Update::from_message(&message).ok()?;
        held.check(&update, serial).ok()?;
        let applied = held.apply(&update, serial).ok()?;
        applied.version.is_same_as(file).then_some(message.into())
    }

    /// The change as lines with `-` and `+` before records in presentation format, the SOA first,
    /// then by owner name; none if nothing changes.
    pub fn lines(&self) -> impl Iterator<Item = String> + '_ {
        let is_change = self.reload.is_change();
        let (before, after) = &self.soa;
        let before = before.iter().map(|soa| line('-', soa));
        let soa = before.chain(after.iter().map(|soa| line('+', soa)));
        soa.chain(lines(&self.delta)).take_while(move |_| is_change)
    }

    /// None if it is larger than a message may be.
    fn message(&self, origin: &Name) -> Option<Vec<u8>> {
        let Delta { removed, added } = &self.delta;
        let added_again: BTreeSet<_> = added.iter().map(identity).collect();
        let is_apex_ns = |record: &&Record| record.rtype == Rtype::NS && record.owner == *origin;
        let (before, after) = (self.soa.0.as_ref()?, self.soa.1.as_ref()?);
        let changes_soa = before.ttl != after.ttl
            || with_soa_serial(&before.rdata, Serial(self.reload.after)) != after.rdata;
        let takes_wanted = self.reload.after == self.reload.wanted;

        // What no message holds takes no time.
        if removed.len() + added.len() > MESSAGE_SIZE_MAX / UPDATE_RECORD_SIZE_MIN {
            return None;
        }
        let mut builder = UpdateBuilder::new(origin);
        // RFC 2136 section 3.4.2.2: an SOA that is not ahead at its place is ignored. One that
        // differs in more than its serial must not be lost in silence.
        if changes_soa {
            builder.prerequisite(written(before, Class::IN, 0));
        }
        let mut put = |record: &Record, class, ttl| builder.change(written(record, class, ttl));
        // RFC 2136 section 3.4.2.4: the last NS of the apex is never deleted, so new ones come
        // first; an alias comes after what is in its way has gone.
        for record in added.iter().filter(is_apex_ns) {
            put(record, Class::IN, record.ttl);
        }
        let goes = |record: &&Record| !added_again.contains(&identity(record));
        for record in removed.iter().filter(goes) {
            put(record, Class::NONE, 0);
        }
        for record in added.iter().filter(|record| !is_apex_ns(record)) {
            put(record, Class::IN, record.ttl);
        }
        if changes_soa || takes_wanted {
            put(after, Class::IN, after.ttl);
        }
        builder.finish()
    }
}

fn written(record: &Record, class: Class, ttl: u32) -> UpdateRecord<'_> {
    UpdateRecord {
        owner: &record.owner,
        rtype: record.rtype,
        class,
        ttl,
        rdata: record.rdata.as_bytes(),
    }
}

/// That by which an UPDATE knows a record.
fn identity(record: &Record) -> (&Name, Rtype, Vec<u8>) {
    let rdata = canonical(record.rtype, record.rdata.as_bytes());
    (&record.owner, record.rtype, rdata.into_owned())
}

fn soa_of(version: &Version, serial: Serial) -> Option<Record> {
    let mut records = version.apex().records();
    let mut soa = records.find(|record| record.rtype == Rtype::SOA)?;
    soa.rdata = with_soa_serial(&soa.rdata, serial);
    Some(soa)
}

/// RRsets of which any record comes or goes. Both lists are in the order of owner names and types.
fn rrset_count(delta: &Delta) -> u64 {
    let of = |record: &Record| (record.owner.clone(), record.rtype);
    let mut rrsets: Vec<_> = delta.removed.iter().chain(&delta.added).map(of).collect();
    rrsets.sort_unstable();
    rrsets.dedup();
    rrsets.len() as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::birth::Seeds;
    use crate::testing::{WALL, key, public};
    use proptest::prelude::*;
    use zones::zonefile::{Source, parse};

    const SOA: &str = "@ 60 SOA ns hostmaster 7 3600 600 86400 60\n";

    fn origin() -> Name {
        "example.".parse().unwrap()
    }

    fn records(text: &str) -> Vec<Record> {
        let source = Source {
            name: "test".to_owned(),
            text: text.as_bytes().to_vec(),
        };
        let mut include = |_: &str, _: &str| Err("there are no other files".to_owned());
        let parsed = parse(&source, &origin(), &mut include, &mut |_| {}).unwrap();
        let records = parsed.records.iter();
        records.map(zones::record::RecordRef::to_record).collect()
    }

    fn version(text: &str) -> Version {
        Version::from_records(&origin(), &records(text)).unwrap()
    }

    /// A state in which the zone is served with serial 7.
    fn served(text: &str) -> State {
        let seeds = Seeds {
            zones: vec![(version(text), Serial(7))],
            ..Seeds::default()
        };
        seeds.into_state(public(&key(1)).peer_id(), WALL)
    }

    fn compared(state: &State, file: &Version, wanted: u32) -> (Comparison, Option<Bytes>) {
        let comparison = Comparison::new(state, file, Serial(wanted));
        let message = comparison.update(state, file);
        (comparison, message)
    }

    #[test]
    fn a_difference_is_an_update_that_makes_it() {
        let check = |before: &str, after: &str, expected: &str| {
            let state = served(&format!("{SOA}{before}"));
            let file = version(&format!("{SOA}{after}"));
            let (comparison, message) = compared(&state, &file, 5);
            let lines: String = comparison
                .lines()
                .filter(|line| !line.contains("\tSOA\t"))
                .map(|line| line.replace("\tIN\t", " ").replace('\t', " "))
                .collect();
            assert_eq!(lines, expected);
            assert!(message.is_some(), "{before} to {after}");
            assert_eq!(comparison.reload.after, 8);
        };
        let ns = "@ 60 NS ns\n";
        check(
            &format!("{ns}a 60 A 192.0.2.1\na 60 A 192.0.2.2\nb 60 TXT x\n"),
            &format!("{ns}a 60 A 192.0.2.1\na 60 A 192.0.2.3\nc 60 TXT x\n"),
            "- a.example. 60 A 192.0.2.2\n+ a.example. 60 A 192.0.2.3\n\
             - b.example. 60 TXT \"x\"\n+ c.example. 60 TXT \"x\"\n",
        );
        // Another TTL.
        check(
            &format!("{ns}a 60 A 192.0.2.1\n"),
            &format!("{ns}a 61 A 192.0.2.1\n"),
            "- a.example. 60 A 192.0.2.1\n+ a.example. 61 A 192.0.2.1\n",
        );
        // RFC 2136 section 3.4.2.4: the last NS of the apex cannot be deleted.
        check(
            "@ 60 NS old\n",
            "@ 90 NS new\n",
            "- example. 60 NS old.example.\n+ example. 90 NS new.example.\n",
        );
        // RFC 2136 section 3.4.2.2: an alias does not come beside other data, nor those beside it.
        check(
            &format!("{ns}a 60 A 192.0.2.1\nb 60 CNAME a\nc 60 CNAME a\n"),
            &format!("{ns}a 60 CNAME x\nb 60 A 192.0.2.1\nc 60 CNAME b\n"),
            "- a.example. 60 A 192.0.2.1\n+ a.example. 60 CNAME x.example.\n\
             - b.example. 60 CNAME a.example.\n+ b.example. 60 A 192.0.2.1\n\
             - c.example. 60 CNAME a.example.\n+ c.example. 60 CNAME b.example.\n",
        );
    }

    #[test]
    fn the_serial_goes_on() {
        let text = format!("{SOA}@ 60 NS ns\n");
        let state = served(&text);
        let check = |text: &str, wanted: u32, expected: Option<u32>| {
            let (comparison, message) = compared(&state, &version(text), wanted);
            let reload = &comparison.reload;
            assert_eq!(
                (reload.before, reload.after),
                (Some(7), expected.unwrap_or(7))
            );
            assert_eq!(reload.is_change(), expected.is_some());
            assert_eq!(comparison.lines().count() > 0, expected.is_some());
            if expected.is_some() {
                let update = Update::from_message(&message.unwrap()).unwrap();
                assert_eq!(
                    update.soa_serial(),
                    expected.map(Serial).filter(|_| wanted > 7)
                );
            }
        };
        let other = format!("{text}a 60 A 192.0.2.1\n");
        check(&text, 7, None);
        check(&text, 6, None);
        // RFC 1982: so far ahead is behind.
        check(&text, 7 + (1 << 31), None);
        check(&text, 9, Some(9));
        check(&other, 7, Some(8));
        check(&other, 6, Some(8));
        check(&other, 8, Some(8));
        check(&other, 2_026_113_001, Some(2_026_113_001));
    }

    #[test]
    fn another_soa_is_not_lost_in_silence() {
        let text = format!("{SOA}@ 60 NS ns\n");
        let state = served(&text);
        let file = version(&text.replace("3600", "1800"));
        let (comparison, message) = compared(&state, &file, 7);
        assert_eq!(comparison.lines().count(), 2);
        let update = Update::from_message(&message.unwrap()).unwrap();
        let held = state.version(&origin()).unwrap();
        assert!(held.check(&update, Serial(7)).is_ok());
        // Somebody else raised the serial meanwhile.
        assert_eq!(held.check(&update, Serial(8)), Err(zones::Rcode::NXRRSET));
    }

    #[test]
    fn what_no_update_can_do_is_done_whole() {
        let text = format!("{SOA}@ 60 NS ns\n");
        let state = served(&text);
        let check = |text: &str| {
            let (comparison, message) = compared(&state, &version(text), 7);
            assert!(comparison.reload.is_change() && message.is_none(), "{text}");
        };
        let many: String = (0..5_000).map(|n| format!("h{n} 60 TXT x\n")).collect();
        check(&format!("{text}{many}"));
        check(&format!("{text}@ 60 DNSKEY 257 3 13 AAAA\n"));
        // The case of an owner name.
        let state = served(&format!("{text}a 60 A 192.0.2.1\n"));
        let file = version(&format!("{text}A 60 A 192.0.2.1\n"));
        let (comparison, message) = compared(&state, &file, 7);
        assert!(comparison.reload.is_change() && message.is_none());
    }

    #[test]
    fn of_a_new_zone_all_is_added() {
        let file = version(&format!("{SOA}@ 60 NS ns\n"));
        let comparison = Comparison::new(&State::empty(), &file, Serial(5));
        let reload = &comparison.reload;
        assert_eq!((reload.before, reload.after, reload.added), (None, 5, 2));
        assert!(comparison.lines().all(|line| line.starts_with("+ ")));
    }

    /// A zone file of few names, so that changes meet.
    fn zone() -> impl Strategy<Value = String> {
        let record = (0..4u8, 30..33u32, 0..4u8, 0..3u8);
        prop::collection::vec(record, 0..12).prop_map(|records| {
            let mut text = format!("{SOA}@ 60 NS ns\n");
            let mut aliases = BTreeSet::new();
            let mut others = BTreeSet::new();
            for (owner, ttl, rtype, value) in records {
                // As the checks of a zone file have it: an alias stands alone.
                let (mine, theirs) = match rtype {
                    0 => (&mut aliases, &others),
                    _ => (&mut others, &aliases),
                };
                if theirs.contains(&owner) || rtype == 0 && mine.contains(&owner) {
                    continue;
                }
                mine.insert(owner);
                text += &match rtype {
                    0 => format!("n{owner} {ttl} CNAME v{value}\n"),
                    1 => format!("n{owner} {ttl} A 192.0.2.{value}\n"),
                    2 => format!("n{owner} {ttl} MX {value} mail\n"),
                    _ => format!("n{owner} {ttl} NS v{value}\n"),
                };
            }
            text
        })
    }

    proptest! {
        #[test]
        fn any_small_change_is_an_update(before in zone(), after in zone()) {
            let state = served(&before);
            let file = version(&after);
            let (comparison, message) = compared(&state, &file, 7);
            let is_change = !state.version(&origin()).unwrap().is_same_as(&file);
            prop_assert_eq!(comparison.reload.is_change(), is_change);
            prop_assert!(!is_change || message.is_some());
        }
    }
}
