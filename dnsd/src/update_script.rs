//! Updates as nsupdate and knsupdate read them: lines of a script.
//!
//! ```text
//! zone NAME | origin NAME | class IN | ttl SECONDS
//! [prereq] nxdomain NAME | yxdomain NAME | nxrrset NAME [IN] TYPE | yxrrset NAME [IN] TYPE [RDATA]
//! [update] add NAME [TTL] [IN] TYPE RDATA | del[ete] NAME [TTL] [IN] [TYPE [RDATA]]
//! send, or an empty line: the update is complete
//! ```
//! What says where to and how an update is sent (`server`, `local`, `key`, …) is passed over.

use crate::message::{UpdateBuilder, UpdateRecord};
use crate::time_text::parse_span;
use std::fmt;
use zones::record::TTL_MAX;
use zones::rtype::Class;
use zones::zonefile::rdata_from_text;
use zones::{Name, Rtype};

/// One update of a script.
#[derive(Clone, Debug, Default)]
pub struct Draft {
    /// The zone that the script names; none: whichever holds its names.
    pub zone: Option<Name>,
    prerequisites: Vec<Line>,
    changes: Vec<Line>,
}

#[derive(Clone, Debug)]
struct Line {
    owner: Name,
    rtype: Rtype,
    class: Class,
    ttl: u32,
    rdata: Vec<u8>,
}

/// A line of a script that is none.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ScriptError {
    /// The line, from 1.
    pub line: usize,
    /// What was found, and what was expected.
    pub problem: String,
}

/// What lines mean by what stands before them.
struct Context {
    origin: Name,
    ttl: Option<u32>,
    zone: Option<Name>,
}

impl Draft {
    /// The first name that it speaks of.
    #[must_use]
    pub fn first_name(&self) -> Option<&Name> {
        let mut lines = self.prerequisites.iter().chain(&self.changes);
        lines.next().map(|line| &line.owner)
    }

    /// The UPDATE of this zone that it is; none if it is larger than a message may be.
    #[must_use]
    pub fn message(&self, zone: &Name) -> Option<Vec<u8>> {
        let mut builder = UpdateBuilder::new(zone);
        for line in &self.prerequisites {
            builder.prerequisite(line.record());
        }
        for line in &self.changes {
            builder.change(line.record());
        }
        builder.finish()
    }
}

impl Line {
    fn record(&self) -> UpdateRecord<'_> {
        UpdateRecord {
            owner: &self.owner,
            rtype: self.rtype,
            class: self.class,
            ttl: self.ttl,
            rdata: &self.rdata,
        }
    }
}

/// Reads a script. An update at its end need not be sent.
pub fn parse(text: &str) -> Result<Vec<Draft>, ScriptError> {
    let mut context = Context {
        origin: Name::root(),
        ttl: None,
        zone: None,
    };
    let mut drafts = Vec::new();
    let mut draft = Draft::default();
    let mut end = |draft: &mut Draft, zone: &Option<Name>| {
        let mut ended = std::mem::take(draft);
        if ended.first_name().is_some() {
            ended.zone.clone_from(zone);
            drafts.push(ended);
        }
    };
    for (number, line) in text.lines().enumerate() {
        match read_line(line, &mut context, &mut draft) {
            Ok(Read::More) => {}
            Ok(Read::End) => end(&mut draft, &context.zone),
            Err(problem) => {
                let line = number + 1;
                return Err(ScriptError { line, problem });
            }
        }
    }
    end(&mut draft, &context.zone);
    Ok(drafts)
}

/// What a line does to the update before it.
enum Read {
    More,
    End,
}

/// The next word of a line, and what follows it.
fn word<'t>(rest: &mut &'t str) -> Option<&'t str> {
    let text = rest.trim_start();
    let size = text
        .find(|c: char| c.is_ascii_whitespace())
        .unwrap_or(text.len());
    let (word, after) = text.split_at(size);
    *rest = after;
    (!word.is_empty()).then_some(word)
}

fn peek<'t>(rest: &&'t str) -> Option<&'t str> {
    let mut copy = *rest;
    word(&mut copy)
}

