//! A plan as people read it: a line for each change, what it costs and whom it breaks; in colour on a terminal, unless
//! `NO_COLOR` is set.

use std::fmt::Write;
use std::io::IsTerminal;

use serde_json::Value;

use crate::cli::output;

/// Whether to write escape sequences.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Paint {
    Coloured,
    Plain,
}

impl Paint {
    /// As standard output and <https://no-color.org> have it.
    pub fn of_standard_output() -> Paint {
        let forbids = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        if std::io::stdout().is_terminal() && !forbids { Paint::Coloured } else { Paint::Plain }
    }

    fn on(self, colour: Colour, text: &str) -> String {
        match self {
            Paint::Coloured => format!("\x1b[{}m{text}\x1b[0m", colour as u8),
            Paint::Plain => text.to_owned(),
        }
    }
}

/// By their numbers in the escape sequence.
#[derive(Clone, Copy)]
enum Colour {
    Red = 31,
    Green = 32,
    Yellow = 33,
    Grey = 90,
}

/// Whether an apply of it takes something away, or changes values: what is asked about first.
pub(super) fn needs_consent(planned: &Value) -> bool {
    rows(planned, "changes")
        .any(|change| !change["breaks"].is_null() || matches!(text(change, "change"), "recomputed" | "removed"))
}

pub(super) fn is_refused(planned: &Value) -> bool {
    rows(planned, "refused").next().is_some()
}

pub(super) fn of(planned: &Value, paint: Paint) -> String {
    let mut out = String::new();
    if rows(planned, "changes").next().is_none() {
        out += "nothing to change: this is what is applied\n";
    }
    rows(planned, "changes").for_each(|change| out += &of_change(change, paint));
    for refused in rows(planned, "refused") {
        let line = format!("! source `{}`: {}", text(refused, "source"), text(refused, "detail"));
        out += &format!("{}\n    help: {}\n", paint.on(Colour::Red, &line), text(refused, "help"));
    }
    for warning in rows(planned, "warnings") {
        out += &format!("{} {}\n", paint.on(Colour::Yellow, "warning:"), output::cell(warning));
    }
    out
}

fn of_change(change: &Value, paint: Paint) -> String {
    let (sign, colour, what) = match text(change, "change") {
        "new" => ("+", Colour::Green, "new"),
        "removed" => ("-", Colour::Red, "removed"),
        "recomputed" => ("~", Colour::Yellow, "values change, a new version is built"),
        "described" => ("~", Colour::Grey, "only described differently"),
        _ => ("~", Colour::Yellow, "changed, nothing is built anew"),
    };
    let detail = text(change, "detail");
    let why = if detail.is_empty() || what.starts_with("only") { String::new() } else { format!(": {detail}") };
    let kind = text(change, "kind").replace('_', " ");
    let line = format!("{sign} {kind} `{}`: {what}{why}", text(change, "name"));
    let mut out = paint.on(colour, &line) + "\n";
    if let Some(cost) = cost(&change["cost"]) {
        out += &format!("    {}\n", paint.on(Colour::Grey, &cost));
    }
    if let Some(breaks) = change["breaks"].as_str() {
        out += &format!("    {} {breaks}\n", paint.on(Colour::Red, "breaks:"));
    }
    out
}

/// "about 4320 bytes an entity and the values that are kept, 81342 events to read, 4 parts a lookup".
fn cost(cost: &Value) -> Option<String> {
    let mut line = format!("about {} bytes an entity", cost["state_bytes_per_entity"].as_i64()?);
    if cost["keeps_values"] == true {
        line += " and the values that are kept";
    }
    match cost["events_to_read"].as_u64() {
        Some(0) => line += ", no events to read",
        Some(1) => line += ", 1 event to read",
        Some(events) => write!(line, ", {events} events to read").expect("a String takes all"),
        None => line += ", and as many events to read as the log has",
    }
    if let Some(parts) = cost["parts_per_read"].as_u64().filter(|parts| *parts > 1) {
        write!(line, ", {parts} parts a lookup").expect("a String takes all");
    }
    Some(line)
}

fn rows<'v>(planned: &'v Value, list: &str) -> impl Iterator<Item = &'v Value> {
    planned[list].as_array().into_iter().flatten()
}

fn text<'v>(row: &'v Value, name: &str) -> &'v str {
    row[name].as_str().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use serde_json::json;

    use super::*;

    fn planned() -> Value {
        json!({
            "revision": 3,
            "changes": [
                { "change": "new", "kind": "feature_view", "name": "visits", "detail": "",
                  "cost": { "state_bytes_per_entity": 720, "tiles_per_entity": 60, "keeps_values": false,
                            "events_to_read": 81342, "parts_per_read": 4 } },
                { "change": "recomputed", "kind": "feature_view", "name": "activity", "detail": "feature items gone",
                  "breaks": "lookups of `activity:items` fail",
                  "cost": { "state_bytes_per_entity": 12, "tiles_per_entity": 1, "keeps_values": true,
                            "events_to_read": null, "parts_per_read": 1 } },
                { "change": "described", "kind": "entity", "name": "user", "detail": "no effect on values" },
                { "change": "removed", "kind": "feature_service", "name": "shelf", "detail": "",
                  "breaks": "calls that name it fail" },
            ],
            "refused": [{ "source": "clicks", "detail": "the field `price` was float64 and is now string",
                          "help": "keep the field" }],
            "warnings": ["feature service `ranker` uses the deprecated feature `activity:clicks`: use visits"],
        })
    }

    #[test]
    fn each_change_has_its_kind_its_cost_and_whom_it_breaks() {
        expect![[r#"
            + feature view `visits`: new
                about 720 bytes an entity, 81342 events to read, 4 parts a lookup
            ~ feature view `activity`: values change, a new version is built: feature items gone
                about 12 bytes an entity and the values that are kept, and as many events to read as the log has
                breaks: lookups of `activity:items` fail
            ~ entity `user`: only described differently
            - feature service `shelf`: removed
                breaks: calls that name it fail
            ! source `clicks`: the field `price` was float64 and is now string
                help: keep the field
            warning: feature service `ranker` uses the deprecated feature `activity:clicks`: use visits
        "#]]
        .assert_eq(&of(&planned(), Paint::Plain));
        assert!(needs_consent(&planned()) && is_refused(&planned()));
    }

    #[test]
    fn colours_go_around_the_same_text() {
        let coloured = of(&planned(), Paint::Coloured);
        assert!(coloured.starts_with("\x1b[32m+ feature view `visits`: new\x1b[0m\n"), "{coloured:?}");
        let (mut plain, mut rest) = (String::new(), coloured.as_str());
        while let Some((before, sequence)) = rest.split_once("\x1b[") {
            plain += before;
            rest = sequence.split_once('m').expect("a sequence ends").1;
        }
        assert_eq!(plain + rest, of(&planned(), Paint::Plain));
    }

    #[test]
    fn what_only_adds_or_describes_needs_no_consent() {
        let harmless = json!({ "changes": [
            { "change": "new", "kind": "feature_view", "name": "visits" },
            { "change": "described", "kind": "entity", "name": "user" },
            { "change": "changed", "kind": "feature_view", "name": "study" },
        ] });
        assert!(!needs_consent(&harmless) && !is_refused(&harmless));
        assert!(!needs_consent(&json!({ "changes": [] })));
    }
}
