//! The naive recomputation of `docs/semantics.md`: from a list of events, by brute force, to the row that a view
//! must give. No tiles, no partials, no windows that move on, and nothing of the kernel but its definitions and its
//! names for values and times. Meant to be read beside the page.

use freshet::kernel::aggregate::{Call, Parameter};
use freshet::kernel::definition::FeatureView;
use freshet::kernel::engine::Presence;
use freshet::kernel::key::{EntityKey, Origin};
use freshet::kernel::time::EventTime;
use freshet::kernel::value::{LONGEST_KEPT_BYTES, Value, ValueType};
use num_bigint::BigInt;

use crate::exact_ratio::{Ratio, exact};

/// One record of the log.
#[derive(Clone, Debug)]
pub struct Event {
    pub origin: Origin,
    /// As the producer wrote it.
    pub written: EventTime,
    pub ingestion: EventTime,
    pub entity: Option<EntityKey>,
    pub id: Option<Value>,
    /// The source's fields, then the derived columns.
    pub fields: Vec<Option<Value>>,
    /// What `where` says.
    pub selected: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Question {
    /// A lookup that found these events folded.
    Lookup,
    TrainingAsServed,
    TrainingEventTime,
}

/// What a reading says of one entity.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    pub values: Vec<Option<Value>>,
    pub presence: Presence,
    pub newest: Option<EventTime>,
    pub overflowed: usize,
}

/// An event as a view sees it.
#[derive(Clone, Copy)]
struct Seen<'e> {
    at: i64,
    late: bool,
    event: &'e Event,
}

pub fn row(view: &FeatureView, log: &[&Event], entity: &EntityKey, question: Question, as_of: EventTime) -> Row {
    let t = as_of.micros();
    let mut seen = known(view, log, entity, question, t);
    seen.sort_by_key(|seen| (seen.at, seen.event.origin));
    let newest = seen.last().map(|seen| seen.at);
    let mut row = Row { values: Vec::new(), presence: presence(view, newest, t), newest: None, overflowed: 0 };
    if row.presence != Presence::NotFound {
        row.newest = newest.and_then(EventTime::from_micros);
    }
    for feature in &view.features {
        let inside = seen.iter().filter(|seen| match feature.window {
            None => true,
            Some(window) => {
                let (length, hop) = (window.length.get(), window.hop.get());
                // A lookup takes the open tile whole, though some of it be ahead of the reader's clock.
                let before = if question == Question::Lookup { floor(seen.at, hop) } else { seen.at };
                floor(t - length, hop) <= seen.at && before < t
            }
        });
        let inputs = inside.map(|seen| Input { at: seen.at, value: feature.column.map(|it| &seen.event.fields[it]) });
        let answer = aggregate(&feature.call, &counted(&feature.call, inputs), t);
        row.overflowed += usize::from(matches!(answer, Answer::Overflow));
        row.values.push(match answer {
            Answer::Empty(empty) => feature.default.clone().or(empty),
            Answer::Value(value) => Some(value),
            Answer::Undefined | Answer::Overflow => None,
        });
    }
    row
}

fn floor(x: i64, h: i64) -> i64 {
    x - x.rem_euclid(h)
}

/// §4 and §5: what entered the view, in offset order within each partition, and was known at T.
fn known<'e>(view: &FeatureView, log: &[&'e Event], entity: &EntityKey, question: Question, t: i64) -> Vec<Seen<'e>> {
    let mut records = log.to_vec();
    records.sort_by_key(|event| event.origin);
    let entering = records.into_iter().filter(|event| event.selected && event.entity.as_ref() == Some(entity));
    let mut entered: Vec<Seen> = Vec::new();
    for event in entering {
        let ingestion = event.ingestion.micros();
        let clock = floor(ingestion, 1_000) + 999;
        if event.written.micros() > clock && event.written.micros() - ingestion > view.source.max_future_skew.get() {
            continue;
        }
        let at = event.written.micros().min(clock);
        let late = lateness(view).is_some_and(|allowed| ingestion - at > allowed);
        if late || !is_duplicate(view, &entered, event) {
            entered.push(Seen { at, late, event });
        }
    }
    entered.retain(|seen| match question {
        Question::Lookup => !seen.late,
        Question::TrainingAsServed => !seen.late && seen.at < t && seen.event.ingestion.micros() <= t,
        Question::TrainingEventTime => seen.at < t,
    });
    entered
}

