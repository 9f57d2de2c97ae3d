//! Zone file text to records: directives, owner names, TTLs, classes, types.
//!
//! It reads on after an error, so that one run shows them all.

use crate::name::{Name, NameRef, append_text};
use crate::rdata;
use crate::record::{RecordRef, TTL_MAX};
use crate::records::Records;
use crate::rtype::Rtype;
use crate::zonefile::field::{Reader, read_period, read_rtype};
use crate::zonefile::generate::{GENERATED_MAX, Range, substitute};
use crate::zonefile::lexer::{Fault, Lexer, Position, Start, Token, shown};
use crate::zonefile::{ERRORS_MAX, Parsed, Place, Rejected, Source, ZonefileError, warn};

/// Gives the file that an `$INCLUDE` names. Its arguments are that name as written and the name
/// of the file in which it stands; its error says why there is no such file.
pub type Include<'i> = dyn FnMut(&str, &str) -> Result<Source, String> + 'i;

/// How deep files may include each other: enough for any sane layout, and it ends a file that
/// includes itself.
pub const INCLUDE_DEPTH_MAX: usize = 16;
/// How many files one zone may consist of.
const FILES_MAX: usize = 10_000;
/// `progress` is called each time so many bytes have been read.
const PROGRESS_STEP: usize = 1 << 20;
/// Roughly the shortest record of a real zone file, to reserve memory once.
const RECORD_TEXT_SIZE: usize = 40;

/// Reads a zone file. `origin` completes relative names until an `$ORIGIN` says otherwise;
/// `progress` hears from time to time how many bytes have been read, of all files together.
pub fn parse(
    source: &Source,
    origin: &Name,
    include: &mut Include<'_>,
    progress: &mut dyn FnMut(u64),
) -> Result<Parsed, Rejected> {
    let mut parser = Parser {
        include,
        progress,
        ttl_default: None,
        ttl_last: None,
        generated: 0,
        bytes_read: 0,
        owner: Vec::new(),
        owner_text: Vec::new(),
        rdata: Vec::new(),
        files: vec![source.name.clone()],
        records: Records::with_capacity(source.text.len() / RECORD_TEXT_SIZE),
        errors: Vec::new(),
        warnings: Vec::new(),
    };
    let place = Context {
        file: 0,
        depth: 0,
        origin: origin.clone(),
    };
    parser.read_file(&source.text, place);
    if !parser.errors.is_empty() {
        return Err(Rejected {
            errors: parser.errors,
            warnings: parser.warnings,
        });
    }
    Ok(Parsed {
        records: parser.records,
        files: parser.files,
        warnings: parser.warnings,
    })
}

struct Parser<'p> {
    include: &'p mut Include<'p>,
    progress: &'p mut dyn FnMut(u64),
    /// What the last `$TTL` said.
    ttl_default: Option<u32>,
    /// The TTL of the last record that had one.
    ttl_last: Option<u32>,
    /// How many records came from `$GENERATE`.
    generated: u64,
    /// Bytes of the files that are finished.
    bytes_read: u64,
    /// The last owner in wire format; empty before the first one.
    owner: Vec<u8>,
    /// Scratch space.
    owner_text: Vec<u8>,
    rdata: Vec<u8>,
    files: Vec<String>,
    records: Records,
    errors: Vec<ZonefileError>,
    warnings: Vec<ZonefileError>,
}

/// What belongs to one file.
struct Context {
    file: u16,
    depth: usize,
    origin: Name,
}

/// What stands between an owner and its RDATA.
struct Head {
    ttl: Option<u32>,
    rtype: Rtype,
}

