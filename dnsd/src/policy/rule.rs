//! One rule of the policy: who may, or may not, do what.

use crate::prefix::{Prefix, any_contains};
use bytes::{Buf, BufMut};
use std::cmp::Reverse;
use std::net::IpAddr;
use zones::{Name, Rtype, Terms};

/// Most prefixes, and most types, of one rule.
pub const LIST_MAX: usize = 64;

/// One rule. What it asks of the sender must all be so.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Rule {
    /// What it says.
    pub effect: Effect,
    /// By which key the request must be signed; none: it need not be.
    pub key: Option<KeyPattern>,
    /// From where it must come; empty: from anywhere. In order.
    pub from: Vec<Prefix>,
    /// What it is about.
    pub action: Action,
}

/// What a rule says. One that denies wins over all that allow.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Effect {
    /// It may be done.
    Allow,
    /// It may not.
    Deny,
}

/// Which keys are meant.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum KeyPattern {
    /// Any key.
    Any,
    /// All keys with names below this one.
    Below(Name),
    /// The key with this name.
    Named(Name),
}

/// What a rule is about.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Action {
    /// Dynamic updates (RFC 2136).
    Update(Scope),
    /// Zone transfers (RFC 5936, RFC 1995).
    Transfer,
    /// Words that the zone has changed at its primary (RFC 1996).
    Notify,
}

/// Which updates, and what they are held to.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Scope {
    /// Owner names.
    pub names: Names,
    /// Types. Empty: all, and where something is allowed all but those by which a zone is run
    /// ([`is_usual`]).
    pub types: Vec<TypeLimit>,
    /// Greatest TTL of records that are added, in seconds: a greater one is lowered to it.
    pub ttl_max: Option<u32>,
    /// How long records that are added last, in seconds.
    pub lease: Option<u32>,
}

/// Which owner names: the rule types of `update-policy` in BIND.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Names {
    /// All of the zone.
    Zonesub,
    /// This one.
    Name(Name),
    /// This one and all below it.
    Subdomain(Name),
    /// All below this one, which stands after `*.` in its text.
    Wildcard(Name),
    /// That of the key.
    Own,
    /// That of the key and all below it.
    OwnSub,
    /// All below that of the key.
    OwnWild,
    /// That of the sender's address under `in-addr.arpa` or `ip6.arpa`, if it has proven to be
    /// there by a connection.
    TcpSelf,
}

/// One type, or `ANY` for all of them, and how many records of it a name may have.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct TypeLimit {
    /// The type.
    pub rtype: Rtype,
    /// Most records that an RRset of it may have after one was added.
    pub records_max: Option<u32>,
}

/// What is wrong with a rule whose names lie elsewhere.
pub const SAYS_NOTHING_OUTSIDE: &str = "its names are not in";

/// Who asks, as far as policy knows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Asker<'a> {
    /// The key that the request is signed with, and well.
    pub key: Option<&'a Name>,
    /// From where it came.
    pub address: IpAddr,
    /// Whether it came by a connection, which proves that address.
    pub is_address_proven: bool,
}

/// True for types that an update may touch unless a rule names the types that it may. The others
/// say who answers for a zone, or secure it (as in BIND's `update-policy`).
#[must_use]
pub fn is_usual(rtype: Rtype) -> bool {
    !matches!(rtype, Rtype::NS | Rtype::SOA | Rtype::RRSIG) && !is_denial(rtype)
}

/// True for types that even `ANY` does not stand for: they deny what is not there.
fn is_denial(rtype: Rtype) -> bool {
    matches!(rtype, Rtype::NSEC | Rtype::NSEC3)
}

impl Rule {
    /// Every change may be made from there.
    #[must_use]
    pub fn update_from(prefix: Prefix) -> Self {
        Self::from_prefix(prefix, Action::Update(Scope::everything()))
    }

    /// Transfers may be had from there.
    #[must_use]
    pub fn transfer_from(prefix: Prefix) -> Self {
        Self::from_prefix(prefix, Action::Transfer)
    }

    fn from_prefix(prefix: Prefix, action: Action) -> Self {
        Self {
            effect: Effect::Allow,
            key: None,
            from: vec![prefix],
            action,
        }
    }

    /// The key without which it says nothing, if that is one key.
    #[must_use]
    pub fn named_key(&self) -> Option<&Name> {
        match &self.key {
            Some(KeyPattern::Named(name)) => Some(name),
            _ => None,
        }
    }

