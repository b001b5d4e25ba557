//! Random cases: a view, a log, instants to ask at. What is drawn is drawn near the edges: a case whose events lie
//! anywhere proves little.

use std::collections::BTreeMap;
use std::sync::Arc;

use fastrand::Rng;
use freshet::kernel::aggregate::{Arity, Call, FUNCTIONS, Parameter, ParameterKind};
use freshet::kernel::definition::{
    Compatibility, Description, Entity, Feature, FeatureView, Source, SourceField, TimeFormat,
};
use freshet::kernel::key::{EntityKey, KeyPart, Origin};
use freshet::kernel::time::{EventTime, Micros};
use freshet::kernel::value::{LONGEST_KEPT_BYTES, Value, ValueType};
use freshet::kernel::window::Sliding;

use super::sql::{self, Sql};
use crate::oracle::Event;

/// Everything that a run needs; the same seed gives the same case.
#[derive(Clone, Debug)]
pub struct Case {
    pub seed: u64,
    pub view: FeatureView,
    pub log: Vec<Event>,
    pub partitions: u32,
    pub as_ofs: Vec<EventTime>,
}

/// Fields that every source has, in this order; then come those that the case draws.
pub const ID: usize = 0;
pub const AT: usize = 1;
pub const WHO: usize = 2;
const DRAWN: usize = 3;

pub fn case(seed: u64) -> Case {
    Draw { rng: Rng::with_seed(seed) }.case(seed, None)
}

/// One with derived columns and perhaps a `where`.
pub fn sql_case(seed: u64) -> (Case, Sql) {
    let mut draw = Draw { rng: Rng::with_seed(seed) };
    let sql = sql::draw(&mut draw.rng);
    (draw.case(seed, Some(&sql)), sql)
}

struct Draw {
    rng: Rng,
}

impl Draw {
    fn case(&mut self, seed: u64, sql: Option<&Sql>) -> Case {
        let windows = self.windows();
        let view = self.view(&windows, sql);
        let anchor = self.anchor();
        let hop = windows[0].hop.get();
        let as_ofs: Vec<EventTime> =
            (0..self.rng.usize(1..=2)).map(|_| time(anchor + self.rng.i64(-3..=3) * hop + self.nudge(hop))).collect();
        let partitions = self.rng.u32(1..=3);
        let length = if self.rng.u8(..4) == 0 { self.rng.usize(0..=40) } else { self.rng.usize(0..=12) };
        let mut log = Vec::new();
        let mut offsets = [0; 3];
        for _ in 0..length {
            let partition = self.rng.u32(0..partitions);
            // Offsets may have gaps: transactions and compaction leave them.
            let offset = offsets[partition as usize] + u64::from(self.rng.u8(..8) == 0);
            offsets[partition as usize] = offset + 1;
            let event = self.event(&view, sql, &windows, &as_ofs, &log, Origin::Log { partition, offset });
            log.push(event);
        }
        Case { seed, view, log, partitions, as_ofs }
    }

    fn windows(&mut self) -> Vec<Sliding> {
        let hops = [1_000_000, 7_000_000, 60_000_000, 3_600_000_000];
        let shared = self.pick(&hops);
        (0..self.rng.usize(1..=3))
            .map(|_| {
                let hop = if self.rng.bool() { shared } else { self.pick(&hops) };
                let rest = self.pick(&[0, 0, 0, 1_000_000, hop / 2]);
                let length = hop * self.rng.i64(1..=5) + rest / 1_000_000 * 1_000_000;
                Sliding { length: Micros::new(length), hop: Micros::new(hop) }
            })
            .collect()
    }

    fn view(&mut self, windows: &[Sliding], sql: Option<&Sql>) -> FeatureView {
        let key_type = self.pick(&[ValueType::String, ValueType::Int64]);
        let source = Arc::new(self.source(&key_type, windows, sql));
        let entity =
            Entity { name: name("person"), keys: vec![(name("who"), key_type)], about: Description::default() };
        let columns = sql.map_or(Vec::new(), |sql| sql.compiled_columns(&source));
        let filter = sql.and_then(|sql| sql.compiled_filter(&source));
        let mut view = FeatureView {
            name: name("drawn"),
            entity: Arc::new(entity),
            source,
            key_fields: vec![WHO],
            columns,
            filter,
            max_age: self.rng.bool().then(|| self.duration(windows)),
            online: true,
            features: Vec::new(),
            about: Description::default(),
        };
        let lifetimes = self.rng.u8(..3) == 0;
        view.features =
            (0..self.rng.usize(1..=4)).map(|index| self.feature(&view, index, windows, lifetimes)).collect();
        view
    }