impl Parser<'_> {
    fn read_file(&mut self, text: &[u8], mut context: Context) {
        let mut lexer = Lexer::new(text);
        let mut reported = 0;
        while let Some(start) = lexer.start_entry() {
            if let Err(fault) = self.read_entry(&mut lexer, start, &mut context) {
                self.errors
                    .push(place(&context, fault.at).fault(&self.files, fault.message));
                lexer.skip_entry();
            }
            if self.errors.len() >= ERRORS_MAX {
                return;
            }
            if lexer.offset() - reported >= PROGRESS_STEP {
                reported = lexer.offset();
                (self.progress)(self.bytes_read + reported as u64);
            }
        }
        self.bytes_read += text.len() as u64;
        (self.progress)(self.bytes_read);
    }

    fn read_entry(
        &mut self,
        lexer: &mut Lexer<'_>,
        start: Start,
        context: &mut Context,
    ) -> Result<(), Fault> {
        let at = match start {
            Start::Text => {
                let Some(token) = lexer.token()? else {
                    return Ok(());
                };
                if token.is_quoted {
                    return Err(token.unexpected("an owner name or a directive"));
                }
                if token.text.starts_with(b"$") {
                    return self.read_directive(lexer, &token, context);
                }
                self.read_owner(token.text, token.at, context)?;
                token.at
            }
            Start::Blank => {
                if !lexer.pass_blanks()? {
                    return Ok(());
                }
                let at = lexer.position();
                if self.owner.is_empty() {
                    return Err(Fault::new(
                        at,
                        "no record before this one, expected an owner name",
                    ));
                }
                at
            }
        };
        let head = self.read_head(lexer)?;
        self.read_record(lexer, &head, at, context)
    }

    fn read_owner(&mut self, text: &[u8], at: Position, context: &Context) -> Result<(), Fault> {
        self.owner.clear();
        append_text(text, Some(&context.origin), &mut self.owner).map_err(|error| {
            self.owner.clear();
            Fault::new(at, format!("{error}, expected an owner name"))
        })
    }

    /// TTL and class, either or both left out, in either order (RFC 1035 section 5.1).
    fn read_head(&mut self, lexer: &mut Lexer<'_>) -> Result<Head, Fault> {
        let expected = "a TTL, the class IN or an RR type";
        let mut ttl = None;
        let mut has_class = false;
        loop {
            let token = lexer.expect(expected)?;
            let text = token.text;
            if token.is_quoted {
                return Err(token.unexpected(expected));
            }
            if ttl.is_none() && text[0].is_ascii_digit() {
                ttl = Some(read_ttl(&token)?);
            } else if !has_class && is_class_in(text) {
                has_class = true;
            } else if let Some(rtype) = read_rtype(text) {
                if rtype.is_meta() {
                    let message =
                        format!("{rtype} stands in messages only, expected an RR type of data");
                    return Err(Fault::new(token.at, message));
                }
                return Ok(Head { ttl, rtype });
            } else if is_other_class(text) {
                return Err(token.unexpected("the class IN, as no other is served"));
            } else {
                return Err(token.unexpected(expected));
            }
        }
    }

    fn read_record(
        &mut self,
        lexer: &mut Lexer<'_>,
        head: &Head,
        at: Position,
        context: &Context,
    ) -> Result<(), Fault> {
        self.rdata.clear();
        let mut reader = Reader {
            lexer,
            origin: Some(&context.origin),
            rdata: &mut self.rdata,
        };
        reader.read(head.rtype)?;
        let ttl = self.ttl_of(head, at, context)?;
        let record = RecordRef {
            owner: NameRef::from_checked(&self.owner),
            rtype: head.rtype,
            ttl,
            rdata: &self.rdata,
        };
        self.records.push(record, place(context, at));
        Ok(())
    }

    /// The TTL of the record whose RDATA was just read: its own, else that of `$TTL` (RFC 2308
    /// section 4), else that of the record before (RFC 1035 section 5.1). An SOA that comes
    /// before any TTL sets its own minimum as default, as BIND does.
    fn ttl_of(&mut self, head: &Head, at: Position, context: &Context) -> Result<u32, Fault> {
        if let Some(ttl) = head.ttl {
            let ttl = self.limit_ttl(ttl, at, context);
            self.ttl_last = Some(ttl);
            return Ok(ttl);
        }
        if let Some(ttl) = self.ttl_default.or(self.ttl_last) {
            return Ok(ttl);
        }
        let minimum = (head.rtype == Rtype::SOA)
            .then(|| rdata::soa_minimum(&self.rdata))
            .flatten();
        let Some(ttl) = minimum.map(|minimum| minimum.min(TTL_MAX)) else {
            return Err(Fault::new(at, "no TTL, expected one here or a $TTL before"));
        };
        self.ttl_default = Some(ttl);
        let message = format!("no TTL, the minimum of the SOA is taken: {ttl}");
        warn(
            &mut self.warnings,
            place(context, at).fault(&self.files, message),
        );
        Ok(ttl)
    }

    /// RFC 2181 section 8: a TTL with the most significant bit set counts as zero.
    fn limit_ttl(&mut self, ttl: u32, at: Position, context: &Context) -> u32 {
        if ttl <= TTL_MAX {
            return ttl;
        }
        let message = format!("the TTL {ttl} is above {TTL_MAX} and counts as 0");
        warn(
            &mut self.warnings,
            place(context, at).fault(&self.files, message),
        );
        0
    }

    fn read_directive(
        &mut self,
        lexer: &mut Lexer<'_>,
        token: &Token<'_>,
        context: &mut Context,
    ) -> Result<(), Fault> {
        match token.text.to_ascii_uppercase().as_slice() {
            b"$ORIGIN" => {
                let origin = lexer.expect("a domain name")?;
                context.origin = read_origin(&origin, context)?;
                lexer.expect_end()
            }
            b"$TTL" => {
                let token = lexer.expect("a TTL")?;
                let ttl = self.limit_ttl(read_ttl(&token)?, token.at, context);
                self.ttl_default = Some(ttl);
                lexer.expect_end()
            }
            b"$INCLUDE" => self.read_include(lexer, context),
            b"$GENERATE" => self.read_generate(lexer, token.at, context),
            _ => Err(token.unexpected("$ORIGIN, $TTL, $INCLUDE or $GENERATE")),
        }
    }

    /// `$INCLUDE file [origin]`. Origin and owner are afterwards what they were before (RFC 1035
    /// section 5.1).
    fn read_include(&mut self, lexer: &mut Lexer<'_>, context: &Context) -> Result<(), Fault> {
        let path = lexer.expect("the path of a file")?;
        let origin = match lexer.token()? {
            Some(token) => {
                let origin = read_origin(&token, context)?;
                lexer.expect_end()?;
                origin
            }
            None => context.origin.clone(),
        };
        if context.depth >= INCLUDE_DEPTH_MAX {
            let message = format!("files include each other more than {INCLUDE_DEPTH_MAX} deep");
            return Err(Fault::new(path.at, message));
        }
        if self.files.len() >= FILES_MAX {
            return Err(Fault::new(path.at, format!("more than {FILES_MAX} files")));
        }
        let Ok(name) = std::str::from_utf8(path.text) else {
            return Err(path.unexpected("a path in UTF-8"));
        };
        let by = &self.files[usize::from(context.file)];
        let source = (self.include)(name, by)
            .map_err(|message| Fault::new(path.at, format!("{}: {message}", shown(path.text))))?;
        let included = Context {
            file: self.files.len() as u16,
            depth: context.depth + 1,
            origin,
        };
        self.files.push(source.name);
        let owner = self.owner.clone();
        self.read_file(&source.text, included);
        self.owner = owner;
        Ok(())
    }

    /// `$GENERATE range owner [ttl] [class] type rdata`: a record for each number of the range.
    fn read_generate(
        &mut self,
        lexer: &mut Lexer<'_>,
        at: Position,
        context: &Context,
    ) -> Result<(), Fault> {
        let expected = "a range such as `1-100` or `0-254/2`";
        let token = lexer.expect(expected)?;
        let range = Range::from_text(token.text).ok_or_else(|| token.unexpected(expected))?;
        self.generated += range.count();
        if self.generated > GENERATED_MAX {
            let message = format!("expected at most {GENERATED_MAX} generated records in a zone");
            return Err(Fault::new(token.at, message));
        }
        let owner = lexer.expect("an owner name with `$` in it")?;
        let head = self.read_head(lexer)?;
        let template = read_template(lexer)?;
        let mut owner_text = std::mem::take(&mut self.owner_text);
        let mut rdata_text = Vec::new();
        for number in range {
            owner_text.clear();
            rdata_text.clear();
            substitute(owner.text, number, &mut owner_text)
                .map_err(|expected| owner.unexpected(expected))?;
            substitute(template, number, &mut rdata_text)
                .map_err(|expected| Fault::new(at, format!("expected {expected} in the RDATA")))?;
            let result = self
                .read_owner(&owner_text, owner.at, context)
                .and_then(|()| self.read_record(&mut Lexer::new(&rdata_text), &head, at, context));
            if let Err(fault) = result {
                let message = format!("the record generated for {number}: {}", fault.message);
                return Err(Fault::new(at, message));
            }
        }
        self.owner_text = owner_text;
        Ok(())
    }
}

