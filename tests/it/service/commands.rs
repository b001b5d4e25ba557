//! Commands as people and scripts run them: the real binary against a service, what it prints as a table and as JSON, and
//! how it ends where it is called in a wrong way.

use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;

use arrow::array::{Float64Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use expect_test::{Expect, expect};
use parquet::arrow::ArrowWriter;
use serde_json::Value;

use super::{SHOP, Service};
use crate::process::{Ran, freshet, run};

impl Service {
    /// Runs a command that talks to it, in its folder.
    async fn command(&self, line: &str) -> Ran {
        let mut command = freshet(line.split(' '));
        command.current_dir(self.folder.path()).env("FRESHET_URL", self.api.base()).env("USER", "ada");
        run(command).await
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.folder.path().join(name), text).expect("written");
    }
}

/// Exit code 1: what each of these commands says instead of doing it; jobs have other ids each time.
async fn refuses(service: &Service, lines: &[&str], expected: Expect) {
    let mut said = String::new();
    for line in lines {
        let words = service.command(line).await.failed(1);
        let words = words.split(' ').map(|word| if word.starts_with("backfill-") { "<job>" } else { word });
        said += &words.collect::<Vec<_>>().join(" ");
    }
    expected.assert_eq(&said);
}

/// Exit code 2, for command lines that are none; the first line of what is said.
async fn misunderstands(service: &Service, lines: &[&str], expected: Expect) {
    let mut said = String::new();
    for line in lines {
        let text = service.command(line).await.failed(2);
        said += &format!("{}\n", text.lines().next().expect("it says why"));
    }
    expected.assert_eq(&said);
}

/// A table without the blank that its lines begin with, which `expect!` takes for indentation.
fn flush_left(table: &str) -> String {
    table.lines().map(|line| line.strip_prefix(' ').unwrap_or(line).to_owned() + "\n").collect()
}

/// A change of `activity`, which makes it a new version.
fn dear() -> String {
    SHOP.replace("name: activity\n", "name: activity\nwhere: price > 1.0\n")
}

