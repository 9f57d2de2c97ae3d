//! Streams of established links: fetches asked for here and answered here.

use super::Router;
use crate::event::{Event, FetchId, Last};
use crate::fetch::{ANSWERS_MAX, Fetch, Role};
use crate::link_event::{Direction, LinkId, LinkOutput, StreamId};
use crate::peer_id::PeerId;
use crate::stream::{
    KIND_CHUNK, KIND_FETCH, KIND_LAST, STREAM_FRAME_SIZE_MAX, StreamReader, frame,
};
use bytes::Bytes;

impl Router {
    pub(super) fn begin_fetch(&mut self, from: PeerId, request: Bytes) -> FetchId {
        let link = self.links.get(&from).filter(|link| link.neighbor.is_up());
        let Some(triple) = link.and_then(|link| link.connection.as_ref()) else {
            let fetch = self.fetches.reserve();
            self.event(Event::FetchFailed(fetch));
            return fetch;
        };
        let link = triple.link;
        let fetch = self.fetches.insert(Fetch {
            link,
            role: Role::Opening { request },
        });
        self.link_output(LinkOutput::OpenStream {
            link,
            number: fetch.0,
            direction: Direction::Both,
        });
        fetch
    }

    pub(super) fn answer_fetch(&mut self, id: FetchId, data: &[u8], last: Last) {
        let Some(Fetch { link, role, .. }) = self.fetches.get_mut(id) else {
            return;
        };
        let Role::Answering { stream } = *role else {
            return;
        };
        let link = *link;
        let (kind, finish) = match last {
            Last::Yes => (KIND_LAST, true),
            Last::No => (KIND_CHUNK, false),
        };
        self.link_output(LinkOutput::StreamData {
            link,
            stream,
            data: frame(kind, data),
            finish,
        });
        if finish {
            self.fetches.remove(id);
        }
    }

    /// An own fetch is forgotten: what still comes of it is dropped. A neighbor's ends without
    /// its last piece, which tells it.
    pub(super) fn cancel_fetch(&mut self, id: FetchId) {
        if let Some(fetch) = self.fetches.remove(id)
            && let Role::Answering { stream } = fetch.role
        {
            self.link_output(LinkOutput::StreamData {
                link: fetch.link,
                stream,
                data: Bytes::new(),
                finish: true,
            });
        }
    }

    pub(super) fn open_fetch(&mut self, number: u64, opened: StreamId) {
        let id = FetchId(number);
        let Some(fetch) = self.fetches.get_mut(id) else {
            return;
        };
        let link = fetch.link;
        let asking = Role::Asking {
            stream: opened,
            reader: StreamReader::default(),
        };
        if let Role::Opening { request } = std::mem::replace(&mut fetch.role, asking) {
            self.link_output(LinkOutput::StreamData {
                link,
                stream: opened,
                data: frame(KIND_FETCH, &request),
                finish: true,
            });
        }
    }

    /// Bytes of the answer to an own fetch.
    pub(super) fn take_answer(&mut self, id: FetchId, data: &[u8], finished: bool) {
        let mut events = Vec::new();
        let Some(fetch) = self.fetches.get_mut(id) else {
            return;
        };
        let Role::Asking { reader, .. } = &mut fetch.role else {
            return;
        };
        reader.push(data);
        let mut is_over = finished;
        loop {
            match reader.next(STREAM_FRAME_SIZE_MAX) {
                Ok(Some((kind @ (KIND_CHUNK | KIND_LAST), data))) => {
                    let last = if kind == KIND_LAST {
                        Last::Yes
                    } else {
                        Last::No
                    };
                    let fetch = id;
                    events.push(Event::FetchChunk { fetch, data, last });
                    if last == Last::Yes {
                        is_over = false;
                        self.fetches.remove(id);
                        break;
                    }
                }
                Ok(None) => break,
                Ok(Some(_)) | Err(_) => {
                    self.counters.malformed += 1;
                    is_over = true;
                    break;
                }
            }
        }
        events.into_iter().for_each(|event| self.event(event));
        if is_over {
            self.fail_fetch(id);
        }
    }

    /// A neighbor asks for something on a stream that it opened.
    pub(super) fn begin_answer(
        &mut self,
        peer: PeerId,
        link: LinkId,
        stream: StreamId,
        request: Bytes,
    ) {
        if self.fetches.answering(link) >= ANSWERS_MAX {
            let data = Bytes::new();
            let finish = true;
            self.link_output(LinkOutput::StreamData {
                link,
                stream,
                data,
                finish,
            });
            return;
        }
        let fetch = self.fetches.insert(Fetch {
            link,
            role: Role::Answering { stream },
        });
        self.event(Event::FetchRequested {
            fetch,
            from: peer,
            request,
        });
    }

    pub(super) fn fail_fetch(&mut self, id: FetchId) {
        if self.fetches.remove(id).is_some() {
            self.event(Event::FetchFailed(id));
        }
    }
}
