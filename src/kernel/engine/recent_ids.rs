//! Which event ids one part accepted lately: the rule for duplicate events (semantics §4).
//!
//! An id matters while it was accepted no more than the window before the newest accepted ingestion time. That
//! newest time only grows, so an id that has fallen behind can be forgotten whenever it suits, and what is kept
//! never changes a decision.

use std::collections::BTreeMap;

use crate::kernel::engine::Entrant;
use crate::kernel::plan::ViewPlan;
use crate::kernel::time::EventTime;

/// Of one part, that is one entity and one origin. Events are to be offered in offset order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecentIds {
    /// Id → the largest ingestion time at which it was accepted. Ordered, as the codec writes it.
    accepted: BTreeMap<Box<[u8]>, EventTime>,
    newest_ingestion: Option<EventTime>,
    /// The length of all ids together.
    length: usize,
    /// Since the ids were last written.
    changed: bool,
    /// Forgetting waits until there are this many, so that it costs little for each event.
    forget_at: usize,
}

/// Fewer than this are not worth a search for forgettable ones.
const FORGET_AT_LEAST: usize = 64;

impl RecentIds {
    /// False: a copy of an event that was accepted, to be dropped. Late events neither claim nor test ids.
    pub fn accept(&mut self, view: &ViewPlan, entrant: &Entrant) -> bool {
        entrant.late || self.accept_id(view, entrant.event.ingestion_time, entrant.event_id.as_deref())
    }

    /// The same of an event that is not late.
    pub(super) fn accept_id(&mut self, view: &ViewPlan, ingestion: EventTime, id: Option<&[u8]>) -> bool {
        let newest = self.newest_ingestion.map_or(ingestion, |newest| newest.max(ingestion));
        if let Some(id) = id {
            let horizon = newest - view.source.dedup_window;
            match self.accepted.get_mut(id) {
                Some(at) if *at >= horizon => return false,
                Some(at) => *at = ingestion.max(*at),
                None => {
                    self.length += id.len();
                    self.accepted.insert(id.into(), ingestion);
                }
            }
            self.changed = true;
            self.forget_when_many(horizon);
        }
        self.newest_ingestion = Some(newest);
        true
    }

    pub(crate) fn restore(accepted: BTreeMap<Box<[u8]>, EventTime>, newest_ingestion: Option<EventTime>) -> RecentIds {
        let length = accepted.keys().map(|id| id.len()).sum();
        RecentIds { accepted, newest_ingestion, length, changed: false, forget_at: FORGET_AT_LEAST }
    }

    pub(crate) fn newest_ingestion(&self) -> Option<EventTime> {
        self.newest_ingestion
    }

    /// The ids to write, where there is something new among them.
    pub(super) fn take_changed(&mut self, view: &ViewPlan) -> Option<&BTreeMap<Box<[u8]>, EventTime>> {
        let newest = self.newest_ingestion?;
        std::mem::take(&mut self.changed).then(|| {
            self.forget(newest - view.source.dedup_window);
            &self.accepted
        })
    }

    /// All that may still decide something, written or not.
    pub(super) fn kept(&mut self, view: &ViewPlan) -> &BTreeMap<Box<[u8]>, EventTime> {
        if let Some(newest) = self.newest_ingestion {
            self.forget(newest - view.source.dedup_window);
        }
        &self.accepted
    }

    pub(super) fn bytes(&self) -> usize {
        // A node's share, the box and the time beside the id itself.
        self.length + self.accepted.len() * 48
    }

    fn forget_when_many(&mut self, horizon: EventTime) {
        if self.accepted.len() >= self.forget_at.max(FORGET_AT_LEAST) {
            self.forget(horizon);
            self.forget_at = 2 * self.accepted.len();
        }
    }

    fn forget(&mut self, horizon: EventTime) {
        let length = &mut self.length;
        self.accepted.retain(|id, at| {
            let is_kept = *at >= horizon;
            *length -= if is_kept { 0 } else { id.len() };
            is_kept
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_size_is_of_all_ids_and_of_none_that_is_forgotten() {
        let at = |second: i64| EventTime::unchecked(second * 1_000_000);
        let long = vec![b'x'; 1_000];
        let accepted = [(b"0".to_vec(), at(1)), (long, at(2))].map(|(id, at)| (id.into_boxed_slice(), at));
        let mut ids = RecentIds::restore(accepted.into(), Some(at(2)));
        assert_eq!(ids.bytes(), 1_001 + 2 * 48);
        ids.forget(at(2));
        assert_eq!(ids.bytes(), 1_000 + 48);
        ids.forget(at(3));
        assert_eq!(ids.bytes(), 0);
    }
}
