//! Serial number arithmetic (RFC 1982): comparison on a circle of 2³² numbers.

use std::cmp::Ordering;
use std::fmt;

/// The serial of a zone, as its SOA shows it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Serial(pub u32);

impl Serial {
    /// This serial raised by `n` (RFC 1982 section 3.1).
    #[must_use]
    pub fn plus(self, n: u32) -> Self {
        Self(self.0.wrapping_add(n))
    }

    /// How far `self` lies ahead of `other` going upwards, modulo 2³².
    #[must_use]
    pub fn distance_from(self, other: Self) -> u32 {
        self.0.wrapping_sub(other.0)
    }
}

impl PartialOrd for Serial {
    /// RFC 1982 section 3.2; two serials exactly 2³¹ apart have no order.
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        match self.distance_from(*other) {
            0 => Some(Ordering::Equal),
            0x8000_0000 => None,
            d if d < 0x8000_0000 => Some(Ordering::Greater),
            _ => Some(Ordering::Less),
        }
    }
}

impl fmt::Display for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn serials_compare_on_a_circle() {
        let check = |a: u32, b: u32, expected| {
            assert_eq!(
                Serial(a).partial_cmp(&Serial(b)),
                expected,
                "{a} against {b}"
            );
        };
        check(1, 1, Some(Ordering::Equal));
        check(2, 1, Some(Ordering::Greater));
        check(1, 2, Some(Ordering::Less));
        check(0, u32::MAX, Some(Ordering::Greater));
        check(0x7fff_ffff, 0, Some(Ordering::Greater));
        check(0x8000_0000, 0, None);
        check(0x8000_0001, 0, Some(Ordering::Less));
    }
}
