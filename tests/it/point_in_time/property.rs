//! Random cases of the kernel's property test, with their events in an archive or in batches of any order, against
//! the same oracle. A failure prints its seed; `FRESHET_SEED` runs that one alone.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::array::{ArrayRef, TimestampMicrosecondArray};
use arrow::record_batch::RecordBatch;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use fastrand::Rng;
use freshet::kernel::codec::encode_values;
use freshet::kernel::definition::Source;
use freshet::kernel::engine::{History, Knowledge, read};
use freshet::kernel::event::RawRecord;
use freshet::kernel::key::{EntityKey, Origin};
use freshet::kernel::name::FeatureRef;
use freshet::kernel::plan::{Plan, ViewPlan, compile_view};
use freshet::kernel::time::{EventTime, Micros};
use freshet::kernel::value::{ColumnBuilder, Value, ValueType};
use freshet::offline::{Archive, Folder, Span};
use freshet::training::{self, Request};
use serde_json::json;

use super::unwatched;
use crate::kernel_property::generate::{self, Case, WHO};
use crate::kernel_property::{decode_columns, seeds};
use crate::oracle::{self, Event, Question};

const WALKS: u64 = 10_000;
const CUTS: u64 = 100;
/// Each writes files: more would be too many for a night.
const CUTS_MAX: usize = 100_000;

const QUESTIONS: [(Question, Knowledge); 2] =
    [(Question::TrainingAsServed, Knowledge::AsServed), (Question::TrainingEventTime, Knowledge::EventTime)];

#[test]
fn walks_through_time_and_offsets_give_the_bits_of_the_oracle() {
    for seed in seeds(WALKS) {
        let case = generate::case(seed);
        let mut rng = Rng::with_seed(seed ^ 0x417);
        let history = history(&case, &mut rng);
        let entities: BTreeSet<EntityKey> = case.log.iter().filter_map(|event| event.entity.clone()).collect();
        for entity in &entities {
            check_known(&case, &history, entity);
            check_folded(&case, &history, entity, &mut rng);
        }
    }
}

#[test]
fn training_sets_of_random_spines_give_the_bits_of_the_oracle() {
    for seed in seeds(CUTS).take(CUTS_MAX) {
        let case = generate::case(seed);
        let mut rng = Rng::with_seed(seed ^ 0xc07);
        let view = Arc::new(compile_view(&case.view));
        let root = tempfile::tempdir().expect("a folder");
        let archive = Archive::new(Folder::on_disk(root.path(), &"default".parse().expect("a name")));
        archive_in_commits(&case, &archive, &mut rng);
        let rows: Vec<(Option<Value>, EventTime)> = (0..rng.usize(0..8)).map(|_| row(&case, &mut rng)).collect();
        for (question, knowledge) in QUESTIONS {
            let features = answers(&archive, &view, &rows, knowledge);
            let expected = expected(&case, &view, &rows, question);
            assert_eq!(features, expected, "seed {seed}, {question:?} of {rows:?}");
        }
    }
}

/// The log in batches, whose order says nothing.
fn history(case: &Case, rng: &mut Rng) -> History {
    let view = Arc::new(compile_view(&case.view));
    let mut batches: Vec<Vec<&Event>> = vec![Vec::new(); rng.usize(1..=4)];
    for event in &case.log {
        let batch = rng.usize(..batches.len());
        batches[batch].push(event);
    }
    let mut history = History::of_all(view);
    batches.iter().for_each(|batch| history.add(&decode_columns(&case.view.source, batch).events));
    history
}

fn check_known(case: &Case, history: &History, entity: &EntityKey) {
    let log: Vec<&Event> = case.log.iter().collect();
    let mut as_ofs = case.as_ofs.clone();
    as_ofs.sort();
    for (question, knowledge) in QUESTIONS {
        let mut walk = history.known(entity, knowledge);
        for as_of in &as_ofs {
            let (found, expected) = (walk.at(*as_of), oracle::row(&case.view, &log, entity, question, *as_of));
            let at = format!("seed {}, {question:?} of {entity:?} as of {as_of}", case.seed);
            assert_eq!(encode_values(&found.values), encode_values(&expected.values), "{at}");
            assert_eq!((found.presence, found.newest), (expected.presence, expected.newest), "{at}");
        }
    }
}

/// Offsets of any order: they may also go back.
fn check_folded(case: &Case, history: &History, entity: &EntityKey, rng: &mut Rng) {
    let mut walk = history.folded(entity);
    for as_of in case.as_ofs.iter().cycle().take(4) {
        let offsets: Vec<(u32, u64)> = (0..case.partitions).map(|partition| (partition, rng.u64(0..16))).collect();
        let below = |event: &&Event| match event.origin {
            Origin::Log { partition, offset } => offset < offsets[partition as usize].1,
            Origin::History { .. } => true,
        };
        let log: Vec<&Event> = case.log.iter().filter(below).collect();
        let found = read(history.view(), &[walk.below(&offsets)], *as_of);
        let expected = oracle::row(&case.view, &log, entity, Question::Lookup, *as_of);
        let at = format!("seed {}, below {offsets:?}: {entity:?} as of {as_of}", case.seed);
        assert_eq!(encode_values(&found.values), encode_values(&expected.values), "{at}");
    }
}