/// The part accepted the same id, no more than the window before its newest ingestion time, this one's included.
fn is_duplicate(view: &FeatureView, entered: &[Seen], event: &Event) -> bool {
    let accepted = || entered.iter().filter(|seen| !seen.late && seen.event.origin.part() == event.origin.part());
    let newest = accepted().map(|seen| seen.event.ingestion).max().max(Some(event.ingestion)).expect("one at least");
    let recent = |at: EventTime| newest.micros() - at.micros() <= view.source.dedup_window.get();
    let names_ids = view.source.event_id.is_some() && event.id.is_some();
    names_ids && accepted().any(|seen| seen.event.id == event.id && recent(seen.event.ingestion))
}

/// W + h of the longest window; none with a lifetime feature.
fn reach(view: &FeatureView) -> Option<i64> {
    let reaches = view.features.iter().map(|it| it.window.map(|window| window.length.get() + window.hop.get()));
    reaches.collect::<Option<Vec<i64>>>()?.into_iter().max()
}

fn lateness(view: &FeatureView) -> Option<i64> {
    view.source.allowed_lateness.map(|allowed| allowed.get()).or(reach(view))
}

/// §6.
fn presence(view: &FeatureView, newest: Option<i64>, t: i64) -> Presence {
    let Some(newest) = newest else { return Presence::NotFound };
    let max_age = view.max_age.map(|age| age.get());
    if reach(view).is_some_and(|reach| newest + reach.max(max_age.unwrap_or(0)) <= t) {
        Presence::NotFound
    } else if max_age.is_some_and(|age| newest + age <= t) {
        Presence::OutsideMaxAge
    } else {
        Presence::Known
    }
}

struct Input<'e> {
    at: i64,
    value: Option<&'e Option<Value>>,
}

/// An event that an aggregate counts; the value where it is of a column.
struct Counted<'e> {
    at: i64,
    value: Option<&'e Value>,
}

enum Answer {
    Empty(Option<Value>),
    Value(Value),
    Undefined,
    Overflow,
}

/// §3: nulls and NaN are skipped, and what is too long to be kept where values are kept.
fn counted<'e>(call: &Call, inputs: impl Iterator<Item = Input<'e>>) -> Vec<Counted<'e>> {
    const KEEP: [&str; 7] = ["min", "max", "first", "last", "first_n", "last_n", "count_distinct"];
    let length = |value: &Value| match value {
        Value::Text(text) => text.len(),
        Value::Bytes(bytes) => bytes.len(),
        _ => 0,
    };
    let skipped = |value: &Value| {
        let is_nan = matches!(value, Value::Float(float) if float.is_nan());
        is_nan || KEEP.contains(&call.function.name) && length(value) > LONGEST_KEPT_BYTES
    };
    let take = |input: Input<'e>| match input.value {
        None => Some(Counted { at: input.at, value: None }),
        Some(field) => {
            field.as_ref().filter(|value| !skipped(value)).map(|value| Counted { at: input.at, value: Some(value) })
        }
    };
    inputs.filter_map(take).collect()
}

/// §3, of what is counted, in the order of events.
fn aggregate(call: &Call, counted: &[Counted], t: i64) -> Answer {
    let name = call.function.name;
    let Some(newest) = counted.last() else { return Answer::Empty(empty(call)) };
    let mut values: Vec<Value> = counted.iter().filter_map(|it| it.value.cloned()).collect();
    match name {
        "count" => Answer::Value(Value::Int(counted.len() as i64)),
        "seconds_since_last" => Answer::Value(Value::Float((t - newest.at) as f64 / 1e6)),
        "min" => values.into_iter().min().map_or(Answer::Undefined, Answer::Value),
        "max" => values.into_iter().max().map_or(Answer::Undefined, Answer::Value),
        "first" => Answer::Value(values.swap_remove(0)),
        "last" => values.pop().map_or(Answer::Undefined, Answer::Value),
        "first_n" => Answer::Value(list(call, values)),
        "last_n" => Answer::Value(list(call, values.into_iter().rev().collect())),
        "count_distinct" => {
            values.sort();
            values.dedup();
            Answer::Value(Value::Int(values.len().min(parameter(call, "limit")) as i64))
        }
        _ => numeric(call, &values),
    }
}

