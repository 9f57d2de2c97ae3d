//! Records of zones as they go into a response: an SOA shows the serial that is published, and who
//! wants signatures gets them with what they cover.

use crate::message::{Builder, Full, Owner, Section};
use zones::rdata;
use zones::rtype::Rtype;
use zones::zone_set::ZoneState;
use zones::{Node, RrsetRef, Serial};

/// A response that takes records.
pub(super) struct Records<'b> {
    pub(super) builder: Builder<'b>,
    /// Signatures and proofs are wanted.
    pub(super) dnssec_ok: bool,
}

impl Records<'_> {
    /// Appends an RRset, whole or not at all.
    pub(super) fn put(
        &mut self,
        zone: &ZoneState,
        section: Section,
        owner: Owner<'_>,
        rrset: RrsetRef<'_>,
    ) -> Result<(), Full> {
        self.put_here(zone, section, owner, rrset)
    }

    /// The same for the one RRset that most responses consist of.
    #[inline(always)]
    pub(super) fn put_here(
        &mut self,
        zone: &ZoneState,
        section: Section,
        owner: Owner<'_>,
        rrset: RrsetRef<'_>,
    ) -> Result<(), Full> {
        let ttl = rrset.ttl();
        match (rrset.rtype(), &zone.shown) {
            (Rtype::SOA, Some(shown)) => {
                put_soa(&mut self.builder, section, owner, rrset, ttl, shown.serial)
            }
            (rtype, _) => self
                .builder
                .rrset(section, owner, rtype, ttl, rrset.rdata()),
        }?;
        if self.dnssec_ok
            && let Some(signatures) = rrset.signatures()
        {
            let put = self.put_signatures(section, owner, signatures.ttl(), signatures);
            // RFC 4035 section 3.1.1: in the additional section they are left out for want of room.
            if section != Section::Additional {
                return put;
            }
        }
        Ok(())
    }

    /// Appends the signatures of an RRset.
    pub(super) fn put_signatures(
        &mut self,
        section: Section,
        owner: Owner<'_>,
        ttl: u32,
        signatures: RrsetRef<'_>,
    ) -> Result<(), Full> {
        self.builder
            .rrset(section, owner, Rtype::RRSIG, ttl, signatures.rdata())
    }

    /// Appends the addresses of a host to the additional section: its own data, or glue.
    pub(super) fn put_addresses(
        &mut self,
        zone: &ZoneState,
        owner: Owner<'_>,
        host: Node<'_>,
    ) -> Result<(), Full> {
        for rtype in [Rtype::A, Rtype::AAAA] {
            if let Some(rrset) = host.rrset(rtype) {
                self.put(zone, Section::Additional, owner, rrset)?;
            }
        }
        Ok(())
    }
}

/// Appends the SOA of a zone with the serial that is shown.
pub(super) fn put_soa(
    builder: &mut Builder<'_>,
    section: Section,
    owner: Owner<'_>,
    soa: RrsetRef<'_>,
    ttl: u32,
    serial: Serial,
) -> Result<(), Full> {
    let rdata = soa.rdata().next().expect("an RRset is never empty");
    put_soa_rdata(builder, section, owner, rdata, ttl, serial)
}

/// Appends an SOA that has this RDATA but for its serial.
pub(super) fn put_soa_rdata(
    builder: &mut Builder<'_>,
    section: Section,
    owner: Owner<'_>,
    rdata: &[u8],
    ttl: u32,
    serial: Serial,
) -> Result<(), Full> {
    builder.record(section, owner, Rtype::SOA, ttl, rdata)?;
    builder.rewrite_last(rdata::SOA_NUMBERS_SIZE, &serial.0.to_be_bytes());
    Ok(())
}