/// What stands for the RDATA of a `$GENERATE`: a string in quotes counts without them, as with
/// BIND; anything else is taken as written.
fn read_template<'s>(lexer: &mut Lexer<'s>) -> Result<&'s [u8], Fault> {
    lexer.pass_blanks()?;
    let start = lexer.offset();
    let first = lexer.expect("RDATA with `$` in it")?;
    let mut whole = lexer.since(start);
    let mut count = 1;
    while lexer.token()?.is_some() {
        whole = lexer.since(start);
        count += 1;
    }
    Ok(if count == 1 { first.text } else { whole })
}

fn read_origin(token: &Token<'_>, context: &Context) -> Result<Name, Fault> {
    if token.is_quoted {
        return Err(token.unexpected("a domain name"));
    }
    Name::from_text(token.text, Some(&context.origin))
        .map_err(|error| Fault::new(token.at, format!("{error}, expected a domain name")))
}

fn read_ttl(token: &Token<'_>) -> Result<u32, Fault> {
    read_period(token.text)
        .filter(|_| !token.is_quoted)
        .ok_or_else(|| token.unexpected("a TTL up to 2147483647, such as `3600` or `1h30m`"))
}

fn is_class_in(text: &[u8]) -> bool {
    text.eq_ignore_ascii_case(b"IN") || text.eq_ignore_ascii_case(b"CLASS1")
}