fn empty(call: &Call) -> Option<Value> {
    match (call.function.name, &call.argument) {
        ("sum", Some(ValueType::Decimal { .. })) => Some(Value::Decimal(0)),
        ("sum", Some(ValueType::Float32 | ValueType::Float64)) => Some(Value::Float(0.0)),
        ("count" | "sum" | "count_distinct", _) => Some(Value::Int(0)),
        ("first_n" | "last_n", _) => Some(Value::List(Vec::new())),
        _ => None,
    }
}

/// The first `n`; of `distinct` values the first of equals.
fn list(call: &Call, values: Vec<Value>) -> Value {
    let mut kept: Vec<Value> = Vec::new();
    for value in values {
        if call.parameters["distinct"] == Parameter::Flag(false) || !kept.contains(&value) {
            kept.push(value);
        }
    }
    kept.truncate(parameter(call, "n"));
    Value::List(kept)
}

fn parameter(call: &Call, name: &str) -> usize {
    match call.parameters[name] {
        Parameter::Count(count) => count as usize,
        other => panic!("`{name}` is a count, not {other:?}"),
    }
}

/// Sums, means and variances, as exact fractions rounded once.
fn numeric(call: &Call, values: &[Value]) -> Answer {
    let argument = call.argument.as_ref().expect("a number is of a column");
    let n = BigInt::from(values.len());
    let name = call.function.name;
    if let Some(not_finite) = not_finite(values) {
        let spread = name.starts_with("var") || name.starts_with("stddev");
        let undefined = name.ends_with("samp") && values.len() < 2;
        let float = if spread { f64::NAN } else { not_finite };
        return if undefined { Answer::Undefined } else { Answer::Value(Value::Float(float)) };
    }
    let unit = unit(argument);
    let s: BigInt = values.iter().map(exact).sum();
    let q: BigInt = values.iter().map(|value| exact(value).pow(2)).sum();
    let spread = &n * q - s.pow(2);
    let population = Ratio(spread.clone(), &n * &n * unit.pow(2));
    let sample = Ratio(spread, &n * (&n - 1) * unit.pow(2));
    let float = match name {
        "sum" => return sum(argument, s, unit),
        "mean" => Ratio(s, n * unit).to_f64(),
        _ if name.ends_with("samp") && values.len() < 2 => return Answer::Undefined,
        "var_pop" => population.to_f64(),
        "var_samp" => sample.to_f64(),
        "stddev_pop" => population.to_f64().sqrt(),
        "stddev_samp" => sample.to_f64().sqrt(),
        other => panic!("the oracle does not know `{other}`"),
    };
    Answer::Value(Value::Float(float))
}

/// An infinity, or what infinities of both signs add up to.
fn not_finite(values: &[Value]) -> Option<f64> {
    let has = |float: f64| values.iter().any(|value| matches!(value, Value::Float(it) if *it == float));
    match (has(f64::INFINITY), has(f64::NEG_INFINITY)) {
        (true, true) => Some(f64::NAN),
        (true, false) => Some(f64::INFINITY),
        (false, true) => Some(f64::NEG_INFINITY),
        (false, false) => None,
    }
}

/// What [`exact`] numbers of a type count: 2^1074 is 1.0, or 10^scale is 1.
fn unit(argument: &ValueType) -> BigInt {
    match argument {
        ValueType::Float32 | ValueType::Float64 => BigInt::from(1) << 1074,
        ValueType::Decimal { scale, .. } => BigInt::from(10).pow(*scale as u32),
        _ => BigInt::from(1),
    }
}

fn sum(argument: &ValueType, s: BigInt, unit: BigInt) -> Answer {
    match argument {
        ValueType::Float32 | ValueType::Float64 => Answer::Value(Value::Float(Ratio(s, unit).to_f64())),
        ValueType::Decimal { .. } => match i128::try_from(s) {
            Ok(sum) if sum.unsigned_abs() < 10_u128.pow(38) => Answer::Value(Value::Decimal(sum)),
            _ => Answer::Overflow,
        },
        _ => i64::try_from(s).map_or(Answer::Overflow, |sum| Answer::Value(Value::Int(sum))),
    }
}
