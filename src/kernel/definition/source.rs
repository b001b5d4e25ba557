//! `kind: source`: a stream of events, its schema, and what its times and ids mean.

use crate::kernel::definition::fields::{Entry, Fields};
use crate::kernel::definition::findings::Findings;
use crate::kernel::definition::{Compatibility, Source, SourceField, TimeFormat, history, suggest, value_type};
use crate::kernel::name::Name;
use crate::kernel::time::Micros;
use crate::kernel::value::ValueType;

const SCHEMA_EXAMPLE: &str = "{ version: 1, compatibility: backward, fields: [...] }";
const FIELD_EXAMPLE: &str = "{ name: user_id, type: string, required: true }";
const EVENT_TIME_EXAMPLE: &str = "{ field: timestamp, unit: ms }";

/// Ahead of its ingestion time by more than this, an event is rejected unless the source says otherwise.
const MAX_FUTURE_SKEW: Micros = Micros::new(5 * 60_000_000);

pub(super) fn read(fields: &mut Fields, name: Name, found: &mut Findings) -> Option<Source> {
    let about = fields.about(found);
    let topic = fields.optional("topic").and_then(|entry| topic(&entry, found));
    format(fields, found);
    let history = fields.optional("history").map(|entry| history::read(&entry, found)).unwrap_or_default();
    let mut duration = |key| fields.optional(key).and_then(|entry| entry.duration(found));
    let allowed_lateness = duration("allowed_lateness");
    let max_future_skew = duration("max_future_skew").unwrap_or(MAX_FUTURE_SKEW);
    let dedup_window = duration("dedup_window").unwrap_or(Micros::HOUR);
    let schema = fields.required("schema", SCHEMA_EXAMPLE);
    let mut schema = schema.and_then(|entry| Schema::read(&entry, found)).unwrap_or_else(Schema::unknown);
    let key = fields.optional("key").and_then(|entry| schema.field(&entry, found));
    let event_id = fields.optional("event_id").and_then(|entry| event_id(&entry, &schema, found));
    let event_time = fields.required("event_time", EVENT_TIME_EXAMPLE);
    let event_time = event_time.and_then(|entry| event_time_field(&entry, &mut schema, found))?;
    Some(Source {
        topic: topic.unwrap_or_else(|| name.to_string()),
        name,
        key,
        event_time,
        event_id,
        dedup_window,
        allowed_lateness,
        max_future_skew,
        schema_version: schema.version,
        compatibility: schema.compatibility,
        fields: schema.fields.into_iter().map(|(field, _)| field).collect(),
        history,
        about,
    })
}

/// What logs take as the name of a topic.
fn topic(entry: &Entry, found: &mut Findings) -> Option<String> {
    let text = entry.text("the name of a topic", found)?;
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if text.len() <= 249 && text.chars().all(fits) && !matches!(text, "." | "..") {
        return Some(text.to_owned());
    }
    let help = "a topic has letters, digits, `.`, `_` and `-`, at most 249 of them";
    found.mistake(entry.node.place, format!("`{text}` is not the name of a topic"), help);
    None
}

fn format(fields: &mut Fields, found: &mut Findings) {
    let Some(entry) = fields.optional("format") else { return };
    match entry.text("`json`", found) {
        Some("avro") => {
            found.mistake(entry.node.place, "the format `avro` is not in this release", "send JSON: `format: json`");
        }
        Some(other) if other != "json" => {
            found.mistake(entry.node.place, format!("unknown format `{other}`"), "there is `json`");
        }
        _ => {}
    }
}

/// A source's schema while it is read.
struct Schema {
    version: u32,
    compatibility: Compatibility,
    /// With the unit that the field itself names.
    fields: Vec<(SourceField, Option<TimeFormat>)>,
    /// Whether these are all fields; else one that is not here may be one with a mistake.
    complete: bool,
}

impl Schema {
    fn unknown() -> Schema {
        Schema { version: 1, compatibility: Compatibility::Backward, fields: Vec::new(), complete: false }
    }

    fn read(entry: &Entry, found: &mut Findings) -> Option<Schema> {
        let mut schema = Fields::of(entry, "a schema", &format!("`schema: {SCHEMA_EXAMPLE}`"), found)?;
        let version = schema.optional("version").and_then(|entry| entry.whole_number(1, u32::MAX, found));
        let compatibility = schema
            .optional("compatibility")
            .and_then(|entry| entry.choice(&Compatibility::ALL, Compatibility::as_str, found));
        let entry = schema.required("fields", &format!("[{FIELD_EXAMPLE}]"));
        let mistakes_before = found.count();
        let fields = entry.as_ref().map(|entry| source_fields(entry, found)).unwrap_or_default();
        let complete = entry.is_some() && found.count() == mistakes_before;
        schema.finish(found);
        let compatibility = compatibility.unwrap_or(Compatibility::Backward);
        Some(Schema { version: version.unwrap_or(1), compatibility, fields, complete })
    }

