//! Rules as operators write and read them: words in a line.
//!
//! ```text
//! [deny] update   [key NAME|*.NAME|*]… [from PREFIX]… [NAMES] [TYPE|TYPE(MAX)]… [ttl-max TIME] [lease TIME]
//! [deny] transfer [key …] [from …]
//! [deny] notify   [key …] [from …]
//! NAMES: name N | subdomain N | zonesub | wildcard *.N | self | selfsub | selfwild | tcp-self
//! ```
//! The names of NAMES are those of the rule types of `update-policy` in BIND.

use super::rule::{Action, Effect, KeyPattern, LIST_MAX, Names, Rule, Scope, TypeLimit};
use crate::prefix::Prefix;
use crate::time_text::parse_span;
use std::fmt;
use std::str::FromStr;
use zones::record::TTL_MAX;
use zones::{Name, Rtype};

/// Longest lease in seconds: a year.
const LEASE_MAX: u32 = 366 * 86_400;

/// Why words are no rule: what was found, and what was expected.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RuleError(String);

/// The words that are still to be read.
struct Words<'t>(std::iter::Peekable<std::str::SplitAsciiWhitespace<'t>>);

impl<'t> Words<'t> {
    fn is_next(&mut self, word: &str) -> bool {
        self.0.next_if(|next| *next == word).is_some()
    }

    /// The word after `before`.
    fn value(&mut self, before: &str, expected: &str) -> Result<&'t str, RuleError> {
        let value = self.0.next();
        value.ok_or_else(|| RuleError(format!("{before} wants {expected} after it")))
    }
}

impl FromStr for Rule {
    type Err = RuleError;

    fn from_str(text: &str) -> Result<Self, RuleError> {
        let words = &mut Words(text.split_ascii_whitespace().peekable());
        let effect = match words.is_next("deny") {
            true => Effect::Deny,
            false => Effect::Allow,
        };
        let action = words.0.next();
        let mut key = None;
        let mut from = Vec::new();
        loop {
            if words.is_next("key") {
                let pattern = read_pattern(words.value("key", "the name of one, *.NAME, or *")?)?;
                if key.replace(pattern).is_some() {
                    return Err(RuleError(
                        "a rule names one key; make one for each".to_owned(),
                    ));
                }
            } else if words.is_next("from") {
                let prefix = words.value("from", "an address or PREFIX/LENGTH")?;
                from.push(read_prefix(prefix)?);
            } else {
                break;
            }
        }
        from.sort();
        from.dedup();
        let action = match action {
            Some("update") => Action::Update(read_scope(words, effect)?),
            Some("transfer") => Action::Transfer,
            Some("notify") => Action::Notify,
            other => {
                let found = other.unwrap_or("nothing");
                return Err(RuleError(format!(
                    "found {found:?}, expected update, transfer or notify"
                )));
            }
        };
        if let Some(word) = words.0.next() {
            return Err(RuleError(format!("found {word:?}, which belongs nowhere")));
        }
        let rule = Self {
            effect,
            key,
            from,
            action,
        };
        rule.checked()
    }
}

impl Rule {
    fn checked(self) -> Result<Self, RuleError> {
        if self.names_nobody() {
            return Err(RuleError(
                "it names nobody: expected key NAME, from PREFIX, or both (from 0.0.0.0/0 and \
                 from ::/0 are everybody)"
                    .to_owned(),
            ));
        }
        if self.from.len() > LIST_MAX {
            return Err(RuleError(format!("a rule has at most {LIST_MAX} prefixes")));
        }
        let Action::Update(scope) = &self.action else {
            return Ok(self);
        };
        if scope.types.len() > LIST_MAX {
            return Err(RuleError(format!("a rule has at most {LIST_MAX} types")));
        }
        let is_own = matches!(scope.names, Names::Own | Names::OwnSub | Names::OwnWild);
        if is_own && self.key.is_none() {
            return Err(RuleError(
                "self, selfsub and selfwild speak of the name of a key: expected key".to_owned(),
            ));
        }
        Ok(self)
    }
}

