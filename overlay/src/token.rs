//! The invitation that an operator carries from one machine to another, as one printable line:
//!
//! ```text
//! zc1-  base32 of: size u16 ‖ cluster ‖ fingerprint ‖ secret ‖ expiry u64 (s) ‖ addresses ‖ check u32
//! ```

use crate::admit::{ClusterId, decode_addresses, encode_addresses};
use bytes::{Buf, BufMut};
use data_encoding::{Encoding, Specification};
use ring::digest;
use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;
use std::sync::LazyLock;
use std::time::Duration;

/// What `dnsd invite` prints and `--join` takes (overlay protocol section 1).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Token {
    /// The cluster to join.
    pub cluster: ClusterId,
    /// SHA-256 of the inviter's SPKI: the one peer that redeems the token.
    pub fingerprint: [u8; 32],
    /// What proves that the joiner was invited.
    pub secret: TokenSecret,
    /// When the invitation ends, since the Unix epoch, in whole seconds.
    pub expires: Duration,
    /// Where the inviter can be dialed.
    pub addresses: Vec<SocketAddr>,
}

/// The one-time secret of an invitation; never shown by `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct TokenSecret(pub [u8; 16]);

impl fmt::Debug for TokenSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenSecret(…)")
    }
}

/// Why a text is no token that can be used.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TokenError {
    /// The text does not begin as a token does.
    NotAToken,
    /// The end is missing.
    Cut,
    /// A character is wrong, or there is something behind the end.
    Mistyped,
    /// The invitation has ended.
    Expired,
}

impl fmt::Display for TokenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotAToken => "this is no token: a token begins with \"zc1-\"",
            Self::Cut => "the end of the token is missing: copy the whole line",
            Self::Mistyped => "the token has a wrong character: copy it again",
            Self::Expired => "the token has expired: make a new one with `dnsd invite`",
        })
    }
}

impl std::error::Error for TokenError {}

impl Token {
    /// True from the end of the invitation on.
    #[must_use]
    pub fn is_expired(&self, wall: Duration) -> bool {
        wall >= self.expires
    }

    /// Refuses a token whose time has ended, as long as this peer has not begun to redeem it.
    pub fn check_expiry(&self, wall: Duration) -> Result<(), TokenError> {
        if self.is_expired(wall) {
            return Err(TokenError::Expired);
        }
        Ok(())
    }

    /// Appends the fields in binary form, for the store.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.put_slice(&self.cluster.0);
        out.put_slice(&self.fingerprint);
        out.put_slice(&self.secret.0);
        out.put_u64(self.expires.as_secs());
        encode_addresses(&self.addresses, out);
    }

    /// Reads what [`Self::encode`] wrote and moves `bytes` past it; none if it is malformed.
    pub fn decode(bytes: &mut &[u8]) -> Option<Self> {
        let mut cluster = [0; 16];
        bytes.try_copy_to_slice(&mut cluster).ok()?;
        let mut fingerprint = [0; 32];
        bytes.try_copy_to_slice(&mut fingerprint).ok()?;
        let mut secret = [0; 16];
        bytes.try_copy_to_slice(&mut secret).ok()?;
        Some(Self {
            cluster: ClusterId(cluster),
            fingerprint,
            secret: TokenSecret(secret),
            expires: Duration::from_secs(bytes.try_get_u64().ok()?),
            addresses: decode_addresses(bytes)?,
        })
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut body = Vec::new();
        self.encode(&mut body);
        let mut bytes = Vec::with_capacity(body.len() + SIZE_SIZE + CHECK_SIZE);
        bytes.put_u16(body.len() as u16);
        bytes.put_slice(&body);
        let check = check_of(&bytes);
        bytes.put_slice(&check);
        write!(f, "{PREFIX}{}", BASE32.encode(&bytes))
    }
}

impl FromStr for Token {
    type Err = TokenError;

