//! Versions against models so simple that they are plainly right.
#![allow(clippy::unwrap_used, reason = "a failing sample is a failing test")]

mod samples;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use proptest::prelude::*;
use samples::{comparable, message, name, record, records, sorted};
use zones::{Found, Name, Record, Rtype, Serial, Sought, Space, Update, Version};

/// Records by owner and type, as text: TTL and the set of their RDATA words.
#[derive(Clone, Default, Debug)]
struct Model(BTreeMap<(Name, Rtype), (u32, BTreeSet<String>)>);

#[derive(Clone, Debug)]
enum Step {
    Add(&'static str, u32, Rtype, String),
    DeleteRecord(&'static str, Rtype, String),
    DeleteRrset(&'static str, Rtype),
    DeleteName(&'static str),
}

impl Step {
    fn line(&self) -> String {
        match self {
            Self::Add(owner, ttl, rtype, data) => format!("add {owner} {ttl} {rtype} {data}"),
            Self::DeleteRecord(owner, rtype, data) => format!("delete {owner} {rtype} {data}"),
            Self::DeleteRrset(owner, rtype) => format!("delete {owner} {rtype}"),
            Self::DeleteName(owner) => format!("delete {owner}"),
        }
    }
}

impl Model {
    fn apply(&mut self, step: &Step) {
        match step {
            Step::Add(owner, ttl, rtype, data) => self.add(name(owner), *ttl, *rtype, data),
            Step::DeleteRecord(owner, rtype, data) => {
                let key = (name(owner), *rtype);
                let Some((_, set)) = self.0.get_mut(&key) else {
                    return;
                };
                if key == (name("@"), Rtype::NS) && set.len() == 1 {
                    return;
                }
                set.remove(data);
                if set.is_empty() {
                    self.0.remove(&key);
                }
            }
            Step::DeleteRrset(owner, rtype) => {
                if !(name(owner) == name("@") && *rtype == Rtype::NS) {
                    self.0.remove(&(name(owner), *rtype));
                }
            }
            Step::DeleteName(owner) => {
                let owner = name(owner);
                let keeps = |rtype| owner == name("@") && [Rtype::NS, Rtype::SOA].contains(&rtype);
                self.0
                    .retain(|(held, rtype), _| *held != owner || keeps(*rtype));
            }
        }
    }

    fn add(&mut self, owner: Name, ttl: u32, rtype: Rtype, data: &str) {
        let others: Vec<Rtype> = self
            .0
            .keys()
            .filter(|key| key.0 == owner)
            .map(|key| key.1)
            .collect();
        let clashes = match rtype {
            Rtype::CNAME => others.iter().any(|other| *other != Rtype::CNAME),
            _ => others.contains(&Rtype::CNAME),
        };
        if clashes || rtype == Rtype::NS && owner.is_wildcard() {
            return;
        }
        // A name keeps its case while it has records.
        let held = self
            .0
            .keys()
            .find(|key| key.0 == owner)
            .map(|key| key.0.clone());
        let (held_ttl, set) = self.0.entry((held.unwrap_or(owner), rtype)).or_default();
        *held_ttl = ttl;
        if [Rtype::CNAME, Rtype::DNAME].contains(&rtype) {
            set.clear();
        }
        set.insert(data.to_owned());
    }

    fn records(&self) -> Vec<Record> {
        let mut records = Vec::new();
        for ((owner, rtype), (ttl, set)) in &self.0 {
            records.extend(
                set.iter()
                    .map(|data| record(&format!("{owner} {ttl} {rtype} {data}"))),
            );
        }
        records
    }

    /// All names that exist, in canonical order.
    fn names(&self) -> BTreeSet<Name> {
        let mut names = BTreeSet::from([name("@")]);
        for (owner, _) in self.0.keys() {
            let mut above = owner.clone();
            while above != name("@") {
                names.insert(above.clone());
                above = above.parent().unwrap();
            }
        }
        names
    }

    fn has(&self, owner: &Name, rtype: Rtype) -> bool {
        self.0.contains_key(&(owner.clone(), rtype))
    }

    /// RFC 1034 section 4.3.2, RFC 4592 and RFC 6672 by looking at every name.
    fn find(&self, qname: &Name) -> String {
        let names = self.names();
        let mut chain = vec![qname.clone()];
        while *chain.last().unwrap() != name("@") {
            chain.push(chain.last().unwrap().parent().unwrap());
        }
        chain.reverse();
        for above in &chain {
            if *above != name("@") && self.has(above, Rtype::NS) {
                return format!("cut {above}");
            }
            if above != qname && self.has(above, Rtype::DNAME) {
                return format!("dname {above}");
            }
        }
        if names.contains(qname) {
            return format!("node {qname}");
        }
        let encloser = chain
            .iter()
            .rev()
            .find(|above| names.contains(above))
            .unwrap();
        let wildcard = encloser.child(b"*").unwrap();
        if names.contains(&wildcard) {
            return format!("wildcard {wildcard} {encloser}");
        }
        format!("nothing {encloser}")
    }
}

fn meet<'v>(version: &'v Version, qname: &Name) -> Found<'v> {
    let mut space = Space::default();
    let sought = Sought::new(qname.borrowed(), &mut space);
    version.find(sought.below(version.origin()).unwrap())
}

fn found(version: &Version, qname: &Name) -> String {
    let text = match meet(version, qname) {
        Found::Node(node) => format!("node {}", node.owner()),
        Found::Cut(node) => format!("cut {}", node.owner()),
        Found::Dname(node) => format!("dname {}", node.owner()),
        Found::Wildcard { source, encloser } => {
            format!("wildcard {} {}", source.owner(), encloser.owner())
        }
        Found::NxDomain { encloser } => format!("nothing {}", encloser.owner()),
    };
    text.to_lowercase()
}

const OWNERS: [&str; 22] = [
    "@", "a", "b", "A", "*", "a.a", "b.a", "*.a", "a.*", "*.*", "c.b.a", "*.b.a", "a.c.b.a",
    "d.c.b.a", "*.c.b.a", "b.b", "c.b.b", "x.c.b.b", "a.*.a", "x.y.z", "z", "*.y.z",
];

const QNAMES: [&str; 16] = [
    "y.a",
    "x.a.a",
    "q",
    "q.q",
    "q.*",
    "c.a.*",
    "q.b.a",
    "q.c.b.a",
    "q.a.c.b.a",
    "q.q.b.b",
    "y.z",
    "q.y.z",
    "q.q.y.z",
    "ghost.*.a",
    "q.x.c.b.b",
    "*.q",
];

fn step() -> impl Strategy<Value = Step> {
    let owner = || proptest::sample::select(&OWNERS[..]);
    let data = || {
        prop_oneof![
            6 => (1..4u8).prop_map(|n| (Rtype::A, format!("192.0.2.{n}"))),
            3 => (0..3u8).prop_map(|n| (Rtype::TXT, format!("t{n}"))),
            2 => (0..3u8).prop_map(|n| (Rtype::NS, format!("ns{n}"))),
            1 => (0..2u8).prop_map(|n| (Rtype::DNAME, format!("target{n}"))),
            2 => (0..2u8).prop_map(|n| (Rtype::CNAME, format!("target{n}"))),
        ]
    };
    prop_oneof![
        6 => (owner(), 1..3u32, data())
            .prop_map(|(owner, ttl, (rtype, data))| Step::Add(owner, ttl, rtype, data)),
        2 => (owner(), data())
            .prop_map(|(owner, (rtype, data))| Step::DeleteRecord(owner, rtype, data)),
        1 => (owner(), data()).prop_map(|(owner, (rtype, _))| Step::DeleteRrset(owner, rtype)),
        2 => owner().prop_map(Step::DeleteName),
    ]
}

fn update(steps: &[Step]) -> Update {
    let lines: Vec<String> = steps.iter().map(Step::line).collect();
    Update::from_message(&message(&lines.join("\n"))).unwrap()
}

fn start() -> (Version, Model) {
    let mut model = Model::default();
    model.add(name("@"), 1, Rtype::SOA, "ns0 0");
    model.add(name("@"), 1, Rtype::NS, "ns0");
    (
        Version::from_records(&name("@"), &model.records()).unwrap(),
        model,
    )
}

/// All that can be asked of a version, against the model.
fn compare(version: &Version, model: &Model) -> Result<(), TestCaseError> {
    let held: Vec<Record> = version.records().collect();
    prop_assert_eq!(sorted(&held), sorted(&model.records()));

    let names = model.names();
    let walked: Vec<Name> = version.walk().map(|node| node.owner()).collect();
    prop_assert_eq!(&walked, &names.iter().cloned().collect::<Vec<_>>());

    let counts = version.counts();
    prop_assert_eq!(counts.names as usize, names.len());
    prop_assert_eq!(counts.records as usize, held.len());
    let having = |rtype, apex| {
        names
            .iter()
            .filter(|n| model.has(n, rtype) && (apex || **n != name("@")))
            .count()
    };
    prop_assert_eq!(counts.cuts as usize, having(Rtype::NS, false));
    prop_assert_eq!(counts.dnames as usize, having(Rtype::DNAME, true));
    prop_assert_eq!(
        counts.wildcards as usize,
        names.iter().filter(|name| name.is_wildcard()).count()
    );

    for qname in OWNERS.iter().chain(&QNAMES) {
        let qname = name(qname);
        let expected = model.find(&qname).to_lowercase();
        prop_assert_eq!(found(version, &qname), expected, "{}", qname);
        let floor = version.floor(&qname).map(|node| node.owner());
        prop_assert_eq!(floor, names.range(..=qname.clone()).next_back().cloned());
        let node = version.node(&qname);
        prop_assert_eq!(node.is_some(), names.contains(&qname));
        let after = version
            .walk_after(&qname)
            .unwrap()
            .next()
            .map(|node| node.owner());
        let expected = names.iter().find(|name| **name > qname).cloned();
        prop_assert_eq!(after, expected);
        for rrset in node.iter().flat_map(|node| node.rrsets()) {
            let (ttl, set) = &model.0[&(qname.clone(), rrset.rtype())];
            prop_assert_eq!((rrset.ttl(), rrset.len()), (*ttl, set.len()));
            prop_assert_eq!(rrset.rdata().count(), set.len());
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn updates_and_lookups_equal_the_model(
        updates in proptest::collection::vec(proptest::collection::vec(step(), 1..6), 1..25),
        rebase_at in 0..25usize,
    ) {
        let (mut version, mut model) = start();
        for (i, steps) in updates.iter().enumerate() {
            let before = version.clone();
            let held_before: BTreeSet<String> = sorted(&model.records()).into_iter().collect();
            let applied = version.apply(&update(steps), Serial(1)).unwrap();
            steps.iter().for_each(|step| model.apply(step));
            version = applied.version.clone();

            // The delta is what the records say, and turns one set into the other.
            let held: BTreeSet<String> = sorted(&model.records()).into_iter().collect();
            let delta = applied.delta();
            let removed: BTreeSet<String> = sorted(&delta.removed).into_iter().collect();
            let added: BTreeSet<String> = sorted(&delta.added).into_iter().collect();
            prop_assert_eq!(&removed, &held_before.difference(&held).cloned().collect());
            prop_assert_eq!(&added, &held.difference(&held_before).cloned().collect());
            prop_assert_eq!(applied.changed(), held != held_before);
            prop_assert_eq!(before.is_same_as(&version), held == held_before);
            prop_assert_eq!(before.digest() == version.digest(), held == held_before);

            if i == rebase_at {
                // A new base below the version before changes nothing above it.
                let base = Arc::new(before.rebase());
                let carried = version.carry(&before, &Version::from_base(base.clone()));
                compare(&Version::from_base(base), &{
                    let mut earlier = start().1;
                    updates[..i].iter().flatten().for_each(|step| earlier.apply(step));
                    earlier
                })?;
                prop_assert!(carried.is_same_as(&version));
                prop_assert!(carried.is_identical_to(&carried.clone()));
                prop_assert!(!carried.is_identical_to(&version));
                prop_assert_eq!(carried.digest(), version.digest());
                version = carried;
            }
        }
        compare(&version, &model)?;

        // However a version came about, equal content is equal.
        let again = Version::from_records(&name("@"), &model.records()).unwrap();
        compare(&again, &model)?;
        prop_assert!(again.is_same_as(&version));
        prop_assert_eq!(again.digest(), version.digest());

        prop_assert_eq!(again.counts(), version.counts());
        prop_assert!(Version::difference(&again, &version).is_empty());

        // On the base of another version it is what it was.
        let (held, _) = start();
        let onto = again.onto(&held);
        prop_assert!(Arc::ptr_eq(onto.base(), held.base()));
        prop_assert_eq!(onto.digest(), version.digest());
        prop_assert_eq!(onto.counts(), version.counts());
        compare(&onto, &model)?;
    }
}

#[test]
fn what_differs_much_is_not_put_on_the_base_of_another() {
    for count in [10_000, 10_001] {
        let of = |network: &str| {
            let lines: Vec<String> = (0..count)
                .map(|i| format!("h{i} 60 A {network}.{}", i % 250))
                .collect();
            Version::from_records(&name("@"), &records(&lines.join("\n"))).unwrap()
        };
        let (old, new) = (of("192.0.2"), of("198.51.100"));
        let onto = new.clone().onto(&old);
        assert_eq!(Arc::ptr_eq(onto.base(), old.base()), count == 10_000);
        assert!(onto.is_same_as(&new));
    }
}

#[test]
fn records_in_any_order_make_one_version() {
    let lines: Vec<String> = (0..3_000)
        .map(|i| format!("h{i}.s{} 60 A 192.0.2.{}", i % 7, i % 250))
        .collect();
    let mut all = records("@ 60 SOA ns1 7\n@ 60 NS ns1");
    all.extend(records(&lines.join("\n")));
    let forward = Version::from_records(&name("@"), &all).unwrap();
    all.reverse();
    all.extend(records("h5.s5 60 A 192.0.2.5"));
    let backward = Version::from_records(&name("@"), &all).unwrap();
    assert!(forward.is_same_as(&backward));
    assert_eq!(forward.digest(), backward.digest());
    assert_eq!(forward.counts().records, 3_002);
    assert_eq!(forward.counts().names, 3_008);
    let walked: Vec<Name> = forward.walk().map(|node| node.owner()).collect();
    assert!(walked.is_sorted());
}

#[test]
fn records_outside_the_zone_are_refused() {
    let outside = records("www.example.org. 60 A 192.0.2.1");
    let error = Version::from_records(&name("@"), &outside).unwrap_err();
    assert_eq!(error.0.to_string(), "www.example.org.");
}

#[test]
fn the_serial_is_no_part_of_a_version() {
    let version = |serial: u32| {
        Version::from_records(&name("@"), &records(&format!("@ 60 SOA ns1 {serial}"))).unwrap()
    };
    assert!(version(7).is_same_as(&version(8)));
    assert_eq!(version(7).digest(), version(8).digest());
    let soa = version(7)
        .apex()
        .rrset(Rtype::SOA)
        .unwrap()
        .rdata()
        .next()
        .unwrap()
        .to_vec();
    assert_eq!(zones::rdata::soa_serial(&soa), Some(Serial(0)));
    assert_eq!(
        comparable(&record("@ 60 SOA ns1 7")),
        comparable(&record("@ 60 SOA ns1 8"))
    );
}

#[test]
fn nsec3_records_are_no_names_and_are_walked_where_their_names_belong() {
    let names = "@ 60 SOA ns1 1
         a  60 A 192.0.2.1
         b  60 A 192.0.2.2
         z  60 A 192.0.2.3";
    let chain = "5   60 NSEC3 01000000000100
         5   61 RRSIG 003200
         b   60 NSEC3 01000000000100
         x.c 60 NSEC3 01000000000100";
    let version = samples::version(&format!("{names}\n{chain}"));
    let owners = |version: &Version, after: Option<&str>| -> Vec<Name> {
        let walk = match after {
            Some(after) => version.walk_after(&name(after)).unwrap(),
            None => version.walk(),
        };
        walk.map(|node| node.owner()).collect()
    };
    let all = ["@", "5", "a", "b", "b", "x.c", "z"].map(name);
    assert_eq!(owners(&version, None), all);
    assert_eq!(owners(&version, Some("a")), all[3..]);
    assert_eq!(owners(&version, Some("b")), all[5..]);

    let floor = |qname| version.floor(&name(qname)).unwrap().owner();
    assert_eq!(floor("6"), name("@"));
    assert_eq!(floor("y"), name("b"));
    for qname in ["5", "x.5", "c", "x.c"] {
        let found = meet(&version, &name(qname));
        assert!(matches!(found, Found::NxDomain { encloser } if encloser.is_apex()));
        assert!(version.node(&name(qname)).is_none());
    }
    let b = version.node(&name("b")).unwrap();
    assert_eq!(
        b.rrsets().map(|r| r.rtype()).collect::<Vec<_>>(),
        [Rtype::A]
    );

    let again = Version::from_base(Arc::new(version.rebase()));
    assert!(again.is_same_as(&version));
    assert_eq!(again.digest(), version.digest());
    let delta = Version::difference(&samples::version(names), &version);
    assert_eq!(sorted(&delta.added), sorted(&records(chain)));
    assert!(delta.removed.is_empty());
}

#[test]
fn the_serial_of_a_signed_zone_stays_what_it_is() {
    let signed = samples::version("@ 60 SOA ns1 7\n@ 60 RRSIG 000600");
    assert_eq!(signed.signed_serial(), Some(Serial(7)));
    assert!(signed.is_signed());
    let unsigned = samples::version("@ 60 SOA ns1 7\n@ 60 RRSIG 000200");
    assert_eq!(unsigned.signed_serial(), None);
    assert!(!unsigned.is_signed());
}

#[test]
fn a_delegation_found_at_its_cut_holds_its_ds() {
    let version = samples::version(
        "@      60 SOA ns1 1
         sub    60 NS  ns.sub
         sub    60 DS  0001080200
         ns.sub 60 A   192.0.2.1
         c.b.a  60 NS  ns1",
    );
    let cut = |qname: &str| match meet(&version, &name(qname)) {
        Found::Cut(node) => node,
        other => panic!("{qname}: {other:?}"),
    };
    assert!(cut("sub").rrset(Rtype::DS).is_some());
    assert_eq!(cut("sub").label_count(), 2);
    assert_eq!(cut("ns.sub").owner(), name("sub"));
    assert_eq!(cut("x.y.c.b.a").owner(), name("c.b.a"));
    // Glue is occluded, and fetched by its exact name.
    let glue = version.node(&name("ns.sub")).unwrap();
    assert!(glue.rrset(Rtype::A).is_some());
    assert!(matches!(meet(&version, &name("b.a")), Found::Node(node) if node.is_empty()));
}
