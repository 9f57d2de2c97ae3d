//! Zone file text cut into tokens: words, quoted strings and the ends of entries.
//!
//! Comments, blanks, parentheses and the line ends inside them are gone (RFC 1035 section 5.1).
//! Escapes are kept: what they mean depends on the field. Nothing is copied.

use std::fmt::Display;

/// Reads one source from its start to its end, entry by entry.
#[derive(Clone, Debug)]
pub(crate) struct Lexer<'s> {
    source: &'s [u8],
    at: usize,
    line: u32,
    line_start: usize,
    /// How many parentheses are open, and where the outermost one stands.
    depth: u32,
    opened: Position,
}

/// A piece of text that has meaning.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Token<'s> {
    /// The text as written, escapes kept, quotes around it left out.
    pub(crate) text: &'s [u8],
    /// True if it stands in quotes.
    pub(crate) is_quoted: bool,
    /// Where it begins.
    pub(crate) at: Position,
}

/// A place in a source; both count from 1, columns in bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Position {
    pub(crate) line: u32,
    pub(crate) column: u32,
}

/// What is wrong, and where.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Fault {
    pub(crate) at: Position,
    pub(crate) message: String,
}

/// How an entry begins.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Start {
    /// With text: an owner name or a directive.
    Text,
    /// With a blank: the owner is that of the record before.
    Blank,
}

impl Fault {
    pub(crate) fn new(at: Position, message: impl Into<String>) -> Self {
        Self {
            at,
            message: message.into(),
        }
    }
}

impl<'s> Lexer<'s> {
    pub(crate) fn new(source: &'s [u8]) -> Self {
        // Some editors begin a file with a byte order mark.
        let at = if source.starts_with(b"\xef\xbb\xbf") {
            3
        } else {
            0
        };
        Self {
            source,
            at,
            line: 1,
            line_start: at,
            depth: 0,
            opened: Position::default(),
        }
    }

    /// Goes to the next entry; none at the end of the source. What is left of the entry before
    /// must have been read.
    pub(crate) fn start_entry(&mut self) -> Option<Start> {
        if self.source.get(self.at) == Some(&b'\n') {
            self.pass_line_end();
        }
        match self.source.get(self.at)? {
            b' ' | b'\t' | b'\r' => Some(Start::Blank),
            _ => Some(Start::Text),
        }
    }

