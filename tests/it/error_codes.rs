//! The error codes that the documents name are those of the code.

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
