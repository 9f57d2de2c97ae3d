//! The peer's side of letting newcomers in (overlay protocol section 1, replication protocol
//! section 12).
//!
//! ```text
//! Asked ─▶ Encoding ─▶ Staging ─all taken─▶ Authoring ─authored─▶ Settling ─settled─▶ Finishing
//!           aside     streamed              waits for its turn       then admission, snapshot
//! ```

use crate::blobs::Blobs;
use crate::peer::Peer;
use crate::stage;
use crate::state::State;
use bytes::Bytes;
use overlay::join::{CHUNK_SIZE_MAX, WINDOW};
use overlay::{Admit, ClusterId, LinkId, Member, PeerId, PublicKey};
use replication::{BlobHash, Majority, NotNow, Staging};
use ring::signature::{Ed25519KeyPair, KeyPair};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// How often a guest that waits is looked at, and told what it waits for.
const PERIOD: Duration = Duration::from_millis(50);

/// What is to be said to a newcomer, through `overlay::Join`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Say {
    /// A piece of the stage.
    Stage(Bytes),
    /// What it waits for.
    Progress(String),
    /// It is admitted.
    Admit(Admit, Vec<Member>),
    /// A piece of what came since.
    Snapshot(Bytes),
    /// That was all.
    Finish,
    /// No; the reason goes to this peer's own log.
    Refuse,
}

/// What this peer signs admissions with.
pub struct Signer {
    /// Its key.
    pub key: Ed25519KeyPair,
    /// Its id.
    pub me: PeerId,
    /// Its cluster.
    pub cluster: ClusterId,
}

impl Signer {
    /// What others verify with.
    #[must_use]
    pub fn public_key(&self) -> PublicKey {
        let bytes = self.key.public_key().as_ref();
        PublicKey(bytes.try_into().expect("an Ed25519 key has 32 bytes"))
    }
}

/// Encoding what a guest is streamed: it takes long for a large zone, so it is done aside.
pub struct Work {
    staging: Staging,
    checkpoint: State,
    blobs: Vec<(BlobHash, Bytes)>,
}

/// What a guest is to be streamed.
pub struct Staged {
    id: Bytes,
    chunks: VecDeque<Bytes>,
}

impl Work {
    /// Does it.
    #[must_use]
    pub fn run(self) -> Staged {
        let stage = self.staging.encode();
        let parts = stage::encode(&stage, &self.checkpoint, &self.blobs);
        Staged {
            id: stage.id,
            chunks: parts.into_iter().flat_map(chunks).collect(),
        }
    }
}

/// All newcomers at this peer.
#[derive(Default)]
pub struct Sponsor {
    guests: BTreeMap<LinkId, Guest>,
    says: VecDeque<(LinkId, Say)>,
    works: VecDeque<(LinkId, Work)>,
    due: Option<Instant>,
}

struct Guest {
    key: PublicKey,
    name: String,
    addresses: Vec<SocketAddr>,
    majority: Majority,
    space: usize,
    /// Blobs that the stage has brought.
    staged: BTreeSet<BlobHash>,
    unsent: VecDeque<Bytes>,
    stage_id: Bytes,
    step: Step,
}

enum Step {
    Encoding,
    Staging,
    Authoring { told: Option<NotNow> },
    Settling,
    Finishing,
    Done,
}

