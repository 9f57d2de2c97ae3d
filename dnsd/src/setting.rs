//! The values of settings: what a flag and the configuration file write alike, each with the message
//! about text that is not it. Which settings there are is said in `config.rs`.

use crate::prefix::Prefix;
use crate::serve::rate::RATE_MAX;
use crate::serve::{ClientName, SELF_TEXT_SIZE_MAX};
use crate::time_text::parse_span;
use crate::vip::map::WEIGHT_MAX;
use overlay::PeerId;
use overlay::admit::PEER_NAME_SIZE_MAX;
use overlay::timing::Profile;
use overlay::token::Token;
use serde::Deserialize;
use serde::de::{Deserializer, SeqAccess, Visitor};
use std::fmt;
use std::marker::PhantomData;
use std::net::SocketAddr;
use std::str::FromStr;
use std::time::Duration;
use zones::Name;

/// A value that a flag and the file write alike.
pub trait Setting: Sized {
    /// What is expected, for the message about text that is not it.
    const EXPECTED: &'static str;

    /// Reads the value, or says what was found and what was expected.
    fn read(text: &str) -> Result<Self, String>;
}

/// The message about text that is not what was expected.
fn unexpected<T: Setting>(found: &str) -> String {
    format!("found {found:?}, expected {}", T::EXPECTED)
}

impl Setting for SocketAddr {
    const EXPECTED: &'static str = "ADDR:PORT, such as 192.0.2.1:53 or [2001:db8::1]:53";

    fn read(text: &str) -> Result<Self, String> {
        text.parse().map_err(|_| unexpected::<Self>(text))
    }
}

impl Setting for Prefix {
    const EXPECTED: &'static str =
        "an address or PREFIX/LENGTH, such as 192.0.2.0/24 or 2001:db8::/32";

    fn read(text: &str) -> Result<Self, String> {
        text.parse()
            .map_err(|error| format!("{}: {error}", unexpected::<Self>(text)))
    }
}

impl Setting for ClientName {
    const EXPECTED: &'static str = "* or a name, such as ns2.example.net";

    fn read(text: &str) -> Result<Self, String> {
        if text == "*" {
            return Ok(Self::Any);
        }
        text.parse()
            .map(Self::Exactly)
            .map_err(|error| format!("{}: {error}", unexpected::<Self>(text)))
    }
}

/// One value of `--listen`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Listen {
    /// Serve no DNS at all: this peer only holds the log.
    None,
    /// Serve it here.
    At(SocketAddr),
}

impl Listen {
    pub(crate) fn address(self) -> Option<SocketAddr> {
        match self {
            Self::None => None,
            Self::At(address) => Some(address),
        }
    }
}

impl Setting for Listen {
    const EXPECTED: &'static str = "none or ADDR:PORT, such as 192.0.2.1:53 or [2001:db8::1]:53";

    fn read(text: &str) -> Result<Self, String> {
        match text {
            "none" => Ok(Self::None),
            _ => text
                .parse()
                .map(Self::At)
                .map_err(|_| unexpected::<Self>(text)),
        }
    }
}

/// What a server says of itself.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum SelfText {
    /// Nothing.
    None,
    /// This.
    Said(Box<str>),
}

impl SelfText {
    pub(crate) fn said(self) -> Option<Box<str>> {
        match self {
            Self::None => None,
            Self::Said(text) => Some(text),
        }
    }
}

impl Setting for SelfText {
    const EXPECTED: &'static str = "none, or a text of 1 to 128 printable ASCII characters";

    fn read(text: &str) -> Result<Self, String> {
        if text == "none" {
            return Ok(Self::None);
        }
        let is_text = (1..=SELF_TEXT_SIZE_MAX).contains(&text.len())
            && text.bytes().all(|byte| matches!(byte, b' '..=b'~'));
        is_text
            .then(|| Self::Said(text.into()))
            .ok_or_else(|| unexpected::<Self>(text))
    }
}

/// How log lines look.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// For programs, one object a line.
    Json,
}

impl Setting for LogFormat {
    const EXPECTED: &'static str = "text or json";

    fn read(text: &str) -> Result<Self, String> {
        match text {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            _ => Err(unexpected::<Self>(text)),
        }
    }
}