    /// Whether it speaks of who asks.
    #[must_use]
    pub fn is_about(&self, asker: &Asker<'_>) -> bool {
        let is_key = match (&self.key, asker.key) {
            (None, _) | (Some(KeyPattern::Any), Some(_)) => true,
            (Some(KeyPattern::Named(name)), Some(key)) => key == name,
            (Some(KeyPattern::Below(name)), Some(key)) => is_below(key, name),
            (Some(_), None) => false,
        };
        is_key && (self.from.is_empty() || any_contains(&self.from, asker.address))
    }

    /// Whether it says of nobody in particular who may.
    #[must_use]
    pub fn names_nobody(&self) -> bool {
        let asks_for_address = matches!(
            &self.action,
            Action::Update(Scope {
                names: Names::TcpSelf,
                ..
            })
        );
        self.key.is_none() && self.from.is_empty() && !asks_for_address
    }

    /// Appends its bytes.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.put_u8(match self.effect {
            Effect::Allow => 0,
            Effect::Deny => 1,
        });
        match &self.key {
            None => out.put_u8(0),
            Some(KeyPattern::Any) => out.put_u8(1),
            Some(KeyPattern::Below(name)) => {
                out.put_u8(2);
                out.put_slice(name.as_wire());
            }
            Some(KeyPattern::Named(name)) => {
                out.put_u8(3);
                out.put_slice(name.as_wire());
            }
        }
        out.put_u8(self.from.len() as u8);
        self.from.iter().for_each(|prefix| prefix.encode(out));
        match &self.action {
            Action::Update(scope) => {
                out.put_u8(0);
                scope.encode(out);
            }
            Action::Transfer => out.put_u8(1),
            Action::Notify => out.put_u8(2),
        }
    }

    /// Reads what [`Self::encode`] wrote.
    pub fn decode(rest: &mut &[u8]) -> Option<Self> {
        let effect = match rest.try_get_u8().ok()? {
            0 => Effect::Allow,
            1 => Effect::Deny,
            _ => return None,
        };
        let key = match rest.try_get_u8().ok()? {
            0 => None,
            1 => Some(KeyPattern::Any),
            2 => Some(KeyPattern::Below(Name::take_wire(rest)?)),
            3 => Some(KeyPattern::Named(Name::take_wire(rest)?)),
            _ => return None,
        };
        let count = usize::from(rest.try_get_u8().ok()?);
        if count > LIST_MAX {
            return None;
        }
        let from = (0..count)
            .map(|_| Prefix::decode(rest))
            .collect::<Option<_>>()?;
        let action = match rest.try_get_u8().ok()? {
            0 => Action::Update(Scope::decode(rest)?),
            1 => Action::Transfer,
            2 => Action::Notify,
            _ => return None,
        };
        Some(Self {
            effect,
            key,
            from,
            action,
        })
    }
}

impl Scope {
    /// All names of the zone, and all types.
    #[must_use]
    pub fn everything() -> Self {
        Self {
            names: Names::Zonesub,
            types: vec![TypeLimit {
                rtype: Rtype::ANY,
                records_max: None,
            }],
            ttl_max: None,
            lease: None,
        }
    }

    /// Whether it holds `owner`, a name in the zone.
    #[must_use]
    pub fn has_name(&self, owner: &Name, asker: &Asker<'_>) -> bool {
        let is_own = |is: fn(&Name, &Name) -> bool| asker.key.is_some_and(|key| is(owner, key));
        match &self.names {
            Names::Zonesub => true,
            Names::Name(name) => owner == name,
            Names::Subdomain(name) => owner.is_at_or_below(name),
            Names::Wildcard(name) => is_below(owner, name),
            Names::Own => is_own(|owner, key| owner == key),
            Names::OwnSub => is_own(Name::is_at_or_below),
            Names::OwnWild => is_own(is_below),
            Names::TcpSelf => asker.is_address_proven && *owner == reverse_name(asker.address),
        }
    }

    /// False if no name of the zone is among its names, so that it would say nothing there.
    #[must_use]
    pub fn may_have_names_in(&self, origin: &Name) -> bool {
        match &self.names {
            Names::Name(name) => name.is_at_or_below(origin),
            Names::Subdomain(name) | Names::Wildcard(name) => {
                name.is_at_or_below(origin) || origin.is_at_or_below(name)
            }
            _ => true,
        }
    }

