//! What can happen in a run besides work, as a set: each seed draws which, and a failing one is run again with fewer.

use fastrand::Rng;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The group moves partitions, processes come and leave in good order.
    Rebalances,
    /// Partitions are added.
    Partitions,
    /// Versions are added.
    Versions,
    /// Versions are dropped, and what the store holds of them is removed.
    Drops,
    /// A process ends at any point; what it asked for may still arrive.
    Crashes,
    /// A process stands still and later goes on, with or without being a member still.
    Zombies,
    /// Members have names, by which a restarted process takes its partitions up again.
    Names,
    /// Calls are lost, or their answers.
    LostCalls,
    /// Calls arrive late, or twice.
    LateCalls,
    /// A shard loses its newest writes.
    RollBacks,
    /// A shard loses everything.
    Emptied,
    /// Deliveries come again, or come although the partition is paused.
    Duplicates,
    /// The log drops its oldest records.
    Truncation,
    /// A process's clock is set back, or right again.
    Clocks,
    /// Rows of views are begun from an archive.
    Seeds,
}

/// Without these a run is calm: nothing goes wrong, so no flush may be refused.
const CALM: [Fault; 6] =
    [Fault::Rebalances, Fault::Partitions, Fault::Versions, Fault::Names, Fault::Clocks, Fault::Seeds];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Faults(u32);

impl Fault {
    pub const ALL: [Fault; 15] = [
        Fault::Rebalances,
        Fault::Partitions,
        Fault::Versions,
        Fault::Drops,
        Fault::Crashes,
        Fault::Zombies,
        Fault::Names,
        Fault::LostCalls,
        Fault::LateCalls,
        Fault::RollBacks,
        Fault::Emptied,
        Fault::Duplicates,
        Fault::Truncation,
        Fault::Clocks,
        Fault::Seeds,
    ];

    fn bit(self) -> u32 {
        1 << self as u32
    }
}

impl Faults {
    pub const ALL: Faults = Faults((1 << Fault::ALL.len()) - 1);

    /// What a run still has when nothing goes wrong any more.
    pub const HARMLESS: Faults = Faults(1 << Fault::Names as u32);

    /// Most of them, or some, or in one run of eight only what is calm.
    pub fn draw(rng: &mut Rng) -> Faults {
        let all = Faults::ALL.0;
        let drawn = match rng.u32(..8) {
            0 => CALM.iter().map(|fault| fault.bit()).sum(),
            1..4 => all & rng.u32(..),
            _ => all & (rng.u32(..) | rng.u32(..)),
        };
        // A log that drops records stops partitions, and what is stopped finds nothing more.
        if rng.u32(..4) == 0 { Faults(drawn) } else { Faults(drawn).without(Fault::Truncation) }
    }

    pub fn has(self, fault: Fault) -> bool {
        self.0 & fault.bit() != 0
    }

    pub fn and(self, other: Faults) -> Faults {
        Faults(self.0 & other.0)
    }

    pub fn without(self, fault: Fault) -> Faults {
        Faults(self.0 & !fault.bit())
    }

    pub fn is_calm(self) -> bool {
        Fault::ALL.iter().all(|fault| !self.has(*fault) || CALM.contains(fault))
    }

    pub fn list(self) -> Vec<Fault> {
        Fault::ALL.into_iter().filter(|fault| self.has(*fault)).collect()
    }
}
