//! What comes from others, read as the link thread reads it: a door for the fuzz targets.
//!
//! The first byte chooses what is read. What reads must say the same when it is written and read
//! again. [`samples`] has one input of each kind to begin with.

use crate::admit::{Admit, ClusterId};
use crate::event::{Class, StateKind};
use crate::hello::Hello;
use crate::join;
use crate::link_state::LinkState;
use crate::members::MemberRow;
use crate::packet::{
    Ack, BeatPacket, Body, Data, Frame, Multicast, Pull, Purpose, StateBody, SummaryRow, Unicast,
    Urgency, decode_frames,
};
use crate::peer_id::{Incarnation, PeerId, PublicKey};
use bytes::Bytes;
use std::time::Duration;

/// Reads the input; true if it is well formed.
#[must_use]
pub fn read(input: &[u8]) -> bool {
    let Some((kind, bytes)) = input.split_first() else {
        return false;
    };
    let bytes = Bytes::copy_from_slice(bytes);
    match kind {
        0 => read_datagram(bytes),
        1 => Body::decode(bytes)
            .inspect(|body| assert_eq!(Body::decode(body.encode()).as_ref(), Some(body)))
            .is_some(),
        2 => BeatPacket::decode(bytes)
            .inspect(|beat| assert_eq!(BeatPacket::decode(beat.encode()).as_ref(), Some(beat)))
            .is_some(),
        3 => Hello::decode(&bytes)
            .inspect(|hello| assert_eq!(Hello::decode(&hello.encode()).as_ref(), Some(hello)))
            .is_some(),
        4 => LinkState::decode(&bytes)
            .inspect(|state| assert_eq!(LinkState::decode(&state.encode()).as_ref(), Some(state)))
            .is_some(),
        5 => MemberRow::decode(&bytes)
            .inspect(|row| assert_eq!(MemberRow::decode(&row.encode()).as_ref(), Some(row)))
            .is_some(),
        6 => join::read_frames(&bytes),
        _ => Admit::decode(&mut &bytes[..])
            .inspect(|admit| {
                let mut out = Vec::new();
                admit.encode(&mut out);
                assert_eq!(Admit::decode(&mut &out[..]).as_ref(), Some(admit));
            })
            .is_some(),
    }
}

fn read_datagram(bytes: Bytes) -> bool {
    let Some(frames) = decode_frames(bytes) else {
        return false;
    };
    let mut again = Vec::new();
    for frame in &frames {
        match frame {
            Frame::Data(data) => data.encode(&mut again),
            Frame::Ack(ack) => ack.encode(&mut again),
        }
    }
    assert_eq!(decode_frames(again.into()), Some(frames));
    true
}

/// Well-formed inputs, of each kind some.
#[must_use]
pub fn samples() -> Vec<Vec<u8>> {
    let (peer, incarnation) = (PeerId([4; 8]), Incarnation(7));
    let bodies = [
        Body::State(StateBody {
            kind: StateKind(1),
            peer,
            incarnation,
            edition: 3,
            signature: [5; 64],
            content: Bytes::from_static(b"state"),
        }),
        Body::Multicast(Multicast {
            group: 0,
            class: Class::Update,
            source: peer,
            incarnation,
            sequence: 9,
            gone_below: 2,
            hops: 1,
            signature: [6; 64],
            payload: Bytes::from_static(b"payload"),
        }),
        Body::Unicast(Unicast {
            source: peer,
            incarnation,
            destination: PeerId([8; 8]),
            sequence: 9,
            hops: 1,
            class: Class::Control,
            purpose: Purpose::Payload,
            payload: Bytes::from_static(b"payload"),
        }),
        Body::Summary(vec![SummaryRow {
            source: peer,
            incarnation,
            prefix: 5,
            beyond: 2,
            gone_below: 1,
            kept_from: 1,
        }]),
        Body::Pull(Pull {
            source: peer,
            incarnation,
            sequences: vec![1, 2, 3],
        }),
    ];
    let mut datagram = Vec::new();
    let data = Data {
        session: 1,
        sequence: 2,
        class: Class::Update,
        urgency: Urgency::Urgent,
        fragment: 0,
        fragments: 1,
        body: bodies[0].encode(),
    };
    data.encode(&mut datagram);
    let ack = Ack {
        session: 1,
        of_session: 2,
        cumulative: 3,
        beyond: 4,
        asked: 5,
        newest: 6,
        waited: 7,
    };
    ack.encode(&mut datagram);
    let admit = Admit {
        cluster: ClusterId([2; 16]),
        key: PublicKey([3; 32]),
        name: "b".into(),
        addresses: vec!["192.0.2.1:5300".parse().expect("it is an address")],
        by: peer,
        wall: Duration::from_millis(5),
        signature: [6; 64],
    };
    let row = MemberRow {
        key: admit.key,
        name: admit.name.clone(),
        addresses: admit.addresses.clone(),
        last_good: None,
    };
    let mut encoded = Vec::new();
    admit.encode(&mut encoded);
    let mut samples = vec![(0, datagram), (5, row.encode()), (7, encoded)];
    samples.extend(bodies.iter().map(|body| (1, body.encode().to_vec())));
    samples.extend(join::sample_frames().into_iter().map(|frame| (6, frame)));
    samples
        .into_iter()
        .map(|(kind, bytes)| [&[kind], &bytes[..]].concat())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_sample_reads() {
        for sample in samples() {
            assert!(read(&sample), "{sample:02x?}");
        }
    }
}
