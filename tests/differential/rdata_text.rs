//! Made-up RDATA in text, for each type that made-up zones hold.

use fastrand::Rng;
use zones::Name;
use zones::rtype::Rtype;

/// RDATA of a type; `target` is the name in it, if it has one.
pub(crate) fn make(rtype: Rtype, target: &Name, random: &mut Rng) -> String {
    let byte = random.u8(..);
    match rtype {
        Rtype::A => format!("192.0.2.{byte}"),
        Rtype::AAAA => format!("2001:db8::{byte:x}"),
        Rtype::TXT => match byte {
            0..=99 => "\"\"".to_owned(),
            100..=199 => format!("\"some \\\"text\\\" {byte}\" \"and more\""),
            _ => text_of_size(usize::from(byte), 100),
        },
        Rtype::MX => format!("{byte} {target}"),
        Rtype::SRV => format!("0 {byte} 443 {target}"),
        Rtype::PTR => target.to_string(),
        Rtype::HINFO => format!("\"PC {byte}\" \"\""),
        Rtype::RP => format!("{target} ."),
        Rtype::NAPTR => format!("{byte} 10 \"u\" \"E2U+sip\" \"!^.*$!sip:x@y!\" {target}"),
        Rtype::CAA => format!("0 issue \"ca{byte}.example\""),
        // RFC 9460 section 2.4.2: the target of the alias form is another name.
        Rtype::SVCB | Rtype::HTTPS if byte < 100 => format!("0 {target}"),
        Rtype::SVCB | Rtype::HTTPS if byte < 180 => format!("{byte} . alpn=\"h2,h3\" port=8443"),
        Rtype::SVCB | Rtype::HTTPS => format!("{byte} {target} ipv4hint=192.0.2.1 key65280=x"),
        Rtype::TLSA => format!("3 1 1 {}", format!("{byte:02x}").repeat(32)),
        Rtype::DS => format!(
            "{} 13 2 {}",
            random.u16(..),
            format!("{byte:02x}").repeat(32)
        ),
        Rtype::URI => format!("10 {byte} \"https://host.example/{byte}\""),
        // RFC 3597 section 5.
        _ => format!("\\# 4 0a0000{byte:02x}"),
    }
}

/// TXT RDATA of about that many bytes; other texts have other numbers.
pub(crate) fn text_of_size(number: usize, size: usize) -> String {
    format!("\"{number}-{}\"", "t".repeat(size))
}