#[tokio::test]
async fn list_has_a_line_for_each_definition_and_the_history_one_for_each_change() {
    let shop = Service::shop().await;
    expect![[r#"
         KIND             NAME         STATE  OWNER                DEPRECATED  DESCRIPTION
         entity           user         -      growth@shop.example  -           A shopper
         entity           item         -      -                    -           -
         source           clicks       -      -                    -           -
         feature_view     activity     live   -                    -           -
         feature_view     visits       live   -                    -           -
         feature_view     popularity   live   -                    -           -
         feature_view     study        live   -                    -           -
         feature_service  recommender  -      -                    -           -
         feature_service  shelf        -      -                    -           -
    "#]]
    .assert_eq(&flush_left(&shop.command("list").await.done()));
    let listed = shop.command("list --output json").await.json();
    let names: Vec<&Value> = listed["definitions"].as_array().expect("a list").iter().map(|it| &it["name"]).collect();
    assert_eq!((listed["revision"].as_u64(), names.len()), (Some(1), 9), "{names:?}");
    shop.write("dear.yaml", &dear());
    shop.command("apply dear.yaml --yes").await.done();
    let history = shop.command("list --history").await.done();
    let told: Vec<&str> = history.lines().map(|line| line.split_once("Z  ").map_or(line, |(_, what)| what)).collect();
    expect![[r#"
        revision 2  by ada
          ~ feature view `activity`: values change, a new version is built (9d12e7773f35960b → 4900eae7d40da410): where new
        revision 1  by unknown
          + entity `user`: new
          + entity `item`: new
          + source `clicks`: new
          + feature view `activity`: new
          + feature view `visits`: new
          + feature view `popularity`: new
          + feature view `study`: new
          + feature service `recommender`: new
          + feature service `shelf`: new
    "#]]
    .assert_eq(&(told.join("\n") + "\n"));
    misunderstands(
        &shop,
        &["list everything", "list --output yaml", "list --url 127.0.0.1:6566"],
        expect![[r#"
        error: unexpected argument 'everything' found
        error: invalid value 'yaml' for '--output <OUTPUT>'
        freshet: `127.0.0.1:6566` is not the URL of a service, such as `http://127.0.0.1:6566`
    "#]],
    )
    .await;
    shop.stop().await;
}

#[tokio::test]
async fn what_was_applied_is_served_when_the_command_ends() {
    let shop = Service::empty().await;
    for yaml in [SHOP, &dear(), SHOP, &dear()] {
        shop.write("shop.yaml", yaml);
        shop.command("apply shop.yaml --yes").await.done();
        assert_eq!(shop.command("show activity --output json").await.json()["state"], "live");
        shop.command("get recommender user_id=u1").await.done();
    }
    shop.write("shop.yaml", SHOP);
    let Ran { code, stderr, .. } = shop.command("apply shop.yaml --yes --no-wait").await;
    assert_eq!((code, stderr.as_str()), (Some(0), ""));
    shop.stop().await;
}

#[tokio::test]
async fn explain_prints_the_plan_of_a_view() {
    let shop = Service::shop().await;
    let told = shop.command("explain activity").await.done();
    expect![[r#"
        feature view activity, version 9d12e7773f35960b
          entity            user (user_id = user_id)
          source            clicks, event time at
          allowed lateness  unlimited
          reach             unlimited
          max age           none
        grid 1, lifetime: at most 1, of 4 slots
          clicks int64: count lifetime; slot 1, 1 tile
          spend float64: sum of price lifetime; slot 4, 1 tile
          dearest float64: max of price lifetime; slot 3, 1 tile
          items list<int64>: last_n(distinct: true, n: 2) of item_id lifetime; slot 2, 1 tile
        state for a busy entity: 1 tiles, about 42 bytes
          and the values that are kept (first, last, distinct and the like)
          and the ids of its events of 1h, which each flush with a new one writes whole
    "#]]
    .assert_eq(&told);
    assert_eq!(shop.command("explain activity --output json").await.json()["plan"], told);
    refuses(
        &shop,
        &["explain clicks", "explain activty"],
        expect![[r#"
        freshet: no feature view is called `clicks`: `freshet list` shows what there is
        freshet: no feature view is called `activty`: `freshet list` shows what there is
    "#]],
    )
    .await;
    misunderstands(
        &shop,
        &["explain"],
        expect![[r#"
        error: the following required arguments were not provided:
    "#]],
    )
    .await;
    shop.stop().await;
}

const BACKFILL: &str = "backfill activity --from 2026-01-01T11:00:00Z --to 2026-01-02T00:00:00Z --every 6h";

#[tokio::test]
async fn backfill_says_how_many_rows_it_wrote_and_where() {
    let shop = Service::busy_shop().await;
    let told = shop.command(BACKFILL).await.done();
    let (rows, folder) = told.trim_end().split_once(" rows in ").expect("rows and a folder");
    assert_eq!(rows, "5", "one of u1 at 11:00, and of both at 17:00 and 23:00");
    assert!(Path::new(folder).is_dir(), "{told}");
    let job = shop.command(&format!("{BACKFILL} --output json")).await.json();
    assert_eq!(
        (&job["state"], &job["result"]["rows"], &job["request"]["view"]),
        (&"done".into(), &5.into(), &"activity".into())
    );
    let backwards = BACKFILL.replace("--to 2026-01-02", "--to 2025-01-02");
    let unknown = BACKFILL.replace("activity", "activty");
    refuses(&shop, &[&backwards, &unknown], expect![[r#"
        freshet: job <job> failed: no instant lies in an interval from 2026-01-01T11:00:00Z to 2025-01-02T00:00:00Z by steps of 6h: name a later end, and a step above 0
        freshet: feature view `activty` is not defined
    "#]]).await;
    let wrong =
        [BACKFILL.replace("6h", "often"), BACKFILL.replace("2026-01-02T", "tomorrow"), "backfill activity".to_owned()];
    misunderstands(&shop, &wrong.each_ref().map(String::as_str), expect![[r#"
        error: invalid value 'often' for '--every <EVERY>': `often` is not a duration such as `10s`, `5m`, `1h` or `7d`
        error: invalid value 'tomorrow00:00:00Z' for '--to <TO>': `tomorrow00:00:00Z` is not an RFC 3339 time such as `2026-11-21T10:00:00Z`
        error: the following required arguments were not provided:
    "#]]).await;
    shop.stop().await;
}

#[tokio::test]
async fn rollback_serves_the_version_before_and_says_which() {
    let shop = Service::busy_shop().await;
    refuses(
        &shop,
        &["rollback activity", "rollback activty"],
        expect![[r#"
        freshet: view `activity` has had no version before 9d12e7773f35960b
        freshet: feature view `activty` is not defined
    "#]],
    )
    .await;
    misunderstands(
        &shop,
        &["rollback"],
        expect![[r#"
        error: the following required arguments were not provided:
    "#]],
    )
    .await;
    let clicks = async || {
        let answer = shop.command("get recommender user_id=u1 --output json").await.json();
        let column = |it: &&Value| it["name"] == "activity:clicks";
        answer["columns"].as_array().expect("a list").iter().find(column).expect("it is there")["values"][0].clone()
    };
    assert_eq!(clicks().await, 3);
    shop.write("dear.yaml", &dear());
    shop.command("apply dear.yaml --yes").await.done();
    assert_eq!(clicks().await, 1);
    let told = shop.command("rollback activity").await.done();
    assert_eq!(clicks().await, 3);
    let again = shop.command("rollback activity --output json").await.json();
    let (first, second) = (again["from"].as_str().expect("a version"), again["to"].as_str().expect("a version"));
    expect![[r#"
        activity is served by version <first> again; version <second> stays written, and another rollback serves it
    "#]]
    .assert_eq(&told.replace(first, "<first>").replace(second, "<second>"));
    assert_eq!(again["by"], "ada");
    shop.stop().await;
}

#[tokio::test]
async fn status_says_how_far_the_service_is() {
    let shop = Service::busy_shop().await;
    let status = shop.command("status --output json").await.json();
    let views = status["views"].as_array().expect("a list").iter();
    let versions: Vec<&str> = views.map(|view| view["version"].as_str().expect("a version")).collect();
    let mut told = shop.command("status").await.done();
    for version in versions {
        told = told.replace(version, "<version>       ");
    }
    expect![[r#"
        project default, revision 1, roles api, stream, archive

        partitions
         SOURCE  PARTITION  LAG  LAG_SECONDS  ARCHIVED_TO  NEWEST_EVENT_TIME     STOPPED
         clicks  0          0    0.0          4            2026-01-01T12:30:00Z  -
         clicks  1          0    0.0          0            -                     -

        sources
         SOURCE  REJECTED  CLAMPED
         clicks  -         0

        views
         VIEW        VERSION           GENERATION  STATE  APPLIED  LATE  DUPLICATE  STOPPED
         activity    <version>         0           live   4        0     0          -
         popularity  <version>         0           live   3        0     0          -
         study       <version>         0           live   0        0     0          -
         visits      <version>         0           live   4        0     0          -
    "#]]
    .assert_eq(&told);
    misunderstands(
        &shop,
        &["status clicks"],
        expect![[r#"
        error: unexpected argument 'clicks' found
    "#]],
    )
    .await;
    let Ran { code, stderr, .. } = run(freshet(["status", "--url", "http://127.0.0.1:1"])).await;
    assert!(code == Some(1) && stderr.contains("no service answers"), "{code:?} {stderr}");
    shop.stop().await;
}

#[tokio::test]
async fn config_says_what_holds_and_where_it_is_from_and_keeps_passwords_to_itself() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("freshet.yaml"), "partitions: 3\nlisten: 127.0.0.1:7001\n").expect("written");
    let config = async |more: &[&str]| {
        let mut command = freshet(["config", "--redis", "redis://me:s3cret@r1"]);
        command.args(more).current_dir(folder.path()).env("FRESHET_LISTEN", "127.0.0.1:7002");
        run(command).await
    };
    let table = config(&[]).await.done();
    let listed = config(&["--output", "json"]).await.done();
    assert!(!table.contains("s3cret") && !listed.contains("s3cret"), "{table}{listed}");
    let listed: Vec<Value> = serde_json::from_str(&listed).expect("it prints JSON");
    let of = |name: &&str| listed.iter().find(|it| it["name"] == **name).expect(name).to_string() + "\n";
    let told: String = ["listen", "partitions", "redis", "project"].iter().map(of).collect();
    expect![[r#"
        {"name":"listen","value":"127.0.0.1:7002","origin":"environment"}
        {"name":"partitions","value":"3","origin":"freshet.yaml"}
        {"name":"redis","value":"redis://me:***@r1","origin":"flag"}
        {"name":"project","value":"default","origin":"default"}
    "#]]
    .assert_eq(&told);
    for setting in &listed {
        let words = [&setting["name"], &setting["origin"]].map(|it| it.as_str().expect("text"));
        let is_told = |line: &str| words.iter().all(|word| line.contains(word));
        assert!(table.lines().any(is_told), "no line of {words:?} in\n{table}");
    }
    let wrong = config(&["--set", "partitions=many"]).await.failed(2);
    expect![[r#"
        freshet: setting `partitions` (from flag): `many` is not a whole number from 1 to 1024
    "#]]
    .assert_eq(&wrong);
    config(&["--output", "yaml"]).await.failed(2);
}

const CSV: &str = "id,at,user_id,item_id,price\n\
                   c1,2026-01-01T10:00:00Z,u1,7,2.5\n\
                   c2,2026-01-01T11:00:00Z,u1,8,\n\
                   c3,2026-01-01T12:00:00Z,u1,7,0.75\n";

/// What [`CSV`] says, in columns of their own types.
fn parquet() -> Vec<u8> {
    let hour = |hour: i64| 1_767_225_600_000_000 + hour * 3_600_000_000;
    let batch = RecordBatch::try_from_iter([
        ("id", Arc::new(StringArray::from(vec!["c1", "c2", "c3"])) as _),
        ("at", Arc::new(TimestampMicrosecondArray::from(vec![hour(10), hour(11), hour(12)]).with_timezone_utc()) as _),
        ("user_id", Arc::new(StringArray::from(vec!["u1"; 3])) as _),
        ("item_id", Arc::new(Int64Array::from(vec![7, 8, 7])) as _),
        ("price", Arc::new(Float64Array::from(vec![Some(2.5), None, Some(0.75)])) as _),
    ])
    .expect("columns of one length");
    let mut bytes = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut bytes, batch.schema(), None).expect("a schema");
    writer.write(&batch).expect("written");
    writer.close().expect("written");
    bytes
}

#[tokio::test]
async fn the_same_events_are_the_same_in_csv_in_parquet_and_in_lines() {
    let lines = r#"{"id":"c1","at":"2026-01-01T10:00:00Z","user_id":"u1","item_id":7,"price":2.5}
        {"id":"c2","at":"2026-01-01T11:00:00Z","user_id":"u1","item_id":8}
        {"id":"c3","at":"2026-01-01T12:00:00Z","user_id":"u1","item_id":7,"price":0.75}"#;
    for (name, bytes) in [("c.csv", CSV.into()), ("c.parquet", parquet()), ("c.ndjson", lines.into())] {
        let shop = Service::shop().await;
        std::fs::write(shop.folder.path().join(name), bytes).expect("written");
        let told = shop.command(&format!("ingest clicks {name} --replay")).await.done();
        assert_eq!(told, "3 events accepted, 0 rejected\n", "{name}");
        shop.settle().await;
        let told = shop.command("get recommender user_id=u1").await.done();
        let (values, _) = told.split_once("as of ").expect("it says as of when");
        expect![[r#"
             FEATURE           VALUE  STATUS           NEWEST EVENT
             user_id           u1     PRESENT          -
             activity:clicks   3      PRESENT          2026-01-01T12:00:00Z
             activity:spend    3.25   PRESENT          2026-01-01T12:00:00Z
             activity:dearest  2.5    PRESENT          2026-01-01T12:00:00Z
             activity:items    [7,8]  PRESENT          2026-01-01T12:00:00Z
             visits:visits     3      OUTSIDE_MAX_AGE  2026-01-01T12:00:00Z
        "#]]
        .assert_eq(&flush_left(values));
        shop.stop().await;
    }
}

#[tokio::test]
async fn ingest_names_what_is_rejected_and_takes_the_rest() {
    let shop = Service::shop().await;
    shop.write("some.csv", &CSV.replace("c2,2026-01-01T11:00:00Z", "c2,yesterday"));
    let Ran { code, stdout, .. } = shop.command("ingest clicks some.csv --replay").await;
    assert_eq!(code, Some(1), "{stdout}");
    expect![[r#"
        2 events accepted, 1 rejected
          event 1: wrong_type: at: expected a time such as "2026-11-21T10:00:00Z" (rfc3339), found "yesterday"
    "#]]
    .assert_eq(&stdout);
    let Ran { code, stdout, .. } = shop.command("ingest clicks some.csv --replay --output json").await;
    let answer: Value = serde_json::from_str(&stdout).expect("JSON");
    assert_eq!(
        (code, &answer["accepted"], &answer["rejected"][0]["index"]),
        (Some(1), &2.into(), &1.into()),
        "{stdout}"
    );
    shop.write("torn.parquet", "PAR1");
    let lines = ["ingest clicks nowhere.csv", "ingest clicks torn.parquet", "ingest clics some.csv"];
    refuses(
        &shop,
        &lines,
        expect![[r#"
        freshet: cannot open nowhere.csv: No such file or directory (os error 2)
        freshet: cannot read torn.parquet as Parquet: EOF: Parquet file too small. Size is 4 but need 8
        freshet: no source is called `clics`: `freshet list` shows what there is
    "#]],
    )
    .await;
    misunderstands(
        &shop,
        &["ingest clicks", "ingest clicks some.csv --rate 0"],
        expect![[r#"
        error: the following required arguments were not provided:
        error: invalid value '0' for '--rate <N>': 0 is not in 1..=4294967295
    "#]],
    )
    .await;
    shop.stop().await;
}

#[tokio::test]
async fn a_command_that_nobody_listens_to_any_more_ends_without_a_word() {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    let mut command = freshet(["schema"]);
    let ended = tokio::task::spawn_blocking(move || command.stdout(writer).stderr(Stdio::piped()).output());
    let ended = ended.await.expect("it does not panic").expect("the program was built");
    assert_eq!((ended.status.code(), ended.stderr.as_slice()), (Some(141), &b""[..]));
}