    /// The index of the field that an entry names.
    fn field(&self, entry: &Entry, found: &mut Findings) -> Option<usize> {
        let text = entry.text("the name of a field", found)?;
        let index = self.fields.iter().position(|(field, _)| field.name == *text);
        if index.is_none() && self.complete {
            let names = self.fields.iter().map(|(field, _)| field.name.as_str());
            let what = format!("the schema has no field `{text}`");
            found.mistake(entry.node.place, what, suggest::instead_of(text, names));
        }
        index
    }
}

fn source_fields(entry: &Entry, found: &mut Findings) -> Vec<(SourceField, Option<TimeFormat>)> {
    let items = entry.items(&format!("`fields: [{FIELD_EXAMPLE}]`"), found).unwrap_or_default();
    let mut fields: Vec<(SourceField, Option<TimeFormat>)> = Vec::with_capacity(items.len());
    let mut names = std::collections::BTreeSet::new();
    for item in &items {
        let Some((field, unit)) = source_field(item, found) else { continue };
        if !names.insert(field.name.clone()) {
            found.mistake(item.place, format!("the field `{}` is given twice", field.name), "keep one of them");
        }
        fields.push((field, unit));
    }
    fields
}

fn source_field(item: &Entry, found: &mut Findings) -> Option<(SourceField, Option<TimeFormat>)> {
    let mut fields = Fields::of(item, "a field", &format!("`{FIELD_EXAMPLE}`"), found)?;
    let name = fields.required("name", "user_id").and_then(|entry| entry.name(found));
    let value_type = fields.required("type", "string").and_then(|entry| value_type::read(&entry, found));
    let required = fields.optional("required").and_then(|entry| entry.flag(found)).unwrap_or(false);
    let unit_entry = fields.optional("unit");
    let unit = unit_entry.as_ref().and_then(|entry| unit(entry, found));
    fields.optional("description").and_then(|entry| entry.text("text", found));
    fields.finish(found);
    let (name, value_type) = (name?, value_type?);
    if let (Some(entry), false) = (&unit_entry, value_type == ValueType::Timestamp) {
        let what = format!("a field of type {value_type} has no unit");
        found.mistake(entry.place, what, "leave `unit` out, or make the field a `timestamp`");
    }
    Some((SourceField { name, value_type, required, unit: unit.unwrap_or(TimeFormat::Rfc3339) }, unit))
}

fn unit(entry: &Entry, found: &mut Findings) -> Option<TimeFormat> {
    entry.choice(&TimeFormat::ALL, TimeFormat::as_str, found)
}

fn event_id(entry: &Entry, schema: &Schema, found: &mut Findings) -> Option<usize> {
    let index = schema.field(entry, found)?;
    let value_type = &schema.fields[index].0.value_type;
    if !matches!(value_type, ValueType::String | ValueType::Int64) {
        let what = format!("an event id cannot be of type {value_type}");
        found.mistake(entry.node.place, what, "name a field of type `string` or `int64`");
    }
    Some(index)
}

/// The index of the event time, whose unit is then known.
fn event_time_field(entry: &Entry, schema: &mut Schema, found: &mut Findings) -> Option<usize> {
    let mut fields = Fields::of(entry, "`event_time`", &format!("`event_time: {EVENT_TIME_EXAMPLE}`"), found)?;
    let field = fields.required("field", "timestamp");
    let index = field.as_ref().and_then(|entry| schema.field(entry, found));
    let unit_entry = fields.optional("unit");
    let unit = unit_entry.as_ref().and_then(|entry| unit(entry, found));
    fields.finish(found);
    let (index, place) = (index?, field?.node.place);
    let (field, own_unit) = &mut schema.fields[index];
    let (name, value_type) = (&field.name, &field.value_type);
    if *value_type != ValueType::Timestamp {
        let help = format!("declare it as `{{ name: {name}, type: timestamp, required: true }}`");
        found.mistake(place, format!("the event time `{name}` is of type {value_type}, not timestamp"), help);
    } else if !field.required {
        let help = format!("add `required: true` to the field `{name}`: an event without it has no place in time");
        found.mistake(place, format!("the event time `{name}` is not required"), help);
    }
    match (unit, *own_unit, unit_entry) {
        (Some(unit), Some(own), Some(entry)) if unit != own => {
            let what = format!("the unit of `{name}` is `{}` here and `{}` in the schema", unit.as_str(), own.as_str());
            found.mistake(entry.node.place, what, "leave one of them out");
        }
        (Some(unit), ..) => field.unit = unit,
        _ => {}
    }
    Some(index)
}
