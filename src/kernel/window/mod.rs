//! Windows, and the tiles that answer them.

use std::fmt;
use std::ops::Range;

use crate::kernel::time::{EventTime, Micros};

/// A sliding window of `length`, moved on in steps of `hop`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Sliding {
    pub length: Micros,
    pub hop: Micros,
}

/// The hops that a window may get by itself, shortest first.
const HOPS: [Micros; 10] = [
    Micros::SECOND,
    Micros::new(5_000_000),
    Micros::new(10_000_000),
    Micros::new(30_000_000),
    Micros::MINUTE,
    Micros::new(5 * 60_000_000),
    Micros::new(15 * 60_000_000),
    Micros::HOUR,
    Micros::new(6 * 3_600_000_000),
    Micros::DAY,
];

impl Sliding {
    /// With the largest usual hop that is at most a sixtieth of the length, else one second.
    pub fn new(length: Micros) -> Sliding {
        let fits = |hop: &&Micros| hop.get() <= length.get() / 60;
        Sliding { length, hop: *HOPS.iter().rev().find(fits).unwrap_or(&Micros::SECOND) }
    }

    /// Starts of the tiles that the window covers at `as_of`, which are also the event times where the caller
    /// folded only events before `as_of`: the start is in, `as_of` itself is out, so a training row never sees
    /// the event that it is labelled with.
    pub fn covered(self, as_of: EventTime) -> Range<EventTime> {
        (as_of - self.length).floor(self.hop)..as_of
    }

    /// After this long an event has left the window for good.
    pub fn reach(self) -> Micros {
        self.length + self.hop
    }
}

impl fmt::Display for Sliding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} by {}", self.length, self.hop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hop_is_the_largest_usual_one_within_a_sixtieth() {
        let hop = |length: &str| Sliding::new(length.parse().expect(length)).hop.to_string();
        let lengths = ["1s", "1m", "10m", "1h", "24h", "7d", "30d", "360d"];
        assert_eq!(lengths.map(hop), ["1s", "1s", "10s", "1m", "15m", "1h", "6h", "1d"]);
    }

    #[test]
    fn the_start_is_in_and_the_as_of_is_out() {
        let window = Sliding { length: Micros::MINUTE, hop: Micros::new(7_000_000) };
        let at = |seconds: i64| EventTime::unchecked(seconds * 1_000_000);
        assert_eq!(window.covered(at(100)), at(35)..at(100));
        assert_eq!(window.covered(at(-100)), at(-161)..at(-100));
    }
}