fn read_scope(words: &mut Words<'_>, effect: Effect) -> Result<Scope, RuleError> {
    let mut scope = Scope {
        names: Names::Zonesub,
        types: Vec::new(),
        ttl_max: None,
        lease: None,
    };
    let names = words.0.next_if(|word| KINDS_OF_NAMES.contains(word));
    if let Some(kind) = names {
        scope.names = read_names(kind, words)?;
    }
    while let Some(word) = words.0.next() {
        match word {
            "ttl-max" => {
                let text = words.value(word, "a time such as 120 or 1h")?;
                scope.ttl_max = Some(read_seconds(text, 0, TTL_MAX)?);
            }
            "lease" => {
                let text = words.value(word, "a time such as 600 or 1h")?;
                scope.lease = Some(read_seconds(text, 1, LEASE_MAX)?);
            }
            _ => scope.types.push(read_type(word)?),
        }
    }
    scope.types.sort();
    let is_repeated = |pair: &[TypeLimit]| pair[0].rtype == pair[1].rtype;
    if scope.types.windows(2).any(is_repeated) {
        return Err(RuleError("a type stands twice".to_owned()));
    }
    let has_terms = scope.ttl_max.is_some()
        || scope.lease.is_some()
        || scope.types.iter().any(|named| named.records_max.is_some());
    if effect == Effect::Deny && has_terms {
        return Err(RuleError(
            "what is denied has no TTL, no lease and no number of records".to_owned(),
        ));
    }
    Ok(scope)
}

const KINDS_OF_NAMES: [&str; 8] = [
    "name",
    "subdomain",
    "zonesub",
    "wildcard",
    "self",
    "selfsub",
    "selfwild",
    "tcp-self",
];

fn read_names(kind: &str, words: &mut Words<'_>) -> Result<Names, RuleError> {
    let mut name = || read_name(words.value(kind, "a name")?);
    Ok(match kind {
        "name" => Names::Name(name()?),
        "subdomain" => Names::Subdomain(name()?),
        "wildcard" => {
            let name = name()?;
            let above = name.parent().filter(|_| name.is_wildcard());
            let above = above.ok_or_else(|| {
                RuleError(format!("found {name}, expected a name that begins with *."))
            })?;
            Names::Wildcard(above)
        }
        "self" => Names::Own,
        "selfsub" => Names::OwnSub,
        "selfwild" => Names::OwnWild,
        "tcp-self" => Names::TcpSelf,
        _ => Names::Zonesub,
    })
}

fn read_pattern(text: &str) -> Result<KeyPattern, RuleError> {
    if text == "*" {
        return Ok(KeyPattern::Any);
    }
    let name = read_name(text)?;
    Ok(match name.parent().filter(|_| name.is_wildcard()) {
        Some(above) => KeyPattern::Below(above),
        None => KeyPattern::Named(name),
    })
}

fn read_name(text: &str) -> Result<Name, RuleError> {
    let name: Result<Name, _> = text.parse();
    name.map_err(|error| RuleError(format!("found {text:?}, expected a name: {error}")))
}

fn read_prefix(text: &str) -> Result<Prefix, RuleError> {
    let prefix: Result<Prefix, _> = text.parse();
    prefix.map_err(|error| {
        RuleError(format!(
            "found {text:?}, expected an address or PREFIX/LENGTH: {error}"
        ))
    })
}

fn read_seconds(text: &str, least: u32, most: u32) -> Result<u32, RuleError> {
    let seconds = parse_span(text).and_then(|span| u32::try_from(span.as_secs()).ok());
    let seconds = seconds.filter(|seconds| (least..=most).contains(seconds));
    seconds.ok_or_else(|| {
        RuleError(format!(
            "found {text:?}, expected a time such as 120 or 1h, {least} to {most} seconds"
        ))
    })
}

fn read_type(text: &str) -> Result<TypeLimit, RuleError> {
    let (mnemonic, records_max) = match text.split_once('(') {
        None => (text, None),
        Some((mnemonic, rest)) => {
            let count = rest.strip_suffix(')').and_then(|count| count.parse().ok());
            let count = count.filter(|count| *count > 0);
            let count: u32 = count.ok_or_else(|| {
                RuleError(format!("found {text:?}, expected a type such as TXT(2)"))
            })?;
            (mnemonic, Some(count))
        }
    };
    let rtype: Result<Rtype, _> = mnemonic.parse();
    let rtype = rtype
        .ok()
        .filter(|rtype| *rtype == Rtype::ANY || !rtype.is_meta());
    let rtype = rtype.ok_or_else(|| {
        RuleError(format!(
            "found {text:?}, expected one of {}, a type such as TXT or TXT(2), ttl-max or lease",
            KINDS_OF_NAMES.join(", ")
        ))
    })?;
    Ok(TypeLimit { rtype, records_max })
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.effect == Effect::Deny {
            f.write_str("deny ")?;
        }
        f.write_str(match &self.action {
            Action::Update(_) => "update",
            Action::Transfer => "transfer",
            Action::Notify => "notify",
        })?;
        match &self.key {
            None => {}
            Some(KeyPattern::Any) => f.write_str(" key *")?,
            Some(KeyPattern::Below(name)) => write!(f, " key {}", wildcard_text(name))?,
            Some(KeyPattern::Named(name)) => write!(f, " key {name}")?,
        }
        for prefix in &self.from {
            write!(f, " from {prefix}")?;
        }
        match &self.action {
            Action::Update(scope) => write!(f, " {scope}"),
            Action::Transfer | Action::Notify => Ok(()),
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.names {
            Names::Zonesub => f.write_str("zonesub"),
            Names::Name(name) => write!(f, "name {name}"),
            Names::Subdomain(name) => write!(f, "subdomain {name}"),
            Names::Wildcard(name) => write!(f, "wildcard {}", wildcard_text(name)),
            Names::Own => f.write_str("self"),
            Names::OwnSub => f.write_str("selfsub"),
            Names::OwnWild => f.write_str("selfwild"),
            Names::TcpSelf => f.write_str("tcp-self"),
        }?;
        for TypeLimit { rtype, records_max } in &self.types {
            write!(f, " {rtype}")?;
            if let Some(max) = records_max {
                write!(f, "({max})")?;
            }
        }
        if let Some(seconds) = self.ttl_max {
            write!(f, " ttl-max {seconds}")?;
        }
        if let Some(seconds) = self.lease {
            write!(f, " lease {seconds}")?;
        }
        Ok(())
    }
}