    fn source(&mut self, key_type: &ValueType, windows: &[Sliding], sql: Option<&Sql>) -> Source {
        let id_type = self.pick(&[ValueType::String, ValueType::Int64]);
        let mut fields = vec![field("id", id_type), field("at", ValueType::Timestamp), field("who", key_type.clone())];
        fields[AT].required = true;
        match sql {
            Some(_) => fields.extend(sql::FIELDS.iter().map(|(name, value_type)| field(name, value_type.clone()))),
            None => fields.extend((0..2).map(|index| field(["one", "two"][index], self.column_type()))),
        }
        Source {
            name: name("drawn_events"),
            topic: "drawn_events".into(),
            key: None,
            event_time: AT,
            event_id: self.rng.bool().then_some(ID),
            dedup_window: self.duration(windows),
            allowed_lateness: self.rng.bool().then(|| self.duration(windows)),
            max_future_skew: self.pick(&[Micros::ZERO, Micros::new(5_000_000), Micros::new(300_000_000)]),
            schema_version: 1,
            compatibility: Compatibility::Backward,
            fields,
            history: Vec::new(),
            about: Description::default(),
        }
    }

    fn feature(&mut self, view: &FeatureView, index: usize, windows: &[Sliding], lifetimes: bool) -> Feature {
        let schema = view.source.fields.iter().skip(DRAWN).map(|field| field.value_type.clone());
        let types: Vec<ValueType> = schema.chain(view.columns.iter().map(|(_, it)| it.value_type().clone())).collect();
        let (function, column) = loop {
            let function = self.pick(FUNCTIONS);
            let column = self.rng.usize(..types.len());
            let without = function.column == Arity::Never || function.column == Arity::Optional && self.rng.bool();
            if without {
                break (function, None);
            }
            if (function.accepts)(&types[column]) {
                break (function, Some(column));
            }
        };
        let rules = function.parameters.iter();
        let parameters: BTreeMap<&'static str, Parameter> =
            rules.map(|rule| (rule.name, self.parameter(&rule.kind))).collect();
        let call = Call { function, argument: column.map(|it| types[it].clone()), parameters };
        let default = (self.rng.u8(..3) == 0).then(|| self.default(&(function.result)(&call))).flatten();
        let window = if lifetimes && self.rng.bool() { None } else { Some(self.pick(windows)) };
        let written = window.map_or(String::new(), |window| format!("_{}", window.length));
        let name = name(&format!("f{index}{written}"));
        Feature {
            name,
            call,
            column: column.map(|it| it + DRAWN),
            window,
            default,
            description: None,
            deprecated: None,
        }
    }

    fn parameter(&mut self, kind: &ParameterKind) -> Parameter {
        match kind {
            ParameterKind::Count { .. } => Parameter::Count(self.rng.u32(1..=4)),
            ParameterKind::Flag => Parameter::Flag(self.rng.bool()),
        }
    }

    fn default(&mut self, value_type: &ValueType) -> Option<Value> {
        match value_type {
            ValueType::Int64 => Some(Value::Int(-7)),
            ValueType::Float64 => Some(Value::Float(0.5)),
            _ => None,
        }
    }

    fn event(
        &mut self,
        view: &FeatureView,
        sql: Option<&Sql>,
        windows: &[Sliding],
        as_ofs: &[EventTime],
        before: &[Event],
        origin: Origin,
    ) -> Event {
        let written = time(self.event_micros(windows, as_ofs, before));
        let ingestion = self.ingestion(view, written, as_ofs);
        let fields = &view.source.fields;
        let who = (self.rng.u8(..16) > 0).then(|| self.rng.u8(..2));
        let who = who.map(|who| match fields[WHO].value_type {
            ValueType::Int64 => Value::Int(i64::from(who) - 1),
            _ => Value::Text(["", "b"][usize::from(who)].into()),
        });
        let id = (self.rng.u8(..8) > 0).then(|| match fields[ID].value_type {
            ValueType::Int64 => Value::Int(self.rng.i64(-2..3)),
            _ => Value::Text(["", "x", "y", "z", "x0"][self.rng.usize(..5)].into()),
        });
        let mut values = vec![id.clone(), Some(Value::Time(written)), who.clone()];
        values.extend(fields[DRAWN..].iter().map(|field| self.value(&field.value_type)));
        let selected = sql.is_none_or(|sql| sql.derive(&mut values));
        let entity = who.map(|who| {
            EntityKey::encode(&[match who {
                Value::Int(int) => KeyPart::Int(int),
                Value::Text(text) => KeyPart::Text(text.into()),
                other => panic!("{other:?} is no key"),
            }])
        });
        Event { origin, written, ingestion, entity, id, fields: values, selected }
    }

    /// Near what decides: the as-of, both ends of a window, the edge of a tile, an earlier event.
    fn event_micros(&mut self, windows: &[Sliding], as_ofs: &[EventTime], before: &[Event]) -> i64 {
        let window = self.pick(windows);
        let (length, hop) = (window.length.get(), window.hop.get());
        let as_of = self.pick(as_ofs).micros();
        let start = as_of - length;
        match self.rng.u8(..8) {
            0 => as_of + self.nudge(hop),
            1 => start + self.nudge(hop),
            2 => start - start.rem_euclid(hop) + self.nudge(hop),
            3 => as_of - as_of.rem_euclid(hop) + self.nudge(hop),
            4 if !before.is_empty() => before[self.rng.usize(..before.len())].written.micros(),
            5 => self.rng.i64(start - 2 * length..=as_of + hop),
            _ => self.rng.i64(start..=as_of),
        }
    }

