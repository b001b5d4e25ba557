//! One part of a row: what one origin contributed to one entity of one view version. It has one writer.

use bytes::Bytes;

use crate::kernel::aggregate::Stamp;
use crate::kernel::codec::{self, Image};
use crate::kernel::engine::{Counts, Prepared, RecentIds, Tiles};
use crate::kernel::plan::ViewPlan;
use crate::kernel::time::{EventTime, Micros};

/// In memory: the head decoded (tiles touched since the last seal, newest times), the body as bytes until a read
/// or a seal wants it. A tile may stand in both, for merging puts it together again: so a late event is a small
/// tile in the head, and never a rewritten body.
#[derive(Clone, Debug)]
pub struct Part {
    pub(super) head: Tiles,
    pub(super) body: Bytes,
    newest: Option<EventTime>,
    ids: RecentIds,
}

/// What a flush writes of a part; `None` leaves stored bytes as they are.
pub struct Flushed {
    pub head: Bytes,
    pub body: Option<Bytes>,
    pub ids: Option<Bytes>,
    /// When the row may be dropped: one hour after its reach; `None`: never.
    pub expires_at: Option<EventTime>,
}

/// Tiles and rows are kept this much longer than any read needs them, for readers whose clock is behind.
const KEPT_LONGER: Micros = Micros::HOUR;

/// A head of more tiles is sealed: it is decoded by every load and read.
const HEAD_TILES: usize = 32;

/// A head of more bytes is sealed, unless the body is so large that rewriting it for that little would cost more.
const HEAD_BYTES: usize = 1_024;
const BODY_PER_HEAD: usize = 8;

impl Part {
    pub fn new(view: &ViewPlan) -> Part {
        Part { head: Tiles::new(view), body: Bytes::new(), newest: None, ids: RecentIds::default() }
    }

    pub fn decode(view: &ViewPlan, image: &Image) -> Result<Part, codec::Error> {
        if image.head.is_empty() {
            return Ok(Part::new(view));
        }
        let head = codec::decode_head(view, &image.head)?;
        if !image.body.is_empty() {
            codec::check_body(view, &image.body)?;
        }
        let accepted = match image.ids.is_empty() {
            true => Default::default(),
            false => codec::decode_ids(view, &image.ids)?,
        };
        let ids = RecentIds::restore(accepted, head.newest_ingestion);
        Ok(Part { head: head.tiles, body: image.body.clone(), newest: head.newest, ids })
    }

    /// Folds one entrant: drops it where it is a duplicate, else updates its tile of each grid. Entrants come in
    /// offset order.
    pub fn fold(&mut self, view: &ViewPlan, prepared: &Prepared, entrant: usize, counts: &mut Counts) {
        if self.ids.accept(view, &prepared.entrants[entrant]) {
            self.apply(view, prepared, entrant, counts);
        } else {
            counts.duplicate += 1;
        }
    }

    /// Folds one entrant that is known to be no duplicate, in any order.
    pub fn apply(&mut self, view: &ViewPlan, prepared: &Prepared, entrant: usize, counts: &mut Counts) {
        let entrant = &prepared.entrants[entrant];
        let event_time = entrant.event.event_time;
        let stamp = Stamp { event_time, origin: entrant.event.origin };
        self.head.update(view, prepared, entrant.row, stamp);
        self.newest = self.newest.max(Some(event_time));
        prepared.count_skips(entrant.row, counts);
        counts.applied += 1;
    }

    /// The bytes to store. Seals the head into the body when it is full, dropping tiles whose reach passed more
    /// than an hour before `now`, the smaller of worker clock and record time.
    pub fn flush(&mut self, view: &ViewPlan, now: EventTime) -> Flushed {
        self.head.prune(view, now - KEPT_LONGER);
        let mut head = self.encode_head(view);
        let body = self.is_full(head.len()).then(|| {
            self.body = codec::seal(view, &self.body, &self.head, now - KEPT_LONGER);
            self.head = Tiles::new(view);
            head = self.encode_head(view);
            self.body.clone()
        });
        let ids = self.ids.take_changed(view).map(|accepted| codec::encode_ids(view, accepted));
        Flushed { head, body, ids, expires_at: self.expires_at(view) }
    }

    /// Drops tiles that no read at or after `as_of` sees, for a batch that moves forward in time.
    pub fn prune(&mut self, view: &ViewPlan, as_of: EventTime) {
        self.head.prune(view, as_of);
    }

    /// The event time of the newest event.
    pub fn newest(&self) -> Option<EventTime> {
        self.newest
    }

    /// Rough size in memory.
    pub fn bytes(&self) -> usize {
        size_of::<Part>() + self.head.bytes() + self.body.len() + self.ids.bytes()
    }

    fn encode_head(&self, view: &ViewPlan) -> Bytes {
        codec::encode_head(view, self.newest, self.ids.newest_ingestion(), &self.head)
    }

    fn is_full(&self, head_bytes: usize) -> bool {
        self.head.len() > HEAD_TILES || head_bytes > HEAD_BYTES.max(self.body.len() / BODY_PER_HEAD)
    }

    /// Only ever grows, for the newest times do. Ids live as long as they can decide about a duplicate, though the
    /// features may have forgotten their events. In whole hours, so that few flushes move it.
    fn expires_at(&self, view: &ViewPlan) -> Option<EventTime> {
        let reach = view.reach?;
        let unread = self.newest? + reach.max(view.max_age.unwrap_or(reach));
        let ids = self.ids.newest_ingestion().filter(|_| view.source.event_id.is_some());
        let last_use = unread.max(ids.map_or(unread, |newest| newest + view.source.dedup_window));
        Some((last_use + KEPT_LONGER + Micros::HOUR - Micros::new(1)).floor(Micros::HOUR))
    }
}
