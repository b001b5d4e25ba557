//! What is written beside the code names what is in it: error codes, metrics.

use std::collections::BTreeSet;
use std::path::Path;

use crate::layers::{read, rust_files};

/// In capitals between quotes as well.
const NO_CODES: [&str; 2] = ["CARGO_PKG_VERSION", "PRESENT"];

fn in_capitals(text: &str, quote: char) -> BTreeSet<String> {
    let is_code = |word: &&str| word.len() > 3 && word.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_');
    text.split(quote).filter(is_code).map(str::to_owned).collect()
}

#[test]
fn operations_name_every_error_code_and_no_other() {
    let mut codes: BTreeSet<String> =
        rust_files(Path::new("src/api")).iter().flat_map(|file| in_capitals(&read(file), '"')).collect();
    NO_CODES.iter().for_each(|word| assert!(codes.remove(*word), "{word} is gone"));
    let page = read(Path::new("docs/operations.md"));
    let (_, section) = page.split_once("\n## Error codes\n").expect("the section is there");
    let section = section.split("\n## ").next().expect("a section");
    assert_eq!(in_capitals(section, '`'), codes);
}

/// Those that a text names, without what a histogram adds to its name.
fn metrics(text: &str) -> BTreeSet<&str> {
    let words = text.split(|it: char| !it.is_ascii_alphanumeric() && it != '_');
    let named = words.filter(|word| word.len() > 8 && word.starts_with("freshet_"));
    named
        .map(|word| ["_count", "_sum", "_bucket"].iter().find_map(|end| word.strip_suffix(end)).unwrap_or(word))
        .collect()
}

#[test]
fn dashboard_and_alerts_ask_for_metrics_that_are_there_and_operations_explain_them() {
    let page = read(Path::new("docs/operations.md"));
    let code = read(Path::new("src/telemetry/metrics.rs"));
    let known = metrics(&code);
    assert!(known.len() > 15, "{known:?}");
    assert_eq!(metrics(&page), known);
    for asking in ["deploy/alerts.yml", "deploy/grafana/freshet.json"] {
        let text = read(Path::new(asking));
        let unknown: Vec<&str> = metrics(&text).into_iter().filter(|name| !known.contains(name)).collect();
        assert!(unknown.is_empty(), "{asking}: {unknown:?}");
    }
}
