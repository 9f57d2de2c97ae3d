//! Messages that are no queries as they should be: damaged ones, and whole ones with records where
//! queries have none.

use fastrand::Rng;
use tests::question::Question;

const HEADER_SIZE: usize = 12;
const OPT: &[u8] = b"\x00\x00\x29\x04\xd0\x00\x00\x00\x00\x00\x00";
/// An address record owned by the QNAME.
const ADDRESS: &[u8] = b"\xc0\x0c\x00\x01\x00\x01\x00\x00\x00\x3c\x00\x04\xc0\x00\x02\x01";
/// A signature by a key that nobody knows: time, fudge, MAC, ID, no error.
const TSIG: &[u8] = b"\x03key\x00\x00\xfa\x00\xff\x00\x00\x00\x00\x00\x3d\
    \x0bhmac-sha256\x00\x00\x00\x65\x00\x00\x00\x01\x2c\x00\x20\
    0123456789abcdef0123456789abcdef\x00\x00\x00\x00\x00\x00";

/// Damages a request; says how.
pub(crate) fn damage(wire: &mut Vec<u8>, question: &Question, random: &mut Rng) -> &'static str {
    let question_end = HEADER_SIZE + question.qname.as_wire().len() + 4;
    match random.u8(..13) {
        0 => {
            wire.truncate(random.usize(..wire.len()));
            "cut short"
        }
        1 => {
            wire.extend((0..random.u8(1..20)).map(|_| 0));
            "bytes follow"
        }
        2 => {
            set_count(wire, 0, 0);
            wire.drain(HEADER_SIZE..question_end);
            "no question"
        }
        3 => {
            let again = wire[HEADER_SIZE..question_end].to_vec();
            wire.splice(question_end..question_end, again);
            set_count(wire, 0, 2);
            "two questions"
        }
        4 => {
            wire[2] |= 0x80;
            "a response"
        }
        5 => {
            let to = *random.choice(&[12_u8, 14, 0, 200]).unwrap();
            wire.splice(HEADER_SIZE..question_end - 4, [0xc0, to]);
            "a QNAME that is a pointer"
        }
        6 => {
            wire[HEADER_SIZE] = random.u8(0x40..0xc0);
            "a label of another kind"
        }
        7 => {
            let label = [&[63][..], &[b'x'; 63]].concat();
            wire.splice(HEADER_SIZE..HEADER_SIZE, label.repeat(4));
            "a QNAME that is too long"
        }
        8 => {
            let section = random.usize(1..4);
            set_count(wire, section, random.u16(2..));
            "records that are not there"
        }
        9 => {
            wire.extend_from_slice(OPT);
            wire.extend_from_slice(OPT);
            let count = if question.edns.is_some() { 3 } else { 2 };
            set_count(wire, 3, count);
            "several OPT records"
        }
        10 => {
            wire.truncate(question_end);
            wire.push(1);
            wire.push(b'o');
            wire.extend_from_slice(OPT);
            set_count(wire, 3, 1);
            "an OPT record below the root"
        }
        11 => {
            wire.truncate(question_end);
            wire.extend_from_slice(&OPT[..9]);
            wire.extend_from_slice(b"\x00\x05\xff\xfe\x00\x09x");
            set_count(wire, 3, 1);
            "an option longer than its record"
        }
        _ => {
            for _ in 0..random.u8(1..4) {
                let at = random.usize(2..wire.len());
                wire[at] = random.u8(..);
            }
            "bytes changed"
        }
    }
}

/// Adds records to a request; says which.
pub(crate) fn add_records(
    wire: &mut Vec<u8>,
    question: &Question,
    random: &mut Rng,
) -> &'static str {
    let question_end = HEADER_SIZE + question.qname.as_wire().len() + 4;
    let additional = u16::from(question.edns.is_some());
    match random.u8(..5) {
        0 => {
            wire.splice(question_end..question_end, ADDRESS.iter().copied());
            set_count(wire, 1, 1);
            "an answer"
        }
        1 => {
            wire.splice(question_end..question_end, ADDRESS.iter().copied());
            set_count(wire, 2, 1);
            "an authority"
        }
        2 => {
            wire.extend_from_slice(ADDRESS);
            set_count(wire, 3, additional + 1);
            "an additional record"
        }
        3 => {
            wire.extend_from_slice(TSIG);
            set_count(wire, 3, additional + 1);
            "a TSIG record"
        }
        _ => {
            wire.splice(question_end..question_end, TSIG.iter().copied());
            wire.extend_from_slice(ADDRESS);
            set_count(wire, 3, additional + 2);
            "a TSIG record that is not the last"
        }
    }
}

/// Sets QDCOUNT, ANCOUNT, NSCOUNT or ARCOUNT.
fn set_count(wire: &mut [u8], section: usize, count: u16) {
    let at = 4 + 2 * section;
    wire[at..at + 2].copy_from_slice(&count.to_be_bytes());
}
