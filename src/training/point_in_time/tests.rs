//! Whether operators run where there is little memory, and again.

use std::num::NonZeroUsize;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::Int64Type;
use arrow::record_batch::RecordBatch;
use datafusion_physical_plan::execution_plan::reset_plan_states;
use datafusion_physical_plan::{ExecutionPlan, collect};

use super::*;
use crate::batch::{Engine, Resources};
use crate::kernel::definition::{SourceText, parse};
use crate::kernel::engine::Knowledge;
use crate::kernel::event::RawRecord;
use crate::kernel::name::FeatureRef;
use crate::kernel::plan::{Plan, compile};
use crate::kernel::time::EventTime;
use crate::offline::{Folder, Span};
use crate::training::{Job, Request};

const DEFINITIONS: &str = "
kind: entity
name: user
keys: [{ name: user_id, type: string }]
---
kind: source
name: clicks
event_time: { field: at, unit: us }
event_id: id
schema:
  version: 1
  fields:
    - { name: at, type: timestamp, required: true }
    - { name: user_id, type: string }
    - { name: id, type: int64 }
---
kind: feature_view
name: activity
entity: user
source: clicks
features:
  - { name: clicks, aggregate: count, windows: [1h] }
";

/// One user is busy all the time, and each event comes twice.
const EVENTS: u64 = 30_000;
const SECOND: i64 = 1_000_000;

fn plan() -> Plan {
    let text = DEFINITIONS.to_owned();
    compile(&parse(&[SourceText { path: "clicks.yaml".to_owned(), text }]).expect("the definitions are right"))
}

fn archived(root: &std::path::Path, plan: &Plan) -> Archive {
    let archive = Archive::new(Folder::on_disk(root, &"default".parse().expect("a name")));
    let record = |offset: u64| {
        let at = (offset / 2) as i64 * SECOND;
        let json = format!(r#"{{"at":{at},"user_id":"busy","id":{}}}"#, offset / 2);
        let ingestion_time = EventTime::unchecked(at);
        RawRecord { partition: 0, offset, ingestion_time, value: json.into() }
    };
    for from in (0..2 * EVENTS).step_by(10_000) {
        let offsets = from..(from + 10_000).min(2 * EVENTS);
        let records: Vec<RawRecord> = offsets.clone().map(record).collect();
        archive.commit(&plan.sources[0], &Span { partition: 0, offsets }, &records).expect("committed");
    }
    archive
}

fn job(archive: &Archive, plan: &Plan, resources: Resources) -> Job {
    let users = StringArray::from_iter_values((0..600).map(|_| "busy"));
    let times = TimestampMicrosecondArray::from_iter_values((0..600).map(|row| row * 50 * SECOND));
    let spine = RecordBatch::try_from_iter([
        ("user_id", Arc::new(users) as ArrayRef),
        ("at", Arc::new(times.with_timezone("UTC"))),
    ]);
    let name = |name: &str| name.parse().expect("a name");
    let features = [FeatureRef { view: name("activity"), feature: name("clicks_1h") }];
    let request = Request {
        features: &features,
        spine: &[spine.expect("a spine")],
        label_time: "at",
        knowledge: Knowledge::AsServed,
    };
    Job::begin(archive, plan, &request, resources).expect("begun")
}

fn clicks(batches: &[RecordBatch]) -> Vec<i64> {
    let of_batch = |batch: &RecordBatch| {
        let clicks = batch.columns().last().expect("a feature").as_primitive::<Int64Type>();
        clicks.values().to_vec()
    };
    batches.iter().flat_map(of_batch).collect()
}

/// A click each second, of which the last hour counts from its first whole minute on.
fn expected() -> Vec<i64> {
    let window = |row: i64| {
        let seconds = row * 50;
        seconds - ((seconds - 3_600).div_euclid(60) * 60).max(0)
    };
    (0..600).map(window).collect()
}

#[test]
fn a_pool_smaller_than_the_events_of_one_entity_is_enough() {
    let (plan, root) = (plan(), tempfile::tempdir().expect("a folder"));
    let archive = archived(root.path(), &plan);
    let resources = Resources { threads: NonZeroUsize::MIN, memory_bytes: 32 << 20 };
    let task = codec::decode(&job(&archive, &plan, resources).tasks()[0], &plan).expect("the same release");
    let engine = Engine::start(resources).expect("started");
    let operators = task.physical(&archive, &Arc::default());
    let answers = engine.runtime.block_on(collect(operators.clone(), engine.context.clone())).expect("answered");
    assert_eq!(clicks(&answers), expected());
    assert!(spilled(&operators) > 0, "the pool was large enough after all");
}

fn spilled(operators: &Arc<dyn ExecutionPlan>) -> usize {
    let own = operators.metrics().and_then(|metrics| metrics.spilled_bytes()).unwrap_or(0);
    own + operators.children().into_iter().map(spilled).sum::<usize>()
}

#[test]
fn operators_that_ran_can_run_again() {
    let (plan, root) = (plan(), tempfile::tempdir().expect("a folder"));
    let archive = archived(root.path(), &plan);
    let task = codec::decode(&job(&archive, &plan, Resources::default()).tasks()[0], &plan).expect("the same release");
    let engine = Engine::start(Resources::default()).expect("started");
    let operators = task.physical(&archive, &Arc::default());
    for _ in 0..2 {
        let again = reset_plan_states(operators.clone()).expect("no operator keeps anything");
        let answers = engine.runtime.block_on(collect(again, engine.context.clone())).expect("answered");
        assert_eq!(clicks(&answers), expected());
    }
}
