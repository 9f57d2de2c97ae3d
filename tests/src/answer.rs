//! A DNS response as text: what a person sees of it, in zone-file form.

use crate::zone_text;
use std::fmt;
use zones::rtype::{Class, Rtype};
use zones::{Name, Rcode, Record, rdata};

/// A response, read.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Repeats that of the request.
    pub id: u16,
    /// The flags, the RCODE's bits cut out.
    pub flags: u16,
    /// The RCODE, with the bits that stand in OPT.
    pub rcode: Rcode,
    /// The question: `www.example. IN A`.
    pub question: Option<String>,
    /// Answer, authority and additional section.
    pub sections: [Vec<Record>; 3],
    /// The OPT record, its options by code: `OPT 1232 DO 11=0064`.
    pub opt: Option<String>,
    /// Whether a TSIG record ends it.
    pub is_signed: bool,
}

impl Answer {
    /// Reads a message. All of it must be well formed, by this reader and by that of hickory.
    pub fn read(message: &[u8]) -> Result<Self, String> {
        use hickory_proto::op::Message;
        Message::from_vec(message).map_err(|error| format!("hickory: {error}"))?;
        let header = message.get(..12).ok_or("shorter than a header")?;
        let word = |i: usize| u16::from_be_bytes([header[2 * i], header[2 * i + 1]]);
        let mut answer = Self {
            id: word(0),
            flags: word(1) & 0xfff0,
            rcode: Rcode(word(1) & 15),
            question: None,
            sections: [Vec::new(), Vec::new(), Vec::new()],
            opt: None,
            is_signed: false,
        };
        let mut at = 12;
        for _ in 0..word(2) {
            let (qname, end) = read_name(message, at)?;
            let (qtype, qclass) = (Rtype(read_u16(message, end)?), read_u16(message, end + 2)?);
            answer.question = Some(format!("{qname} {} {qtype}", Class(qclass)));
            at = end + 4;
        }
        for section in 0..3 {
            for _ in 0..word(3 + section) {
                at = answer.read_record(message, at, section)?;
            }
        }
        if at != message.len() {
            return Err("bytes follow the message".to_owned());
        }
        Ok(answer)
    }

    fn read_record(&mut self, message: &[u8], at: usize, section: usize) -> Result<usize, String> {
        let (owner, at) = read_name(message, at)?;
        let rtype = Rtype(read_u16(message, at)?);
        let class = read_u16(message, at + 2)?;
        let (high, low) = (read_u16(message, at + 4)?, read_u16(message, at + 6)?);
        let start = at + 10;
        let end = start + usize::from(read_u16(message, at + 8)?);
        if end > message.len() {
            return Err("RDATA is cut short".to_owned());
        }
        if rtype == Rtype::OPT {
            let dnssec_ok = if low & 0x8000 == 0 { "" } else { " DO" };
            let options = read_options(&message[start..end])?;
            self.opt = Some(format!("OPT {class}{dnssec_ok}{options}"));
            self.rcode.0 |= (high >> 8) << 4;
            return Ok(end);
        }
        if rtype == Rtype::TSIG {
            self.is_signed = true;
            return Ok(end);
        }
        if !matches!(Class(class), Class::IN | Class::CH) {
            return Err(format!("a record of class {class}"));
        }
        let rdata = rdata::from_message(rtype, message, start..end)
            .map_err(|error| format!("{owner} {rtype}: {error}"))?;
        self.sections[section].push(Record {
            owner,
            rtype,
            ttl: u32::from(high) << 16 | u32::from(low),
            rdata,
        });
        Ok(end)
    }
}

impl fmt::Display for Answer {
    /// RCODE and flags, then the sections, each under its name.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.rcode)?;
        for (bit, name) in [
            (0x0400, "AA"),
            (0x0200, "TC"),
            (0x0100, "RD"),
            (0x0080, "RA"),
            (0x0020, "AD"),
            (0x0010, "CD"),
        ] {
            if self.flags & bit != 0 {
                write!(f, " {name}")?;
            }
        }
        writeln!(f)?;
        for (name, records) in ["answer", "authority", "additional"]
            .iter()
            .zip(&self.sections)
        {
            if !records.is_empty() {
                writeln!(f, "{name}")?;
            }
            for record in records {
                writeln!(f, "  {}", zone_text::line(record))?;
            }
        }
        self.opt.iter().try_for_each(|opt| writeln!(f, "{opt}"))?;
        let signed = if self.is_signed { "TSIG\n" } else { "" };
        f.write_str(signed)
    }
}

/// EDNS options, each as ` CODE=HEX`.
fn read_options(rdata: &[u8]) -> Result<String, String> {
    let mut options = String::new();
    let mut at = 0;
    while at < rdata.len() {
        let (code, size) = (read_u16(rdata, at)?, read_u16(rdata, at + 2)?);
        let start = at + 4;
        at = start + usize::from(size);
        let data = rdata.get(start..at).ok_or("an option is cut short")?;
        options += &format!(" {code}=");
        options.extend(data.iter().map(|byte| format!("{byte:02x}")));
    }
    Ok(options)
}

fn read_name(message: &[u8], at: usize) -> Result<(Name, usize), String> {
    Name::from_message(message, at).map_err(|error| error.to_string())
}

fn read_u16(message: &[u8], at: usize) -> Result<u16, String> {
    match message.get(at..at + 2) {
        Some(two) => Ok(u16::from_be_bytes([two[0], two[1]])),
        None => Err("the message is cut short".to_owned()),
    }
}
