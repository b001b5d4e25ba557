//! The definitions that come with the project: the first that a new user reads.

use std::path::Path;
use std::process::{Command, Output};

use freshet::kernel::definition::{SourceText, parse};
use freshet::kernel::plan::{compile, explain};

use crate::process::freshet;
use crate::servers::address;

fn bundled() -> Vec<SourceText> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("feature-defs");
    let files = std::fs::read_dir(folder).expect("the folder is part of the project");
    let mut files: Vec<_> = files.map(|file| file.expect("a file of the folder").path()).collect();
    files.sort();
    let read = |path: &std::path::PathBuf| std::fs::read_to_string(path).expect("a definition is text");
    files.iter().map(|path| SourceText { path: path.display().to_string(), text: read(path) }).collect()
}

#[test]
fn they_have_no_mistake_and_each_view_can_be_explained() {
    let definitions = parse(&bundled()).unwrap_or_else(|mistakes| panic!("{mistakes:#?}"));
    let plan = compile(&definitions);
    assert!(!plan.views.is_empty() && !plan.services.is_empty());
    for view in &plan.views {
        let text = explain(view);
        let missing = view.features.iter().find(|feature| !text.contains(&format!("  {} ", feature.name)));
        assert!(missing.is_none(), "{missing:?} is not in\n{text}");
    }
}

/// What an editor says of these files, by the schema that `freshet schema` prints.
fn editor(folder: &Path, files: &[&str]) -> Result<(), String> {
    let schema = freshet(["schema"]).output().expect("the binary was built");
    let path = folder.join("schema.json");
    std::fs::write(&path, schema.stdout).expect("written");
    // Beside the fuzzer there is a validator.
    let mut check = Command::new(Path::new(&address("SCHEMATHESIS")).with_file_name("python"));
    check.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/editor/check.py")).arg(path).args(files);
    let Output { status, stderr, .. } = check.output().expect("it runs");
    if status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&stderr).into_owned()) }
}

#[test]
fn editors_accept_them_and_show_a_key_that_is_misspelt_or_belongs_elsewhere() {
    let folder = tempfile::tempdir().expect("a folder");
    let bundled = bundled();
    let paths: Vec<&str> = bundled.iter().map(|file| file.path.as_str()).collect();
    assert_eq!(editor(folder.path(), &paths), Ok(()));
    let all: String = bundled.iter().map(|file| format!("---\n{}\n", file.text)).collect();
    let wrong = folder.path().join("wrong.yaml").display().to_string();
    for (right, mistaken) in [
        ("aggregate: count", "agregate: count"),
        ("aggregate: count,", "aggregate: count, distinct: true,"),
        ("kind: source", "kind: sauce"),
        ("unit: ", "unit: m"),
    ] {
        assert!(all.contains(right), "{right}");
        std::fs::write(&wrong, all.replacen(right, mistaken, 1)).expect("written");
        let said = editor(folder.path(), &[&wrong]).expect_err(mistaken);
        assert!(said.contains("wrong.yaml: "), "{said}");
    }
}
