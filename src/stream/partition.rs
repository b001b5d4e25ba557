//! What the worker knows of one assigned partition: its lanes, and how its reading stands.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use crate::event_log::TopicPartition;
use crate::kernel::key::{PartId, Shard};
use crate::kernel::plan::{Fingerprint, ViewPlan};
use crate::kernel::time::EventTime;
use crate::online::{Advance, Claim, Nonce};
use crate::stream::Ticket;
use crate::stream::batch::Batch;
use crate::stream::cache::Slot;

pub(super) struct Partition {
    pub at: TopicPartition,
    /// What the log held when it was last asked.
    pub held: Range<u64>,
    pub tracks: BTreeMap<Fingerprint, Track>,
    pub phase: Phase,
    /// Whether the log was told to hold back.
    pub paused: bool,
    /// The next record to read.
    pub next: u64,
    /// Records below were counted before: a record that is read again is not rejected twice.
    pub counted: u64,
    /// The smallest ingestion time of the last batch: the record time of semantics §6.
    pub record_time: EventTime,
    pub newest_event_time: Option<EventTime>,
}

pub(super) enum Phase {
    /// Not read: some lane is not held yet.
    Claiming,
    /// Not read yet: a lane stands beyond the end of the log, as last heard, which is asked anew under this ticket.
    Looking(Ticket),
    /// Read under the ticket of its last seek. At most one batch waits, for parts or for room.
    Reading { ticket: Ticket, waiting: Option<Batch> },
    /// Not read any more, and why.
    Stopped(String),
    /// Not read any more: let go once it is flushed.
    Releasing,
}

/// One view version over one partition.
pub(super) struct Track {
    pub view: Arc<ViewPlan>,
    /// By shard.
    pub lanes: Vec<Lane>,
    /// Records below were counted before, as in [`Partition::counted`].
    pub counted: u64,
    /// The log's end when this version was first claimed here: caught up is what is stored beyond it.
    pub goal: u64,
}

/// One view version over one partition within one shard.
pub(super) struct Lane {
    pub hold: Hold,
    /// The offset in the store, as far as was acknowledged: where the next advance starts.
    pub stored: u64,
    /// The next record to fold.
    pub folded: u64,
    /// Parts folded since the last flush.
    pub unflushed: Vec<Slot>,
}

/// Names a lane. A version is read from one topic, so no topic is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct LaneId {
    pub shard: Shard,
    pub version: Fingerprint,
    pub part: PartId,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hold {
    Unclaimed,
    Claiming(Ticket),
    Held(Nonce),
    /// Ours, and not folded: it stands below the cut of a seeding, so the store has lost some of its rows, in a failover or
    /// all at once, and nothing may be folded on top of the others. Left to whoever builds the version anew; where somebody
    /// gives it its rows after all, the next look at where it stands is refused, and it is claimed again.
    Lost(Nonce),
    /// A flush was refused: to be claimed again once membership is proven.
    Refused,
}

impl Hold {
    /// By which the lane is ours.
    pub fn nonce(self) -> Option<Nonce> {
        match self {
            Hold::Held(nonce) | Hold::Lost(nonce) => Some(nonce),
            Hold::Unclaimed | Hold::Claiming(_) | Hold::Refused => None,
        }
    }
}

impl Partition {
    pub fn new(at: TopicPartition, held: Range<u64>) -> Partition {
        Partition {
            at,
            next: held.start,
            counted: held.start,
            held,
            tracks: BTreeMap::new(),
            phase: Phase::Claiming,
            paused: false,
            record_time: EventTime::MIN,
            newest_event_time: None,
        }
    }

    /// Takes a version up, from the log's start unless the store knows better.
    pub fn follow(&mut self, view: &Arc<ViewPlan>, shards: u16) {
        let lanes = (0..shards).map(|_| Lane::unclaimed()).collect();
        let track = Track { view: view.clone(), lanes, counted: 0, goal: self.held.end };
        self.tracks.insert(view.rows, track);
    }

    pub fn is_read(&self) -> bool {
        matches!(self.phase, Phase::Claiming | Phase::Looking(_) | Phase::Reading { .. })
    }

    /// Whether it is not on its way out.
    pub fn stays(&self) -> bool {
        !matches!(self.phase, Phase::Releasing)
    }

    /// Records that the log holds, as last heard, and that are not folded yet.
    pub fn lag(&self) -> u64 {
        self.held.end.saturating_sub(self.next)
    }

    /// Whether all lanes are ours.
    pub fn is_claimed(&self) -> bool {
        self.lanes().all(|lane| lane.hold.nonce().is_some())
    }

