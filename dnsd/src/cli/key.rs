//! `dnsd key`: secrets that clients sign by.

use super::output::{Output, table};
use super::{Failure, ask, unknown};
use crate::admin::{Done, KeyInUse, KeySpec, Request, SecretText};
use crate::io::file::read;
use crate::status::{KeyDetail, KeyRow};
use crate::tsig::{Method, clause};
use clap::Subcommand;
use std::path::{Path, PathBuf};
use zones::Name;

/// `key list`, `add`, `import`, `show`, `remove`.
#[derive(Debug, Subcommand)]
pub enum KeyCommand {
    /// List the keys, without their secrets
    List,
    /// Make a key, and print it as nsupdate and dig read it
    #[command(after_help = ADD_EXAMPLES)]
    Add {
        /// Its name
        name: Name,
        /// By what it signs; with -BITS behind it if a truncated MAC is enough
        #[arg(long, value_name = "ALGORITHM", default_value = "hmac-sha256")]
        algorithm: Method,
        /// Its secret in base64 [default: one that nobody can guess]
        #[arg(long, value_name = "BASE64")]
        secret: Option<String>,
        /// Put it in the place of a key that has the name
        #[arg(long)]
        replace: bool,
    },
    /// Make the keys of a file: `key` clauses as BIND has them; all else in it is passed over
    Import {
        /// The file
        file: PathBuf,
        /// Put them in the place of keys that have the names
        #[arg(long)]
        replace: bool,
    },
    /// Print a key with its secret, as nsupdate and dig read it
    Show {
        /// Its name
        name: Name,
    },
    /// Remove a key: what is signed by it is refused from here on
    Remove {
        /// Its name
        name: Name,
    },
}

const ADD_EXAMPLES: &str = "\
Examples:
  dnsd key add ddns.example > ddns.key; nsupdate -k ddns.key
  dnsd key add kea --algorithm hmac-sha512 --secret \"$(cat kea.secret)\"
A secret in the command line is seen by others on this machine; `import` reads one from a file.";

pub(super) fn run(
    command: &KeyCommand,
    socket: &Path,
    out: &mut Output<'_>,
) -> Result<(), Failure> {
    match command {
        KeyCommand::List => match ask(socket, &Request::KeyList)? {
            Done::Keys(keys) => out.data(&keys, |keys| list_text(keys)),
            other => Err(unknown(&other)),
        },
        KeyCommand::Add {
            name,
            algorithm,
            secret,
            replace,
        } => {
            let spec = KeySpec {
                name: name.clone(),
                algorithm: *algorithm,
                secret: secret.clone().map(SecretText),
            };
            let key = add(socket, spec, *replace)?;
            warn(&key);
            // Who has brought the secret has it.
            match secret {
                None => out.data(&key, KeyDetail::clause),
                Some(_) => out.data(&key.without_secret(), |key| {
                    format!("{}\n", added_text(key))
                }),
            }
        }
        KeyCommand::Import { file, replace } => import(file, *replace, socket, out),
        KeyCommand::Show { name } => {
            let name = name.clone();
            match ask(socket, &Request::KeyShow { name })? {
                Done::Key(key) => out.data(&key, KeyDetail::clause),
                other => Err(unknown(&other)),
            }
        }
        KeyCommand::Remove { name } => {
            let name = name.clone();
            match ask(socket, &Request::KeyRemove { name })? {
                Done::KeyRemoved { name } => out.line(&format!("{name} is removed")),
                other => Err(unknown(&other)),
            }
        }
    }
}

/// Reads all of the file first: one with a fault changes nothing.
fn import(file: &Path, replace: bool, socket: &Path, out: &mut Output<'_>) -> Result<(), Failure> {
    let place = file.display();
    let text = String::from_utf8_lossy(&read(file)?).into_owned();
    let keys = clause::parse(&text)
        .map_err(|error| Failure::Faults(format!("{place}:{}: {}", error.line, error.problem)))?;
    if keys.is_empty() {
        return Err(Failure::Message(format!("{place} has no key clause")));
    }
    let mut rows = Vec::new();
    for key in keys {
        let detail = KeyDetail::of(&key);
        let spec = KeySpec {
            name: detail.name,
            algorithm: detail.algorithm,
            secret: Some(detail.secret),
        };
        let key = add(socket, spec, replace)?;
        warn(&key);
        rows.push(key.without_secret());
    }
    out.data(&rows, |rows| {
        rows.iter().map(|key| added_text(key) + "\n").collect()
    })
}

fn add(socket: &Path, key: KeySpec, replace: bool) -> Result<KeyDetail, Failure> {
    let in_use = match replace {
        true => KeyInUse::Replaced,
        false => KeyInUse::Refused,
    };
    match ask(socket, &Request::KeyAdd { key, in_use })? {
        Done::Key(key) => Ok(key),
        other => Err(unknown(&other)),
    }
}

/// Says on standard error what is to be known of a key that is weak.
fn warn(key: &KeyDetail) {
    if key.algorithm.algorithm.is_weak() {
        eprintln!(
            "warning: {} is weak and not recommended (RFC 8945 section 6); use hmac-sha256 where \
             the client can",
            key.algorithm
        );
    }
    if key.is_short() {
        eprintln!(
            "warning: the secret of {} is short: it may be guessed",
            key.name
        );
    }
}

fn added_text(key: &KeyRow) -> String {
    format!("{} signs by {}", key.name, key.algorithm)
}

fn list_text(keys: &[KeyRow]) -> String {
    if keys.is_empty() {
        return "There are no keys. `dnsd key add NAME` makes one.\n".to_owned();
    }
    let row = |key: &KeyRow| vec![key.name.to_string(), key.algorithm.to_string()];
    table(
        &["NAME", "ALGORITHM"],
        &keys.iter().map(row).collect::<Vec<_>>(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_shows_no_secret() {
        let key =
            &clause::parse("key k { algorithm hmac-sha256; secret \"c2VjcmV0\"; };").unwrap()[0];
        let row = KeyDetail::of(key).without_secret();
        assert_eq!(list_text(&[row]), "NAME  ALGORITHM\nk.    hmac-sha256\n");
    }

    #[test]
    fn a_key_is_printed_as_a_clause() {
        let text = "key \"k\" {\n\talgorithm hmac-sha256;\n\tsecret \"c2VjcmV0\";\n};\n";
        let key = KeyDetail::of(&clause::parse(text).unwrap()[0]);
        assert_eq!(key.clause(), text);
        assert!(key.is_short());
        assert!(!format!("{key:?}").contains("c2Vj"));
    }
}