    /// The next token of the entry; none at its end.
    #[inline]
    pub(crate) fn token(&mut self) -> Result<Option<Token<'s>>, Fault> {
        if !self.pass_blanks()? {
            return Ok(None);
        }
        if self.source[self.at] == b'"' {
            return self.quoted().map(Some);
        }
        Ok(Some(self.word()))
    }

    /// The next token, where `key="value"` counts as one word (RFC 9460 section 2.1).
    pub(crate) fn pair(&mut self) -> Result<Option<Token<'s>>, Fault> {
        let Some(mut token) = self.token()? else {
            return Ok(None);
        };
        if !token.is_quoted && token.text.ends_with(b"=") && self.source.get(self.at) == Some(&b'"')
        {
            let start = self.at - token.text.len();
            self.quoted()?;
            token.text = &self.source[start..self.at];
        }
        Ok(Some(token))
    }

    /// The next token, which must be there.
    #[inline]
    pub(crate) fn expect(&mut self, expected: impl Display) -> Result<Token<'s>, Fault> {
        match self.token()? {
            Some(token) => Ok(token),
            None => Err(self.fault(format!("the entry ends here, expected {expected}"))),
        }
    }

    /// The entry must end here.
    #[inline]
    pub(crate) fn expect_end(&mut self) -> Result<(), Fault> {
        match self.token()? {
            None => Ok(()),
            Some(token) => Err(token.unexpected("the end of the entry")),
        }
    }

    /// Skips what is left of the entry after a fault, as far as its end can be told.
    pub(crate) fn skip_entry(&mut self) {
        loop {
            match self.token() {
                Ok(Some(_)) => {}
                Ok(None) => return,
                Err(_) => {
                    self.pass_comment();
                    self.depth = 0;
                    return;
                }
            }
        }
    }

    /// Passes what separates tokens. False if the entry ends here.
    #[inline]
    pub(crate) fn pass_blanks(&mut self) -> Result<bool, Fault> {
        while let Some(byte) = self.source.get(self.at) {
            match byte {
                b' ' | b'\t' | b'\r' => self.at += 1,
                b'\n' if self.depth == 0 => return Ok(false),
                b'\n' => self.pass_line_end(),
                b';' => self.pass_comment(),
                b'(' => {
                    if self.depth == 0 {
                        self.opened = self.position();
                    }
                    self.depth += 1;
                    self.at += 1;
                }
                b')' => {
                    let Some(depth) = self.depth.checked_sub(1) else {
                        return Err(self.fault("this parenthesis closes none"));
                    };
                    self.depth = depth;
                    self.at += 1;
                }
                _ => return Ok(true),
            }
        }
        if self.depth > 0 {
            self.depth = 0;
            return Err(Fault::new(
                self.opened,
                "this parenthesis is not closed, expected `)` before the end of the file",
            ));
        }
        Ok(false)
    }

    /// Where the next byte stands.
    pub(crate) fn position(&self) -> Position {
        self.position_of(self.at)
    }

    /// How many bytes have been read.
    pub(crate) fn offset(&self) -> usize {
        self.at
    }

    /// What was read since `offset`.
    pub(crate) fn since(&self, offset: usize) -> &'s [u8] {
        &self.source[offset..self.at]
    }

    /// The byte that comes next.
    pub(crate) fn peek(&self) -> Option<u8> {
        self.source.get(self.at).copied()
    }

    pub(crate) fn fault(&self, message: impl Into<String>) -> Fault {
        Fault::new(self.position(), message)
    }

    #[inline]
    fn word(&mut self) -> Token<'s> {
        let start = self.at;
        while let Some(byte) = self.source.get(self.at) {
            match BYTES[usize::from(*byte)] {
                Byte::Plain => self.at += 1,
                Byte::Escape => self.pass_escape(),
                Byte::Ends => break,
            }
        }
        Token {
            text: &self.source[start..self.at],
            is_quoted: false,
            at: self.position_of(start),
        }
    }

    fn quoted(&mut self) -> Result<Token<'s>, Fault> {
        let at = self.position();
        let start = self.at + 1;
        self.at = start;
        loop {
            match self.source.get(self.at) {
                Some(b'"') => break,
                Some(b'\\') => self.pass_escape(),
                Some(b'\n') | None => {
                    return Err(Fault::new(
                        at,
                        "this quoted string does not end, expected `\"` on the same line",
                    ));
                }
                Some(_) => self.at += 1,
            }
        }
        let text = &self.source[start..self.at];
        self.at += 1;
        Ok(Token {
            text,
            is_quoted: true,
            at,
        })
    }

    /// A backslash takes the next byte with it, but never the end of the line.
    fn pass_escape(&mut self) {
        self.at += match self.source.get(self.at + 1) {
            Some(b'\n') | None => 1,
            Some(_) => 2,
        };
    }

    fn pass_comment(&mut self) {
        let rest = &self.source[self.at..];
        let size = rest.iter().position(|byte| *byte == b'\n');
        self.at += size.unwrap_or(rest.len());
    }

    fn pass_line_end(&mut self) {
        self.at += 1;
        self.line = self.line.saturating_add(1);
        self.line_start = self.at;
    }

    #[inline]
    fn position_of(&self, offset: usize) -> Position {
        Position {
            line: self.line,
            column: (offset - self.line_start + 1) as u32,
        }
    }
}

impl Token<'_> {
    /// The fault that this token is not what was expected.
    pub(crate) fn unexpected(&self, expected: impl Display) -> Fault {
        Fault::new(
            self.at,
            format!("unexpected {}, expected {expected}", shown(self.text)),
        )
    }
}

