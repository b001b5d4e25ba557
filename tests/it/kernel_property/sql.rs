//! Cases through the definition language: derived columns and `where` beside what they mean in Rust, a case's
//! view as YAML, its events as JSON.

use std::fmt::Write;

use fastrand::Rng;
use freshet::kernel::aggregate::Parameter;
use freshet::kernel::definition::{Feature, FeatureView, Source, SourceText};
use freshet::kernel::event::{self, Decoded, RawRecord};
use freshet::kernel::expr::Expression;
use freshet::kernel::key::Origin;
use freshet::kernel::name::Name;
use freshet::kernel::value::{Value, ValueType};

use super::generate::Case;
use crate::oracle::Event;

/// What these sources have after id, time and key.
pub const FIELDS: [(&str, ValueType); 3] =
    [("amount", ValueType::Float64), ("quantity", ValueType::Int64), ("kind", ValueType::String)];

/// The fields' values, in their order.
struct Fields<'f> {
    amount: Option<f64>,
    quantity: Option<i64>,
    kind: Option<&'f str>,
}

/// An expression, and what it means.
struct Written<T> {
    text: &'static str,
    means: fn(&Fields) -> T,
}

const COLUMNS: [Written<Option<Value>>; 5] = [
    Written { text: "amount * 2", means: |it| it.amount.map(|amount| Value::Float(amount * 2.0)) },
    // Fails where it overflows, and is null there.
    Written { text: "quantity * 3 + 1", means: |it| it.quantity?.checked_mul(3)?.checked_add(1).map(Value::Int) },
    Written {
        text: "10 / (quantity - 1)",
        means: |it| 10_i64.checked_div(it.quantity?.checked_sub(1)?).map(Value::Int),
    },
    Written {
        text: "kind || '-' || kind",
        means: |it| it.kind.map(|kind| Value::Text(format!("{kind}-{kind}").into())),
    },
    Written { text: "coalesce(amount, 1.5)", means: |it| Some(Value::Float(it.amount.unwrap_or(1.5))) },
];

/// `None` is SQL's null: neither true nor false.
const FILTERS: [Written<Option<bool>>; 4] = [
    Written { text: "quantity > 0", means: |it| it.quantity.map(|quantity| quantity > 0) },
    Written { text: "kind <> 'a'", means: |it| it.kind.map(|kind| kind != "a") },
    Written { text: "amount IS NOT NULL", means: |it| Some(it.amount.is_some()) },
    Written {
        text: "quantity >= 0 AND kind = ''",
        means: |it| match (it.quantity.map(|quantity| quantity >= 0), it.kind.map(str::is_empty)) {
            (Some(false), _) | (_, Some(false)) => Some(false),
            (Some(true), Some(true)) => Some(true),
            _ => None,
        },
    },
];

#[derive(Clone, Debug)]
pub struct Sql {
    /// Indices into the lists above.
    columns: Vec<usize>,
    filter: Option<usize>,
}

pub fn draw(rng: &mut Rng) -> Sql {
    let columns = (0..COLUMNS.len()).filter(|_| rng.bool()).collect();
    Sql { columns, filter: rng.bool().then(|| rng.usize(..FILTERS.len())) }
}

impl Sql {
    pub fn compiled_columns(&self, source: &Source) -> Vec<(Name, Expression)> {
        let compile = |index: &usize| {
            let expression = Expression::compile(COLUMNS[*index].text, &source.schema());
            (column_name(*index).parse().expect("a name"), expression.expect("an expression"))
        };
        self.columns.iter().map(compile).collect()
    }

    pub fn compiled_filter(&self, source: &Source) -> Option<Expression> {
        self.filter.map(|it| Expression::compile(FILTERS[it].text, &source.schema()).expect("an expression"))
    }

    /// Appends the derived values to those of the fields, and says whether the event is selected.
    pub fn derive(&self, values: &mut Vec<Option<Value>>) -> bool {
        let fields = Fields::of(values);
        let derived: Vec<Option<Value>> = self.columns.iter().map(|it| (COLUMNS[*it].means)(&fields)).collect();
        let selected = self.filter.is_none_or(|it| (FILTERS[it].means)(&fields) == Some(true));
        values.extend(derived);
        selected
    }

    pub fn yaml(&self, view: &FeatureView) -> SourceText {
        let mut text = String::new();
        write_source(&mut text, view).expect("a string takes all");
        write!(text, "---\nkind: feature_view\nname: {}\nentity: person\nsource: {}\n", view.name, view.source.name)
            .and_then(|()| self.write_expressions(&mut text))
            .and_then(|()| view.max_age.iter().try_for_each(|age| writeln!(text, "max_age: {age}")))
            .and_then(|()| writeln!(text, "features:"))
            .and_then(|()| view.features.iter().try_for_each(|feature| write_feature(&mut text, view, feature)))
            .expect("a string takes all");
        SourceText { path: "drawn.yaml".into(), text }
    }

