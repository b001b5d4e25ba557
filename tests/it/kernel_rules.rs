//! The rules of `docs/semantics.md`, one example each: a view, events, a question, the row. Each example runs
//! through the oracle, the batch fold and the stream in several schedules, which must agree before the expectation
//! is looked at.

use expect_test::{Expect, expect};
use freshet::kernel::definition::{FeatureView, SourceText, parse};
use freshet::kernel::engine::Presence;
use freshet::kernel::key::{EntityKey, KeyPart, Origin};
use freshet::kernel::plan::compile_view;
use freshet::kernel::time::{EventTime, Micros};
use freshet::kernel::value::Value;

use crate::kernel_property::{Case, decode_columns, difference};
use crate::oracle::{self, Event, Question};

const SPEND_1H: &str = "features: [{ name: spend, aggregate: sum, column: amount, windows: [1h] }]";
const LAST: &str = "features: [{ name: last, aggregate: last, column: amount, windows: [1h] }]";
const EVER: &str = "features: [{ name: spend, aggregate: sum, column: amount }]";

#[test]
fn the_start_of_a_window_is_in_and_its_as_of_is_out() {
    check("", SPEND_1H, "09:00 a 1 | 10:00 a 2", "a@10:00", expect!["spend_1h: Float(1.0)"]);
    check("", SPEND_1H, "08:59:59 a 1 | 09:59:59 a 2", "a@10:00", expect!["spend_1h: Float(2.0)"]);
}

#[test]
fn an_event_leaves_a_window_without_any_write() {
    check("", SPEND_1H, "10:00 a 5 | 10:12 a 7", "a@10:30", expect!["spend_1h: Float(12.0)"]);
    check("", SPEND_1H, "10:00 a 5 | 10:12 a 7", "a@11:01", expect!["spend_1h: Float(7.0)"]);
    check("", SPEND_1H, "10:00 a 5 | 10:12 a 7", "a@11:13", expect!["NotFound spend_1h: Float(0.0)"]);
}

#[test]
fn a_late_event_within_the_allowed_lateness_still_counts() {
    check("", SPEND_1H, "10:00 a 5 | 10:12 a 7 | 10:09 a 1 +11m", "a@10:20", expect!["spend_1h: Float(13.0)"]);
}

#[test]
fn a_late_event_beyond_it_counts_for_what_really_happened_only() {
    let source = "allowed_lateness: 10m";
    let events = "10:00 a 5 | 10:01 a 1 +10m | 10:01 a 2 +11m";
    check(source, SPEND_1H, events, "a@10:30", expect!["spend_1h: Float(6.0)"]);
    check(source, SPEND_1H, events, "a@10:30 as_served", expect!["spend_1h: Float(6.0)"]);
    check(source, SPEND_1H, events, "a@10:30 event_time", expect!["spend_1h: Float(8.0)"]);
}

#[test]
fn a_training_row_as_served_knows_what_was_ingested_by_then() {
    let events = "10:00 a 5 | 10:05 a 1 +20m";
    check("", SPEND_1H, events, "a@10:24 as_served", expect!["spend_1h: Float(5.0)"]);
    check("", SPEND_1H, events, "a@10:25 as_served", expect!["spend_1h: Float(6.0)"]);
    check("", SPEND_1H, events, "a@10:24 event_time", expect!["spend_1h: Float(6.0)"]);
}

#[test]
fn a_label_never_sees_its_own_event_but_a_lookup_takes_the_open_tile_whole() {
    let events = "10:00 a 5 | 10:30:20 a 1";
    check("", SPEND_1H, events, "a@10:30:20 event_time", expect!["spend_1h: Float(5.0)"]);
    check("", SPEND_1H, events, "a@10:30:10", expect!["spend_1h: Float(6.0)"]);
    check("", SPEND_1H, events, "a@10:30", expect!["spend_1h: Float(5.0)"]);
}

#[test]
fn an_early_event_counts_as_of_its_ingestion_and_one_too_early_is_rejected() {
    let source = "max_future_skew: 5m";
    check(source, LAST, "10:00 a 5 | 10:03 a 7 -4m", "a@10:30", expect!["last_1h: Float(5.0)"]);
    check(source, LAST, "10:00 a 5 | 10:06 a 7 -4m", "a@10:30", expect!["last_1h: Float(7.0)"]);
    check(source, LAST, "10:00 a 5 | 10:10 a 7 -6m", "a@10:30", expect!["last_1h: Float(5.0)"]);
}

