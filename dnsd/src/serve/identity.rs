//! Whom the certificate of a client names, and who may update and transfer zones by it.

use std::fmt;
use zones::Name;

/// Whom a certificate names that was verified: the DNS names among its subject alternative names.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Identity {
    /// They are.
    pub names: Vec<Name>,
}

/// Who may update and transfer zones, beside what policy says of addresses.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum Certified {
    /// Those without a certificate too.
    #[default]
    NotNeeded,
    /// Those with a certificate that has one of these names.
    Clients(Vec<ClientName>),
}

/// A name that the certificate of a client has.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ClientName {
    /// Whatever it is.
    Any,
    /// This.
    Exactly(Name),
}

impl Certified {
    /// True if a client with this certificate, or without one, may.
    #[must_use]
    pub fn admits(&self, identity: Option<&Identity>) -> bool {
        match (self, identity) {
            (Self::NotNeeded, _) => true,
            (Self::Clients(_), None) => false,
            (Self::Clients(clients), Some(identity)) => clients.iter().any(|client| match client {
                ClientName::Any => true,
                ClientName::Exactly(name) => identity.names.contains(name),
            }),
        }
    }
}

impl fmt::Display for ClientName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("*"),
            Self::Exactly(name) => name.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_needs_one_of_the_names() {
        let name = |text: &str| text.parse::<Name>().unwrap();
        let check = |certified: &Certified, names: Option<&[&str]>, expected: bool| {
            let identity = names.map(|names| Identity {
                names: names.iter().copied().map(name).collect(),
            });
            assert_eq!(certified.admits(identity.as_ref()), expected, "{names:?}");
        };
        let not_needed = Certified::NotNeeded;
        check(&not_needed, None, true);
        check(&not_needed, Some(&["ns2.example"]), true);
        let any = Certified::Clients(vec![ClientName::Any]);
        check(&any, None, false);
        check(&any, Some(&[]), true);
        let clients = ["ns2.example", "ns3.example"].map(|text| ClientName::Exactly(name(text)));
        let clients = Certified::Clients(clients.to_vec());
        check(&clients, None, false);
        check(&clients, Some(&[]), false);
        check(&clients, Some(&["other.example"]), false);
        check(&clients, Some(&["other.example", "NS3.example"]), true);
    }
}
