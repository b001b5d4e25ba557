//! `freshet schema`: the JSON Schema of definition files, for editors that complete and check what is typed.
//!
//! It knows which keys and words there are. Whether names resolve, types fit and expressions compile, only `freshet
//! validate` says. Aggregates and their parameters are those of the kernel's table; the rest is written down here, and a
//! test holds it to the parser, key by key.

use std::process::ExitCode;

use serde_json::{Map, Value, json};

use crate::cli::output;
use crate::kernel::aggregate::{Arity, FUNCTIONS, Function, ParameterKind, ParameterRule};
use crate::kernel::definition::{Compatibility, HistoryFormat, TimeFormat};
use crate::kernel::name::Name;

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  freshet schema > freshet.schema.json\n\nEditors with the YAML language server take it \
                        from a comment on top of a file:\n  # yaml-language-server: $schema=freshet.schema.json"
)]
pub(super) struct Arguments {}

pub(super) fn run(_: &Arguments) -> ExitCode {
    println!("{}", output::json(&schema()));
    ExitCode::SUCCESS
}

/// Of one document of a file.
fn schema() -> Value {
    let kinds = ["entity", "source", "feature_view", "feature_service"];
    let of_kind = |kind: &&str| {
        let is_kind = json!({ "required": ["kind"], "properties": { "kind": { "const": kind } } });
        json!({ "if": is_kind, "then": { "$ref": format!("#/definitions/{kind}") } })
    };
    json!({
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "Freshet definition",
        "type": "object",
        "required": ["kind", "name"],
        "properties": { "kind": { "enum": kinds } },
        "allOf": kinds.iter().map(of_kind).collect::<Vec<_>>(),
        "definitions": {
            "name": { "type": "string", "pattern": format!("^[a-z][a-z0-9_]{{0,{}}}$", Name::LONGEST - 1) },
            "duration": { "type": "string", "pattern": "^[0-9]+[smhd]$" },
            "entity": entity(),
            "source": source(),
            "feature_view": feature_view(),
            "feature_service": element(json!({ "features": list(json!({ "type": "string" })) }), &["features"]),
            "feature": feature(),
        }
    })
}

fn entity() -> Value {
    let key = mapping(json!({ "name": name(), "type": { "enum": ["string", "int64"] } }), &["name", "type"]);
    element(json!({ "keys": list(key) }), &["keys"])
}

fn source() -> Value {
    let field = mapping(
        json!({ "name": name(), "type": text(), "required": flag(), "unit": unit(), "description": text() }),
        &["name", "type"],
    );
    let schema = mapping(
        json!({
            "version": { "type": "integer", "minimum": 1 },
            "compatibility": words(&Compatibility::ALL, Compatibility::as_str),
            "fields": list(field),
        }),
        &["fields"],
    );
    let history = mapping(
        json!({ "path": text(), "format": words(&HistoryFormat::ALL, HistoryFormat::as_str), "until": text() }),
        &["path", "format", "until"],
    );
    element(
        json!({
            "topic": { "type": "string", "pattern": "^[A-Za-z0-9._-]{1,249}$" },
            "format": { "enum": ["json"] },
            "key": name(),
            "event_time": mapping(json!({ "field": name(), "unit": unit() }), &["field"]),
            "event_id": name(),
            "dedup_window": duration(),
            "allowed_lateness": duration(),
            "max_future_skew": duration(),
            "schema": schema,
            "history": list(history),
        }),
        &["event_time", "schema"],
    )
}

fn feature_view() -> Value {
    let texts = json!({ "type": "object", "additionalProperties": text() });
    element(
        json!({
            "entity": name(),
            "source": name(),
            "keys": texts,
            "where": text(),
            "columns": texts,
            "max_age": duration(),
            "online": flag(),
            "features": list(json!({ "$ref": "#/definitions/feature" })),
        }),
        &["entity", "source", "features"],
    )
}

fn feature() -> Value {
    let window = mapping(json!({ "length": duration(), "hop": duration() }), &["length"]);
    let mut feature = mapping(
        json!({
            "name": name(),
            "aggregate": words(FUNCTIONS, |function| function.name),
            "column": name(),
            "windows": list(json!({ "anyOf": [duration(), window] })),
            "default": true,
            "description": text(),
            "deprecated": message(),
        }),
        &["name", "aggregate"],
    );
    for rule in rules() {
        feature["properties"][rule.name] = parameter(rule);
    }
    let of_function = |function: &&Function| {
        let is_it = json!({ "required": ["aggregate"], "properties": { "aggregate": { "const": function.name } } });
        json!({ "if": is_it, "then": call(function) })
    };
    feature["allOf"] = FUNCTIONS.iter().map(of_function).collect();
    feature
}

/// What an aggregate needs, and what it does not take.
fn call(function: &Function) -> Value {
    let needed = |rule: &&ParameterRule| matches!(rule.kind, ParameterKind::Count { default: None, .. });
    let mut required: Vec<&str> = function.parameters.iter().filter(needed).map(|rule| rule.name).collect();
    required.extend((function.column == Arity::Always).then_some("column"));
    let is_own = |rule: &&ParameterRule| function.parameters.iter().any(|own| own.name == rule.name);
    let foreign = rules().filter(|rule| !is_own(rule)).map(|rule| rule.name);
    let refused = foreign.chain((function.column == Arity::Never).then_some("column"));
    let refused: Map<String, Value> = refused.map(|key| (key.to_owned(), json!(false))).collect();
    json!({ "required": required, "properties": refused })
}

