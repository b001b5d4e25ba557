//! Who is asked about, and when: of all others no event need be sorted.

use hashbrown::HashMap;

use crate::kernel::time::{EventTime, Micros};

/// By the hash of the entity's key. Two entities of one hash are asked about together, which costs time and no more.
#[derive(Clone, Debug)]
pub struct Asked {
    whom: Whom,
    /// For how long an event can be seen; `None`: for good.
    seen_for: Option<Micros>,
}

#[derive(Clone, Debug)]
enum Whom {
    Named(HashMap<u64, Times>),
    /// All whose hash is no smaller.
    From(u64, Times),
}

#[derive(Clone, Copy, Debug)]
struct Times {
    first: EventTime,
    last: EventTime,
}

impl Asked {
    /// Nobody yet.
    pub fn within(seen_for: Option<Micros>) -> Asked {
        Asked { whom: Whom::Named(HashMap::new()), seen_for }
    }

    /// Everybody from one hash on, from the first instant to the last.
    pub fn all_from(hash: u64, first: EventTime, last: EventTime, seen_for: Option<Micros>) -> Asked {
        Asked { whom: Whom::From(hash, Times { first, last }), seen_for }
    }

    /// To be asked of those who are named.
    pub fn add(&mut self, hash: u64, at: EventTime) {
        let Whom::Named(by_hash) = &mut self.whom else { return };
        let times = by_hash.entry(hash).or_insert(Times { first: at, last: at });
        *times = Times { first: times.first.min(at), last: times.last.max(at) };
    }

    pub fn contains(&self, hash: u64) -> bool {
        self.times(hash).is_some()
    }

    /// Whether an event may be seen at some instant that is asked about.
    pub(super) fn may_see(&self, hash: u64, visible_from: EventTime, at: EventTime) -> bool {
        let Some(Times { first, last }) = self.times(hash) else { return false };
        visible_from <= *last && self.seen_for.is_none_or(|seen_for| *first < at + seen_for)
    }

    fn times(&self, hash: u64) -> Option<&Times> {
        match &self.whom {
            Whom::Named(by_hash) => by_hash.get(&hash),
            Whom::From(from, times) => (hash >= *from).then_some(times),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_moved_only_if_an_instant_of_its_entity_may_see_it() {
        let at = EventTime::unchecked;
        let mut asked = Asked::within(Some(Micros::new(10)));
        [40, 20, 30].into_iter().for_each(|instant| asked.add(7, at(instant)));
        let sees = |hash, visible_from, happened| asked.may_see(hash, at(visible_from), at(happened));
        assert!(!sees(8, 25, 24), "nobody asks about it");
        assert!(sees(7, 40, 39) && !sees(7, 41, 39), "known after the last instant");
        assert!(sees(7, 12, 11) && !sees(7, 11, 10), "out of reach at the first instant");
        let lifetime = Asked { seen_for: None, ..asked };
        assert!(lifetime.may_see(7, at(0), at(-1)), "a lifetime has no reach");
        let all = Asked::all_from(7, at(20), at(40), None);
        assert!(all.contains(7) && all.contains(8) && !all.contains(6) && all.may_see(8, at(40), at(0)));
    }
}
