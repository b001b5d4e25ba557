//! What `freshet init` makes does what its page says: every command of it, in order, against a service of its folder.

use std::path::Path;
use std::process::{Command, Output};

use super::until;
use crate::process::Process;

/// The commands of the page, but for the one that goes on until it is stopped and those of other programs.
fn commands(page: &str) -> Vec<Vec<&str>> {
    let blocks = page.split("```sh\n").skip(1).filter_map(|rest| rest.split("```").next());
    let lines = blocks.flat_map(str::lines).filter(|line| line.starts_with("freshet ") && *line != "freshet serve");
    lines.map(|line| line.split_whitespace().skip(1).collect()).collect()
}

async fn run(arguments: &[&str], folder: &Path, url: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_freshet"));
    command.args(arguments).current_dir(folder).env("FRESHET_URL", url).env_remove("FRESHET_API_KEY");
    let output = tokio::task::spawn_blocking(move || command.output()).await.expect("no panic");
    output.expect("the binary was built")
}

/// Standard output of a command that has to succeed.
async fn freshet(arguments: &[&str], folder: &Path, url: &str) -> String {
    let Output { status, stdout, stderr } = run(arguments, folder, url).await;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(status.success(), "{arguments:?}: {status}\n{}{}", text(&stdout), text(&stderr));
    text(&stdout)
}

#[tokio::test]
async fn a_starter_project_does_what_its_page_says() {
    let parent = tempfile::tempdir().expect("a folder");
    let folder = parent.path().join("shop");
    freshet(&["init", "shop"], parent.path(), "").await;
    let page = std::fs::read_to_string(folder.join("README.md")).expect("a page");
    let mut process = Process::spawn(&folder.join("freshet-data"), &["archive_interval_ms=50", "parity_sample=1"]);
    let url = process.ready().await.base().to_owned();

    let mut said = String::new();
    for command in commands(&page) {
        if command[0] == "get" {
            // A script is faster than a person: the view may not be served yet.
            let get = async || String::from_utf8_lossy(&run(&command, &folder, &url).await.stdout).into_owned();
            let seen = async || Some(get().await).filter(|answer| answer.contains("16"));
            said += &until("the events of u1 are seen", seen).await;
        } else {
            said += &freshet(&command, &folder, &url).await;
        }
    }
    for expected in [
        "1 file without a mistake",
        "+ feature view `user_spend`: new",
        "applied as revision 1",
        "48",
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
    let init = || Command::new(env!("CARGO_BIN_EXE_freshet")).arg("init").arg(folder.path()).output();
    let output = init().expect("the binary was built");
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("is there already"), "{output:?}");
    assert_eq!(std::fs::read_to_string(&mine).expect("it is there"), "mine");
    assert_eq!(std::fs::read_dir(folder.path()).expect("a folder").count(), 1, "and nothing beside it is written");
}