impl Sponsor {
    /// Somebody with a good token asks. `blobs` are those at hand.
    #[expect(
        clippy::too_many_arguments,
        reason = "each is a different fact of one request"
    )]
    pub fn handle_asked(
        &mut self,
        link: LinkId,
        key: PublicKey,
        name: String,
        addresses: Vec<SocketAddr>,
        space: usize,
        majority: Majority,
        peer: &Peer,
        blobs: &Blobs,
        now: Instant,
    ) -> Result<(), NameTaken> {
        let members = peer.replica().members();
        let is_taken = members
            .admits()
            .any(|admit| admit.name == name && admit.key != key);
        if is_taken {
            self.says.push_back((link, Say::Refuse));
            return Err(NameTaken(name));
        }
        let mut guest = Guest {
            key,
            name,
            addresses,
            majority,
            space,
            staged: BTreeSet::new(),
            unsent: VecDeque::new(),
            stage_id: Bytes::new(),
            step: Step::Encoding,
        };
        self.works.push_back((link, guest.stage(peer, blobs)));
        self.guests.insert(link, guest);
        self.due = Some(now);
        Ok(())
    }

    /// The guest can take more.
    pub fn handle_space(&mut self, link: LinkId, bytes: usize, now: Instant) {
        if let Some(guest) = self.guests.get_mut(&link) {
            guest.space += bytes;
            self.due = Some(now);
        }
    }

    /// The work that was asked for is done.
    pub fn handle_staged(&mut self, link: LinkId, staged: Staged, now: Instant) {
        let Some(guest) = self.guests.get_mut(&link) else {
            return;
        };
        guest.unsent = staged.chunks;
        guest.stage_id = staged.id;
        guest.step = Step::Staging;
        self.due = Some(now);
    }

    /// The guest is gone, or has everything.
    pub fn handle_gone(&mut self, link: LinkId) {
        self.guests.remove(&link);
    }

    /// Goes on with every guest.
    pub fn handle_timeout(
        &mut self,
        peer: &mut Peer,
        signer: &Signer,
        blobs: &Blobs,
        wall: Duration,
        now: Instant,
    ) {
        for (link, guest) in &mut self.guests {
            let work = guest.go_on(*link, peer, signer, blobs, &mut self.says, wall, now);
            self.works.extend(work.map(|work| (*link, work)));
        }
        self.due = (!self.guests.is_empty()).then_some(now + PERIOD);
    }

    /// When to call [`Self::handle_timeout`].
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.due
    }

    /// The next work to be done aside; then [`Self::handle_staged`].
    pub fn poll_work(&mut self) -> Option<(LinkId, Work)> {
        self.works.pop_front()
    }

    /// The next thing to say.
    pub fn poll_say(&mut self) -> Option<(LinkId, Say)> {
        self.says.pop_front()
    }
}

/// Another member has this name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NameTaken(pub String);

impl Guest {
    #[expect(
        clippy::too_many_arguments,
        reason = "each is another part of the daemon"
    )]
    fn go_on(
        &mut self,
        link: LinkId,
        peer: &mut Peer,
        signer: &Signer,
        blobs: &Blobs,
        says: &mut VecDeque<(LinkId, Say)>,
        wall: Duration,
        now: Instant,
    ) -> Option<Work> {
        if matches!(self.step, Step::Staging) {
            self.send(|bytes| says.push_back((link, Say::Stage(bytes))));
            // All is taken when the whole window has come back.
            if self.unsent.is_empty() && self.space >= WINDOW {
                self.step = Step::Authoring { told: None };
            }
        }
        if let Step::Authoring { told } = self.step {
            let authored = if self.is_member(peer) {
                Ok(())
            } else {
                peer.handle_join(self.sign(signer, wall), self.majority, wall, now)
            };
            match authored {
                Ok(()) => self.step = Step::Settling,
                Err(reason) if told != Some(reason) => {
                    self.step = Step::Authoring { told: Some(reason) };
                    says.push_back((link, Say::Progress(text_of(reason).to_owned())));
                }
                Err(_) => {}
            }
        }
        if matches!(self.step, Step::Settling)
            && let Some(admit) = self.admission(peer)
        {
            let peer_id = self.key.peer_id();
            let snapshot = match peer
                .replica()
                .snapshot_for(peer_id, &self.stage_id, self.majority)
            {
                Ok(snapshot) => snapshot,
                // This peer's checkpoint has moved on: what was streamed leads nowhere.
                Err(NotNow::StageTooOld) => return Some(self.stage(peer, blobs)),
                Err(_) => return None,
            };
            let members = peer
                .replica()
                .members()
                .admits()
                .map(|admit| Member {
                    key: admit.key,
                    name: admit.name.clone(),
                    addresses: admit.addresses.clone(),
                })
                .collect();
            says.push_back((link, Say::Admit(admit, members)));
            let later = named_blobs(peer, blobs, |hash| !self.staged.contains(hash));
            self.unsent = stage::encode_snapshot(&snapshot, &later)
                .into_iter()
                .flat_map(chunks)
                .collect();
            self.step = Step::Finishing;
        }
        if matches!(self.step, Step::Finishing) {
            self.send(|bytes| says.push_back((link, Say::Snapshot(bytes))));
            if self.unsent.is_empty() {
                says.push_back((link, Say::Finish));
                self.step = Step::Done;
            }
        }
        None
    }

    /// Begins with the present checkpoint and log.
    fn stage(&mut self, peer: &Peer, blobs: &Blobs) -> Work {
        let named = named_blobs(peer, blobs, |_| true);
        self.staged = named.iter().map(|(hash, _)| *hash).collect();
        self.unsent.clear();
        self.step = Step::Encoding;
        Work {
            staging: peer.replica().stage(),
            checkpoint: peer.checkpoint().clone(),
            blobs: named,
        }
    }

    fn send(&mut self, mut say: impl FnMut(Bytes)) {
        while let Some(chunk) = self.unsent.front() {
            if chunk.len() > self.space {
                break;
            }
            self.space -= chunk.len();
            say(self.unsent.pop_front().expect("it was just seen"));
        }
    }

    fn sign(&self, signer: &Signer, wall: Duration) -> Admit {
        Admit::sign(
            &signer.key,
            signer.cluster,
            self.key,
            self.name.clone(),
            self.addresses.clone(),
            signer.me,
            wall,
        )
    }

    fn is_member(&self, peer: &Peer) -> bool {
        self.admission(peer).is_some()
    }

    fn admission(&self, peer: &Peer) -> Option<Admit> {
        peer.replica()
            .members()
            .admits()
            .find(|admit| admit.key == self.key)
            .cloned()
    }
}