    fn write_expressions(&self, text: &mut String) -> std::fmt::Result {
        if !self.columns.is_empty() {
            writeln!(text, "columns:")?;
        }
        for index in &self.columns {
            writeln!(text, "  {}: \"{}\"", column_name(*index), COLUMNS[*index].text)?;
        }
        self.filter.iter().try_for_each(|it| writeln!(text, "where: \"{}\"", FILTERS[*it].text))
    }
}

impl<'f> Fields<'f> {
    fn of(values: &'f [Option<Value>]) -> Fields<'f> {
        let [.., amount, quantity, kind] = values else { panic!("these sources have three fields more") };
        Fields {
            amount: amount.as_ref().map(|it| if let Value::Float(it) = it { *it } else { panic!("{it:?}") }),
            quantity: quantity.as_ref().map(|it| if let Value::Int(it) = it { *it } else { panic!("{it:?}") }),
            kind: kind.as_ref().map(|it| if let Value::Text(it) = it { it.as_ref() } else { panic!("{it:?}") }),
        }
    }
}

fn column_name(index: usize) -> String {
    format!("derived_{index}")
}

fn write_source(text: &mut String, view: &FeatureView) -> std::fmt::Result {
    let source = &view.source;
    let key_type = &view.entity.keys[0].1;
    writeln!(text, "kind: entity\nname: person\nkeys: [{{ name: who, type: {key_type} }}]\n---")?;
    writeln!(text, "kind: source\nname: {}\nformat: json\nevent_time: {{ field: at, unit: us }}", source.name)?;
    source.event_id.iter().try_for_each(|_| writeln!(text, "event_id: id"))?;
    writeln!(text, "dedup_window: {}\nmax_future_skew: {}", source.dedup_window, source.max_future_skew)?;
    source.allowed_lateness.iter().try_for_each(|it| writeln!(text, "allowed_lateness: {it}"))?;
    writeln!(text, "schema:\n  version: 1\n  compatibility: backward\n  fields:")?;
    source.fields.iter().try_for_each(|field| {
        writeln!(text, "    - {{ name: {}, type: {}, required: {} }}", field.name, field.value_type, field.required)
    })
}

fn write_feature(text: &mut String, view: &FeatureView, feature: &Feature) -> std::fmt::Result {
    let base = feature.name.as_str().split('_').next().expect("a name has a beginning");
    write!(text, "  - {{ name: {base}, aggregate: {}", feature.call.function.name)?;
    if let Some(column) = feature.column {
        write!(text, ", column: {}", view.schema().field(column).name())?;
    }
    for (name, parameter) in &feature.call.parameters {
        match parameter {
            Parameter::Count(count) => write!(text, ", {name}: {count}")?,
            Parameter::Flag(flag) => write!(text, ", {name}: {flag}")?,
        }
    }
    match &feature.default {
        Some(Value::Int(int)) => write!(text, ", default: {int}")?,
        Some(Value::Float(float)) => write!(text, ", default: {float:?}")?,
        other => assert!(other.is_none(), "the generator has no other defaults"),
    }
    if let Some(window) = feature.window {
        write!(text, ", windows: [{{ length: {}, hop: {} }}]", window.length, window.hop)?;
    }
    writeln!(text, " }}")
}

pub fn decode_json(source: &Source, events: &[&Event]) -> Decoded {
    let records: Vec<RawRecord> = events.iter().map(|event| record(source, event)).collect();
    event::decode(source, &records)
}

fn record(source: &Source, event: &Event) -> RawRecord {
    let Origin::Log { partition, offset } = event.origin else { panic!("records are of a log") };
    let members = source.fields.iter().zip(&event.fields).map(|(field, value)| {
        let value = value.as_ref().map_or(serde_json::Value::Null, json);
        (field.name.to_string(), value)
    });
    let object = serde_json::Value::Object(members.collect());
    RawRecord { partition, offset, ingestion_time: event.ingestion, value: object.to_string().into() }
}

fn json(value: &Value) -> serde_json::Value {
    match value {
        Value::Int(int) => (*int).into(),
        Value::Float(float) if float.is_nan() => "NaN".into(),
        Value::Float(float) if float.is_infinite() => if *float > 0.0 { "Infinity" } else { "-Infinity" }.into(),
        Value::Float(float) => (*float).into(),
        Value::Text(text) => text.as_ref().into(),
        Value::Time(at) => at.micros().into(),
        other => panic!("these sources have no {other:?}"),
    }
}

/// For a message: what a person would need to see the case.
pub fn describe(case: &Case) -> String {
    let mut text = String::new();
    let view = &case.view;
    let source = &view.source;
    writeln!(
        text,
        "event_id {:?}, dedup_window {}, allowed_lateness {:?}, max_future_skew {}, max_age {:?}",
        source.event_id, source.dedup_window, source.allowed_lateness, source.max_future_skew, view.max_age
    )
    .and_then(|()| view.features.iter().try_for_each(|feature| write_feature(&mut text, view, feature)))
    .expect("a string takes all");
    for event in &case.log {
        writeln!(text, "  {event:?}").expect("a string takes all");
    }
    text
}
