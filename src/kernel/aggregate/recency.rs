//! `seconds_since_last`: how long before the as-of the newest event happened.

use super::bytes::{put_zigzag, take_byte, take_zigzag};
use super::{Arity, Call, Finalized, Function, Partial, Stamp, State, Variant};
use crate::kernel::time::EventTime;
use crate::kernel::value::{Value, ValueRef, ValueType};

pub static SECONDS_SINCE_LAST: Function = Function {
    name: "seconds_since_last",
    column: Arity::Never,
    accepts: |_| false,
    accepted: "no column",
    parameters: &[],
    keeps_values: false,
    result: |_| ValueType::Float64,
    identity: |_| Partial::Newest(Newest::default()),
    finalize,
};

/// The newest event time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Newest(Option<EventTime>);

impl State for Newest {
    fn update(&mut self, _: Option<ValueRef<'_>>, stamp: Stamp) {
        self.0 = self.0.max(Some(stamp.event_time));
    }

    fn merge(&mut self, other: &Newest) {
        self.0 = self.0.max(other.0);
    }

    fn is_identity(&self) -> bool {
        self.0.is_none()
    }

    fn encode(&self, out: &mut Vec<u8>) {
        out.push(u8::from(self.0.is_some()));
        if let Some(newest) = self.0 {
            put_zigzag(out, newest.micros());
        }
    }

    fn decode(&self, input: &mut &[u8]) -> Option<Newest> {
        match take_byte(input)? {
            0 => Some(Newest(None)),
            1 => take_zigzag(input).and_then(EventTime::from_micros).map(|newest| Newest(Some(newest))),
            _ => None,
        }
    }

    fn skip(&self, input: &mut &[u8]) -> Option<()> {
        match take_byte(input)? {
            0 => Some(()),
            _ => take_zigzag(input).map(drop),
        }
    }

    fn heap_bytes(&self) -> usize {
        0
    }
}

fn finalize(_: &Call, partial: &Partial, as_of: EventTime) -> Finalized {
    match Newest::of(partial).0 {
        None => Finalized::Empty(None),
        // Below zero where the event is ahead of the reader's clock. Exact up to 285 years, then rounded.
        Some(newest) => Finalized::Value(Value::Float(as_of.since(newest).get() as f64 / 1e6)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::key::Origin;

    #[test]
    fn the_distance_is_in_seconds_and_from_the_newest() {
        let call = Call { function: &SECONDS_SINCE_LAST, argument: None, parameters: Default::default() };
        let mut partial = (SECONDS_SINCE_LAST.identity)(&call);
        let at = EventTime::unchecked;
        assert_eq!(finalize(&call, &partial, at(0)), Finalized::Empty(None));
        for micros in [-3_000_000, 1_500_000, -7] {
            let origin = Origin::Log { partition: 0, offset: 0 };
            partial.update(None, Stamp { event_time: at(micros), origin });
        }
        assert_eq!(finalize(&call, &partial, at(2_000_001)), Finalized::Value(Value::Float(0.500001)));
        assert_eq!(finalize(&call, &partial, at(0)), Finalized::Value(Value::Float(-1.5)));
    }
}