/// The parameters of all aggregates.
fn rules() -> impl Iterator<Item = &'static ParameterRule> {
    FUNCTIONS.iter().flat_map(|function| function.parameters)
}

/// Bounds differ between aggregates: the parser knows them.
fn parameter(rule: &ParameterRule) -> Value {
    match rule.kind {
        ParameterKind::Count { .. } => json!({ "type": "integer", "minimum": 0 }),
        ParameterKind::Flag => flag(),
    }
}

/// A document of its own, with what every document may say.
fn element(properties: Value, required: &[&str]) -> Value {
    let mut element = mapping(properties, required);
    let tags = json!({ "type": "object", "additionalProperties": text() });
    let about = [("description", text()), ("owner", text()), ("tags", tags), ("deprecated", message())];
    let all = [("kind", text()), ("name", name())].into_iter().chain(about);
    all.for_each(|(key, schema)| element["properties"][key] = schema);
    element
}

/// Keys that are not named are mistakes.
fn mapping(properties: Value, required: &[&str]) -> Value {
    json!({ "type": "object", "properties": properties, "required": required, "additionalProperties": false })
}

fn list(items: Value) -> Value {
    json!({ "type": "array", "items": items, "minItems": 1 })
}

fn words<T: Copy>(all: &[T], word: fn(T) -> &'static str) -> Value {
    json!({ "enum": all.iter().map(|it| word(*it)).collect::<Vec<_>>() })
}

fn unit() -> Value {
    words(&TimeFormat::ALL, TimeFormat::as_str)
}

fn name() -> Value {
    json!({ "$ref": "#/definitions/name" })
}

fn duration() -> Value {
    json!({ "$ref": "#/definitions/duration" })
}

/// To the parser any word is text, also where YAML takes it for a number.
fn text() -> Value {
    json!({ "type": ["string", "number", "boolean"] })
}

/// Words to people, so not `true`.
fn message() -> Value {
    json!({ "type": "string" })
}

fn flag() -> Value {
    json!({ "type": "boolean" })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::kernel::definition::{SourceText, parse};

    /// No key is anything like it, so that the parser names all that there are.
    const NO_KEY: &str = "zzzzzzzz";

    /// Each `<…>` is a place for one more key, at that pointer of the schema.
    const SHOP: &str = "
kind: entity
name: user
keys: [{ name: user_id, type: string</entity/properties/keys/items> }]
</entity>
---
kind: source
name: buys
event_time: { field: at, unit: s</source/properties/event_time> }
history: [{ path: old.csv, format: csv, until: 2026-01-01T00:00:00Z</source/properties/history/items> }]
schema:
  fields:
    - { name: at, type: timestamp, required: true }
    - { name: user_id, type: string</source/properties/schema/properties/fields/items> }
  </source/properties/schema>
</source>
---
kind: feature_view
name: tally
entity: user
source: buys
features:
  - name: buys
    aggregate: AGGREGATE
    windows: [{ length: 1h, hop: 1m</feature/properties/windows/items/anyOf/1> }]
    </feature>
</feature_view>
---
kind: feature_service
name: model
features: [tally]
</feature_service>
";

    /// Recognised by the parser in order to say that it is not in this release.
    const NOT_YET: [&str; 4] = ["join", "tumbling", "session", "by"];

    fn pointers() -> impl Iterator<Item = &'static str> {
        SHOP.split('<').skip(1).map(|rest| rest.split('>').next().expect("it ends"))
    }

    /// What the parser would take at that pointer.
    fn known(pointer: &str, aggregate: &str) -> BTreeSet<String> {
        let mut text = SHOP.replace("AGGREGATE", aggregate);
        for other in pointers() {
            let place = format!("<{other}>");
            let begins_line = text.contains(&format!("\n{place}")) || text.contains(&format!("  {place}"));
            let key = if begins_line { format!("{NO_KEY}: 1") } else { format!(", {NO_KEY}: 1") };
            text = text.replace(&place, if other == pointer { &key } else { "" });
        }
        let mistakes = parse(&[SourceText { path: "shop.yaml".to_owned(), text }]).expect_err("no such key");
        let mistake = mistakes.iter().find(|it| it.what.ends_with(&format!("has no key `{NO_KEY}`")));
        let help = mistake.and_then(|it| it.help.as_deref()).unwrap_or_else(|| panic!("{pointer}: {mistakes:#?}"));
        help.split('`').skip(1).step_by(2).map(str::to_owned).filter(|key| !NOT_YET.contains(&key.as_str())).collect()
    }

    #[test]
    fn it_has_every_key_that_the_parser_knows_and_no_other() {
        let schema = schema();
        for pointer in pointers() {
            let known: BTreeSet<String> = FUNCTIONS.iter().flat_map(|function| known(pointer, function.name)).collect();
            let place = format!("/definitions{pointer}/properties");
            let properties = schema.pointer(&place).and_then(Value::as_object).expect(pointer);
            assert_eq!(properties.keys().cloned().collect::<BTreeSet<_>>(), known, "{pointer}");
        }
    }
}
