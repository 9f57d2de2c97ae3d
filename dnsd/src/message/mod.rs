//! DNS messages: what a request says, and how a response is written.
//!
//! Requests are read in place, and so are responses to our own; responses are written straight to wire
//! format, with compression.

pub mod build;
pub mod compress;
pub mod edns;
pub mod extended_error;
pub mod header;
pub mod question;
pub mod request;
pub mod response;
pub mod tsig;
pub mod update;

pub use build::{Builder, Full, Owner, Section};
pub use edns::Edns;
pub use extended_error::ExtendedError;
pub use header::{Header, Opcode};
pub use question::Question;
pub use request::Request;
pub use response::Response;
pub use tsig::Tsig;
pub use update::{UPDATE_RECORD_SIZE_MIN, UpdateBuilder, UpdateRecord};

/// Longest message (RFC 1035 section 4.2.2: a length of two bytes).
pub const MESSAGE_SIZE_MAX: usize = 65_535;

/// The bytes are not a message of the form that RFC 1035 section 4.1 asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Malformed;

/// The two bytes at `at`.
pub(crate) fn read_u16(bytes: &[u8], at: usize) -> Result<u16, Malformed> {
    match bytes.get(at..at + 2) {
        Some(two) => Ok(u16::from_be_bytes([two[0], two[1]])),
        None => Err(Malformed),
    }
}

/// The four bytes at `at`.
pub(crate) fn read_u32(bytes: &[u8], at: usize) -> Result<u32, Malformed> {
    let high = read_u16(bytes, at)?;
    Ok(u32::from(high) << 16 | u32::from(read_u16(bytes, at + 2)?))
}