fn read_line(line: &str, context: &mut Context, draft: &mut Draft) -> Result<Read, String> {
    let rest = &mut line.trim_end();
    let Some(mut command) = word(rest) else {
        return Ok(Read::End);
    };
    if command.starts_with(';') || command.starts_with('#') {
        return Ok(Read::More);
    }
    if matches!(command, "update" | "prereq") {
        let wanted = command;
        command = word(rest).ok_or_else(|| format!("{wanted} wants more after it"))?;
        let is_change = matches!(command, "add" | "delete" | "del");
        if is_change != (wanted == "update") {
            return Err(format!("found {command:?} after {wanted}"));
        }
    }
    match command {
        "send" => return Ok(Read::End),
        "zone" => context.zone = Some(read_name(rest, &Name::root())?),
        "origin" => context.origin = read_name(rest, &Name::root())?,
        "ttl" => context.ttl = Some(read_ttl(word(rest).unwrap_or_default())?),
        "class" => {
            let class = word(rest).unwrap_or_default();
            if !class.eq_ignore_ascii_case("IN") {
                return Err(format!("found class {class:?}: zones here have class IN"));
            }
        }
        "nxdomain" => draft.prerequisites.push(bare(rest, context, Class::NONE)?),
        "yxdomain" => draft.prerequisites.push(bare(rest, context, Class::ANY)?),
        "nxrrset" | "yxrrset" => {
            let line = read_rrset(rest, context, command == "yxrrset")?;
            draft.prerequisites.push(line);
        }
        "add" => draft.changes.push(read_addition(rest, context)?),
        "delete" | "del" => draft.changes.push(read_deletion(rest, context)?),
        "server" | "local" | "port" | "key" | "gsstsig" | "oldgsstsig" | "realm" | "timeout"
        | "retry" | "protocol" | "debug" | "show" | "answer" | "check-names" | "quit" => {
            return Ok(Read::More);
        }
        _ => {
            return Err(format!(
                "found {command:?}, which is no command of nsupdate"
            ));
        }
    }
    match word(rest) {
        None => Ok(Read::More),
        Some(word) => Err(format!("found {word:?} behind the end of the command")),
    }
}

fn bare(rest: &mut &str, context: &Context, class: Class) -> Result<Line, String> {
    Ok(Line {
        owner: read_name(rest, &context.origin)?,
        rtype: Rtype::ANY,
        class,
        ttl: 0,
        rdata: Vec::new(),
    })
}

/// RFC 2136 sections 2.4.1 to 2.4.3.
fn read_rrset(rest: &mut &str, context: &Context, exists: bool) -> Result<Line, String> {
    let owner = read_name(rest, &context.origin)?;
    skip_class(rest);
    let rtype = read_type(rest)?;
    let (class, rdata) = match (exists, peek(rest)) {
        (false, _) => (Class::NONE, Vec::new()),
        (true, None) => (Class::ANY, Vec::new()),
        (true, Some(_)) => (Class::IN, read_rdata(rest, rtype, context)?),
    };
    Ok(Line {
        owner,
        rtype,
        class,
        ttl: 0,
        rdata,
    })
}

/// RFC 2136 section 2.5.1.
fn read_addition(rest: &mut &str, context: &Context) -> Result<Line, String> {
    let owner = read_name(rest, &context.origin)?;
    let has_ttl = peek(rest).is_some_and(|next| next.starts_with(|c: char| c.is_ascii_digit()));
    let ttl = match (has_ttl, context.ttl) {
        (true, _) => read_ttl(word(rest).unwrap_or_default())?,
        (false, Some(ttl)) => ttl,
        (false, None) => return Err("expected a TTL behind the name".to_owned()),
    };
    skip_class(rest);
    let rtype = read_type(rest)?;
    let rdata = read_rdata(rest, rtype, context)?;
    Ok(Line {
        owner,
        rtype,
        class: Class::IN,
        ttl,
        rdata,
    })
}

/// RFC 2136 sections 2.5.2 to 2.5.4.
fn read_deletion(rest: &mut &str, context: &Context) -> Result<Line, String> {
    let owner = read_name(rest, &context.origin)?;
    // A TTL means nothing here, but people write it.
    if peek(rest).is_some_and(|next| parse_span(next).is_some()) {
        word(rest);
    }
    skip_class(rest);
    let rtype = match peek(rest) {
        None => Rtype::ANY,
        Some(_) => read_type(rest)?,
    };
    let (class, rdata) = match peek(rest) {
        None => (Class::ANY, Vec::new()),
        Some(_) => (Class::NONE, read_rdata(rest, rtype, context)?),
    };
    Ok(Line {
        owner,
        rtype,
        class,
        ttl: 0,
        rdata,
    })
}

