//! The definition language: YAML text → checked [`Definitions`], or every mistake at once.
//!
//! Checked means that nothing is left for [`crate::kernel::plan::compile`] to refuse: names resolve, types fit,
//! expressions are compiled, durations make sense.

mod entity;
mod feature;
mod feature_view;
mod fields;
mod findings;
mod history;
mod resolve;
mod service;
mod source;
mod suggest;
mod value_type;
mod windows;
mod yaml;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use arrow::datatypes::{Field, Schema, SchemaRef};

use crate::kernel::aggregate::Call;
use crate::kernel::definition::findings::Findings;
use crate::kernel::expr::Expression;
use crate::kernel::name::{FeatureRef, Name};
use crate::kernel::time::{EventTime, Micros};
use crate::kernel::value::{Value, ValueType};
use crate::kernel::window::Sliding;

pub(crate) use suggest::closest;

/// One file (or request body) of definitions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceText {
    pub path: String,
    pub text: String,
}

/// One mistake: where, what is wrong, and what would be right.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Diagnostic {
    pub path: String,
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
    pub what: String,
    pub help: Option<String>,
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}: {}", self.path, self.line, self.column, self.what)?;
        self.help.iter().try_for_each(|help| write!(f, "\n  help: {help}"))
    }
}

/// Everything that a set of files declares, in the order of the files.
#[derive(Clone, Debug, Default)]
pub struct Definitions {
    pub entities: Vec<Arc<Entity>>,
    pub sources: Vec<Arc<Source>>,
    pub views: Vec<Arc<FeatureView>>,
    pub services: Vec<Arc<FeatureService>>,
}

/// What every element may carry; changes no value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Description {
    pub description: Option<String>,
    pub owner: Option<String>,
    pub tags: BTreeMap<String, String>,
    /// What to use instead, until when: for services that use it.
    pub deprecated: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entity {
    pub name: Name,
    /// Name and type (string or int64) of each part of the key.
    pub keys: Vec<(Name, ValueType)>,
    pub about: Description,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Source {
    pub name: Name,
    pub topic: String,
    /// Index of the field that is the message key.
    pub key: Option<usize>,
    /// Index of the field that says when it happened, of type timestamp.
    pub event_time: usize,
    /// Index of the field that recognises copies of an event.
    pub event_id: Option<usize>,
    pub dedup_window: Micros,
    /// `None`: each view's own reach.
    pub allowed_lateness: Option<Micros>,
    pub max_future_skew: Micros,
    pub schema_version: u32,
    pub compatibility: Compatibility,
    pub fields: Vec<SourceField>,
    /// Files with events of the past.
    pub history: Vec<HistoryFiles>,
    pub about: Description,
}

/// Files whose events from before `until` are the source's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryFiles {
    /// With `*` for any part of a name: below an input root, or in an object store.
    pub path: String,
    pub format: HistoryFormat,
    pub until: EventTime,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HistoryFormat {
    Parquet,
    /// With a header line.
    Csv,
    /// A JSON object a line.
    NdJson,
}

impl HistoryFormat {
    pub const ALL: [HistoryFormat; 3] = [HistoryFormat::Parquet, HistoryFormat::Csv, HistoryFormat::NdJson];

    /// As definitions write it.
    pub fn as_str(self) -> &'static str {
        match self {
            HistoryFormat::Parquet => "parquet",
            HistoryFormat::Csv => "csv",
            HistoryFormat::NdJson => "ndjson",
        }
    }
}

impl Source {
    /// From when on the log has the events: what it has from before is left out, for history has it. `None`: the log has
    /// them all.
    pub fn log_from(&self) -> Option<EventTime> {
        self.history.iter().map(|files| files.until).max()
    }

    /// The columns of this source's batches. All are nullable: that a required field is there is decided when an
    /// event is decoded, and an expression must mean the same whether or not its field is required.
    pub fn schema(&self) -> SchemaRef {
        schema_with(self, &[])
    }
}

