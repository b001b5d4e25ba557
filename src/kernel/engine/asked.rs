//! Who is asked about, and when: of all others no event need be sorted.

use hashbrown::HashMap;

use crate::kernel::time::{EventTime, Micros};

/// By the hash of the entity's key. Two entities of one hash are asked about together, which costs time and no more.
#[derive(Clone, Debug, Default)]
pub struct Asked {
    by_hash: HashMap<u64, Times>,
}

#[derive(Clone, Copy, Debug)]
struct Times {
    first: EventTime,
    last: EventTime,
}

impl Asked {
    pub fn add(&mut self, hash: u64, at: EventTime) {
        let times = self.by_hash.entry(hash).or_insert(Times { first: at, last: at });
        *times = Times { first: times.first.min(at), last: times.last.max(at) };
    }

    pub fn contains(&self, hash: u64) -> bool {
        self.by_hash.contains_key(&hash)
    }

    /// Whether some window, of which none reaches further than `reach`, may hold the event at an instant.
    pub(super) fn may_see(&self, hash: u64, reach: Option<Micros>, visible_from: EventTime, at: EventTime) -> bool {
        let Some(Times { first, last }) = self.by_hash.get(&hash) else { return false };
        visible_from <= *last && reach.is_none_or(|reach| *first < at + reach)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_moved_only_if_an_instant_of_its_entity_may_see_it() {
        let at = EventTime::unchecked;
        let mut asked = Asked::default();
        [40, 20, 30].into_iter().for_each(|instant| asked.add(7, at(instant)));
        let sees =
            |hash, visible_from, happened| asked.may_see(hash, Some(Micros::new(10)), at(visible_from), at(happened));
        assert!(!sees(8, 25, 24), "nobody asks about it");
        assert!(sees(7, 40, 39) && !sees(7, 41, 39), "known after the last instant");
        assert!(sees(7, 12, 11) && !sees(7, 11, 10), "out of reach at the first instant");
        assert!(asked.may_see(7, None, at(0), at(-1)), "a lifetime has no reach");
    }
}
