//! One part of a row: what one origin contributed to one entity of one view version. It has one writer.

use bytes::Bytes;

use crate::kernel::aggregate::Stamp;
use crate::kernel::codec::{self, Image};
use crate::kernel::engine::column::Inputs;
use crate::kernel::engine::tiles::Tiles;
use crate::kernel::engine::{Counts, Prepared, RecentIds};
use crate::kernel::event::Envelope;
use crate::kernel::plan::ViewPlan;
use crate::kernel::time::{EventTime, Micros};

/// In memory: the head (tiles touched since the last seal, newest times), and the body as bytes until a read or a
/// seal wants it. A tile may stand in both, for merging puts it together again: so a late event is a small tile in
/// the head, and never a rewritten body.
#[derive(Clone, Debug)]
pub struct Part {
    pub(super) head: Tiles,
    pub(super) body: Bytes,
    newest: Option<EventTime>,
    ids: RecentIds,
    /// What the last flush said, if there was one since the part was made or loaded.
    expiry_flushed: Option<Option<EventTime>>,
}

/// What a flush writes of a part; `None` leaves stored bytes as they are.
pub struct Flushed {
    pub head: Bytes,
    pub body: Option<Bytes>,
    pub ids: Option<Bytes>,
    /// When the row may be dropped: one hour after its reach; `None`: never.
    pub expires_at: Option<EventTime>,
    /// Whether the flush before said something else, as far as this part knows.
    pub expiry_moved: bool,
}

/// Tiles and rows are kept this much longer than any read needs them, for readers whose clock is behind.
const KEPT_LONGER: Micros = Micros::HOUR;

/// A head of more tiles is sealed: it is decoded by every load and read.
const HEAD_TILES: usize = 32;

/// A head of more bytes is sealed, unless the body is so large that rewriting it for that little would cost more.
const HEAD_BYTES: usize = 1_024;
const BODY_PER_HEAD: usize = 8;

/// What a written row takes beside its tiles and ids: key, frames, times.
const ROW_BYTES: usize = 64;

impl Part {
    pub fn new(view: &ViewPlan) -> Part {
        let (head, ids) = (Tiles::new(view), RecentIds::default());
        Part { head, body: Bytes::new(), newest: None, ids, expiry_flushed: None }
    }