    /// Whether there is anything to read for.
    pub fn is_folded(&self) -> bool {
        self.lanes().any(|lane| !lane.is_lost())
    }

    /// Whether the store has all that was folded, or refused it.
    pub fn is_flushed(&self) -> bool {
        self.tracks.values().all(|track| track.lanes.iter().all(|lane| !lane.is_ahead()))
    }

    /// Whether a claim is not answered yet.
    pub fn is_claiming(&self) -> bool {
        self.lanes().any(|lane| matches!(lane.hold, Hold::Claiming(_)))
    }

    pub fn is_ahead(&self, shard: Shard) -> bool {
        self.tracks.values().any(|track| track.lanes[usize::from(shard.0)].is_ahead())
    }

    /// Where reading has to start for every lane that is folded to miss nothing.
    pub fn smallest_folded(&self) -> u64 {
        self.tracks.values().filter_map(Track::smallest_folded).min().unwrap_or(self.next)
    }

    /// Records below are in the store, in every lane that is folded.
    pub fn smallest_stored(&self) -> u64 {
        let folded = self.lanes().filter(|lane| !lane.is_lost());
        folded.map(|lane| lane.stored).min().unwrap_or(self.next)
    }

    /// How far the log was folded, by what the store has.
    pub fn largest_stored(&self) -> u64 {
        self.lanes().map(|lane| lane.stored).max().unwrap_or(0)
    }

    /// Records below `offset` are folded into every lane that did not have them.
    pub fn advance(&mut self, offset: u64) {
        self.next = self.next.max(offset);
        let lanes = self.tracks.values_mut().flat_map(|track| &mut track.lanes);
        for lane in lanes.filter(|lane| !lane.is_lost()) {
            lane.folded = lane.folded.max(offset);
        }
    }

    pub fn part(&self) -> PartId {
        PartId::Partition(self.at.partition)
    }

    /// Lanes of `shard` that nobody claimed yet are claimed under `ticket`.
    pub fn claim(&mut self, shard: Shard, ticket: Ticket, claims: &mut Vec<Claim>) {
        for (version, track) in &mut self.tracks {
            // A seeding leaves no lane below its cut: one that begins there was emptied since, and is not to be folded.
            let initial = if track.view.folded_from(self.at.partition) > 0 { 0 } else { self.held.start };
            let lane = &mut track.lanes[usize::from(shard.0)];
            if lane.hold == Hold::Unclaimed {
                lane.hold = Hold::Claiming(ticket);
                claims.push(Claim { version: *version, partition: self.at.partition, initial });
            }
        }
    }

    /// The answer to a claim that was made under `ticket`.
    pub fn take(&mut self, shard: Shard, ticket: Ticket, claim: &Claim, nonce: Nonce, offset: u64) {
        let Some(track) = self.tracks.get_mut(&claim.version) else { return };
        let is_lost = offset < track.view.folded_from(self.at.partition);
        let lane = &mut track.lanes[usize::from(shard.0)];
        if lane.hold == Hold::Claiming(ticket) {
            let hold = if is_lost { Hold::Lost(nonce) } else { Hold::Held(nonce) };
            *lane = Lane { hold, stored: offset, folded: offset, unflushed: Vec::new() };
        }
    }

    fn lanes(&self) -> impl Iterator<Item = &Lane> {
        self.tracks.values().flat_map(|track| &track.lanes)
    }
}

impl Track {
    /// `None`: the store lost rows of every shard.
    pub fn smallest_folded(&self) -> Option<u64> {
        self.lanes.iter().filter(|lane| !lane.is_lost()).map(|lane| lane.folded).min()
    }

    pub fn is_caught_up(&self) -> bool {
        self.lanes.iter().all(|lane| matches!(lane.hold, Hold::Held(_)) && lane.stored >= self.goal)
    }
}

impl Lane {
    pub fn unclaimed() -> Lane {
        Lane { hold: Hold::Unclaimed, stored: 0, folded: 0, unflushed: Vec::new() }
    }

    pub fn is_ahead(&self) -> bool {
        matches!(self.hold, Hold::Held(_)) && self.folded > self.stored
    }

    /// Whether nothing may be folded into it.
    pub fn is_lost(&self) -> bool {
        matches!(self.hold, Hold::Lost(_))
    }

    /// The step from what is stored to what is folded, if we may take it. A step of nothing asks the store whether
    /// it still stands where we left it.
    pub fn step(&self, version: Fingerprint, partition: u32) -> Option<Advance> {
        let nonce = self.hold.nonce()?;
        Some(Advance { version, partition, nonce, from: self.stored, to: self.folded })
    }
}
