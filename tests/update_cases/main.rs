//! RFC 2136 case by case, over UDP and TCP: what is answered, and what the zone holds after it. BIND
//! and Knot are asked the same; where they differ the table says why.
#![allow(
    clippy::disallowed_types,
    reason = "real processes are met at their sockets"
)]
#![allow(clippy::unwrap_used, reason = "a failing case is a failing test")]

mod case;
mod server;

use case::Case;
use server::{Carrier, Content, Kind, Server};
use std::collections::BTreeSet;
use zones::Name;

const TABLE: &str = include_str!("rfc2136.txt");
const ZONE: &str = "\
@ 3600 SOA ns1 hostmaster 10 3600 600 86400 60
@ 3600 NS ns1
@ 3600 NS ns2
@ 3600 MX 10 mail
ns1 3600 A 192.0.2.53
ns2 3600 A 192.0.2.54
mail 300 A 192.0.2.25
www 300 A 192.0.2.1
www 300 A 192.0.2.2
alias 300 CNAME www
text 300 TXT \"one\"
text 300 TXT \"two\"
both 300 A 192.0.2.3
both 300 TXT \"x\"
a.b.ent 300 TXT \"deep\"
*.wild 300 A 192.0.2.9
dn 300 DNAME target
sub 300 NS ns.sub
ns.sub 300 A 192.0.2.7
srv 300 SRV 1 2 3 www
";
/// The least that the table has to hold.
const CASES_MIN: usize = 150;

/// The zone of a case and a transport.
fn origin(number: usize, by: Carrier) -> Name {
    format!("{by:?}{number}.test")
        .to_lowercase()
        .parse()
        .unwrap()
}

/// What is wrong with what a server did, if anything is.
fn fault(
    server: &Server,
    case: &Case,
    number: usize,
    by: Carrier,
    before: &BTreeSet<String>,
) -> Option<String> {
    let origin = origin(number, by);
    let rcode = server.exchange(&case.message(number as u16, &origin), by);
    if rcode != Some(case.rcode) {
        let found = rcode.map_or_else(|| "silent".to_owned(), |rcode| rcode.to_string());
        return Some(format!("answers {found}, expected {}", case.rcode));
    }
    let (lines, serial): Content = server.content(&origin);
    let expected = case.applied(before, &origin);
    if lines != expected {
        let more: Vec<_> = lines.difference(&expected).collect();
        let less: Vec<_> = expected.difference(&lines).collect();
        return Some(format!("too much: {more:?}; too little: {less:?}"));
    }
    let is_serial = match case.serial {
        Some(wanted) => serial == wanted,
        None => (serial > 10) == case.is_change(),
    };
    (!is_serial).then(|| format!("the serial is {serial}"))
}

#[test]
fn updates_do_what_rfc_2136_says() {
    let cases = case::read(TABLE);
    assert!(cases.len() >= CASES_MIN);
    let folder = tempfile::tempdir().unwrap();
    let carriers = [Carrier::Udp, Carrier::Tcp];
    let zones: Vec<Name> = carriers
        .iter()
        .flat_map(|by| (0..cases.len()).map(|number| origin(number, *by)))
        .collect();
    let mut faults = Vec::new();
    for kind in [Kind::Ours, Kind::Bind, Kind::Knot] {
        let server = Server::start(kind, &zones, ZONE, &folder.path().join(format!("{kind:?}")));
        for by in carriers {
            for (number, case) in cases.iter().enumerate() {
                let differs = case.differs.iter().find(|(whose, _)| *whose == kind);
                if differs.is_some_and(|(_, answer)| answer == "ends") {
                    continue;
                }
                let before = tests::zone_text::read(&origin(number, by), ZONE);
                let before = before.iter().map(case::line_of).collect();
                let fault = fault(&server, case, number, by, &before);
                let told = match (fault, differs) {
                    (None, None) => continue,
                    (Some(fault), None) => fault,
                    (None, Some(_)) => "does as the table says after all".to_owned(),
                    (Some(fault), Some((_, answer))) => {
                        let is_content = *answer == case.rcode.to_string();
                        if is_content != fault.contains(&format!("answers {answer},")) {
                            continue;
                        }
                        fault
                    }
                };
                faults.push(format!("{kind:?} {by:?}: {}: {told}", case.title));
            }
        }
    }
    assert!(faults.is_empty(), "{}\n{}", faults.len(), faults.join("\n"));
}
