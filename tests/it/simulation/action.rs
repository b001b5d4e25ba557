//! What happens next, and how often: work always, the rest where a run has the fault for it.

use super::fault::{Fault, Faults};

#[derive(Clone, Copy, Debug)]
pub enum Action {
    Answer,
    Poll,
    Tick,
    HearVersions,
    WriteLog,
    Promote,
    Start,
    Close,
    Rebalance,
    AddPartitions,
    AddVersion,
    DropVersion,
    RemoveVersion,
    Crash,
    Sleep,
    Wake,
    Expire,
    ArriveLate,
    RollBack,
    Empty,
    DeliverAgain,
    Truncate,
    SetClock,
    Seed,
}

const ACTIONS: [(u32, Action, Option<Fault>); 24] = [
    (300, Action::Answer, None),
    (260, Action::Poll, None),
    (110, Action::Tick, None),
    (20, Action::HearVersions, None),
    (70, Action::WriteLog, None),
    (15, Action::Promote, None),
    (10, Action::Start, Some(Fault::Rebalances)),
    (8, Action::Close, Some(Fault::Rebalances)),
    (12, Action::Rebalance, Some(Fault::Rebalances)),
    (5, Action::AddPartitions, Some(Fault::Partitions)),
    (8, Action::AddVersion, Some(Fault::Versions)),
    (5, Action::DropVersion, Some(Fault::Drops)),
    (8, Action::RemoveVersion, Some(Fault::Drops)),
    (8, Action::Crash, Some(Fault::Crashes)),
    (10, Action::Sleep, Some(Fault::Zombies)),
    (25, Action::Wake, Some(Fault::Zombies)),
    (12, Action::Expire, Some(Fault::Zombies)),
    (50, Action::ArriveLate, Some(Fault::LateCalls)),
    (20, Action::RollBack, Some(Fault::RollBacks)),
    (3, Action::Empty, Some(Fault::Emptied)),
    (20, Action::DeliverAgain, Some(Fault::Duplicates)),
    (4, Action::Truncate, Some(Fault::Truncation)),
    (10, Action::SetClock, Some(Fault::Clocks)),
    (70, Action::Seed, Some(Fault::Seeds)),
];

/// Each with the sum of the weights up to it.
pub fn actions(faults: Faults) -> Vec<(u32, Action)> {
    let mut total = 0;
    let happens = |(_, _, fault): &&(u32, Action, Option<Fault>)| fault.is_none_or(|fault| faults.has(fault));
    let weighed = ACTIONS.iter().filter(happens).map(|(weight, action, _)| {
        total += weight;
        (total, *action)
    });
    weighed.collect()
}
