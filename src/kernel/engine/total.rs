//! What a read merges tiles into: a partial, or, where that would copy values that the answer does not have, something
//! that looks at them where they are.

use crate::kernel::aggregate::{Finalized, Gathered, Nearest, Partial};
use crate::kernel::plan::FeaturePlan;
use crate::kernel::time::EventTime;

#[derive(Clone)]
pub(super) enum Total<'a> {
    Partial(Partial),
    Distinct(Gathered<'a>),
    End(Nearest<'a>),
}

impl<'a> Total<'a> {
    pub fn new(identity: &Partial) -> Total<'a> {
        let distinct = Gathered::of(identity).map(Total::Distinct);
        let lazy = distinct.or_else(|| Nearest::of(identity).map(Total::End));
        lazy.unwrap_or_else(|| Total::Partial(identity.clone()))
    }

    pub fn take_in(&mut self, tile: &'a Partial) {
        match self {
            Total::Partial(total) => total.merge(tile),
            Total::Distinct(values) => values.take_in(tile),
            Total::End(nearest) => nearest.take_in(tile),
        }
    }

    /// `None`: the bytes are no partial of the slot.
    #[inline]
    pub fn absorb(&mut self, input: &mut &'a [u8]) -> Option<()> {
        match self {
            Total::Partial(total) => total.absorb(input),
            Total::Distinct(values) => values.absorb(input),
            Total::End(nearest) => nearest.absorb(input),
        }
    }

    pub fn merge(&mut self, other: &Total<'a>) {
        match (self, other) {
            (Total::Partial(total), Total::Partial(other)) => total.merge(other),
            (Total::Distinct(values), Total::Distinct(other)) => values.merge(other),
            (Total::End(nearest), Total::End(other)) => nearest.merge(other),
            _ => unreachable!("totals of one slot are of one kind"),
        }
    }

    pub fn finalize(&self, feature: &FeaturePlan, as_of: EventTime) -> Finalized {
        let finalize = feature.call.function.finalize;
        match self {
            Total::Partial(total) => finalize(&feature.call, total, as_of),
            Total::Distinct(values) => values.finalize(),
            Total::End(nearest) => finalize(&feature.call, &nearest.to_partial(), as_of),
        }
    }
}
