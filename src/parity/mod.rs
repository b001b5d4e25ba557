//! The proof that lookups answer what the archive says (semantics §7): every logged lookup is computed again from the
//! archived events below the offsets that its row was read at, and must be the same bits.
//!
//! ```text
//! logged lookups ─► by version ─► by entity ─► a walk forward in offsets ─► read ─► compare
//! ```
//!
//! Expected differences: none. What cannot be compared is counted as unchecked, with its reason, and never as equal.
//! It waits for nothing, blocks, and holds the lookups and the events of their entities in memory.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use crate::kernel::name::{FeatureRef, Name};
use crate::kernel::plan::ViewPlan;
use crate::kernel::time::EventTime;
use crate::offline::{self, Archive, LoggedLookup, Lookups};
use crate::telemetry::{Cancelled, Watch};

mod difference;
mod recompute;

pub use difference::Difference;

/// How many differences are told in full.
pub const EXAMPLES: usize = 20;

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Report {
    pub lookups: usize,
    /// Values of all features together.
    pub values: Tally,
    /// Of the features of known versions; several versions of a view count together.
    pub features: BTreeMap<FeatureRef, Tally>,
    /// Lookups that were not compared, by view and reason.
    pub unchecked: BTreeMap<(Name, Unchecked), usize>,
    /// The first of the differences.
    pub examples: Vec<Difference>,
}

/// Values of one feature, or of all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    pub compared: usize,
    /// Of those compared.
    pub different: usize,
    pub unchecked: usize,
}

/// Why a lookup is not compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Unchecked {
    /// The archive does not reach up to the offsets that the row was read at.
    NotArchived,
    /// The version that answered is no longer applied.
    Dropped,
    /// The version is still applied, but now answers with its features in another order, or with other defaults.
    OtherAnswers,
    /// The log's bytes are not values of the view.
    Unreadable,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("parity cannot read the logged lookups, or the archive")]
    Files(#[from] offline::Error),
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
}

/// Checks the logged lookups with an as-of of `since` or later, by the versions that are applied now.
pub fn check(
    archive: &Archive,
    lookups: &Lookups,
    since: EventTime,
    versions: &[Arc<ViewPlan>],
    watch: Watch<'_>,
) -> Result<Report, Error> {
    let mut report = Report::default();
    let mut by_version: Vec<Vec<LoggedLookup>> = vec![Vec::new(); versions.len()];
    for file in lookups.read(since)? {
        for lookup in file? {
            report.lookups += 1;
            match versions.iter().position(|version| version.fingerprint == lookup.version) {
                Some(version) => by_version[version].push(lookup),
                None => report.leave_unchecked(None, &lookup, Unchecked::Dropped),
            }
        }
        watch.at(0, 1)?;
    }
    for (index, (version, lookups)) in versions.iter().zip(by_version).enumerate() {
        recompute::check_version(archive, version, lookups, &mut report, watch.nth(index, versions.len()))?;
    }
    Ok(report)
}

impl Unchecked {
    pub fn as_str(self) -> &'static str {
        match self {
            Unchecked::NotArchived => "not archived yet",
            Unchecked::Dropped => "its version was dropped",
            Unchecked::OtherAnswers => "its view has its features in another order, or other defaults, by now",
            Unchecked::Unreadable => "what was logged is not readable",
        }
    }
}

impl fmt::Display for Unchecked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