fn archive_in_commits(case: &Case, archive: &Archive, rng: &mut Rng) {
    let mut partitions: BTreeMap<u32, Vec<(u64, &Event)>> = BTreeMap::new();
    for event in &case.log {
        if let Origin::Log { partition, offset } = event.origin {
            partitions.entry(partition).or_default().push((offset, event));
        }
    }
    for (partition, events) in partitions {
        let mut from = 0;
        for commit in events.chunks(rng.usize(1..=5)) {
            let to = commit.last().map_or(from, |(offset, _)| offset + 1);
            let record = |(offset, event): &(u64, &Event)| RawRecord {
                partition,
                offset: *offset,
                ingestion_time: event.ingestion,
                value: json(&case.view.source, event).into(),
            };
            let records: Vec<RawRecord> = commit.iter().map(record).collect();
            let span = Span { partition, offsets: from..to };
            archive.commit(&case.view.source, &span, &records).expect("committed");
            from = to;
        }
    }
}

/// The event as a producer writes it.
fn json(source: &Source, event: &Event) -> String {
    let fields = source.fields.iter().zip(&event.fields);
    let fields =
        fields.map(|(field, value)| format!(r#""{}":{}"#, field.name, cell(&field.value_type, value.as_ref())));
    format!("{{{}}}", fields.collect::<Vec<_>>().join(","))
}

fn cell(value_type: &ValueType, value: Option<&Value>) -> String {
    match (value_type, value) {
        (_, None) => "null".to_owned(),
        (_, Some(Value::Bool(it))) => it.to_string(),
        (_, Some(Value::Int(it))) => it.to_string(),
        (_, Some(Value::Float(it))) if it.is_nan() => r#""NaN""#.to_owned(),
        (_, Some(Value::Float(it))) if it.is_infinite() && *it > 0.0 => r#""Infinity""#.to_owned(),
        (_, Some(Value::Float(it))) if it.is_infinite() => r#""-Infinity""#.to_owned(),
        (_, Some(Value::Float(it))) => json!(it).to_string(),
        (ValueType::Decimal { scale, .. }, Some(Value::Decimal(it))) => format!("{it}e-{scale}"),
        (_, Some(Value::Date(it))) => {
            let midnight =
                EventTime::from_micros(i64::from(*it) * Micros::DAY.get()).expect("a day of the generator").to_string();
            json!(&midnight[..10]).to_string()
        }
        (_, Some(Value::Time(it))) => it.micros().to_string(),
        (_, Some(Value::Text(it))) => json!(it).to_string(),
        (_, Some(Value::Bytes(it))) => json!(STANDARD.encode(it)).to_string(),
        (value_type, Some(other)) => panic!("the generator makes no {value_type} like {other:?}"),
    }
}

fn row(case: &Case, rng: &mut Rng) -> (Option<Value>, EventTime) {
    let who = if case.log.is_empty() { None } else { case.log[rng.usize(..case.log.len())].fields[WHO].clone() };
    (who, case.as_ofs[rng.usize(..case.as_ofs.len())])
}

/// A column of the training set for each feature of the view.
fn answers(
    archive: &Archive,
    view: &Arc<ViewPlan>,
    rows: &[(Option<Value>, EventTime)],
    knowledge: Knowledge,
) -> Vec<ArrayRef> {
    let (key, key_type) = &view.entity.keys[0];
    let who = column(key_type, rows.iter().map(|(who, _)| who.clone()));
    let times = TimestampMicrosecondArray::from_iter_values(rows.iter().map(|(_, as_of)| as_of.micros()));
    let spine = RecordBatch::try_from_iter_with_nullable([
        (key.as_str(), who, true),
        ("event_timestamp", Arc::new(times) as ArrayRef, true),
    ]);
    let named = |name: &freshet::kernel::name::Name| FeatureRef { view: view.name.clone(), feature: name.clone() };
    let features: Vec<FeatureRef> = view.features.iter().map(|feature| named(&feature.name)).collect();
    let plan = Plan { views: vec![view.clone()], ..Plan::default() };
    let spine = [spine.expect("a spine")];
    let request = Request { features: &features, spine: &spine, label_time: "event_timestamp", knowledge };
    let cut = training::cut(archive, &plan, &request, unwatched()).expect("cut");
    cut.batches[0].columns()[2..].to_vec()
}

fn expected(case: &Case, view: &ViewPlan, rows: &[(Option<Value>, EventTime)], question: Question) -> Vec<ArrayRef> {
    let log: Vec<&Event> = case.log.iter().collect();
    let nobody = EntityKey::from_bytes(b"");
    let row = |(who, as_of): &(Option<Value>, EventTime)| {
        let known = case.log.iter().find(|event| who.is_some() && event.fields[WHO] == *who);
        let entity = known.and_then(|event| event.entity.clone()).unwrap_or(nobody.clone());
        oracle::row(&case.view, &log, &entity, question, *as_of).values
    };
    let rows: Vec<Vec<Option<Value>>> = rows.iter().map(row).collect();
    let of_feature = |(index, feature): (usize, &freshet::kernel::plan::FeaturePlan)| {
        column(&feature.value_type, rows.iter().map(|row| row[index].clone()))
    };
    view.features.iter().enumerate().map(of_feature).collect()
}

fn column(value_type: &freshet::kernel::value::ValueType, values: impl Iterator<Item = Option<Value>>) -> ArrayRef {
    let mut builder = ColumnBuilder::with_capacity(value_type, 0);
    values.for_each(|value| builder.append_value(value.as_ref()));
    builder.finish()
}
