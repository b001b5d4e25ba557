//! What `freshet serve` says to settings that cannot work. No server is needed for that.

use expect_test::{Expect, expect};

use crate::process::{freshet, run};

/// Arguments of `serve`, and what it says instead of serving.
async fn check(arguments: &[&str], expected: Expect) {
    let folder = tempfile::tempdir().expect("a folder");
    let mut command = freshet(["serve"]);
    command.args(arguments).current_dir(folder.path());
    expected.assert_eq(&run(command).await.failed(2));
}

#[tokio::test]
async fn a_role_that_is_none_is_named() {
    check(
        &["--roles", "api,worker"],
        expect![[r#"
            freshet: setting `roles` (from flag): `worker` is not a role: `api`, `stream` and `archive` are
        "#]],
    )
    .await;
}

#[tokio::test]
async fn roles_that_share_embedded_parts_are_told_what_to_set() {
    check(
        &["--roles", "stream", "--kafka", "k:9092", "--offline", "s3://bucket"],
        expect![[r#"
            freshet: setting `redis` is empty: a process with the roles `stream` shares it, and the embedded online store belongs to one process; name a Redis, such as `redis://redis-1:6379`
            setting `registry` is empty: a process with the roles `stream` shares it, and the SQLite registry belongs to one process; name a PostgreSQL, such as `postgres://freshet@db-1/freshet`
        "#]],
    )
    .await;
}

#[tokio::test]
async fn a_mistake_in_a_settings_file_names_that_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("shop.yaml");
    std::fs::write(&file, "partitions: many\n").expect("written");
    let path = file.display().to_string();
    let text = run(freshet(["serve", "--config", &path])).await.failed(2).replace(&path, "shop.yaml");
    expect![[r#"
        freshet: setting `partitions` (from shop.yaml): `many` is not a whole number from 1 to 1024
    "#]]
    .assert_eq(&text);
}