fn schema_with(source: &Source, derived: &[(Name, Expression)]) -> SchemaRef {
    let column = |name: &Name, value_type: &ValueType| Field::new(name.as_str(), value_type.to_arrow(), true);
    let fields = source.fields.iter().map(|field| column(&field.name, &field.value_type));
    let derived = derived.iter().map(|(name, expression)| column(name, expression.value_type()));
    Arc::new(Schema::new(fields.chain(derived).collect::<Vec<_>>()))
}

#[derive(Clone, Debug, PartialEq)]
pub struct SourceField {
    pub name: Name,
    pub value_type: ValueType,
    pub required: bool,
    /// How a timestamp is written.
    pub unit: TimeFormat,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeFormat {
    Seconds,
    Millis,
    Micros,
    Nanos,
    Rfc3339,
}

impl TimeFormat {
    pub const ALL: [TimeFormat; 5] =
        [TimeFormat::Seconds, TimeFormat::Millis, TimeFormat::Micros, TimeFormat::Nanos, TimeFormat::Rfc3339];

    /// As definitions write it.
    pub fn as_str(self) -> &'static str {
        match self {
            TimeFormat::Seconds => "s",
            TimeFormat::Millis => "ms",
            TimeFormat::Micros => "us",
            TimeFormat::Nanos => "ns",
            TimeFormat::Rfc3339 => "rfc3339",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compatibility {
    Backward,
    Forward,
    Full,
    None,
}

impl Compatibility {
    pub const ALL: [Compatibility; 4] =
        [Compatibility::Backward, Compatibility::Forward, Compatibility::Full, Compatibility::None];

    /// As definitions write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Compatibility::Backward => "backward",
            Compatibility::Forward => "forward",
            Compatibility::Full => "full",
            Compatibility::None => "none",
        }
    }
}

#[derive(Clone, Debug)]
pub struct FeatureView {
    pub name: Name,
    pub entity: Arc<Entity>,
    pub source: Arc<Source>,
    /// For each key of the entity, the index of the source field that holds it.
    pub key_fields: Vec<usize>,
    /// Derived columns: they see the fields, not each other.
    pub columns: Vec<(Name, Expression)>,
    /// Sees the fields, then the derived columns, in that order.
    pub filter: Option<Expression>,
    pub max_age: Option<Micros>,
    pub online: bool,
    pub features: Vec<Feature>,
    pub about: Description,
}

impl FeatureView {
    /// The source's fields, then the derived columns.
    pub fn schema(&self) -> SchemaRef {
        schema_with(&self.source, &self.columns)
    }
}

/// One feature: a definition's entry with several windows gives several.
#[derive(Clone, Debug)]
pub struct Feature {
    /// With its suffix: `views_10m`.
    pub name: Name,
    pub call: Call,
    /// Index into the source's fields followed by the view's derived columns.
    pub column: Option<usize>,
    /// `None`: lifetime.
    pub window: Option<Sliding>,
    pub default: Option<Value>,
    pub description: Option<String>,
    pub deprecated: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FeatureService {
    pub name: Name,
    /// Views spelled out, in order.
    pub features: Vec<FeatureRef>,
    pub about: Description,
}

/// Every mistake of every file, ordered by place, or the definitions.
pub fn parse(files: &[SourceText]) -> Result<Definitions, Vec<Diagnostic>> {
    let mut found = Findings::new(files);
    let mut trees = Vec::new();
    let mut complete = true;
    for (file, source) in files.iter().enumerate() {
        let read = yaml::read(file, &source.text, &mut found);
        complete &= read.complete;
        trees.extend(read.documents);
    }
    let definitions = resolve::resolve(&trees, complete, &mut found);
    if found.count() == 0 { Ok(definitions) } else { Err(found.into_diagnostics()) }
}

#[cfg(test)]
mod tests;
