//! The `key` clause of BIND's configuration, which nsupdate, dig and others read too.
//!
//! ```text
//! key "name" {
//!         algorithm hmac-sha256;
//!         secret "c2VjcmV0";
//! };
//! ```
//! Whatever else a file says is passed over, so that all of `named.conf` may be given. Files that
//! it includes are not read.

use super::algorithm::{Method, NoMethod};
use super::key::{Key, SECRET_SIZE_MAX, Secret};
use data_encoding::BASE64;
use std::fmt;
use std::iter::Peekable;
use std::str::CharIndices;
use zones::Name;

/// Why a file's keys cannot be read, and where.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ClauseError {
    /// The line, from 1.
    pub line: usize,
    /// What is wrong.
    pub problem: Problem,
}

/// What is wrong with a clause.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Problem {
    /// A comment or a quoted text has no end.
    Open(&'static str),
    /// Something else was expected.
    Expected(&'static str),
    /// The name is none.
    Name,
    /// The algorithm is none.
    Algorithm,
    /// The secret is not base64, or empty, or too long.
    Secret,
    /// The clause lacks this.
    Lacks(&'static str),
}

/// The clause of a key.
#[must_use]
pub fn print(key: &Key) -> String {
    let name = key.name.to_string();
    // As others write it; the root has its dot alone.
    let name = match name.strip_suffix('.') {
        None | Some("") => &name,
        Some(name) => name,
    };
    format!(
        "key \"{name}\" {{\n\talgorithm {};\n\tsecret \"{}\";\n}};\n",
        key.method,
        BASE64.encode(key.secret.as_bytes())
    )
}

/// Reads all clauses of a text, in their order.
pub fn parse(text: &str) -> Result<Vec<Key>, ClauseError> {
    let mut tokens = Tokens::new(text);
    let mut keys = Vec::new();
    while let Some((line, token)) = tokens.next()? {
        match token {
            Token::Word(word) if word == "key" => keys.push(clause(&mut tokens, line)?),
            _ => pass_over(&mut tokens, token)?,
        }
    }
    Ok(keys)
}

/// The rest of a statement that is no key, up to its semicolon.
fn pass_over(tokens: &mut Tokens<'_>, first: Token) -> Result<(), ClauseError> {
    let mut depth = 0_usize;
    let mut token = first;
    loop {
        match token {
            Token::Open => depth += 1,
            Token::Close => depth = depth.saturating_sub(1),
            Token::End if depth == 0 => return Ok(()),
            Token::End | Token::Word(_) => {}
        }
        match tokens.next()? {
            Some((_, next)) => token = next,
            None => return Ok(()),
        }
    }
}

/// What follows the word `key`.
fn clause(tokens: &mut Tokens<'_>, start: usize) -> Result<Key, ClauseError> {
    let fail = |line, problem| Err(ClauseError { line, problem });
    let (line, name) = tokens.word("the name of the key")?;
    let Ok(name) = name.parse::<Name>() else {
        return fail(line, Problem::Name);
    };
    tokens.expect(&Token::Open, "{")?;
    let (mut method, mut secret) = (None, None);
    loop {
        match tokens.next()? {
            Some((_, Token::Close)) => break,
            Some((_, Token::Word(word))) if word == "algorithm" => {
                let (line, text) = tokens.word("an algorithm")?;
                method = Some(
                    text.parse::<Method>()
                        .or_else(|_| fail_with(line, Problem::Algorithm))?,
                );
                tokens.expect(&Token::End, ";")?;
            }
            Some((_, Token::Word(word))) if word == "secret" => {
                let (line, text) = tokens.word("a secret")?;
                secret =
                    Some(secret_of(&text).map_or_else(|| fail_with(line, Problem::Secret), Ok)?);
                tokens.expect(&Token::End, ";")?;
            }
            Some((line, _)) => return fail(line, Problem::Expected("algorithm, secret or }")),
            None => return fail(start, Problem::Open("the key clause")),
        }
    }
    tokens.expect(&Token::End, ";")?;
    let lacks = |what| ClauseError {
        line: start,
        problem: Problem::Lacks(what),
    };
    Ok(Key {
        name,
        method: method.ok_or_else(|| lacks("algorithm"))?,
        secret: secret.ok_or_else(|| lacks("secret"))?,
    })
}

fn fail_with<T>(line: usize, problem: Problem) -> Result<T, ClauseError> {
    Err(ClauseError { line, problem })
}

/// A secret in base64; spaces in it mean nothing.
#[must_use]
pub fn secret_of(text: &str) -> Option<Secret> {
    let text: String = text.split_ascii_whitespace().collect();
    Secret::new(BASE64.decode(text.as_bytes()).ok()?).ok()
}

/// What a configuration file is made of.
#[derive(PartialEq, Eq, Debug)]
enum Token {
    /// `{`
    Open,
    /// `}`
    Close,
    /// `;`
    End,
    /// Anything else, without its quotes.
    Word(String),
}

struct Tokens<'t> {
    rest: Peekable<CharIndices<'t>>,
    text: &'t str,
    line: usize,
}

impl<'t> Tokens<'t> {
    fn new(text: &'t str) -> Self {
        Self {
            rest: text.char_indices().peekable(),
            text,
            line: 1,
        }
    }

    /// The next token and its line.
    fn next(&mut self) -> Result<Option<(usize, Token)>, ClauseError> {
        self.skip_blank()?;
        let line = self.line;
        let Some((start, first)) = self.advance() else {
            return Ok(None);
        };
        let token = match first {
            '{' => Token::Open,
            '}' => Token::Close,
            ';' => Token::End,
            '"' => self.quoted(line)?,
            _ => {
                while let Some((_, next)) = self.rest.peek()
                    && !next.is_whitespace()
                    && !matches!(next, '{' | '}' | ';' | '"')
                {
                    self.advance();
                }
                let end = self.rest.peek().map_or(self.text.len(), |(at, _)| *at);
                Token::Word(self.text[start..end].to_owned())
            }
        };
        Ok(Some((line, token)))
    }

    fn word(&mut self, what: &'static str) -> Result<(usize, String), ClauseError> {
        match self.next()? {
            Some((line, Token::Word(word))) => Ok((line, word)),
            Some((line, _)) => fail_with(line, Problem::Expected(what)),
            None => fail_with(self.line, Problem::Expected(what)),
        }
    }

    fn expect(&mut self, expected: &Token, what: &'static str) -> Result<(), ClauseError> {
        match self.next()? {
            Some((_, token)) if token == *expected => Ok(()),
            Some((line, _)) => fail_with(line, Problem::Expected(what)),
            None => fail_with(self.line, Problem::Expected(what)),
        }
    }

    fn quoted(&mut self, line: usize) -> Result<Token, ClauseError> {
        let mut word = String::new();
        loop {
            match self.advance() {
                Some((_, '"')) => return Ok(Token::Word(word)),
                Some((_, '\\')) => {
                    // The name's own escapes are read with the name; a quote stands for itself.
                    match self.advance() {
                        Some((_, '"')) => word.push('"'),
                        Some((_, next)) => word.extend(['\\', next]),
                        None => return fail_with(line, Problem::Open("the quoted text")),
                    }
                }
                Some((_, next)) => word.push(next),
                None => return fail_with(line, Problem::Open("the quoted text")),
            }
        }
    }

    /// White space and comments, in the three forms that there are.
    fn skip_blank(&mut self) -> Result<(), ClauseError> {
        while let Some((at, next)) = self.rest.peek().copied() {
            let rest = &self.text[at..];
            if next.is_whitespace() {
                self.advance();
            } else if next == '#' || rest.starts_with("//") {
                while self.advance().is_some_and(|(_, next)| next != '\n') {}
            } else if rest.starts_with("/*") {
                let line = self.line;
                let Some(size) = rest.find("*/") else {
                    return fail_with(line, Problem::Open("the comment"));
                };
                while self
                    .rest
                    .peek()
                    .is_some_and(|(now, _)| *now < at + size + 2)
                {
                    self.advance();
                }
            } else {
                break;
            }
        }
        Ok(())
    }

    fn advance(&mut self) -> Option<(usize, char)> {
        let next = self.rest.next()?;
        self.line += usize::from(next.1 == '\n');
        Some(next)
    }
}

impl fmt::Display for ClauseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.problem)
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Open(what) => write!(f, "{what} has no end"),
            Self::Expected(what) => write!(f, "expected {what}"),
            Self::Name => f.write_str("this is not a domain name"),
            Self::Algorithm => NoMethod.fmt(f),
            Self::Secret => write!(
                f,
                "the secret is not base64 of 1 to {SECRET_SIZE_MAX} bytes"
            ),
            Self::Lacks(what) => write!(f, "the key lacks its {what}"),
        }
    }
}

