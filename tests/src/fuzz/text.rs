//! What people and other programs write: names, zone files, configuration files, rules, scripts of
//! updates, tokens.

use crate::zone_text;
use dnsd::config::{ServeConfig, Settings};
use dnsd::policy::Rule;
use dnsd::update_script;
use overlay::Token;
use zones::record::RecordRef;
use zones::zonefile::{Source, parse};
use zones::{Name, Record, Update, Version};

/// Records of one input that are compared after printing: `$GENERATE` makes many.
const COMPARED_MAX: usize = 200;

/// A name in wire form, in a message at every offset, and as text.
pub fn run_name(bytes: &[u8]) {
    for at in 0..bytes.len().min(64) {
        if let Ok((name, end)) = Name::from_message(bytes, at) {
            assert!(end <= bytes.len() && name.as_wire().len() <= 255);
            check_name(&name);
        }
    }
    if let Ok(name) = Name::from_wire(bytes) {
        assert!(bytes.starts_with(name.as_wire()));
        check_name(&name);
    }
    if let Ok(name) = Name::from_text(bytes, Some(&"example.".parse().unwrap())) {
        check_name(&name);
    }
}

fn check_name(name: &Name) {
    let text = name.to_string();
    let again = Name::from_text(text.as_bytes(), None).unwrap();
    assert_eq!(again.as_wire(), name.as_wire(), "{text}");
    assert_eq!(name.labels().count(), name.label_count());
    assert_eq!(name.to_lowercase(), *name, "case is ignored");
}

pub fn name_samples() -> Vec<Vec<u8>> {
    vec![
        b"\x03www\x07example\0".to_vec(),
        b"\x03www\x07example\0\x01a\xc0\x04\x02bb\xc0\x0d".to_vec(),
        br"a\.b.\000\255.*.Example.COM.".to_vec(),
        b"@".to_vec(),
        [&[63][..], &[b'x'; 63], &[0]].concat(),
        [[1, b'a'].repeat(127), vec![0]].concat(),
    ]
}

/// A zone file: what it says is printed and read again as the same, and makes a version.
pub fn run_zonefile(text: &[u8]) {
    let origin: Name = "example.".parse().unwrap();
    let Some(records) = read(text, &origin) else {
        return;
    };
    let printed: String = records
        .iter()
        .take(COMPARED_MAX)
        .map(|record| zone_text::line(record) + "\n")
        .collect();
    let again = read(printed.as_bytes(), &origin)
        .unwrap_or_else(|| panic!("what is printed is read:\n{printed}"));
    for (record, again) in records.iter().zip(&again) {
        assert_eq!(record.rdata.as_bytes(), again.rdata.as_bytes(), "{printed}");
        assert_eq!(
            (&record.owner, record.rtype, record.ttl),
            (&again.owner, again.rtype, again.ttl)
        );
    }
    if let Ok(version) = Version::from_records(&origin, &records) {
        assert!(version.counts().names > 0);
    }
}

fn read(text: &[u8], origin: &Name) -> Option<Vec<Record>> {
    let source = Source {
        name: "fuzz".to_owned(),
        text: text.to_vec(),
    };
    let mut include = |_: &str, _: &str| Err("there are no other files".to_owned());
    let parsed = parse(&source, origin, &mut include, &mut |_| {}).ok()?;
    let records = parsed.records.iter();
    Some(records.map(RecordRef::to_record).collect())
}

pub fn zonefile_samples() -> Vec<Vec<u8>> {
    [
        "$TTL 1h30m\n@ SOA ns1 host.master ( 1 2h 3m ; comment\n 4w 5 )\n NS ns1\nns1 A 192.0.2.1\n",
        "$ORIGIN a.example.\n@ 60 IN TXT \"a \\\"quoted\\\" string\" bare \\065\n  CAA 0 issue \"x\"\n",
        "$GENERATE 1-9/2 host${0,3,x} 60 A 192.0.2.$\nx 60 MX 10 @\ny 60 SRV 1 2 3 z\n",
        "t 60 TYPE65280 \\# 4 0a0b 0c0d\nu 60 A \\# 4 c0000201\n",
        "h 60 HTTPS 1 . alpn=\"h2,h3\" port=443 ipv4hint=192.0.2.1 key65000=x\nl 60 LOC 52 22 23.000 N 4 53 32.000 E -2.00m 0.00m 10000m 10m\n",
        "n 60 NAPTR 1 2 \"u\" \"E2U+sip\" \"!^.*$!sip:x@y!\" .\ns 60 SSHFP 1 1 aabb\nd 60 DS 1 8 2 aabb\n",
        "r 60 RRSIG A 8 2 60 20260101000000 20250101000000 1 example. AAAA\nm 60 NSEC x A RRSIG TYPE1234\n3 60 NSEC3 1 0 1 aabb 2vptu5timamqttgl4luu9kg21e0aor3s A\n",
        "e 60 DHCID AAIBY2/AuCccgoJbsaxcQc9TUapptP69lOjxfNuVAA2kjEA=\nu 60 URI 1 2 \"ftp://x\"\np 60 RP a b\nc 60 CSYNC 1 3 A\nz 60 ZONEMD 1 1 1 aabb\n",
    ]
    .map(|text| text.as_bytes().to_vec())
    .to_vec()
}

