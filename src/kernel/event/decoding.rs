//! What decoding depends on, as one number. Records that were decoded under a mark would decode to the same events
//! and rejections under every source with that mark; under another they have to be decoded anew.
//!
//! In it: the semantics version, the fields (name, type, unit, whether required), which of them is the event time, and
//! how far ahead of its ingestion an event may be. Not in it: the order of fields, and what is decided later, such as
//! lateness and ids.

use xxhash_rust::xxh3::xxh3_64;

use crate::kernel::definition::{Source, SourceField};
use crate::kernel::plan::{Fingerprint, SEMANTICS_VERSION};

pub(super) fn decoding_mark(source: &Source) -> Fingerprint {
    let mut fields: Vec<String> = source.fields.iter().map(described).collect();
    fields.sort_unstable();
    // No name or type contains a line break, so no two lists of fields give the same text.
    let text = format!(
        "semantics {SEMANTICS_VERSION}\nevent time {}\nskew {}\n{}",
        source.fields[source.event_time].name,
        source.max_future_skew,
        fields.join("\n")
    );
    Fingerprint(xxh3_64(text.as_bytes()))
}

fn described(field: &SourceField) -> String {
    let required = if field.required { "required" } else { "optional" };
    format!("field {} {} in {} {required}", field.name, field.value_type, field.unit.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::definition::{SourceText, parse};

    fn mark(skew: &str, unit: &str, fields: &[&str]) -> Fingerprint {
        let fields = fields.iter().map(|field| format!("    - {{ {field} }}\n")).collect::<String>();
        let text = format!(
            "kind: source\nname: clicks\nevent_time: {{ field: at, unit: {unit} }}\nmax_future_skew: {skew}\n\
             schema:\n  version: 1\n  fields:\n    - {{ name: at, type: timestamp, required: true }}\n{fields}"
        );
        let definitions = parse(&[SourceText { path: "clicks.yaml".to_owned(), text }]).expect("a definition");
        decoding_mark(&definitions.sources[0])
    }

    #[test]
    fn all_that_decoding_depends_on_changes_the_mark_and_the_order_of_fields_does_not() {
        let (user, count) = ("name: user, type: string", "name: count, type: int32");
        let before = mark("5m", "ms", &[user, count]);
        assert_eq!(mark("5m", "ms", &[count, user]), before);
        let changed = [
            mark("6m", "ms", &[user, count]),
            mark("5m", "s", &[user, count]),
            mark("5m", "ms", &[user]),
            mark("5m", "ms", &[user, "name: count, type: int64"]),
            mark("5m", "ms", &[user, "name: count, type: int32, required: true"]),
        ];
        assert!(changed.iter().all(|mark| *mark != before), "{changed:?}");
    }
}