impl std::error::Error for ClauseError {}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<Vec<String>, String> {
        let keys = parse(text).map_err(|error| error.to_string())?;
        let line = |key: Key| {
            let secret = String::from_utf8_lossy(key.secret.as_bytes()).into_owned();
            format!("{} {} {secret}", key.name, key.method)
        };
        Ok(keys.into_iter().map(line).collect())
    }

    #[test]
    fn keys_are_found_in_what_operators_have() {
        let check = |text: &str, expected: &[&str]| {
            let expected: Vec<String> = expected.iter().map(|&line| line.to_owned()).collect();
            assert_eq!(parsed(text), Ok(expected), "{text}");
        };
        check("", &[]);
        check(
            "key \"k.test\" {\n\talgorithm hmac-sha256;\n\tsecret \"c2VjcmV0\";\n};\n",
            &["k.test. hmac-sha256 secret"],
        );
        check(
            "key k{secret c2VjcmV0;algorithm HMAC-MD5.SIG-ALG.REG.INT.;};",
            &["k. hmac-md5 secret"],
        );
        check(
            "# one\nkey k { secret \"c2Vj\n cmV0\"; algorithm hmac-md5.sig-alg.reg.int; };\n\
             // two\noptions { listen-on { 127.0.0.1; }; directory \"/a;}\"; };\n\
             /* key no { }; */ include \"/etc/keys\";\n\
             key \"l\" { algorithm hmac-sha512-256; secret \"c2VjcmV0\"; };",
            &["k. hmac-md5 secret", "l. hmac-sha512-256 secret"],
        );
    }

    #[test]
    fn errors_say_their_line() {
        let check = |text: &str, expected: &str| {
            assert_eq!(parsed(text), Err(expected.to_owned()), "{text}");
        };
        let algorithm = "algorithm hmac-sha256;";
        check("key {", "line 1: expected the name of the key");
        check("key k {\n", "line 1: the key clause has no end");
        check(
            "key k {\nport 5; };",
            "line 2: expected algorithm, secret or }",
        );
        check("key k { algorithm x;", &format!("line 1: {}", NoMethod));
        check(
            "key k {\nsecret \"?\"; };",
            "line 2: the secret is not base64 of 1 to 256 bytes",
        );
        check(
            "key k { secret \"\"; };",
            "line 1: the secret is not base64 of 1 to 256 bytes",
        );
        check(
            &format!("\nkey k {{ {algorithm} }};"),
            "line 2: the key lacks its secret",
        );
        check(
            "key k { secret \"c2Vj\"; };",
            "line 1: the key lacks its algorithm",
        );
        check("key k { secret \"c2Vj\" };", "line 1: expected ;");
        check("\n\"x", "line 2: the quoted text has no end");
        check("/* x", "line 1: the comment has no end");
        check("key a..b { };", "line 1: this is not a domain name");
    }

    #[test]
    fn what_is_printed_reads_back() {
        for name in ["k.test.", ".", "a\\\"b.", "a\\.b.c."] {
            let key = Key {
                name: name.parse().unwrap(),
                method: "hmac-sha384-192".parse().unwrap(),
                secret: Secret::new(vec![0, 255, 7]).unwrap(),
            };
            assert_eq!(parse(&print(&key)), Ok(vec![key]), "{name}");
        }
    }
}
