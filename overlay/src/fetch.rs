//! Bulk data over streams of a link: who asked whom, and what has come.

use crate::event::FetchId;
use crate::link_event::{LinkId, StreamId};
use crate::stream::StreamReader;
use bytes::Bytes;
use std::collections::BTreeMap;

/// Fetches of neighbors that one link answers at a time.
pub(crate) const ANSWERS_MAX: usize = 16;

/// All fetches, own and of neighbors.
#[derive(Default)]
pub(crate) struct Fetches {
    next: u64,
    fetches: BTreeMap<FetchId, Fetch>,
}

/// One fetch.
pub(crate) struct Fetch {
    pub(crate) link: LinkId,
    pub(crate) role: Role,
}

/// Which end of a fetch this peer is.
pub(crate) enum Role {
    /// The stream is asked for; the request waits.
    Opening { request: Bytes },
    /// The answer comes.
    Asking {
        stream: StreamId,
        reader: StreamReader,
    },
    /// The layer above answers.
    Answering { stream: StreamId },
}

impl Fetches {
    pub(crate) fn insert(&mut self, fetch: Fetch) -> FetchId {
        let id = self.reserve();
        self.fetches.insert(id, fetch);
        id
    }

    /// A number for a fetch that fails at once.
    pub(crate) fn reserve(&mut self) -> FetchId {
        self.next += 1;
        FetchId(self.next)
    }

    pub(crate) fn get_mut(&mut self, id: FetchId) -> Option<&mut Fetch> {
        self.fetches.get_mut(&id)
    }

    pub(crate) fn remove(&mut self, id: FetchId) -> Option<Fetch> {
        self.fetches.remove(&id)
    }

    pub(crate) fn find(&self, link: LinkId, stream: StreamId) -> Option<FetchId> {
        let mut fetches = self.fetches.iter();
        let found = fetches.find(|(_, fetch)| {
            let of = match &fetch.role {
                Role::Opening { .. } => None,
                Role::Asking { stream, .. } | Role::Answering { stream } => Some(*stream),
            };
            fetch.link == link && of == Some(stream)
        });
        found.map(|(id, _)| *id)
    }

    /// The connection is gone: so are its fetches.
    pub(crate) fn remove_link(&mut self, link: LinkId) -> Vec<FetchId> {
        let fetches = self.fetches.iter();
        let of_link = fetches.filter(|(_, fetch)| fetch.link == link);
        let gone: Vec<FetchId> = of_link.map(|(id, _)| *id).collect();
        gone.iter().for_each(|id| drop(self.fetches.remove(id)));
        gone
    }

    pub(crate) fn answering(&self, link: LinkId) -> usize {
        let fetches = self.fetches.values().filter(|fetch| fetch.link == link);
        let answering = fetches.filter(|fetch| matches!(fetch.role, Role::Answering { .. }));
        answering.count()
    }
}