/// Which log lines are written: those of this level and graver ones.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub enum LogLevel {
    /// What stops a part of the daemon.
    Error,
    /// What an operator should look at.
    Warn,
    /// What an operator cares about.
    #[default]
    Info,
    /// What helps to understand a fault.
    Debug,
    /// Everything.
    Trace,
}

impl Setting for LogLevel {
    const EXPECTED: &'static str = "error, warn, info, debug or trace";

    fn read(text: &str) -> Result<Self, String> {
        match text {
            "error" => Ok(Self::Error),
            "warn" => Ok(Self::Warn),
            "info" => Ok(Self::Info),
            "debug" => Ok(Self::Debug),
            "trace" => Ok(Self::Trace),
            _ => Err(unexpected::<Self>(text)),
        }
    }
}

impl Setting for Profile {
    const EXPECTED: &'static str = "lan, wan or fast";

    fn read(text: &str) -> Result<Self, String> {
        match text {
            "lan" => Ok(Self::Lan),
            "wan" => Ok(Self::Wan),
            "fast" => Ok(Self::Fast),
            _ => Err(unexpected::<Self>(text)),
        }
    }
}

/// Which driver of virtual addresses.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum DriverKind {
    #[default]
    Netlink,
    Log,
    Exec,
}

impl Setting for DriverKind {
    const EXPECTED: &'static str = "netlink, log or exec";

    fn read(text: &str) -> Result<Self, String> {
        match text {
            "netlink" => Ok(Self::Netlink),
            "log" => Ok(Self::Log),
            "exec" => Ok(Self::Exec),
            _ => Err(unexpected::<Self>(text)),
        }
    }
}

/// The weight of a virtual address, or how much of it a peer is to carry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Weight(pub u16);

impl Setting for Weight {
    const EXPECTED: &'static str = "a number from 1 to 1000";

    fn read(text: &str) -> Result<Self, String> {
        let weight = text.parse().ok();
        let weight = weight.filter(|weight| (1..=WEIGHT_MAX).contains(weight));
        weight.map(Self).ok_or_else(|| unexpected::<Self>(text))
    }
}

/// How many responses a second.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Rate(pub(crate) u32);

impl Setting for Rate {
    const EXPECTED: &'static str = "a number from 0 (no limit) to 1000000";

    fn read(text: &str) -> Result<Self, String> {
        let rate = text.parse().ok().filter(|rate| *rate <= RATE_MAX);
        rate.map(Self).ok_or_else(|| unexpected::<Self>(text))
    }
}

/// How many connections there may be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Connections(pub(crate) usize);

impl Setting for Connections {
    const EXPECTED: &'static str = "a number from 1 to 100000";

    fn read(text: &str) -> Result<Self, String> {
        let count = text.parse().ok();
        let count = count.filter(|count| (1..=100_000).contains(count));
        count.map(Self).ok_or_else(|| unexpected::<Self>(text))
    }
}

/// For how long a connection may be idle.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct IdleTimeout(pub(crate) Duration);

impl Setting for IdleTimeout {
    const EXPECTED: &'static str = "a length of time from 1s to 1h, such as 30s";

    fn read(text: &str) -> Result<Self, String> {
        let range = Duration::from_secs(1)..=Duration::from_secs(3_600);
        let time = parse_span(text).filter(|time| range.contains(time));
        time.map(Self).ok_or_else(|| unexpected::<Self>(text))
    }
}

/// Every nth response above the rate goes out truncated.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Slip(pub(crate) u8);

impl Setting for Slip {
    const EXPECTED: &'static str = "a number from 0 (all are dropped) to 10";

    fn read(text: &str) -> Result<Self, String> {
        let slip = text.parse().ok().filter(|slip| *slip <= 10);
        slip.map(Self).ok_or_else(|| unexpected::<Self>(text))
    }
}

/// A peer's name, for people.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct PeerName(String);

