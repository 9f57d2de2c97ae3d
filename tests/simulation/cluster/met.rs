//! What passages exist for, counted where it happens: a run that only meant to meet it proves
//! nothing.

/// One kind of event.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Met {
    /// An import was settled while the network was cut.
    ImportWhileCut,
    /// A zone that was served was imported again.
    Reloaded,
    /// The same, and it was refused since somebody else changed the zone meanwhile.
    ReloadOutdated,
    /// Who was giving the data of an import died after its first piece.
    HolderDiedInFetch,
    /// The author died when the data was durable with it, before the entry was made.
    AuthorDiedBeforeOffer,
    /// The author died when the first other peer had the data, before the entry was made.
    AuthorDiedBeforeCommit,
    /// The author died while its disk wrote the entry.
    AuthorDiedWithEntry,
    /// Data without an entry was dropped in time.
    OrphanDropped,
    /// A newcomer was sent the stage again: the sponsor's checkpoint had passed it.
    StagedAgain,
    /// An eviction was held and not settled while its author was cut off.
    EvictionWhileCut,
    /// The victim of an eviction by a peer evicted earlier is a member in the end.
    EvictionVoid,
    /// A living peer was told of its eviction.
    EvictionTold,
    /// A wall clock jumped by minutes.
    ClockByMinutes,
    /// A wall clock jumped by hours.
    ClockByHours,
    /// It jumped back.
    ClockBack,
    /// A peer noticed that its clock is off.
    ClockNoticed,
    /// One of three clocks was set by hours, and no stamp followed it.
    ClockIgnored,
    /// A peer withdrew because of its disk.
    Withdrawn,
    /// And came back.
    Returned,
    /// Requests were answered elsewhere while a disk hung.
    AnsweredBesideHungDisk,
    /// Nothing was asked for minutes; then a request was answered at once.
    AnsweredAfterIdle,
    /// Leases ended while the network was cut, or somebody was away.
    LeaseEndedWhileCut,
}

impl Met {
    /// How often the seeds of a usual test run must meet each.
    pub(crate) const LEAST: [(Self, u64); 22] = [
        (Self::LeaseEndedWhileCut, 2),
        (Self::ImportWhileCut, 4),
        (Self::Reloaded, 5),
        (Self::ReloadOutdated, 1),
        (Self::HolderDiedInFetch, 3),
        (Self::AuthorDiedBeforeOffer, 1),
        (Self::AuthorDiedBeforeCommit, 1),
        (Self::AuthorDiedWithEntry, 1),
        (Self::OrphanDropped, 2),
        (Self::StagedAgain, 1),
        (Self::EvictionWhileCut, 3),
        (Self::EvictionVoid, 2),
        (Self::EvictionTold, 5),
        (Self::ClockByMinutes, 5),
        (Self::ClockByHours, 5),
        (Self::ClockBack, 5),
        (Self::ClockNoticed, 3),
        (Self::ClockIgnored, 3),
        (Self::Withdrawn, 3),
        (Self::Returned, 3),
        (Self::AnsweredBesideHungDisk, 3),
        (Self::AnsweredAfterIdle, 3),
    ];
}
