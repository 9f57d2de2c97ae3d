//! Who is a member, in the overlay's words.

use overlay::PeerId;

/// The members as the overlay wants them.
#[must_use]
pub fn overlay_members(members: &replication::MemberSet) -> overlay::MemberSet {
    let key_of = |peer: &PeerId| {
        members
            .admitted
            .iter()
            .find(|admit| admit.peer() == *peer)
            .map(|admit| admit.key)
    };
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
        excluded: members.excluded.iter().filter_map(key_of).collect(),
        evicted: members.evicted.iter().filter_map(key_of).collect(),
    }
}