#[test]
fn a_copy_is_dropped_within_the_dedup_window_and_its_own_partition() {
    let source = "event_id: id\ndedup_window: 10m";
    check(source, EVER, "10:00 a 5 #x | 10:10 a 5 #x", "a@11:00", expect!["spend: Float(5.0)"]);
    check(source, EVER, "10:00 a 5 #x | 10:11 a 5 #x", "a@11:00", expect!["spend: Float(10.0)"]);
    check(source, EVER, "10:00 a 5 #x p0 | 10:01 a 5 #x p1", "a@11:00", expect!["spend: Float(10.0)"]);
    check(source, EVER, "10:00 a 5 #x | 10:01 b 5 #x", "a@11:00", expect!["spend: Float(5.0)"]);
    // The newest ingestion of the part has moved the window on, though this copy was ingested early.
    check(source, EVER, "10:00 a 5 #x | 10:20 a 1 #y | 10:02 a 5 #x", "a@11:00", expect!["spend: Float(11.0)"]);
}

#[test]
fn a_late_event_neither_claims_nor_tests_an_id() {
    let source = "event_id: id\nallowed_lateness: 1m";
    check(source, EVER, "10:00 a 5 #x +2m | 10:03 a 7 #x", "a@11:00", expect!["spend: Float(7.0)"]);
    let events = "10:03 a 7 #x | 10:00 a 5 #x +5m";
    check(source, EVER, events, "a@11:00 event_time", expect!["spend: Float(12.0)"]);
}

#[test]
fn a_tie_in_time_is_decided_by_place_and_not_by_arrival() {
    check("", LAST, "10:00 a 1 p1 | 10:00 a 2 p0", "a@10:30", expect!["last_1h: Float(1.0)"]);
    check("", LAST, "10:00 a 1 p0 | 10:00 a 2 p0", "a@10:30", expect!["last_1h: Float(2.0)"]);
}

#[test]
fn a_default_stands_in_where_nothing_was_counted_and_not_for_other_nulls() {
    let spread = "features: [{ name: s, aggregate: var_samp, column: amount, windows: [1h], default: 9.5 }]";
    check("", spread, "10:00 a null", "a@10:30", expect!["s_1h: Float(9.5)"]);
    check("", spread, "10:00 a 4", "a@10:30", expect!["s_1h: null"]);
    check("", spread, "10:00 a NaN", "a@10:30", expect!["s_1h: Float(9.5)"]);
}

#[test]
fn a_row_is_found_for_the_longer_of_reach_and_age() {
    let old = format!("max_age: 30m\n{SPEND_1H}");
    check("", &old, "10:00 a 5", "a@10:29:59", expect!["spend_1h: Float(5.0)"]);
    check("", &old, "10:00 a 5", "a@10:30", expect!["OutsideMaxAge spend_1h: Float(5.0)"]);
    check("", &old, "10:00 a 5", "a@11:00", expect!["OutsideMaxAge spend_1h: Float(5.0)"]);
    check("", &old, "10:00 a 5", "a@11:01", expect!["NotFound spend_1h: Float(0.0)"]);
    let older = format!("max_age: 3h\n{SPEND_1H}");
    check("", &older, "10:00 a 5", "a@12:59", expect!["spend_1h: Float(0.0)"]);
    check("", &older, "10:00 a 5", "b@10:30", expect!["NotFound spend_1h: Float(0.0)"]);
}

#[test]
fn before_1970_tiles_begin_as_they_do_after_it() {
    let day = "1969-12-31T";
    check_on(day, "", SPEND_1H, "22:59:59 a 1 | 23:00 a 2", "a@23:59:30", expect!["spend_1h: Float(3.0)"]);
    check_on(day, "", SPEND_1H, "22:58:59 a 1 | 23:00 a 2", "a@23:59:30", expect!["spend_1h: Float(2.0)"]);
}

fn check(source: &str, view: &str, events: &str, question: &str, expected: Expect) {
    check_on("2026-01-01T", source, view, events, question, expected);
}