/// The blobs that entries of the log name.
fn named_blobs(
    peer: &Peer,
    blobs: &Blobs,
    wanted: impl Fn(&BlobHash) -> bool,
) -> Vec<(BlobHash, Bytes)> {
    let named: BTreeSet<BlobHash> = peer.replica().named_blobs().filter(wanted).collect();
    let at_hand = |hash: BlobHash| Some((hash, blobs.get(&hash)?));
    named.into_iter().filter_map(at_hand).collect()
}

fn chunks(bytes: Bytes) -> impl Iterator<Item = Bytes> {
    let count = bytes.len().div_ceil(CHUNK_SIZE_MAX);
    (0..count).map(move |i| {
        let start = i * CHUNK_SIZE_MAX;
        bytes.slice(start..bytes.len().min(start + CHUNK_SIZE_MAX))
    })
}

/// Why a change of the membership waits, for people.
#[must_use]
pub fn text_of(reason: NotNow) -> &'static str {
    match reason {
        NotNow::NotSettled => "the cluster is agreeing on who settles together",
        NotNow::ChangePending => "another peer is joining or leaving; one change at a time",
        NotNow::NoMajority => {
            "more than half of the members must be in reach; if the others are off for good, \
             evict them, or use --force"
        }
        NotNow::Member => "the peer is a member already",
        NotNow::NoMember => "there is no such member",
        NotNow::NameTaken => "another member has this name",
        NotNow::Unable => "this peer takes no entries now: its disk hangs or it was evicted",
        NotNow::StageTooOld => "too much has happened since the data was sent; join again",
        NotNow::JoinNotSettled => "the join is not settled yet",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{CLUSTER, WALL, key, peer_of_one, public};

    #[test]
    fn a_guest_is_streamed_what_was_encoded_aside() {
        let (mut peer, now) = peer_of_one();
        let key_of_one = key(7);
        let signer = Signer {
            me: public(&key_of_one).peer_id(),
            key: key_of_one,
            cluster: CLUSTER,
        };
        let blobs = Blobs::default();
        let (mut sponsor, link) = (Sponsor::default(), LinkId(1));
        let guest = public(&key(8));
        sponsor
            .handle_asked(
                link,
                guest,
                "two".to_owned(),
                Vec::new(),
                WINDOW,
                Majority::Needed,
                &peer,
                &blobs,
                now,
            )
            .unwrap();
        sponsor.handle_timeout(&mut peer, &signer, &blobs, WALL, now);
        assert_eq!(sponsor.poll_say(), None);
        let (of, work) = sponsor.poll_work().expect("the stage is to be encoded");
        assert_eq!(of, link);
        assert!(sponsor.poll_work().is_none());
        sponsor.handle_staged(link, work.run(), now);
        sponsor.handle_timeout(&mut peer, &signer, &blobs, WALL, now);
        assert!(matches!(sponsor.poll_say(), Some((_, Say::Stage(_)))));

        // One that has gone meanwhile is not missed.
        let work = sponsor.guests.get_mut(&link).unwrap().stage(&peer, &blobs);
        sponsor.handle_gone(link);
        sponsor.handle_staged(link, work.run(), now);
        while sponsor.poll_say().is_some() {}
        sponsor.handle_timeout(&mut peer, &signer, &blobs, WALL, now);
        assert_eq!(sponsor.poll_say(), None);
    }
}
