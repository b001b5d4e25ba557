//! YAML that nobody meant is refused with places in it, or is right; what is right can be compiled and explained.

use std::path::Path;

use freshet::kernel::definition::{SourceText, parse};
use freshet::kernel::plan::{compile, explain};

use super::survives;

const CASES: u64 = 3_000;

/// The bundled definitions, and those that golden rows were written for.
pub fn corpus() -> Vec<Vec<u8>> {
    let folders = ["feature-defs", "tests/golden/codec/v1", "tests/it/service"];
    let files = folders.iter().flat_map(|folder| {
        let files = std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(folder));
        files.expect("the folder is part of the project").map(|file| file.expect("a file of the folder").path())
    });
    let mut files: Vec<_> = files.filter(|file| file.extension().is_some_and(|it| it == "yaml")).collect();
    files.sort();
    files.iter().map(|file| std::fs::read(file).expect("a definition is there")).collect()
}

#[test]
fn definitions_that_nobody_meant_are_refused_with_their_place_or_compiled() {
    survives(CASES, &corpus(), |bytes| {
        let text = String::from_utf8_lossy(bytes).into_owned();
        let lines = text.lines().count() + 1;
        match parse(&[SourceText { path: "hostile.yaml".to_owned(), text }]) {
            Ok(definitions) => {
                let plan = compile(&definitions);
                assert!(plan.views.iter().all(|view| !explain(view).is_empty()));
            }
            Err(mistakes) => {
                assert!(!mistakes.is_empty());
                let outside = mistakes.iter().find(|mistake| !(1..=lines).contains(&mistake.line));
                assert!(outside.is_none(), "{outside:?} of {lines} lines");
            }
        }
    });
}
