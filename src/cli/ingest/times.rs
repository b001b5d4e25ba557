//! The times of events on their way in: read in the form that the file has, written in the one that the source
//! declares, moved where asked.

use anyhow::Context;
use serde_json::{Map, Number, Value};

use crate::kernel::time::{EventTime, Micros};

/// Names of a source's timestamp fields, and how each is written.
pub(super) struct Times {
    fields: Vec<(String, Unit)>,
    /// Index into `fields`.
    event_time: usize,
    shift: Micros,
}

#[derive(Clone, Copy)]
enum Unit {
    /// So many of them are a second.
    Fraction(i64),
    Rfc3339,
}

impl Times {
    /// From a source as `/v1/definitions` shows it.
    pub fn of_source(definition: &Value) -> anyhow::Result<Times> {
        let fields: Vec<(String, Unit)> = definition["fields"]
            .as_array()
            .into_iter()
            .flatten()
            .filter(|field| field["type"] == "timestamp")
            .filter_map(|field| Some((field["name"].as_str()?.to_owned(), Unit::named(field["unit"].as_str()?)?)))
            .collect();
        let event_time = fields.iter().position(|(name, _)| definition["event_time"] == name.as_str());
        let event_time = event_time.context("the service shows the source in an unknown form")?;
        Ok(Times { fields, event_time, shift: Micros::ZERO })
    }

    pub fn shift_by(&mut self, shift: Micros) {
        self.shift = shift;
    }

    pub fn shift(&self) -> Micros {
        self.shift
    }

    pub fn move_at_all(&self) -> bool {
        self.shift != Micros::ZERO
    }

    /// When the event happened, if that can be read; the service says what is wrong where it cannot.
    pub fn event_time(&self, event: &Map<String, Value>) -> Option<EventTime> {
        let (name, unit) = &self.fields[self.event_time];
        unit.parse(event.get(name)?)
    }

    /// The event with its times moved, and in the form that the source declares.
    pub fn moved(&self, mut event: Map<String, Value>) -> anyhow::Result<Map<String, Value>> {
        for (name, unit) in &self.fields {
            if let Some(value) = event.get_mut(name)
                && let Some(at) = unit.parse(value)
            {
                *value = unit.render(at + self.shift)?;
            }
        }
        Ok(event)
    }
}

impl Unit {
    fn named(name: &str) -> Option<Unit> {
        Some(match name {
            "s" => Unit::Fraction(1),
            "ms" => Unit::Fraction(1_000),
            "us" => Unit::Fraction(1_000_000),
            "ns" => Unit::Fraction(1_000_000_000),
            "rfc3339" => Unit::Rfc3339,
            _ => return None,
        })
    }

    /// Floored to the microsecond, also before 1970.
    fn parse(self, value: &Value) -> Option<EventTime> {
        match (self, value) {
            (_, Value::String(text)) => parse_text(text),
            (Unit::Fraction(per_second), Value::Number(number)) => {
                let micros = match number.as_i64() {
                    Some(whole) => (i128::from(whole) * 1_000_000).div_euclid(i128::from(per_second)),
                    None => (number.as_f64()? * 1e6 / per_second as f64).floor() as i128,
                };
                EventTime::from_micros(i64::try_from(micros).ok()?)
            }
            _ => None,
        }
    }

    fn render(self, at: EventTime) -> anyhow::Result<Value> {
        let micros = i128::from(at.micros());
        Ok(match self {
            Unit::Rfc3339 => at.to_string().into(),
            Unit::Fraction(per_second) if micros * i128::from(per_second) % 1_000_000 == 0 => {
                let count = micros * i128::from(per_second) / 1_000_000;
                Number::from_i128(count).context("a time does not fit a number")?.into()
            }
            Unit::Fraction(per_second) => (at.micros() as f64 * per_second as f64 / 1e6).into(),
        })
    }
}

/// RFC 3339, or the same without a zone (then UTC) and with a space for the `T`.
fn parse_text(text: &str) -> Option<EventTime> {
    let text = text.replacen(' ', "T", 1);
    text.parse().or_else(|_| format!("{text}Z").parse()).ok()
}
