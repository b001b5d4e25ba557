//! One training set as a job: what is recorded of it, and the cut itself.
//!
//! Its spine is kept before the job is recorded, and until the job has ended, so that whoever takes the job up cuts the
//! same rows.

use std::sync::Arc;

use arrow::record_batch::RecordBatch;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::api::State;
use crate::api::blocking;
use crate::api::jobs::{self, Handle};
use crate::api::problem::{Problem, chain};
use crate::api::training_sets::again::{Earlier, Made};
use crate::api::training_sets::spine::{LIMITS, SpineName};
use crate::api::training_sets::{FormatName, KnowledgeName, stored_path};
use crate::kernel::definition::{FeatureService, Source};
use crate::kernel::engine::Knowledge;
use crate::kernel::name::{FeatureRef, Name};
use crate::kernel::plan::{Plan, ViewPlan};
use crate::kernel::value::ValueType;
use crate::offline::{Archive, Format, KeptSpine, ResultWriter, SpineColumns, spine};
use crate::telemetry::Watch;
use crate::training::{self, Differences, Job};

/// A request, as the registry has it.
#[derive(Debug, Deserialize, Serialize)]
pub(super) struct Recorded {
    pub service: String,
    pub label_time: String,
    pub knowledge: KnowledgeName,
    /// The format that the spine has.
    pub spine: SpineName,
    /// The job that this one repeats.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub again: Option<Earlier>,
}

/// A request beside what its names mean.
pub(super) struct Asked {
    recorded: Recorded,
    plan: Arc<Plan>,
    service: Arc<FeatureService>,
}

impl Asked {
    /// By the definitions of now, which have to be those of then where an earlier job is repeated.
    pub fn new(state: &State, recorded: Recorded) -> Result<Asked, Problem> {
        let plan = state.catalogues.current().served.clone();
        let service = plan.service(&recorded.service).cloned();
        let unknown = || format!("feature service `{}` is not defined", recorded.service);
        let service = service.ok_or_else(|| Problem::not_found("UNKNOWN_SERVICE", unknown()))?;
        recorded.again.iter().try_for_each(|earlier| earlier.check_definitions(&plan, &service))?;
        Ok(Asked { recorded, plan, service })
    }

    /// That it is the one of then, where an earlier job is repeated.
    pub fn check_spine(&self, spine: &[u8]) -> Result<(), Problem> {
        self.recorded.again.iter().try_for_each(|earlier| earlier.check_spine(spine))
    }

    /// The whole job; the spine is forgotten with it, unless another process takes it up.
    pub async fn work(self, state: State, id: String, handle: Handle) -> Result<Value, String> {
        let kept = Arc::new(KeptSpine::of(&state.folder, &id));
        let outcome = self.rows(&state, id.clone(), &handle, &kept).await;
        if outcome.is_ok() || state.jobs.is_over(&id, &handle).await {
            forget(&kept).await;
        }
        outcome
    }

    async fn rows(self, state: &State, id: String, handle: &Handle, kept: &Arc<KeptSpine>) -> Result<Value, String> {
        handle.check()?;
        // What an earlier job has read is archived.
        let sources = if self.recorded.again.is_some() { Vec::new() } else { self.sources() };
        for source in sources {
            jobs::archived_until_now(state, &source).await?;
        }
        let (state, handle, kept) = (state.clone(), handle.clone(), kept.clone());
        jobs::blocking(move || self.cut(&state, &id, &handle, &kept)).await
    }

    fn views(&self) -> impl Iterator<Item = &Arc<ViewPlan>> {
        views(&self.plan, &self.service)
    }

    fn sources(&self) -> Vec<Arc<Source>> {
        let mut sources: Vec<_> = self.views().map(|view| view.source.clone()).collect();
        sources.sort_by(|a, b| a.name.cmp(&b.name));
        sources.dedup_by(|a, b| a.name == b.name);
        sources
    }