/// A configuration file.
pub fn run_config(text: &[u8]) {
    let Ok(text) = std::str::from_utf8(text) else {
        return;
    };
    match Settings::from_toml(text) {
        Ok(settings) => {
            if let Err(contradiction) = ServeConfig::new(&Settings::default(), &settings) {
                assert!(!contradiction.to_string().is_empty());
            }
        }
        Err(bad) => assert!(bad.line > 0 && bad.column > 0),
    }
}

pub fn config_samples() -> Vec<Vec<u8>> {
    [
        "name = \"a\"\nlisten = [\"127.0.0.1:5353\", \"[::1]:53\"]\nlog-format = \"json\"\n",
        "listen = \"none\"\nzone = [\"example.test=zone.txt\"]\nallow-update = [\"127.0.0.0/8\", \"::1\"]\n",
        "[overlay]\nprofile = \"wan\"\npeer-listen = \"0.0.0.0:5300\"\nlink = [\"b\"]\n",
        "set-aside-corrupt-store = true\njoin = \"zonecast1\"\nmetrics = \"127.0.0.1:9153\"\n",
    ]
    .map(|text| text.as_bytes().to_vec())
    .to_vec()
}

/// A rule of the policy, and a script of updates.
pub fn run_policy(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    if let Ok(rule) = text.parse::<Rule>() {
        assert_eq!(rule.to_string().parse(), Ok(rule));
    }
    let zone: Name = "example.".parse().unwrap();
    match update_script::parse(&text) {
        Ok(drafts) => {
            for message in drafts.iter().filter_map(|draft| draft.message(&zone)) {
                let update = Update::from_message(&message).unwrap();
                assert_eq!(update.zone(), &zone);
            }
        }
        Err(error) => assert!(error.line > 0),
    }
}

pub fn policy_samples() -> Vec<Vec<u8>> {
    [
        "update key k.example from 192.0.2.0/24 name a.example TXT(2) ttl-max 2m lease 1h",
        "deny update from ::/0 wildcard *.a.example ANY",
        "transfer key * from 10.0.0.0/8",
        "zone example\nttl 60\nprereq yxrrset a IN A 192.0.2.1\nadd a.example TXT \"x y\"\nsend\n",
        "update add a.example 60 MX 10 b\nupdate delete b.example A\ndel c.example\nnxdomain d.example\n",
    ]
    .map(|text| text.as_bytes().to_vec())
    .to_vec()
}

/// A token as text, and its fields as they are stored.
pub fn run_token(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    if let Ok(token) = text.parse::<Token>() {
        assert_eq!(token.to_string().parse(), Ok(token));
    }
    // A token that names nobody to dial is not made, and not taken.
    if let Some(token) = Token::decode(&mut &*bytes).filter(|token| !token.addresses.is_empty()) {
        assert_eq!(token.to_string().parse(), Ok(token));
    }
}

pub fn token_samples() -> Vec<Vec<u8>> {
    let mut stored = [3; 72].to_vec();
    stored[64..].copy_from_slice(&4_000_000_000u64.to_be_bytes());
    let mut samples = Vec::new();
    for addresses in [&[0][..], &[1, 4, 192, 0, 2, 1, 20, 180]] {
        let stored = [&stored, addresses].concat();
        if let Some(token) = Token::decode(&mut &stored[..]) {
            samples.push(token.to_string().into_bytes());
        }
        samples.push(stored);
    }
    samples
}
