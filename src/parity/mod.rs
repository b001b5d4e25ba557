//! The proof that lookups answer what the archive says (semantics §7): every logged lookup is computed again from the
//! archived events below the offsets that its row was read at, and must be the same bits.
//!
//! ```text
//! logged lookups ─► by version ─► by entity ─► a walk forward in offsets ─► read ─► compare
//! ```
//!
//! Expected differences: none. What cannot be compared is counted as unchecked, with its reason, and never as equal.
//! It waits for nothing and blocks. Of many lookups it takes some of the entities at a time, and reads log and archive once
//! for each such pass: what it holds are the lookups of one pass, and of their entities the events that they may have seen.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use crate::kernel::name::{FeatureRef, Name};
use crate::kernel::plan::ViewPlan;
use crate::kernel::time::EventTime;
use crate::offline::{self, Archive, LoggedLookup, LookupFiles, Lookups, Pinned};
use crate::telemetry::{Cancelled, Watch};

mod difference;
mod recompute;

pub use difference::Difference;

/// Lookups to hold at once, usually: some hundreds of bytes each, and their values.
pub const HELD: usize = 500_000;

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
    /// The source took and rejected other records when it was answered, and by those that it takes now the answer is
    /// another. One that is the same by either is compared.
    OtherDecoding,
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

/// Checks the logged lookups with an as-of of `since` or later, by the versions that are applied now. `held`: how many of
/// them may be in memory at once, about.
pub fn check(
    archive: &Archive,
    lookups: &Lookups,
    since: EventTime,
    versions: &[Arc<ViewPlan>],
    held: usize,
    watch: Watch<'_>,
) -> Result<Report, Error> {
    let files = lookups.read(since)?;
    let mut report = counted(&files, versions, watch)?;
    let pins = pins(archive, versions)?;
    let passes = report.lookups.div_ceil(held);
    for pass in 0..passes {
        let watch = watch.nth(pass, passes);
        let lookups = of_pass(&files, versions, pass, passes, watch)?;
        for (index, (version, lookups)) in versions.iter().zip(lookups).enumerate() {
            let watch = watch.nth(index, versions.len());
            recompute::check_version(archive, version, &pins[index], lookups, &mut report, watch)?;
        }
    }
    Ok(report)
}

/// How many there are, and those that nothing is known of any more.
fn counted(files: &LookupFiles, versions: &[Arc<ViewPlan>], watch: Watch<'_>) -> Result<Report, Error> {
    let mut report = Report::default();
    for file in files.clone() {
        for lookup in file? {
            report.lookups += 1;
            if version_of(&lookup, versions).is_none() {
                report.leave_unchecked(None, &lookup, Unchecked::Dropped);
            }
        }
        watch.at(0, 1)?;
    }
    Ok(report)
}

/// What is archived of the source of each version.
fn pins(archive: &Archive, versions: &[Arc<ViewPlan>]) -> Result<Vec<Arc<Pinned>>, Error> {
    let mut pins: Vec<Arc<Pinned>> = Vec::with_capacity(versions.len());
    for (index, version) in versions.iter().enumerate() {
        let same = versions[..index].iter().position(|before| before.source == version.source);
        pins.push(match same {
            Some(same) => pins[same].clone(),
            None => Arc::new(archive.pin(&version.source)?),
        });
    }
    Ok(pins)
}

/// Of each version the lookups of some of the entities.
fn of_pass(
    files: &LookupFiles,
    versions: &[Arc<ViewPlan>],
    pass: usize,
    passes: usize,
    watch: Watch<'_>,
) -> Result<Vec<Vec<LoggedLookup>>, Error> {
    let mut by_version: Vec<Vec<LoggedLookup>> = vec![Vec::new(); versions.len()];
    for file in files.clone() {
        watch.at(0, 1)?;
        for lookup in file?.into_iter().filter(|lookup| lookup.entity.hash() % passes as u64 == pass as u64) {
            if let Some(version) = version_of(&lookup, versions) {
                by_version[version].push(lookup);
            }
        }
    }
    Ok(by_version)
}

fn version_of(lookup: &LoggedLookup, versions: &[Arc<ViewPlan>]) -> Option<usize> {
    versions.iter().position(|version| version.fingerprint == lookup.version)
}

impl Unchecked {
    pub fn as_str(self) -> &'static str {
        match self {
            Unchecked::NotArchived => "not archived yet",
            Unchecked::Dropped => "its version was dropped",
            Unchecked::OtherAnswers => "its view has its features in another order, or other defaults, by now",
            Unchecked::OtherDecoding => "its source takes and rejects records by other fields by now",
            Unchecked::Unreadable => "what was logged is not readable",
        }
    }
}

impl fmt::Display for Unchecked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