/// `source` and `view` are lines of the definitions; an event is `time who amount`, then `#id`, `pPARTITION`,
/// `+LAG` or `-LEAD` of its ingestion; a question is `who@time`, then the knowledge of a training row.
fn check_on(day: &str, source: &str, view: &str, events: &str, question: &str, expected: Expect) {
    let (entity, rest) = question.split_once('@').expect("a question asks who@when");
    let (clock, kind) = rest.split_once(' ').unwrap_or((rest, "lookup"));
    let kind = match kind {
        "lookup" => Question::Lookup,
        "as_served" => Question::TrainingAsServed,
        "event_time" => Question::TrainingEventTime,
        other => panic!("no such knowledge: {other}"),
    };
    let as_of = time(day, clock);
    let log: Vec<Event> = events.split(" | ").enumerate().map(|(offset, text)| event(day, text, offset)).collect();
    let mut case = Case { seed: 0, view: definition(source, view), log, partitions: 2, as_ofs: vec![as_of] };
    let plan = compile_view(&case.view);
    for seed in 0..20 {
        case.seed = seed;
        assert_eq!(difference(&case, &plan, decode_columns, None), None);
    }
    let log: Vec<&Event> = case.log.iter().collect();
    let row = oracle::row(&case.view, &log, &key(entity), kind, as_of);
    let value = |value: &Option<Value>| value.as_ref().map_or("null".to_owned(), |value| format!("{value:?}"));
    let named = case.view.features.iter().zip(&row.values);
    let values: Vec<String> = named.map(|(feature, it)| format!("{}: {}", feature.name, value(it))).collect();
    let presence = if row.presence == Presence::Known { String::new() } else { format!("{:?} ", row.presence) };
    expected.assert_eq(&format!("{presence}{}", values.join(", ")));
}

fn definition(source: &str, view: &str) -> FeatureView {
    let text = format!(
        "kind: entity\nname: person\nkeys: [{{ name: who, type: string }}]\n---\n\
         kind: source\nname: purchases\nformat: json\nevent_time: {{ field: at, unit: us }}\n{source}\n\
         schema:\n  version: 1\n  compatibility: none\n  fields:\n    - {{ name: id, type: string }}\n    \
         - {{ name: at, type: timestamp, required: true }}\n    - {{ name: who, type: string }}\n    \
         - {{ name: amount, type: float64 }}\n---\n\
         kind: feature_view\nname: spending\nentity: person\nsource: purchases\n{view}\n"
    );
    let parsed = parse(&[SourceText { path: "example".into(), text }]);
    parsed.unwrap_or_else(|found| panic!("{found:#?}")).views[0].as_ref().clone()
}

fn event(day: &str, text: &str, offset: usize) -> Event {
    let mut words = text.split(' ');
    let mut word = || words.next().unwrap_or_else(|| panic!("an event is `time who amount`, not `{text}`"));
    let (written, who, amount) = (time(day, word()), word().to_owned(), word().to_owned());
    let (mut id, mut partition, mut ingestion) = (None, 0, written);
    for word in words {
        match word.split_at(1) {
            ("#", name) => id = Some(Value::Text(name.into())),
            ("p", number) => partition = number.parse().expect("a partition"),
            ("+", lag) => ingestion = written + lag.parse::<Micros>().expect("a lag"),
            ("-", lead) => ingestion = written - lead.parse::<Micros>().expect("a lead"),
            other => panic!("no such word: {other:?}"),
        }
    }
    let amount = (amount != "null").then(|| Value::Float(amount.parse().expect("an amount")));
    let fields = vec![id.clone(), Some(Value::Time(written)), Some(Value::Text(who.as_str().into())), amount];
    let origin = Origin::Log { partition, offset: offset as u64 };
    Event { origin, written, ingestion, entity: Some(key(&who)), id, fields, selected: true }
}

fn key(who: &str) -> EntityKey {
    EntityKey::encode(&[KeyPart::Text(who.into())])
}

fn time(day: &str, clock: &str) -> EventTime {
    let seconds = if clock.len() == "10:00".len() { ":00" } else { "" };
    format!("{day}{clock}{seconds}Z").parse().expect(clock)
}