    fn keys(&self) -> Vec<(Name, ValueType)> {
        let mut keys: Vec<(Name, ValueType)> = Vec::new();
        for key in self.views().flat_map(|view| &view.entity.keys) {
            if !keys.contains(key) {
                keys.push(key.clone());
            }
        }
        keys
    }

    fn cut(&self, state: &State, id: &str, handle: &Handle, kept: &KeptSpine) -> Result<Value, String> {
        let columns = SpineColumns { keys: &self.keys(), label_time: &self.recorded.label_time };
        let bytes = kept.read().map_err(|error| chain(&error))?;
        let spine = spine::read(bytes.clone(), self.recorded.spine.format(), columns, LIMITS);
        let spine = spine.map_err(|error| error.to_string())?;
        let features = &self.service.features;
        let (label_time, knowledge) = (columns.label_time, self.recorded.knowledge.of_the_rows());
        let request = training::Request { features, spine: &spine, label_time, knowledge };
        let job = self.begin(state, &request).map_err(|error| chain(&error))?;
        let is_compared = matches!(self.recorded.knowledge, KnowledgeName::Both);
        let differences = handle.watched(|watch| run(&job, state, id, is_compared, watch));
        let differences = differences.map_err(|error| chain(&error))?;
        let made = Made::of(&job, &self.plan, &self.service, &bytes);
        Ok(rendered(&job, &made, features, differences))
    }

    fn begin(&self, state: &State, request: &training::Request<'_>) -> Result<Job, training::Error> {
        let (archive, resources) = (Archive::new(state.folder.clone()), state.job_resources);
        match &self.recorded.again {
            None => Job::begin(&archive, &self.plan, request, resources),
            Some(earlier) => {
                let pins = |source: &Source| earlier.made.pins(source.name.as_str());
                Job::begin_again(&archive, &self.plan, request, resources, &pins)
            }
        }
    }
}

/// The views of the features of a service, each as often as it has one.
pub(super) fn views<'p>(plan: &'p Plan, service: &'p FeatureService) -> impl Iterator<Item = &'p Arc<ViewPlan>> {
    service.features.iter().filter_map(|feature| plan.view(feature.view.as_str()))
}

impl KnowledgeName {
    fn of_the_rows(self) -> Knowledge {
        match self {
            KnowledgeName::AsServed | KnowledgeName::Both => Knowledge::AsServed,
            KnowledgeName::EventTime => Knowledge::EventTime,
        }
    }
}

fn run(
    job: &Job,
    state: &State,
    id: &str,
    is_compared: bool,
    watch: Watch<'_>,
) -> Result<Option<Vec<Differences>>, training::Error> {
    let path = stored_path(id, FormatName::Parquet);
    let mut writer = ResultWriter::create(&state.folder, &path, Format::Parquet, job.schema.clone())?;
    let mut sink = |batch: RecordBatch| {
        watch.count(batch.num_rows());
        writer.write(&batch)
    };
    let differences = match is_compared {
        true => Some(job.run_compared(watch, &mut sink)?),
        false => job.run(watch, &mut sink).map(|()| None)?,
    };
    writer.publish()?;
    Ok(differences)
}

/// What came of it.
fn rendered(job: &Job, made: &Made, features: &[FeatureRef], differences: Option<Vec<Differences>>) -> Value {
    let mut result = serde_json::to_value(made).expect("what a table is made of is plain data");
    (result["rows"], result["features"]) = (json!(job.rows), json!(features.len()));
    if let Some(differences) = differences {
        result["differences"] = features.iter().zip(differences).map(rendered_differences).collect();
    }
    result
}

fn rendered_differences((feature, found): (&FeatureRef, Differences)) -> Value {
    json!({
        "feature": feature.to_string(), "compared": found.compared, "different": found.different,
        "not_yet_arrived": found.not_yet_arrived, "late": found.late,
    })
}

/// Nobody needs it any more; that it stays would harm nobody.
pub(super) async fn forget(kept: &Arc<KeptSpine>) {
    let kept = kept.clone();
    if let Err(error) = blocking(move || kept.forget()).await {
        tracing::warn!(%error, "the spine of a training set could not be removed");
    }
}
