//! Rules of the protocol that can be left out, each somewhere around the worker: in the store, in the log, in the
//! group, or in what the process makes of an answer.

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutant {
    /// The store takes writes of whoever was fenced off.
    NoNonceCheck,
    /// The store takes writes that do not go on from where it stands.
    NoFromCheck,
    /// A claim fences off the writers of all other partitions and versions in the shard.
    NoncePerShard,
    /// Half of the rows are written by a call of their own, ahead of the offsets.
    SplitFlush,
    /// Offsets are not written where there are rows.
    RowsWithoutOffsets,
    /// After a refusal the process goes on from the stored offset, and keeps what it has in memory.
    NoRewind,
    /// A quiet shard is not asked where it stands.
    NoIdleAdvance,
    /// A refused process takes itself for a member without asking the group.
    MembershipNotProven,
    /// The group has a revoked partition back at once.
    ReleasedBeforeFlush,
    /// Reading goes on after the last record, not after the gap that follows it.
    GapNotFollowed,
    /// A part that is stored is loaded as one that is not.
    StoredPartsForgotten,
    /// What was fetched before a seek is delivered after it.
    StaleDeliveries,
    /// A log that lost its beginning is read from where it begins now.
    TruncationSkipped,
    /// A shard that was emptied serves whatever it has got again.
    EmptiedServed,
    /// The stream folds on where a store has lost what was seeded.
    UnseededFolded,
    /// A seeding moves no offsets on before its last call.
    SeedingStandsStill,
}

impl Mutant {
    pub const ALL: [Mutant; 16] = [
        Mutant::NoNonceCheck,
        Mutant::NoFromCheck,
        Mutant::NoncePerShard,
        Mutant::SplitFlush,
        Mutant::RowsWithoutOffsets,
        Mutant::NoRewind,
        Mutant::NoIdleAdvance,
        Mutant::MembershipNotProven,
        Mutant::ReleasedBeforeFlush,
        Mutant::GapNotFollowed,
        Mutant::StoredPartsForgotten,
        Mutant::StaleDeliveries,
        Mutant::TruncationSkipped,
        Mutant::EmptiedServed,
        Mutant::UnseededFolded,
        Mutant::SeedingStandsStill,
    ];
}