    /// What it holds a change of this type to, if it is about that type. `ANY` is all types.
    #[must_use]
    pub fn terms(&self, rtype: Rtype, effect: Effect) -> Option<Terms> {
        let named = self.types.iter().find(|named| named.rtype == rtype);
        let any = self.types.iter().find(|named| named.rtype == Rtype::ANY);
        let is_unnamed = self.types.is_empty()
            && match effect {
                Effect::Allow => is_usual(rtype) && rtype != Rtype::ANY,
                Effect::Deny => true,
            };
        let records_max = match named.or_else(|| any.filter(|_| !is_denial(rtype))) {
            Some(named) => named.records_max,
            None if is_unnamed => None,
            None => return None,
        };
        Some(Terms {
            records_max,
            ttl_max: self.ttl_max,
            lease: self.lease,
            deletes: None,
        })
    }

    fn encode(&self, out: &mut Vec<u8>) {
        let (kind, name) = match &self.names {
            Names::Zonesub => (0, None),
            Names::Name(name) => (1, Some(name)),
            Names::Subdomain(name) => (2, Some(name)),
            Names::Wildcard(name) => (3, Some(name)),
            Names::Own => (4, None),
            Names::OwnSub => (5, None),
            Names::OwnWild => (6, None),
            Names::TcpSelf => (7, None),
        };
        out.put_u8(kind);
        out.put_slice(name.map_or(&[], |name| name.as_wire()));
        out.put_u8(self.types.len() as u8);
        for named in &self.types {
            out.put_u16(named.rtype.0);
            put_count(out, named.records_max);
        }
        put_count(out, self.ttl_max);
        put_count(out, self.lease);
    }

    fn decode(rest: &mut &[u8]) -> Option<Self> {
        let names = match rest.try_get_u8().ok()? {
            0 => Names::Zonesub,
            1 => Names::Name(Name::take_wire(rest)?),
            2 => Names::Subdomain(Name::take_wire(rest)?),
            3 => Names::Wildcard(Name::take_wire(rest)?),
            4 => Names::Own,
            5 => Names::OwnSub,
            6 => Names::OwnWild,
            7 => Names::TcpSelf,
            _ => return None,
        };
        let count = usize::from(rest.try_get_u8().ok()?);
        if count > LIST_MAX {
            return None;
        }
        let types = (0..count).map(|_| {
            Some(TypeLimit {
                rtype: Rtype(rest.try_get_u16().ok()?),
                records_max: get_count(rest)?,
            })
        });
        Some(Self {
            names,
            types: types.collect::<Option<_>>()?,
            ttl_max: get_count(rest)?,
            lease: get_count(rest)?,
        })
    }
}

/// How much terms hold a change to: of several rules that allow it, the one that holds it to least
/// counts. A lease takes more away than a TTL, and that more than a count.
pub(super) fn strictness(terms: &Terms) -> impl Ord + use<> {
    let rank = |limit: Option<u32>| (limit.is_some(), Reverse(limit));
    (
        rank(terms.lease),
        rank(terms.ttl_max),
        rank(terms.records_max),
    )
}

fn is_below(name: &Name, ancestor: &Name) -> bool {
    name != ancestor && name.is_at_or_below(ancestor)
}

/// The name under which the PTR record of an address stands (RFC 1035 section 3.5, RFC 3596
/// section 2.5).
fn reverse_name(address: IpAddr) -> Name {
    let text = match address.to_canonical() {
        IpAddr::V4(ip) => {
            let [a, b, c, d] = ip.octets();
            format!("{d}.{c}.{b}.{a}.in-addr.arpa.")
        }
        IpAddr::V6(ip) => {
            let bits = ip.to_bits();
            let nibbles = (0..32).map(|at| format!("{:x}.", bits >> (4 * at) & 0xf));
            nibbles.collect::<String>() + "ip6.arpa."
        }
    };
    text.parse().expect("digits and dots make a name")
}

fn put_count(out: &mut Vec<u8>, count: Option<u32>) {
    match count {
        None => out.put_u8(0),
        Some(count) => {
            out.put_u8(1);
            out.put_u32(count);
        }
    }
}

fn get_count(rest: &mut &[u8]) -> Option<Option<u32>> {
    match rest.try_get_u8().ok()? {
        0 => Some(None),
        1 => Some(Some(rest.try_get_u32().ok()?)),
        _ => None,
    }
}
