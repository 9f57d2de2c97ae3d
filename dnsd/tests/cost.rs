#![allow(clippy::all, clippy::unwrap_used, clippy::disallowed_methods)]
//! temporary
use dnsd::history::{Found, History, What};
use dnsd::state::{Content, Counted};
use replication::{Hybrid, Stamp};
use std::time::{Duration, Instant};
use zones::{Name, Rdata, Record, Rtype, Serial, Update, Version};

fn update(origin: &Name, name: &str, address: u32) -> Vec<u8> {
    let mut message = vec![0, 1, 5 << 3, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    message.extend_from_slice(origin.as_wire());
    message.extend_from_slice(&[0, 6, 0, 1]);
    for (class, rtype, rdata) in [
        (255u16, 1u16, vec![]),
        (1, 1, address.to_be_bytes().to_vec()),
    ] {
        message[9] += 1;
        message.push(name.len() as u8);
        message.extend_from_slice(name.as_bytes());
        message.extend_from_slice(&[0xc0, 12]);
        message.extend_from_slice(&rtype.to_be_bytes());
        message.extend_from_slice(&class.to_be_bytes());
        message.extend_from_slice(&[0; 4]);
        message.extend_from_slice(&(rdata.len() as u16).to_be_bytes());
        message.extend_from_slice(&rdata);
    }
    message
}

#[test]
fn cost() {
    let origin: Name = "example.".parse().unwrap();
    let records: Vec<Record> = (0..100_000u32)
        .map(|n| Record {
            owner: origin.child(format!("host{n}").as_bytes()).unwrap(),
            rtype: Rtype(1),
            ttl: 60,
            rdata: Rdata::from_checked(n.to_be_bytes().to_vec()),
        })
        .collect();
    let mut version = Version::from_records(&origin, &records).unwrap();
    let n = 100_000u32;
    let messages: Vec<Vec<u8>> = (0..n)
        .map(|i| update(&origin, &format!("host{}", (i * 7919) % 30_000), i))
        .collect();
    let begin = Instant::now();
    let mut pairs = Vec::new();
    for message in &messages {
        let update = Update::from_message(message).unwrap();
        let next = version.apply(&update, Serial(1)).unwrap().version;
        pairs.push((version.clone(), next.clone()));
        version = next;
    }
    println!("parse+apply+pair {:?}", begin.elapsed() / n);
    let counted: Vec<Counted> = pairs
        .into_iter()
        .zip(1u32..)
        .map(|((a, b), i)| Counted {
            origin: origin.clone(),
            before: Content {
                version: Some(a),
                serial: Serial(i),
            },
            after: Content {
                version: Some(b),
                serial: Serial(i + 1),
            },
            stamp: Stamp {
                hybrid: Hybrid((1_700_000_000_000 + u64::from(i)) << 16),
                ..Stamp::ZERO
            },
            what: What::Update {
                source: [127, 0, 0, 1].into(),
                key: None,
            },
        })
        .collect();
    let mut history = History::resume(Found::default());
    let begin = Instant::now();
    let mut shared = Vec::new();
    let mut rows = 0;
    let mut bytes = 0;
    let mut writing = Duration::ZERO;
    let mut left = counted.into_iter();
    loop {
        let group: Vec<Counted> = left.by_ref().take(20).collect();
        if group.is_empty() {
            break;
        }
        history.publish_next(group);
        shared = vec![history.chains().clone()];
        if history.is_writing_due() {
            let at = Instant::now();
            let out = history.take_rows(Duration::from_millis(1_700_000_000_000));
            rows += out.len();
            bytes += out.iter().map(zones::Row::size).sum::<usize>();
            writing += at.elapsed();
        }
    }
    println!(
        "step+push+drop {:?} of which rows {:?}; {rows} rows, {bytes} bytes, memory {} ({} per step)",
        begin.elapsed() / n,
        writing / n,
        history.size(),
        history.size() / n as usize
    );
    drop(shared);
}