    /// Whole milliseconds: at once, late to the millisecond, at the as-of, or before the event.
    fn ingestion(&mut self, view: &FeatureView, written: EventTime, as_ofs: &[EventTime]) -> EventTime {
        let reaches = view.features.iter().filter_map(|feature| feature.window.map(Sliding::reach));
        let lateness = view.source.allowed_lateness.or(reaches.max()).unwrap_or(Micros::HOUR).get();
        let micros = match self.rng.u8(..10) {
            0 => written.micros() + lateness + self.rng.i64(-1..=1) * 1_000,
            1 => self.pick(as_ofs).micros() + self.rng.i64(-1..=1) * 1_000,
            2 => written.micros() - view.source.max_future_skew.get() + self.rng.i64(-1..=1) * 1_000,
            3 => written.micros() - self.rng.i64(0..=3_000),
            4 => written.micros() + self.rng.i64(0..=2 * lateness),
            _ => written.micros() + self.rng.i64(0..=2_000_000),
        };
        time(micros).floor_to_millis()
    }

    fn value(&mut self, value_type: &ValueType) -> Option<Value> {
        if self.rng.u8(..7) == 0 {
            return None;
        }
        Some(match value_type {
            ValueType::Bool => Value::Bool(self.rng.bool()),
            ValueType::Int32 => Value::Int(self.pick(&[0, 1, -1, 3, i64::from(i32::MAX), i64::from(i32::MIN)])),
            ValueType::Int64 => Value::Int(self.pick(&[0, 1, 2, -1, 5, 1 << 53, i64::MAX, i64::MIN])),
            ValueType::Float32 => Value::Float(f64::from(self.float() as f32)),
            ValueType::Float64 => Value::Float(self.float()),
            ValueType::String => self.text(),
            ValueType::Bytes => Value::Bytes(vec![0xff; self.rng.usize(..3)].into()),
            ValueType::Timestamp => Value::Time(time(self.pick(&[0, -1, 1_700_000_000_000_000]))),
            ValueType::Date => Value::Date(self.pick(&[0, -1, 20_000])),
            ValueType::Decimal { .. } => {
                Value::Decimal(self.pick(&[0, 1, -1, 1999, 10_i128.pow(38) - 1, 1 - 10_i128.pow(38)]))
            }
            ValueType::List(_) => panic!("no field is a list"),
        })
    }

    fn float(&mut self) -> f64 {
        match self.rng.u8(..16) {
            0 => self.pick(&[f64::INFINITY, f64::NEG_INFINITY, f64::NAN]),
            1..4 => self.pick(&[1e308, -1e308, f64::MAX, 5e-324, -5e-324, f64::MIN_POSITIVE, 1e16, -1e16]),
            4 => f64::from_bits(self.rng.u64(..)),
            5..8 => self.pick(&[0.0, -0.0, 1.0]),
            _ => f64::from(self.rng.i32(-30..30)) / 10.0,
        }
    }

    fn text(&mut self) -> Value {
        let length = match self.rng.u8(..24) {
            0 => LONGEST_KEPT_BYTES,
            1 => LONGEST_KEPT_BYTES + 1,
            _ => self.rng.usize(..3),
        };
        Value::Text(self.pick(&["a", "b", "z"]).repeat(length).into())
    }

    fn column_type(&mut self) -> ValueType {
        self.pick(&[
            ValueType::Float64,
            ValueType::Float64,
            ValueType::Int64,
            ValueType::String,
            ValueType::Bool,
            ValueType::Int32,
            ValueType::Float32,
            ValueType::Decimal { precision: 38, scale: 2 },
            ValueType::Timestamp,
            ValueType::Date,
            ValueType::Bytes,
        ])
    }

    fn anchor(&mut self) -> i64 {
        let year = 366 * Micros::DAY.get();
        match self.rng.u8(..8) {
            0 => 0,
            1 => EventTime::MIN.micros() + year,
            2 => EventTime::MAX.micros() - year,
            3..5 => -self.rng.i64(0..100_000_000_000),
            _ => 1_700_000_000_000_000 + self.rng.i64(0..100_000_000_000),
        }
    }

    fn duration(&mut self, windows: &[Sliding]) -> Micros {
        let window = self.pick(windows);
        self.pick(&[Micros::SECOND, Micros::MINUTE, window.hop, window.length, window.reach(), Micros::DAY])
    }

    /// Exactly there, a microsecond beside, or a hop.
    fn nudge(&mut self, hop: i64) -> i64 {
        self.pick(&[0, 0, -1, 1, hop, -hop])
    }

    fn pick<T: Clone>(&mut self, choices: &[T]) -> T {
        choices[self.rng.usize(..choices.len())].clone()
    }
}

fn time(micros: i64) -> EventTime {
    EventTime::from_micros(micros).expect("the generator keeps a year's distance from the ends of time")
}

fn name(text: &str) -> freshet::kernel::name::Name {
    text.parse().expect("the generator's names are names")
}

fn field(text: &str, value_type: ValueType) -> SourceField {
    SourceField { name: name(text), value_type, required: false, unit: TimeFormat::Micros }
}