impl PeerName {
    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for PeerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Setting for PeerName {
    const EXPECTED: &'static str =
        "a name of 1 to 64 letters, digits, '-', '_' and '.' that does not look like a peer's id";

    fn read(text: &str) -> Result<Self, String> {
        let is_name = (1..=PEER_NAME_SIZE_MAX).contains(&text.len())
            && text
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
            // A name is looked up where an id is; one that reads as an id would hide a peer.
            && text.parse::<PeerId>().is_err();
        is_name
            .then(|| Self(text.to_owned()))
            .ok_or_else(|| unexpected::<Self>(text))
    }
}

/// A peer as an operator names it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum PeerRef {
    /// By its id.
    Id(PeerId),
    /// By its name.
    Name(PeerName),
}

impl fmt::Display for PeerRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Id(id) => id.fmt(f),
            Self::Name(name) => name.fmt(f),
        }
    }
}

impl Setting for PeerRef {
    const EXPECTED: &'static str = "a peer's name, or its id of 16 hexadecimal digits";

    fn read(text: &str) -> Result<Self, String> {
        match text.parse() {
            Ok(id) => Ok(Self::Id(id)),
            Err(_) => PeerName::read(text)
                .map(Self::Name)
                .map_err(|_| unexpected::<Self>(text)),
        }
    }
}

impl FromStr for PeerRef {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::read(text)
    }
}

impl Setting for Token {
    const EXPECTED: &'static str = "the one line that `dnsd invite` prints";

    fn read(text: &str) -> Result<Self, String> {
        // What was found is a secret, and is not repeated.
        text.parse()
            .map_err(|error| format!("{error}; expected {}", Self::EXPECTED))
    }
}

/// A zone and the file to read it from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ZoneFile {
    /// The zone's apex.
    pub origin: Name,
    /// The file, relative to where the daemon runs.
    pub path: String,
}

impl Setting for ZoneFile {
    const EXPECTED: &'static str = "ORIGIN=FILE, such as example.test=example.test.zone";

    fn read(text: &str) -> Result<Self, String> {
        let (origin, path) = text
            .split_once('=')
            .filter(|(_, path)| !path.is_empty())
            .ok_or_else(|| unexpected::<Self>(text))?;
        Ok(Self {
            origin: Name::read(origin)?,
            path: path.into(),
        })
    }
}

impl Setting for Name {
    const EXPECTED: &'static str = "a domain name, such as example.test";

    fn read(text: &str) -> Result<Self, String> {
        text.parse()
            .map_err(|error| format!("{}: {error}", unexpected::<Self>(text)))
    }
}

/// A setting in the file. It is parsed inside the visitor: only there does an error get the place
/// of the value.
struct InFile<T>(T);

impl<'de, T: Setting> Deserialize<'de> for InFile<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct One<T>(PhantomData<T>);

        impl<T: Setting> Visitor<'_> for One<T> {
            type Value = T;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(T::EXPECTED)
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<T, E> {
                T::read(text).map_err(E::custom)
            }
        }

        from.deserialize_any(One(PhantomData)).map(Self)
    }
}

/// Reads one setting.
pub(crate) fn one<'de, T: Setting, D: Deserializer<'de>>(from: D) -> Result<Option<T>, D::Error> {
    InFile::deserialize(from).map(|InFile(value)| Some(value))
}

/// Reads a setting that is a number.
pub(crate) fn number<'de, T: Setting, D: Deserializer<'de>>(
    from: D,
) -> Result<Option<T>, D::Error> {
    use serde::de::Error;
    let number = i64::deserialize(from)?;
    T::read(&number.to_string())
        .map(Some)
        .map_err(D::Error::custom)
}

/// Reads one setting or a list of them.
pub(crate) fn many<'de, T: Setting, D: Deserializer<'de>>(
    from: D,
) -> Result<Option<Vec<T>>, D::Error> {
    struct OneOrList<T>(PhantomData<T>);

    impl<'de, T: Setting> Visitor<'de> for OneOrList<T> {
        type Value = Vec<T>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "{}, or a list of such", T::EXPECTED)
        }

        fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Vec<T>, E> {
            T::read(text).map(|value| vec![value]).map_err(E::custom)
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Vec<T>, A::Error> {
            let mut values = Vec::new();
            while let Some(InFile(value)) = list.next_element()? {
                values.push(value);
            }
            Ok(values)
        }
    }

    from.deserialize_any(OneOrList(PhantomData)).map(Some)
}