/// Text as it is shown in a message: short and printable.
pub(crate) fn shown(text: &[u8]) -> String {
    let short = &text[..text.len().min(SHOWN_SIZE_MAX)];
    let more = if short.len() < text.len() { "…" } else { "" };
    format!("`{}{more}`", short.escape_ascii())
}

/// Enough to find the place, little enough to keep a message on a line.
const SHOWN_SIZE_MAX: usize = 40;

#[derive(Clone, Copy)]
enum Byte {
    Plain,
    Escape,
    Ends,
}

/// What each byte means inside a word.
static BYTES: [Byte; 256] = {
    let mut bytes = [Byte::Plain; 256];
    let ends = b" \t\r\n;()\"";
    let mut i = 0;
    while i < ends.len() {
        bytes[ends[i] as usize] = Byte::Ends;
        i += 1;
    }
    bytes[b'\\' as usize] = Byte::Escape;
    bytes
};

#[cfg(test)]
mod tests {
    use super::*;

    /// Entries by lines: `_` for a leading blank, words, strings in quotes, `!` for a fault.
    fn cut(text: &str) -> String {
        let mut lexer = Lexer::new(text.as_bytes());
        let mut lines = Vec::new();
        while let Some(start) = lexer.start_entry() {
            let mut line = match start {
                Start::Blank => vec!["_".to_owned()],
                Start::Text => vec![],
            };
            loop {
                match lexer.token() {
                    Ok(Some(token)) => {
                        let text = String::from_utf8_lossy(token.text);
                        line.push(if token.is_quoted {
                            format!("\"{text}\"")
                        } else {
                            text.into()
                        });
                    }
                    Ok(None) => break,
                    Err(fault) => {
                        line.push(format!("!{}:{}", fault.at.line, fault.at.column));
                        lexer.skip_entry();
                        break;
                    }
                }
            }
            lines.push(line.join(" "));
        }
        lines.join("|")
    }

    #[test]
    fn text_is_cut_into_entries_and_tokens() {
        let check = |text: &str, expected: &str| assert_eq!(cut(text), expected, "{text:?}");
        check("", "");
        check("a", "a");
        check("a b\n", "a b");
        check("a\tb\r\n c\r\n\r\nd", "a b|_ c|_|d");
        check("a ; comment ( \" \n b;c", "a|_ b");
        check("a ( b ; c\n d\n ) e\nf", "a b d e|f");
        check("a ((b)\nc) d", "a b c d");
        check("a \"b ; ( c\" d", "a \"b ; ( c\" d");
        check("a \"\" b", "a \"\" b");
        check("a\"b\"c", "a \"b\" c");
        check(r#"a "b\"c" d"#, r#"a "b\"c" d"#);
        check(r"a\ b\;c \", r"a\ b\;c \");
        check("a\\\nb", "a\\|b");
        check("\u{feff}a", "a");
    }

    #[test]
    fn faults_have_a_place_and_the_next_entry_is_read() {
        let check = |text: &str, expected: &str| assert_eq!(cut(text), expected, "{text:?}");
        check("a ) b\nc", "a !1:3|c");
        check("a \"b\nc", "a !1:3|c");
        check("a\nb (c\nd", "a|b c d !2:3");
        check("a ( \"b\n c )\nd", "a !1:5|d");
    }

    #[test]
    fn a_pair_may_have_its_value_in_quotes() {
        let text = br#"alpn="h2,\"h 3" port=53 "x" k= "v""#;
        let mut lexer = Lexer::new(text);
        let mut pairs = Vec::new();
        while let Some(token) = lexer.pair().unwrap() {
            pairs.push(String::from_utf8_lossy(token.text).into_owned());
        }
        assert_eq!(pairs, [r#"alpn="h2,\"h 3""#, "port=53", "x", "k=", "v"]);
    }
}
