//! What `freshet init` makes does what its page says: every command of it, in order, against a service of its folder.

use std::path::Path;

use serde_json::Value;

use super::until;
use crate::process::{Process, Ran, freshet, run};

/// The commands of the page, but for the one that goes on until it is stopped and those of other programs.
fn commands(page: &str) -> Vec<Vec<&str>> {
    let blocks = page.split("```sh\n").skip(1).filter_map(|rest| rest.split("```").next());
    let lines = blocks.flat_map(str::lines).filter(|line| line.starts_with("freshet ") && *line != "freshet serve");
    lines.map(|line| line.split_whitespace().skip(1).collect()).collect()
}

async fn run_in(folder: &Path, url: &str, arguments: &[&str]) -> Ran {
    let mut command = freshet(arguments);
    command.current_dir(folder).env("FRESHET_URL", url);
    run(command).await
}

/// What `get` says of the events of a day; `None` where it fails.
fn events_24h(answer: &Ran) -> Option<i64> {
    let answer: Value = serde_json::from_str(&answer.stdout).ok()?;
    let mut columns = answer["columns"].as_array()?.iter();
    columns.find(|column| column["name"] == "user_activity:events_24h")?["values"][0].as_i64()
}

#[tokio::test]
async fn a_starter_project_does_what_its_page_says() {
    let parent = tempfile::tempdir().expect("a folder");
    let folder = parent.path().join("shop");
    run_in(parent.path(), "", &["init", "shop"]).await.done();
    let page = std::fs::read_to_string(folder.join("README.md")).expect("a page");
    let mut process = Process::spawn(&folder.join("freshet-data"), &["archive_interval_ms=50", "parity_sample=1"]);
    let url = process.ready().await.base().to_owned();

    let mut said = String::new();
    for command in commands(&page) {
        if command[0] == "get" {
            // A script is faster than a person: the events may not be folded yet.
            let as_json = [&command[..], &["--output", "json"]].concat();
            let seen = async || (events_24h(&run_in(&folder, &url, &as_json).await) == Some(16)).then_some(());
            until("the events of u1 are seen", seen).await;
        }
        said += &run_in(&folder, &url, &command).await.done();
    }
    for expected in [
        "1 file without a mistake",
        "+ feature view `user_spend`: new",
        "applied as revision 1",
        "48 events accepted, 0 rejected",
        "shop_events → user_spend → recommender",
        "0 different",
    ] {
        assert!(said.contains(expected), "`{expected}` is missing of:\n{said}");
    }
    assert!(folder.join("training.parquet").exists());
    process.stop().await;
}

#[tokio::test]
async fn a_folder_that_has_such_files_is_left_as_it_is() {
    let folder = tempfile::tempdir().expect("a folder");
    let mine = folder.path().join("labels.csv");
    std::fs::write(&mine, "mine").expect("written");
    let refused = run_in(folder.path(), "", &["init", "."]).await.failed(1);
    assert!(refused.contains("is there already"), "{refused}");
    assert_eq!(std::fs::read_to_string(&mine).expect("it is there"), "mine");
    assert_eq!(std::fs::read_dir(folder.path()).expect("a folder").count(), 1, "and nothing beside it is written");
}
