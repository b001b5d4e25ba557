//! The driver of training sets: a spine of entities and label times, and beside each row the features as they were
//! at its label time (semantics §5).
//!
//! ```text
//! spine ─► questions by entity ─┐
//! archive ─► History by entity ─┴─► a walk forward for each entity ─► columns ─► rows in the spine's order
//! ```
//!
//! Promises: output rows are the spine's, in its order, with its columns untouched, and one column `view:feature`
//! for each feature. A row whose key is null or unknown has the empty values. What was read can be pinned again.
//!
//! It waits for nothing: that the archive has every event which the job shall see is its caller's concern. It
//! blocks, and holds the spine, its answers, and the events of the spine's entities in memory.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::{Field, Schema, SchemaRef};
use arrow::record_batch::RecordBatch;

use crate::kernel::definition::Source;
use crate::kernel::engine::{History, Knowledge};
use crate::kernel::name::{FeatureRef, Name};
use crate::kernel::plan::{Fingerprint, Plan};
use crate::kernel::value::ValueType;
use crate::offline::{self, Archive, Pinned, Scope, TableError};
use crate::telemetry::{Cancelled, Watch};

use answers::Answers;
use spine::Spine;
use wanted::{Wanted, WantedView};

mod answers;
mod spine;
mod wanted;

#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// In the order of their columns.
    pub features: &'a [FeatureRef],
    /// All batches of one schema.
    pub spine: &'a [RecordBatch],
    pub label_time: &'a str,
    pub knowledge: Knowledge,
}

/// A training set.
#[derive(Clone, Debug)]
pub struct Cut {
    pub schema: SchemaRef,
    /// As many as the spine had, each as long.
    pub batches: Vec<RecordBatch>,
    pub rows: usize,
    /// What was read of each source: partition → the offset that it was archived up to.
    pub pins: BTreeMap<Name, BTreeMap<u32, u64>>,
    /// The version of each view.
    pub fingerprints: BTreeMap<Name, Fingerprint>,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("there is no feature `{0}`")]
    UnknownFeature(FeatureRef),
    #[error("feature `{0}` is asked for twice")]
    Twice(FeatureRef),
    #[error("the spine has a column `{0}` already, and the feature of that name would be a second one")]
    NameTaken(FeatureRef),
    #[error("the key `{key}` is {one} in one of the entities and {other} in another, so one column cannot hold both")]
    KeyTypes { key: Name, one: ValueType, other: ValueType },
    #[error(transparent)]
    Spine(#[from] TableError),
    #[error("the training set cannot read the archive")]
    Archive(#[from] offline::Error),
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
}

/// Cuts a training set out of what is archived now.
pub fn cut(archive: &Archive, plan: &Plan, request: &Request<'_>, watch: Watch<'_>) -> Result<Cut, Error> {
    let wanted = Wanted::resolve(plan, request.features)?;
    let spine = Spine::check(request, &wanted)?;
    let mut answers = Vec::new();
    let mut pins = BTreeMap::new();
    let sources = wanted.by_source();
    for (index, (source, views)) in sources.iter().enumerate() {
        let watch = watch.nth(index, sources.len());
        let pinned = archive.pin(source)?;
        let histories = read(archive, source, &pinned, views, &spine, watch.part(0.0, 0.5))?;
        for (nth, (history, view)) in histories.into_iter().zip(views).enumerate() {
            let watch = watch.part(0.5, 1.0).nth(nth, views.len());
            answers.push(Answers::find(history, view, &spine, request.knowledge, watch)?);
        }
        pins.insert(source.name.clone(), pinned.offsets());
    }
    let schema = schema(&spine, &wanted, request.features);
    let batches = assemble(&schema, &spine, &answers);
    Ok(Cut { schema, batches, rows: spine.rows(), pins, fingerprints: wanted.fingerprints() })
}

/// The events of the spine's entities, for each of the source's views.
fn read(
    archive: &Archive,
    source: &Arc<Source>,
    pinned: &Pinned,
    views: &[&WantedView],
    spine: &Spine,
    watch: Watch<'_>,
) -> Result<Vec<History>, Error> {
    let entities = |view: &&WantedView| spine.questions(&view.plan.entity).entities().cloned();
    let mut histories: Vec<History> = views.iter().map(|view| History::of(view.plan.clone(), entities(view))).collect();
    let reach = views.iter().map(|view| view.plan.reach).reduce(|a, b| a.zip(b).map(|(a, b)| a.max(b))).flatten();
    let event_time = reach.and_then(|reach| spine.label_times().map(|times| times.start - reach..times.end));
    let mut events = archive.read(source, pinned, &Scope { below: None, event_time });
    let commits = events.size_hint().1.unwrap_or(0);
    while let Some(archived) = events.next() {
        let batch = archived?.admit(source);
        histories.iter_mut().for_each(|history| history.add(&batch));
        watch.at(commits - events.size_hint().1.unwrap_or(0), commits)?;
    }
    Ok(histories)
}

fn schema(spine: &Spine, wanted: &Wanted, features: &[FeatureRef]) -> SchemaRef {
    let mut fields = spine.schema().fields().to_vec();
    let types = wanted.types();
    let columns = features.iter().zip(types).map(|(name, it)| Field::new(name.to_string(), it.to_arrow(), true));
    fields.extend(columns.map(Arc::new));
    Arc::new(Schema::new_with_metadata(fields, spine.schema().metadata().clone()))
}

/// The spine's own columns with the answers beside them, batch by batch.
fn assemble(schema: &SchemaRef, spine: &Spine, answers: &[Answers]) -> Vec<RecordBatch> {
    let mut features: Vec<_> = answers.iter().flat_map(Answers::features).collect();
    features.sort_by_key(|feature| feature.column);
    let mut start = 0;
    let batch = |given: &RecordBatch| {
        let rows = start..start + given.num_rows();
        start = rows.end;
        let answered = features.iter().map(|feature| feature.values(rows.clone()));
        let columns = given.columns().iter().cloned().chain(answered).collect();
        RecordBatch::try_new(schema.clone(), columns).expect("each feature has a value for each row")
    };
    spine.batches().iter().map(batch).collect()
}