fn is_other_class(text: &[u8]) -> bool {
    let is = |class: &[u8]| text.eq_ignore_ascii_case(class);
    let is_numbered = text
        .get(..5)
        .is_some_and(|prefix| prefix.eq_ignore_ascii_case(b"CLASS"));
    is(b"CH")
        || is(b"CHAOS")
        || is(b"HS")
        || is(b"HESIOD")
        || is(b"CS")
        || is(b"NONE")
        || is_numbered
}

fn place(context: &Context, at: Position) -> Place {
    Place {
        file: context.file,
        column: u16::try_from(at.column).unwrap_or(u16::MAX),
        line: at.line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::zonefile::print_record;

    fn parse_text(text: &str) -> Result<Parsed, Rejected> {
        let source = Source {
            name: "zone".into(),
            text: text.as_bytes().to_vec(),
        };
        let mut include = |name: &str, by: &str| {
            let text = match name {
                "sub" => format!("a 60 A 192.0.2.1 ; in {by}\n$ORIGIN x\n$TTL 7\nb A 192.0.2.2\n"),
                "last" => "  60 A 192.0.2.9\n".into(),
                "self" => "$INCLUDE self\n".into(),
                "bad" => "\na 60 A 192.0.2\n".into(),
                _ => return Err("no such file".into()),
            };
            Ok(Source {
                name: name.into(),
                text: text.into_bytes(),
            })
        };
        parse(&source, &"test".parse().unwrap(), &mut include, &mut |_| {})
    }

    /// Records as `owner ttl type rdata`, with ` | ` between them.
    fn records(text: &str) -> String {
        let parsed = parse_text(text).unwrap_or_else(|rejected| panic!("{text}: {rejected}"));
        let mut lines = String::new();
        for record in parsed.records.iter() {
            print_record(&record.to_record(), &mut lines);
        }
        lines
            .trim_end()
            .replace("\tIN\t", " ")
            .replace('\t', " ")
            .replace('\n', " | ")
    }

    #[test]
    fn owner_ttl_and_class_may_be_left_out() {
        let check = |text: &str, expected: &str| assert_eq!(records(text), expected, "{text:?}");
        check("a 60 IN A 192.0.2.1", "a.test. 60 A 192.0.2.1");
        check("a IN 60 A 192.0.2.1", "a.test. 60 A 192.0.2.1");
        check("a 1h30m A 192.0.2.1", "a.test. 5400 A 192.0.2.1");
        check("a 60 class1 a 192.0.2.1", "a.test. 60 A 192.0.2.1");
        check("a 2147483648 A 192.0.2.1", "a.test. 0 A 192.0.2.1");
        check(
            "$TTL 4294967295\na A 192.0.2.1\nb 2147483647 A 192.0.2.1",
            "a.test. 0 A 192.0.2.1 | b.test. 2147483647 A 192.0.2.1",
        );
        check("@ 60 A 192.0.2.1", "test. 60 A 192.0.2.1");
        check(
            "a. 60 A 192.0.2.1\n A 192.0.2.2\n\tIN A 192.0.2.3\n",
            "a. 60 A 192.0.2.1 | a. 60 A 192.0.2.2 | a. 60 A 192.0.2.3",
        );
        check(
            "$TTL 1d\na A 192.0.2.1\n 60 A 192.0.2.2\n A 192.0.2.3",
            "a.test. 86400 A 192.0.2.1 | a.test. 60 A 192.0.2.2 | a.test. 86400 A 192.0.2.3",
        );
        check(
            "$ORIGIN b\n$ORIGIN c\na 60 NS @",
            "a.c.b.test. 60 NS c.b.test.",
        );
        check(
            "a 60 (\n A ; comment\n 192.0.2.1\n)\n\n  ; nothing\n;\n",
            "a.test. 60 A 192.0.2.1",
        );
        check("in 60 in a 192.0.2.1", "in.test. 60 A 192.0.2.1");
        check("a 60 TYPE1 \\# 4 c0 00 (\n0201)", "a.test. 60 A 192.0.2.1");
        check(
            "a 60 TYPE65280 \\# 4 0a000001",
            r"a.test. 60 TYPE65280 \# 4 0A000001",
        );
        check("a 60 TYPE65280 \\# 0", r"a.test. 60 TYPE65280 \# 0");
    }

    #[test]
    fn an_soa_without_ttl_takes_its_minimum() {
        let parsed = parse_text("@ SOA a b 1 2 3 4 300\n@ NS a\n").unwrap();
        assert!(parsed.records.iter().all(|record| record.ttl == 300));
        assert_eq!(
            parsed.warnings[0].to_string(),
            "zone:1:1: no TTL, the minimum of the SOA is taken: 300"
        );
        assert_eq!(parsed.warnings.len(), 1);
    }

    #[test]
    fn included_files_leave_origin_and_owner_alone() {
        let check = |text: &str, expected: &str| assert_eq!(records(text), expected, "{text:?}");
        check(
            "o 60 A 192.0.2.7\n$INCLUDE sub\n A 192.0.2.8",
            "o.test. 60 A 192.0.2.7 | a.test. 60 A 192.0.2.1 | b.x.test. 7 A 192.0.2.2 | o.test. 7 A 192.0.2.8",
        );
        check(
            "$INCLUDE \"sub\" in",
            "a.in.test. 60 A 192.0.2.1 | b.x.in.test. 7 A 192.0.2.2",
        );
        check(
            "o 60 A 192.0.2.7\n$include last",
            "o.test. 60 A 192.0.2.7 | o.test. 60 A 192.0.2.9",
        );
    }

    #[test]
    fn records_are_generated() {
        let check = |text: &str, expected: &str| assert_eq!(records(text), expected, "{text:?}");
        check(
            "$GENERATE 1-2 h$ 60 IN A 192.0.2.$",
            "h1.test. 60 A 192.0.2.1 | h2.test. 60 A 192.0.2.2",
        );
        check(
            "$GENERATE 0-2/2 ${1,2} 60 MX \"$ m${0,3,x}\"",
            "01.test. 60 MX 0 m000.test. | 03.test. 60 MX 2 m002.test.",
        );
        check("$GENERATE 5-5 a 60 MX $ m", "a.test. 60 MX 5 m.test.");
    }

    #[test]
    fn errors_have_their_place_and_all_are_shown() {
        let check = |text: &str, expected: &str| {
            let rejected = parse_text(text).unwrap_err();
            assert_eq!(rejected.to_string(), expected, "{text:?}");
        };
        check(
            "a 60 A 192.0.2\nb 60 A 192.0.2.1\nc 60 BOGUS 1\n",
            "zone:1:8: unexpected `192.0.2`, expected an IPv4 address\n\
             zone:3:6: unexpected `BOGUS`, expected a TTL, the class IN or an RR type",
        );
        check(
            "a A 192.0.2.1",
            "zone:1:1: no TTL, expected one here or a $TTL before",
        );
        check(
            " 60 A 192.0.2.1",
            "zone:1:2: no record before this one, expected an owner name",
        );
        check(
            "a 60 CH A 192.0.2.1",
            "zone:1:6: unexpected `CH`, expected the class IN, as no other is served",
        );
        check(
            "a 4294967296 A 192.0.2.1",
            "zone:1:3: unexpected `4294967296`, expected a TTL up to 2147483647, such as `3600` or `1h30m`",
        );
        check(
            "$TTL x",
            "zone:1:6: unexpected `x`, expected a TTL up to 2147483647, such as `3600` or `1h30m`",
        );
        check(
            "a 60 A 192.0.2.1 x",
            "zone:1:18: unexpected `x`, expected the end of the entry",
        );
        check(
            "a 60 A",
            "zone:1:7: the entry ends here, expected an IPv4 address",
        );
        check(
            "a 60 MX 10 a..b",
            "zone:1:12: a label is empty, expected a domain name",
        );
        check(
            "a 60 AXFR x",
            "zone:1:6: AXFR stands in messages only, expected an RR type of data",
        );
        check(
            "a 60 TYPE65280 x",
            "zone:1:16: unexpected `x`, expected `\\#`, a length and hexadecimal, as the type TYPE65280 has no other text",
        );
        check(
            "a 60 A \\# 3 c00002",
            "zone:1:8: RDATA of type A: the RDATA is cut short",
        );
        check(
            "a 60 A \\# 4 c00002",
            "zone:1:10: the RDATA has 3 bytes, expected 4 as its length says",
        );
        check(
            "a 60 TXT \"x",
            "zone:1:10: this quoted string does not end, expected `\"` on the same line",
        );
        check(
            "a 60 TXT (x\n\n",
            "zone:1:10: this parenthesis is not closed, expected `)` before the end of the file",
        );
        check(
            "$BOGUS",
            "zone:1:1: unexpected `$BOGUS`, expected $ORIGIN, $TTL, $INCLUDE or $GENERATE",
        );
        check("$INCLUDE none", "zone:1:10: `none`: no such file");
        check(
            "$INCLUDE bad",
            "bad:2:8: unexpected `192.0.2`, expected an IPv4 address",
        );
        check(
            "$INCLUDE self",
            "self:1:10: files include each other more than 16 deep",
        );
        check(
            "$GENERATE 5-7 a$ 60 A 192.0.2.25$",
            "zone:1:1: the record generated for 6: unexpected `192.0.2.256`, expected an IPv4 address",
        );
    }

    #[test]
    fn reading_stops_after_many_errors() {
        let rejected = parse_text(&"a 60 A x\n".repeat(1000)).unwrap_err();
        assert_eq!(rejected.errors.len(), ERRORS_MAX);
    }
}