    fn from_str(text: &str) -> Result<Self, TokenError> {
        let text = text.trim().to_ascii_lowercase();
        let text = text.strip_prefix(PREFIX).ok_or(TokenError::NotAToken)?;
        if text.len() > TEXT_SIZE_MAX {
            return Err(TokenError::Mistyped);
        }
        // A text cut anywhere still says how long it should be: characters that do not make up
        // a whole byte are left out, so that "cut" is told from "mistyped".
        let symbols = text.as_bytes();
        let whole = (0..=symbols.len())
            .rev()
            .find(|size| !matches!(size % 8, 1 | 3 | 6))
            .unwrap_or(0);
        let bytes = BASE32
            .decode(&symbols[..whole])
            .map_err(|_| TokenError::Mistyped)?;
        let Some(size) = bytes.first_chunk().map(|size| u16::from_be_bytes(*size)) else {
            return Err(TokenError::Cut);
        };
        let size = usize::from(size);
        if size > BODY_SIZE_MAX {
            return Err(TokenError::Mistyped);
        }
        if bytes.len() < SIZE_SIZE + size + CHECK_SIZE {
            return Err(TokenError::Cut);
        }
        let (checked, check) = bytes.split_at(SIZE_SIZE + size);
        if whole != symbols.len() || check != check_of(checked) {
            return Err(TokenError::Mistyped);
        }
        let mut body = &checked[SIZE_SIZE..];
        let token = Self::decode(&mut body).ok_or(TokenError::Mistyped)?;
        if !body.is_empty() || token.addresses.is_empty() {
            return Err(TokenError::Mistyped);
        }
        Ok(token)
    }
}

/// The first bytes of SHA-256: catches every slip of a hand; it proves nothing.
fn check_of(bytes: &[u8]) -> [u8; CHECK_SIZE] {
    let digest = digest::digest(&digest::SHA256, bytes);
    *digest.as_ref().first_chunk().expect("SHA-256 has 32 bytes")
}

const PREFIX: &str = "zc1-";
const SIZE_SIZE: usize = 2;
const CHECK_SIZE: usize = 4;
/// Cluster, fingerprint, secret, expiry, and eight IPv6 addresses: the longest body there is.
const BODY_SIZE_MAX: usize = 16 + 32 + 16 + 8 + 1 + 8 * 19;
/// No token is longer; what is longer is not decoded.
const TEXT_SIZE_MAX: usize = 512;

/// Small letters and no padding; what is left of the last character does not matter, because a
/// cut text ends anywhere.
static BASE32: LazyLock<Encoding> = LazyLock::new(|| {
    let mut specification = Specification::new();
    specification
        .symbols
        .push_str("abcdefghijklmnopqrstuvwxyz234567");
    specification.check_trailing_bits = false;
    specification
        .encoding()
        .expect("the alphabet has 32 different symbols")
});

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn token() -> Token {
        Token {
            cluster: ClusterId([1; 16]),
            fingerprint: [2; 32],
            secret: TokenSecret([3; 16]),
            expires: Duration::from_secs(1_000),
            addresses: vec![
                "192.0.2.1:5300".parse().unwrap(),
                "[::1]:5300".parse().unwrap(),
            ],
        }
    }

    fn check(text: &str, expected: &Result<Token, TokenError>) {
        assert_eq!(&text.parse(), expected, "{text}");
    }

    #[test]
    fn a_token_reads_back_also_in_capitals_and_between_spaces() {
        let text = token().to_string();
        check(&text, &Ok(token()));
        check(&format!("  {}\n", text.to_ascii_uppercase()), &Ok(token()));
    }

    #[test]
    fn the_error_says_what_is_wrong() {
        let text = token().to_string();
        check("", &Err(TokenError::NotAToken));
        check("hello", &Err(TokenError::NotAToken));
        for cut in PREFIX.len()..text.len() - 1 {
            check(&text[..cut], &Err(TokenError::Cut));
        }
        for at in PREFIX.len() + 4..text.len() - 1 {
            let other = if &text[at..=at] == "a" { "b" } else { "a" };
            check(
                &format!("{}{other}{}", &text[..at], &text[at + 1..]),
                &Err(TokenError::Mistyped),
            );
        }
        check(&format!("{text}a"), &Err(TokenError::Mistyped));
        check(
            &text.replace(&text[10..11], "!"),
            &Err(TokenError::Mistyped),
        );
    }

    #[test]
    fn an_invitation_ends_on_time_and_keeps_its_secret() {
        assert_eq!(token().check_expiry(Duration::from_secs(999)), Ok(()));
        assert_eq!(
            token().check_expiry(Duration::from_secs(1_000)),
            Err(TokenError::Expired)
        );
        assert!(format!("{:?}", token()).contains("TokenSecret(…)"));
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_harm(text in "(zc1-)?[a-z2-7é]{0,300}") {
            let _: Result<Token, TokenError> = text.parse();
        }
    }
}