    pub fn decode(view: &ViewPlan, image: &Image) -> Result<Part, codec::Error> {
        if *image == Image::default() {
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
        let (runs, body) = (Tiles::of_runs(head.runs), image.body.clone());
        Ok(Part { head: runs, body, newest: head.newest, ids, expiry_flushed: None })
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
        self.update(view, &prepared.inputs, entrant.row, entrant.event.stamp());
        prepared.inputs.count_skips(entrant.row, counts);
        counts.applied += 1;
    }

    /// As [`Part::fold`], an event of a table by origin that is not late. Whether it was no copy.
    pub(super) fn take(
        &mut self,
        view: &ViewPlan,
        inputs: &Inputs,
        row: usize,
        event: &Envelope,
        id: Option<&[u8]>,
    ) -> bool {
        let is_new = self.ids.accept_id(view, event.ingestion_time, id);
        if is_new {
            self.update(view, inputs, row, event.stamp());
        }
        is_new
    }

    fn update(&mut self, view: &ViewPlan, inputs: &Inputs, row: usize, stamp: Stamp) {
        self.head.update(view, inputs, row, stamp);
        self.newest = self.newest.max(Some(stamp.event_time));
    }

    /// The bytes to store. Seals the head into the body when it is full, dropping tiles whose reach passed more
    /// than an hour before `now`, the smaller of worker clock and record time.
    pub fn flush(&mut self, view: &ViewPlan, now: EventTime) -> Flushed {
        self.head.encode_recent(view, now - KEPT_LONGER);
        let mut head = self.encode_head(view);
        let body = self.is_full(self.head.len(), head.len()).then(|| {
            self.body = codec::seal(view, &self.body, self.head.runs(), now - KEPT_LONGER);
            self.head = Tiles::new(view);
            head = self.encode_head(view);
            self.body.clone()
        });
        let ids = self.ids.take_changed(view).map(|accepted| codec::encode_ids(view, accepted));
        let expires_at = self.expires_at(view);
        let expiry_moved = self.expiry_flushed.replace(expires_at) != Some(expires_at);
        Flushed { head, body, ids, expires_at, expiry_moved }
    }

    /// The same as an absolute image: whatever a store has of the part, none of it stays.
    pub fn flush_whole(&mut self, view: &ViewPlan, now: EventTime) -> Flushed {
        let mut flushed = self.flush(view, now);
        let ids = flushed.ids.take().unwrap_or_else(|| match self.ids.kept(view) {
            none if none.is_empty() => Bytes::new(),
            kept => codec::encode_ids(view, kept),
        });
        Flushed { body: Some(self.body.clone()), ids: Some(ids), expiry_moved: true, ..flushed }
    }

    /// The event time of the newest event.
    pub fn newest(&self) -> Option<EventTime> {
        self.newest
    }

    /// Rough size in memory.
    pub fn bytes(&self) -> usize {
        size_of::<Part>() + self.head.bytes() + self.body.len() + self.ids.bytes()
    }

    /// What the next flush writes: rather too much than too little.
    pub fn unflushed_bytes(&self) -> usize {
        let head = self.head.encoded_bytes();
        let body = if self.is_full(self.head.len(), head) { self.body.len() + head } else { 0 };
        ROW_BYTES + head + body + self.ids.bytes()
    }

    fn encode_head(&self, view: &ViewPlan) -> Bytes {
        codec::encode_head(view, self.newest, self.ids.newest_ingestion(), self.head.runs())
    }

    fn is_full(&self, head_tiles: usize, head_bytes: usize) -> bool {
        head_tiles > HEAD_TILES || head_bytes > HEAD_BYTES.max(self.body.len() / BODY_PER_HEAD)
    }

    /// Only ever grows, for the newest times do. Ids live as long as they can decide about a duplicate, though the
    /// features may have forgotten their events. In whole hours, so that few flushes move it.
    fn expires_at(&self, view: &ViewPlan) -> Option<EventTime> {
        let unread = self.newest? + view.found_for()?;
        let ids = self.ids.newest_ingestion().filter(|_| view.source.event_id.is_some());
        let last_use = unread.max(ids.map_or(unread, |newest| newest + view.source.dedup_window));
        Some((last_use + KEPT_LONGER + Micros::HOUR - Micros::new(1)).floor(Micros::HOUR))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::definition::{SourceText, parse};
    use crate::kernel::engine::{prepare, read};
    use crate::kernel::event::{self, RawRecord};
    use crate::kernel::plan::compile;
    use crate::kernel::value::Value;

    fn view(max_age: &str) -> ViewPlan {
        let text = format!(
            "kind: entity\nname: user\nkeys: [{{ name: user_id, type: string }}]\n---\n\
             kind: source\nname: clicks\nformat: json\nevent_time: {{ field: at, unit: s }}\nevent_id: id\n\
             dedup_window: 2h\nschema: {{ version: 1, compatibility: none, fields: [{{ name: id, type: int64 }}, \
             {{ name: at, type: timestamp, required: true }}, {{ name: user_id, type: string }}] }}\n---\n\
             kind: feature_view\nname: activity\nentity: user\nsource: clicks\n{max_age}\nfeatures:\n  \
             - {{ name: clicks, aggregate: count, windows: [{{ length: 1h, hop: 1m }}] }}\n"
        );
        let parsed = parse(&[SourceText { path: "test".into(), text }]);
        compile(&parsed.unwrap_or_else(|found| panic!("{found:#?}"))).views[0].as_ref().clone()
    }

    fn at(second: i64) -> EventTime {
        EventTime::from_micros(second * 1_000_000).expect("a time of a test")
    }

    /// Folds events at these seconds, each with its second as its id, ingested at once.
    fn fold(view: &ViewPlan, part: &mut Part, seconds: impl Iterator<Item = i64>) -> Counts {
        let record = |second: i64| RawRecord {
            partition: 0,
            offset: second as u64,
            ingestion_time: at(second),
            value: format!(r#"{{"id": {second}, "at": {second}, "user_id": "u"}}"#).into(),
        };
        let records: Vec<RawRecord> = seconds.map(record).collect();
        let prepared = prepare(view, &event::decode(&view.source, &records).events);
        let mut counts = Counts::default();
        (0..prepared.entrants.len()).for_each(|index| part.fold(view, &prepared, index, &mut counts));
        counts
    }

    fn clicks(view: &ViewPlan, part: &Part, second: i64) -> Option<Value> {
        read(view, &[part], at(second)).values.swap_remove(0)
    }

    #[test]
    fn a_full_head_is_sealed_and_a_late_event_then_leaves_the_body_alone() {
        let view = view("");
        let mut part = Part::new(&view);
        fold(&view, &mut part, (0..31).map(|minute| minute * 60));
        assert_eq!(part.flush(&view, at(1_860)).body, None, "a short head stays");
        fold(&view, &mut part, (31..33).map(|minute| minute * 60));
        let sealed = part.flush(&view, at(1_980));
        assert!(sealed.body.is_some() && sealed.head.len() < 40);

        fold(&view, &mut part, [61].into_iter());
        let late = part.flush(&view, at(1_980));
        assert!(late.body.is_none());
        let image = Image { head: late.head, body: sealed.body.expect("sealed"), ids: late.ids.expect("changed") };
        let stored = Part::decode(&view, &image).expect("what was flushed reads back");
        assert_eq!(
            (clicks(&view, &stored, 1_981), clicks(&view, &part, 1_981)),
            (Some(Value::Int(34)), Some(Value::Int(34)))
        );
    }

    #[test]
    fn sealing_again_merges_tiles_and_drops_those_out_of_reach() {
        let view = view("");
        let mut part = Part::new(&view);
        fold(&view, &mut part, (0..40).map(|minute| minute * 60));
        let first = part.flush(&view, at(2_400)).body.expect("sealed");
        fold(&view, &mut part, (0..40).map(|minute| minute * 60 + 1));
        let second = part.flush(&view, at(2_400)).body.expect("sealed again");
        assert_eq!(first.len(), second.len(), "the same tiles with higher counts");
        assert_eq!(clicks(&view, &part, 2_400), Some(Value::Int(80)));

        let much_later = 40_000;
        fold(&view, &mut part, (0..40).map(|minute| much_later + minute * 60));
        let third = part.flush(&view, at(much_later)).body.expect("sealed");
        assert!(third.len() <= first.len() + 2, "the old tiles are gone");
    }

    #[test]
    fn a_duplicate_is_dropped_before_and_after_a_flush() {
        let view = view("");
        let mut part = Part::new(&view);
        let counts = fold(&view, &mut part, [60, 60].into_iter());
        assert_eq!((counts.applied, counts.duplicate), (1, 1));
        let flushed = part.flush(&view, at(60));
        let ids = flushed.ids.expect("there is a new id");
        let mut stored =
            Part::decode(&view, &Image { head: flushed.head, body: Bytes::new(), ids }).expect("reads back");
        assert_eq!(fold(&view, &mut stored, [60].into_iter()).duplicate, 1);
        assert_eq!(stored.flush(&view, at(60)).ids, None, "nothing new was accepted");
    }

    #[test]
    fn a_row_expires_an_hour_after_the_last_use_of_its_tiles_its_age_and_its_ids() {
        let expires_at = |max_age: &str| {
            let view = view(max_age);
            let mut part = Part::new(&view);
            fold(&view, &mut part, [1].into_iter());
            part.flush(&view, at(1)).expires_at
        };
        assert_eq!(expires_at(""), Some(at(4 * 3_600)), "ids for 2h, though the window is shorter");
        assert_eq!(expires_at("max_age: 5h"), Some(at(7 * 3_600)));
    }

    #[test]
    fn a_flush_says_whether_the_expiry_moved_since_the_one_before() {
        let view = view("");
        let mut part = Part::new(&view);
        let mut moved = |second: i64| {
            fold(&view, &mut part, [second].into_iter());
            part.flush(&view, at(second)).expiry_moved
        };
        assert_eq!([1, 2, 3_000, 3_601, 3_602].map(&mut moved), [true, false, false, true, false]);
        let Flushed { head, ids, .. } = part.flush(&view, at(3_602));
        let stored = Image { head, body: Bytes::new(), ids: ids.unwrap_or_default() };
        let mut stored = Part::decode(&view, &stored).expect("reads back");
        assert!(stored.flush(&view, at(3_602)).expiry_moved, "nobody knows what the store was told");
    }

    #[test]
    fn a_flush_of_nothing_reads_back_as_nothing() {
        let view = view("");
        let flushed = Part::new(&view).flush(&view, at(0));
        assert_eq!((flushed.body, flushed.ids, flushed.expires_at), (None, None, None));
        let image = Image { head: flushed.head, ..Image::default() };
        assert_eq!(Part::decode(&view, &image).expect("reads back").newest(), None);
    }
}
