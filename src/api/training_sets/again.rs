//! Cutting a training set again, to the same bytes: what a job was made of, as its result has it, and whether a later
//! request is of the same.
//!
//! Promises: with the same spine, an equal [`Made`] is the same table. What has come into the archive since changes
//! nothing, late events and replayed ones neither, for the same commits are read.

use std::collections::BTreeMap;
use std::fmt::Display;

use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use crate::api::problem::Problem;
use crate::api::training_sets::cut::views;
use crate::kernel::definition::FeatureService;
use crate::kernel::event::decoding_mark;
use crate::kernel::plan::{Plan, ViewPlan};
use crate::training::Job;

/// An earlier job, as the request of one that repeats it has it.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct Earlier {
    pub job: String,
    pub made: Made,
}

#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub(super) struct Made {
    #[serde(flatten)]
    pub definitions: Definitions,
    /// Of each source the offset that each partition was archived up to.
    pub archived_to: BTreeMap<String, BTreeMap<String, u64>>,
    pub spine: SpineMark,
}

/// All of the definitions that the rows depend on.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub(super) struct Definitions {
    /// The features, in the order of their columns.
    pub columns: Vec<String>,
    /// The version of each view.
    pub versions: BTreeMap<String, String>,
    /// A mark of what the version of a view leaves out, and its values show: defaults.
    pub defaults: BTreeMap<String, String>,
    /// A mark of how each source decodes its records, and so of which it rejects.
    pub decoding: BTreeMap<String, String>,
}

#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub(super) struct SpineMark {
    pub rows: usize,
    /// Of its bytes, in hexadecimal.
    pub xxh3: String,
    /// The oldest and the newest label time; null of a spine without rows.
    pub label_times: Option<(String, String)>,
}

impl Made {
    pub fn of(job: &Job, plan: &Plan, service: &FeatureService, spine: &[u8]) -> Made {
        let texts = |offsets: &BTreeMap<u32, u64>| offsets.iter().map(|(at, to)| (at.to_string(), *to)).collect();
        Made {
            definitions: Definitions::of(plan, service),
            archived_to: job.pins.iter().map(|(source, offsets)| (source.to_string(), texts(offsets))).collect(),
            spine: SpineMark {
                rows: job.rows,
                xxh3: mark(spine),
                label_times: job.label_times.map(|(oldest, newest)| (oldest.to_string(), newest.to_string())),
            },
        }
    }

    /// Of a source that the job did not read: nothing.
    pub fn pins(&self, source: &str) -> BTreeMap<u32, u64> {
        let offsets = self.archived_to.get(source).into_iter().flatten();
        offsets.filter_map(|(partition, to)| Some((partition.parse().ok()?, *to))).collect()
    }
}

impl Definitions {
    pub fn of(plan: &Plan, service: &FeatureService) -> Definitions {
        let of_views = |mark: fn(&ViewPlan) -> (String, String)| {
            views(plan, service).map(|view| mark(view)).collect::<BTreeMap<_, _>>()
        };
        Definitions {
            columns: service.features.iter().map(ToString::to_string).collect(),
            versions: of_views(|view| (view.name.to_string(), view.fingerprint.to_string())),
            defaults: of_views(|view| (view.name.to_string(), view.answers().to_string())),
            decoding: of_views(|view| (view.source.name.to_string(), decoding_mark(&view.source).to_string())),
        }
    }
}

impl Earlier {
    /// Refuses where the definitions of now would make another table.
    pub fn check_definitions(&self, plan: &Plan, service: &FeatureService) -> Result<(), Problem> {
        let (then, now) = (&self.made.definitions, Definitions::of(plan, service));
        if then.columns != now.columns {
            return Err(self.refused(format_args!("service `{}` has other features now", service.name)));
        }
        let version = first_difference(&then.versions, &now.versions);
        if let Some((view, version)) = version {
            let since = format_args!("view `{view}` was in version {version}, and is served in another one now");
            return Err(self.refused(since));
        }
        if let Some((view, _)) = first_difference(&then.defaults, &now.defaults) {
            return Err(self.refused(format_args!("a default of view `{view}` has changed since")));
        }
        match first_difference(&then.decoding, &now.decoding) {
            Some((source, _)) => {
                Err(self.refused(format_args!("source `{source}` takes and rejects records by other fields now")))
            }
            None => Ok(()),
        }
    }

    /// Refuses a spine of other bytes.
    pub fn check_spine(&self, spine: &[u8]) -> Result<(), Problem> {
        let (then, now) = (&self.made.spine, mark(spine));
        match then.xxh3 == now {
            true => Ok(()),
            false => {
                let detail = format!(
                    "the spine is not the one of `{}`, which had {} rows and the xxh3 {}, not {now}: hand in the same bytes",
                    self.job, then.rows, then.xxh3
                );
                Err(Problem::new(StatusCode::CONFLICT, "OTHER_SPINE", detail))
            }
        }
    }

    fn refused(&self, since: impl Display) -> Problem {
        let detail = format!(
            "`{}` cannot be cut again: {since}; apply the definitions of then, or cut a new one without `again`",
            self.job
        );
        Problem::new(StatusCode::CONFLICT, "OTHER_DEFINITIONS", detail)
    }
}

fn mark(spine: &[u8]) -> String {
    format!("{:016x}", xxh3_64(spine))
}

/// What stands in `then`, and otherwise in `now`.
fn first_difference<'t>(
    then: &'t BTreeMap<String, String>,
    now: &BTreeMap<String, String>,
) -> Option<(&'t String, &'t String)> {
    then.iter().find(|(name, mark)| now.get(*name) != Some(*mark))
}
