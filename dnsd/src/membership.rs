//! Who is a member, in the overlay's words.

/// The members as the overlay wants them. Evictions are handed on by id: they hold for ever, and
/// the admissions that they undo are forgotten with the log.
#[must_use]
pub fn overlay_members(members: &replication::MemberSet) -> overlay::MemberSet {
    overlay::MemberSet {
        admitted: members
            .admitted
            .iter()
            .map(|admit| overlay::Member {
                key: admit.key,
                name: admit.name.clone(),
                addresses: admit.addresses.clone(),
            })
            .collect(),
        excluded: members.excluded.to_vec(),
        evicted: members.evicted.to_vec(),
    }
}