fn read_name(rest: &mut &str, origin: &Name) -> Result<Name, String> {
    let text = word(rest).ok_or("expected a name")?;
    let name = Name::from_text(text.as_bytes(), Some(origin));
    name.map_err(|error| format!("found {text:?}, expected a name: {error}"))
}

fn read_ttl(text: &str) -> Result<u32, String> {
    let ttl = parse_span(text).and_then(|span| u32::try_from(span.as_secs()).ok());
    let ttl = ttl.filter(|ttl| *ttl <= TTL_MAX);
    ttl.ok_or_else(|| format!("found {text:?}, expected a TTL in seconds"))
}

fn skip_class(rest: &mut &str) {
    if peek(rest).is_some_and(|next| next.eq_ignore_ascii_case("IN")) {
        word(rest);
    }
}

fn read_type(rest: &mut &str) -> Result<Rtype, String> {
    let text = word(rest).ok_or("expected a type")?;
    let rtype = text.parse();
    rtype.map_err(|_| format!("found {text:?}, expected a type"))
}

fn read_rdata(rest: &mut &str, rtype: Rtype, context: &Context) -> Result<Vec<u8>, String> {
    let text = std::mem::take(rest).trim();
    let rdata = rdata_from_text(rtype, text, Some(&context.origin))?;
    Ok(rdata.as_bytes().to_vec())
}

impl fmt::Display for ScriptError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.line, self.problem)
    }
}

impl std::error::Error for ScriptError {}

#[cfg(test)]
mod tests {
    use super::*;
    use zones::Update;

    fn touched(draft: &Draft) -> Vec<String> {
        let zone: Name = "example.".parse().unwrap();
        let message = draft.message(&zone).unwrap();
        let update = Update::from_message(&message).unwrap();
        let touched = update.touched().map(|touch| {
            let sign = if touch.is_addition { '+' } else { '-' };
            format!("{sign}{} {}", touch.owner, touch.rtype)
        });
        touched.collect()
    }

    #[test]
    fn a_script_is_read_as_nsupdate_reads_it() {
        let script = "\
server 192.0.2.1 53
; a comment
zone example.
ttl 60
prereq nxdomain a.example.
yxrrset b.example. IN A 192.0.2.1
update add a.example 300 A 192.0.2.1
add a.example. TXT \"two words\" more
update delete b.example. A 192.0.2.1
del c.example. 0 IN TXT
send
origin example.
delete d

add e 1h MX 10 mx
";
        let drafts = parse(script).unwrap();
        assert_eq!(drafts.len(), 3);
        assert!(
            drafts
                .iter()
                .all(|draft| draft.zone == "example.".parse().ok())
        );
        assert_eq!(
            touched(&drafts[0]),
            [
                "+a.example. A",
                "+a.example. TXT",
                "-b.example. A",
                "-c.example. TXT"
            ]
        );
        assert_eq!(touched(&drafts[1]), ["-d.example. ANY"]);
        assert_eq!(touched(&drafts[2]), ["+e.example. MX"]);
        assert_eq!(drafts[0].first_name(), "a.example.".parse().ok().as_ref());
    }

    #[test]
    fn a_bad_line_is_named() {
        let check = |script: &str, line: usize, problem: &str| {
            let error = parse(script).unwrap_err();
            assert_eq!(error.line, line, "{error}");
            assert!(error.problem.contains(problem), "{error}");
        };
        check("zone a\nfoo", 2, "no command");
        check("update foo a", 1, "after update");
        check("prereq add a 1 A 192.0.2.1", 1, "after prereq");
        check("update", 1, "wants more");
        check("add a A 192.0.2.1", 1, "expected a TTL");
        check("add a 1 A 192.0.2.256", 1, "");
        check("add a 1 A", 1, "");
        check("add a 1 FOO x", 1, "expected a type");
        check("add a..b 1 A 192.0.2.1", 1, "expected a name");
        check("nxdomain a b", 1, "behind the end");
        check("class CH", 1, "class IN");
    }
}
