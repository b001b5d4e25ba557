//! Planted bugs: each breaks one rule on the system's side of the harness, as a slip in the kernel or a driver
//! would. A harness that misses one shows nothing.

use std::sync::Arc;

use freshet::kernel::engine::Entrant;
use freshet::kernel::event::Envelope;
use freshet::kernel::key::Origin;
use freshet::kernel::plan::ViewPlan;
use freshet::kernel::time::{EventTime, Micros};
use freshet::kernel::value::Value;
use freshet::kernel::window::Sliding;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    /// `<=` at T where a label must not see itself.
    AsOfIncluded,
    WindowStartsAHopEarly,
    WindowStartsAHopLate,
    PartForgotten,
    LateApplied,
    /// `last` by arrival where event times are tied.
    TieByArrival,
    /// Rows of a batch are written, and the crash comes before their offset.
    FlushSplit,
    EarlyNotClamped,
    DuplicatesCounted,
    /// A copy in another partition is taken for a duplicate.
    DuplicatesAcrossParts,
    DedupWindowHalved,
    LateEventClaimsItsId,
    BodyNotWritten,
    NegativeTimesRoundUp,
    LifetimePruned,
    DefaultForUndefined,
}

impl Bug {
    pub const ALL: [Bug; 16] = [
        Bug::AsOfIncluded,
        Bug::WindowStartsAHopEarly,
        Bug::WindowStartsAHopLate,
        Bug::PartForgotten,
        Bug::LateApplied,
        Bug::TieByArrival,
        Bug::FlushSplit,
        Bug::EarlyNotClamped,
        Bug::DuplicatesCounted,
        Bug::DuplicatesAcrossParts,
        Bug::DedupWindowHalved,
        Bug::LateEventClaimsItsId,
        Bug::BodyNotWritten,
        Bug::NegativeTimesRoundUp,
        Bug::LifetimePruned,
        Bug::DefaultForUndefined,
    ];

    pub fn in_plan(self, plan: &mut ViewPlan) {
        match self {
            Bug::WindowStartsAHopEarly => move_windows(plan, |window| window.length + window.hop),
            Bug::WindowStartsAHopLate => {
                move_windows(plan, |window| Micros::new(window.length.get() - window.hop.get()));
            }
            Bug::LateApplied => plan.allowed_lateness = None,
            Bug::DedupWindowHalved => {
                let source = Arc::make_mut(&mut plan.source);
                source.dedup_window = Micros::new(source.dedup_window.get() / 2);
            }
            Bug::LifetimePruned => {
                plan.grids.iter_mut().for_each(|grid| grid.reach = grid.reach.or(Some(Micros::HOUR)))
            }
            _ => {}
        }
    }

    /// `arrival` counts the events that the system saw before.
    pub fn in_envelope(self, plan: &ViewPlan, event: &mut Envelope, written: EventTime, arrival: u64) {
        match self {
            Bug::EarlyNotClamped => event.event_time = written,
            // Where ids are named, partitions would share them too, which is another bug.
            Bug::TieByArrival if plan.source.event_id.is_none() => {
                event.origin = Origin::Log { partition: 0, offset: arrival }
            }
            Bug::NegativeTimesRoundUp => {
                let hop = plan.grids[0].hop.unwrap_or(Micros::SECOND);
                if event.event_time.micros() < 0 && event.event_time.floor(hop) != event.event_time {
                    event.event_time = event.event_time + hop;
                }
            }
            _ => {}
        }
    }

    pub fn in_entrants(self, entrants: &mut [Entrant]) {
        if self == Bug::DuplicatesCounted {
            entrants.iter_mut().for_each(|entrant| entrant.event_id = None);
        }
    }

    pub fn in_values(self, plan: &ViewPlan, values: &mut [Option<Value>]) {
        if self == Bug::DefaultForUndefined {
            for (feature, value) in plan.features.iter().zip(values) {
                *value = value.take().or(feature.default.clone());
            }
        }
    }
}

fn move_windows(plan: &mut ViewPlan, length: impl Fn(Sliding) -> Micros) {
    for feature in &mut plan.features {
        feature.window = feature.window.map(|window| Sliding { length: length(window), ..window });
    }
}
