//! The definitions that come with the project: the first that a new user reads.

use std::path::Path;

use freshet::kernel::definition::{SourceText, parse};
use freshet::kernel::plan::{compile, explain};

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