fn wildcard_text(above: &Name) -> String {
    match above.is_root() {
        true => "*.".to_owned(),
        false => format!("*.{above}"),
    }
}

impl fmt::Display for RuleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for RuleError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_read_and_printed() {
        let check = |text: &str, printed: &str| {
            let rule: Rule = text
                .parse()
                .unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(rule.to_string(), printed);
            assert_eq!(printed.parse(), Ok(rule.clone()), "{printed}");
            let mut bytes = Vec::new();
            rule.encode(&mut bytes);
            assert_eq!(Rule::decode(&mut &bytes[..]), Some(rule), "{text}");
            for cut in 0..bytes.len() {
                assert_eq!(
                    Rule::decode(&mut &bytes[..cut]),
                    None,
                    "{text} cut at {cut}"
                );
            }
        };
        check("update key k.example", "update key k.example. zonesub");
        check(
            "update from 10.0.0.0/8 from 10.0.0.0/8 from 9.0.0.0/8 ANY",
            "update from 9.0.0.0/8 from 10.0.0.0/8 zonesub ANY",
        );
        check(
            "update key k from 192.0.2.1 name a.example TXT(2) A lease 1h ttl-max 2m",
            "update key k. from 192.0.2.1/32 name a.example. A TXT(2) ttl-max 120 lease 3600",
        );
        check(
            "update key k subdomain a.example",
            "update key k. subdomain a.example.",
        );
        check(
            "update key k wildcard *.a.example",
            "update key k. wildcard *.a.example.",
        );
        check("update key k wildcard *", "update key k. wildcard *.");
        check("update key * self A AAAA", "update key * self A AAAA");
        check(
            "update key *.hosts selfsub TYPE65280",
            "update key *.hosts. selfsub TYPE65280",
        );
        check("update key * selfwild", "update key * selfwild");
        check("update tcp-self PTR(1)", "update tcp-self PTR(1)");
        check(
            "deny update key k name www.example",
            "deny update key k. name www.example.",
        );
        check("transfer from ::/0", "transfer from ::/0");
        check("deny transfer key k", "deny transfer key k.");
        check(
            "notify from 192.0.2.53 key k",
            "notify key k. from 192.0.2.53/32",
        );
    }

    #[test]
    fn what_is_no_rule_says_why() {
        let check = |text: &str, why: &str| {
            let error = text.parse::<Rule>().unwrap_err().to_string();
            assert!(error.contains(why), "{text}: {error}");
        };
        check("", "expected update, transfer or notify");
        check("grant key k", "found \"grant\"");
        check("update", "names nobody");
        check("update zonesub A", "names nobody");
        check("transfer", "names nobody");
        check("update key", "key wants the name of one");
        check("update key k key l", "one for each");
        check("update from 10.0.0.1/8", "bits are set after the prefix");
        check("update key a..b", "expected a name");
        check("update key k name", "name wants a name");
        check("update key k wildcard a.example", "begins with *.");
        check("update key k NAME a.example", "expected one of name");
        check("update key k TXT(0)", "TXT(2)");
        check("update key k TXT(x", "TXT(2)");
        check("update key k AXFR", "expected one of");
        check("update key k A A(2)", "stands twice");
        check("update key k lease 0", "1 to");
        check("update key k ttl-max 1y", "expected a time");
        check("update key k ttl-max", "ttl-max wants a time");
        check("update from ::/0 self", "expected key");
        check("deny update key k A(2)", "what is denied");
        check("transfer key k A", "belongs nowhere");
    }
}
