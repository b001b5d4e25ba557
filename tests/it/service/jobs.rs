//! `/v1/training-sets`, `/v1/backfills` and `/v1/parity`.

use std::path::{Path, PathBuf};

use expect_test::expect;
use serde_json::{Value, json};

use super::{CLICKS, SHOP, Service, problem, start_with, until};
use crate::process::{freshet, run};

const SETS: &str = "/v1/training-sets?service=recommender&label_time=bought_at";

const SPINE: &str = "user_id,bought_at,bought\n\
    u1,2026-01-01T11:00:00Z,true\n\
    u1,2026-01-01T13:00:00Z,false\n\
    u3,2026-01-01T13:00:00Z,false\n";

/// The job that an answer began, once it has ended.
async fn ended(shop: &Service, collection: &str, begun: &Value) -> Value {
    let path = path_of(collection, begun);
    until("the job has ended", async || Some(shop.api.get(&path).await.json()).filter(|job| job["state"] != "running"))
        .await
}

fn path_of(collection: &str, job: &Value) -> String {
    format!("{collection}/{}", job["id"].as_str().expect("a job has an id"))
}

#[tokio::test]
async fn a_training_set_is_cut_from_a_csv_spine_and_read_back() {
    let shop = Service::busy_shop().await;
    let begun = shop.api.send(SETS, "text/csv", SPINE).await;
    assert_eq!(begun.status, 202, "{begun}");
    let job = ended(&shop, "/v1/training-sets", &begun.json()).await;
    assert_eq!(
        (&job["state"], &job["progress"], &job["result"]["rows"]),
        (&json!("done"), &json!(1.0), &json!(3)),
        "{job}"
    );
    let data = format!("/v1/training-sets/{}/data", job["id"].as_str().expect("a job has an id"));
    let csv = shop.api.get(&format!("{data}?format=csv")).await;
    assert_eq!((csv.status, csv.content_type.as_str()), (200, "text/csv"));
    expect![[r#"
        user_id,bought_at,bought,activity:clicks,activity:spend,activity:dearest,activity:items,visits:visits
        u1,2026-01-01T11:00:00Z,true,1,2.5,2.5,[7],1
        u1,2026-01-01T13:00:00Z,false,3,3.25,2.5,"[7,8]",3
        u3,2026-01-01T13:00:00Z,false,0,0.0,,[],0
    "#]]
    .assert_eq(&csv.text());
    let answer = shop.api.get(&data).await;
    assert_eq!(answer.header("content-length"), answer.body.len().to_string(), "a file that was cut off can be told");
    let parquet = answer.body;
    assert!(parquet.starts_with(b"PAR1"), "Parquet unless asked otherwise");
    assert!(shop.api.get(&format!("{data}?format=arrow")).await.body.starts_with(b"ARROW1"));
    assert_eq!(shop.api.get("/v1/training-sets").await.json(), json!({ "jobs": [job] }));
    let again = shop.api.send(&format!("{SETS}&knowledge=both"), "text/csv", SPINE).await.json();
    let again = ended(&shop, "/v1/training-sets", &again).await;
    let data = format!("/v1/training-sets/{}/data", again["id"].as_str().expect("a job has an id"));
    assert!(shop.api.get(&data).await.body == parquet, "the same set again has other bytes");
    // What was replayed was known when it happened.
    let differences = again["result"]["differences"].as_array().expect("a list");
    let of_spend =
        json!({ "feature": "activity:spend", "compared": 3, "different": 0, "not_yet_arrived": 0, "late": 0 });
    assert_eq!((differences.len(), &differences[1]), (5, &of_spend), "{again:#}");
    shop.stop().await;
}

#[tokio::test]
async fn a_spine_of_json_rows_is_the_spine_that_a_table_of_them_is() {
    let shop = Service::busy_shop().await;
    let rows = json!([
        { "user_id": "u1", "bought_at": "2026-01-01T11:00:00Z", "bought": true },
        { "user_id": "u1", "bought_at": "2026-01-01T13:00:00Z", "bought": false },
        { "user_id": "u3", "bought_at": "2026-01-01T13:00:00Z", "bought": false },
    ]);
    let begun = shop.api.post(SETS, &rows).await.json();
    let job = ended(&shop, "/v1/training-sets", &begun).await;
    assert_eq!(job["state"], "done", "{job:#}");
    let of_rows = shop.api.get(&format!("{}/data", path_of("/v1/training-sets", &job))).await.body;
    let (_, of_table) = cut(&shop, SETS).await;
    assert!(of_rows == of_table, "the two sets have other bytes");
    shop.stop().await;
}

/// An event before a label time of `u1`, which came after them all, and the first one of `u3`.
const LATER: &str = r#"[
    {"id":"c5","at":"2026-01-01T10:30:00Z","user_id":"u1","item_id":9,"price":8.0},
    {"id":"c6","at":"2026-01-01T12:40:00Z","user_id":"u3"}
]"#;

async fn cut(shop: &Service, path: &str) -> (Value, Vec<u8>) {
    let begun = shop.api.send(path, "text/csv", SPINE).await.json();
    let job = ended(shop, "/v1/training-sets", &begun).await;
    assert_eq!(job["state"], "done", "{job:#}");
    let data = format!("{}/data", path_of("/v1/training-sets", &job));
    (job, shop.api.get(&data).await.body)
}

#[tokio::test]
async fn a_training_set_is_cut_again_to_the_same_bytes_whatever_has_come_since() {
    let shop = Service::busy_shop().await;
    let (job, bytes) = cut(&shop, SETS).await;
    let spine = json!({ "rows": 3, "xxh3": job["result"]["spine"]["xxh3"],
        "label_times": ["2026-01-01T11:00:00Z", "2026-01-01T13:00:00Z"] });
    assert_eq!(job["result"]["spine"], spine, "{job:#}");
    shop.api.send("/v1/sources/clicks/events?replay=true", "application/json", LATER).await.json();
    shop.settle().await;
    let (_, anew) = cut(&shop, SETS).await;
    assert!(anew != bytes, "what came since changes a set that is cut anew");
    let id = job["id"].as_str().expect("a job has an id");
    let again = format!("/v1/training-sets?again={id}");
    let (repeated, same) = cut(&shop, &again).await;
    assert!(same == bytes, "the set that was cut again has other bytes");
    assert_eq!((&repeated["result"], &repeated["request"]["service"]), (&job["result"], &json!("recommender")));
    let (_, same) = cut(&shop, &format!("/v1/training-sets?again={}", repeated["id"].as_str().expect("an id"))).await;
    assert!(same == bytes, "one that was cut again can be cut again");
    shop.stop().await;
}

/// `freshet training-set` with these arguments: the job's id, and what is in the file.
async fn cut_by_command(shop: &Service, arguments: &[&str]) -> (String, Vec<u8>) {
    let files = tempfile::tempdir().expect("a folder");
    let (spine, out) = (files.path().join("spine.csv"), files.path().join("set.parquet"));
    std::fs::write(&spine, SPINE).expect("written");
    let mut command = freshet(["training-set", "--output", "json", "--url", shop.api.base()]);
    command.args(arguments).arg("--spine").arg(&spine).arg("--out").arg(&out);
    let job = run(command).await.json();
    (job["id"].as_str().expect("a job has an id").to_owned(), std::fs::read(out).expect("written"))
}

#[tokio::test]
async fn the_command_cuts_a_training_set_again_by_the_id_that_it_gave() {
    let shop = Service::busy_shop().await;
    let (id, bytes) = cut_by_command(&shop, &["recommender", "--label-time", "bought_at"]).await;
    shop.api.send("/v1/sources/clicks/events?replay=true", "application/json", LATER).await.json();
    shop.settle().await;
    let (_, anew) = cut_by_command(&shop, &["recommender", "--label-time", "bought_at"]).await;
    assert!(anew != bytes, "what came since changes a set that is cut anew");
    let (another, same) = cut_by_command(&shop, &["--again", &id]).await;
    assert!(same == bytes && another != id, "the set that was cut again has other bytes");
    shop.stop().await;
}

#[tokio::test]
async fn a_training_set_that_would_not_be_the_same_again_is_refused() {
    let shop = Service::busy_shop().await;
    let (job, _) = cut(&shop, SETS).await;
    let id = job["id"].as_str().expect("a job has an id");
    let again = format!("/v1/training-sets?again={id}");
    let mut problems = problem(&shop.api.send(&again, "text/csv", SPINE.replace("u3", "u2")).await);
    problems += &problem(&shop.api.send(&format!("{again}&service=shelf"), "text/csv", SPINE).await);
    problems += &problem(&shop.api.send("/v1/training-sets?again=training_set-0-0", "text/csv", SPINE).await);
    let failed = shop.api.send(SETS, "text/csv", "bought_at\n2026-01-01T11:00:00Z\n").await.json();
    let failed = ended(&shop, "/v1/training-sets", &failed).await;
    let path = format!("/v1/training-sets?again={}", failed["id"].as_str().expect("a job has an id"));
    let refused = problem(&shop.api.send(&path, "text/csv", SPINE).await);
    problems += &refused.replace(failed["id"].as_str().expect("an id"), "<failed>");
    let changes = [
        ("default: 0.0", "default: 1.0"),
        ("name: dearest, aggregate: max", "name: dearest, aggregate: min"),
        ("features: [activity, \"visits:visits\"]", "features: [\"visits:visits\", activity]"),
        (
            "item_id, type: int64 }\n    - { name: price",
            "item_id, type: int64 }\n    - { name: at_home, type: bool }\n    - { name: price",
        ),
    ];
    for (was, is) in changes {
        shop.apply(&super::SHOP.replace(was, is)).await.json();
        shop.settle().await;
        problems += &problem(&shop.api.send(&again, "text/csv", SPINE).await);
    }
    let marks = ["activity"].map(|view| job["result"]["versions"][view].as_str().expect("a version"));
    let xxh3 = job["result"]["spine"]["xxh3"].as_str().expect("a mark");
    let problems = problems.replace(id, "<job>").replace(marks[0], "<version>").replace(xxh3, "<xxh3>");
    expect![[r#"
        409 OTHER_SPINE: the spine is not the one of `<job>`, which had 3 rows and the xxh3 <xxh3>, not d2aa60f4a364e904: hand in the same bytes
        400 INVALID_QUERY: `again` stands alone: `service`, `label_time` and `knowledge` are those of the training set it names
        404 UNKNOWN_JOB: no training_set is called `training_set-0-0`
        409 NOT_DONE: training set `<failed>` cannot be cut again: it is not done, or of an earlier release
        409 OTHER_DEFINITIONS: `<job>` cannot be cut again: a default of view `activity` has changed since; apply the definitions of then, or cut a new one without `again`
        409 OTHER_DEFINITIONS: `<job>` cannot be cut again: view `activity` was in version <version>, and is served in another one now; apply the definitions of then, or cut a new one without `again`
        409 OTHER_DEFINITIONS: `<job>` cannot be cut again: service `recommender` has other features now; apply the definitions of then, or cut a new one without `again`
        409 OTHER_DEFINITIONS: `<job>` cannot be cut again: source `clicks` takes and rejects records by other fields now; apply the definitions of then, or cut a new one without `again`
    "#]].assert_eq(&problems);
    shop.stop().await;
}

#[tokio::test]
async fn a_spine_may_be_a_file_below_the_input_roots_and_no_other() {
    let inputs = tempfile::tempdir().expect("a folder");
    for name in ["labels.csv", "more.csv", "labels.txt"] {
        std::fs::write(inputs.path().join(name), SPINE).expect("written");
    }
    let shop = Service::shop_with(&[("input_roots", &inputs.path().display().to_string())]).await;
    let begun = shop.api.send(&format!("{SETS}&spine=labels.csv"), "text/plain", "").await.json();
    let job = ended(&shop, "/v1/training-sets", &begun).await;
    let begun = shop.api.send(SETS, "text/csv", SPINE).await.json();
    let sent = ended(&shop, "/v1/training-sets", &begun).await;
    assert_eq!((&job["state"], &job["result"]), (&json!("done"), &sent["result"]), "{job:#}");
    let mut problems = String::new();
    for file in ["*.csv", "none.csv", "labels.txt", "/etc/hosts.csv", "s3://bucket/labels.csv", "../labels.csv"] {
        problems += &problem(&shop.api.send(&format!("{SETS}&spine={file}"), "text/csv", "").await);
    }
    expect![[r#"
        400 SPINE_FILE: `*.csv` is 2 files, and a spine is one
        400 SPINE_FILE: cannot read `none.csv`: there is no such file; what is in `data_dir` and `offline` is not read
        415 SPINE_FORMAT: a spine is a .csv, .json, .parquet or .arrow file, and `labels.txt` is none
        400 SPINE_FILE: cannot read `/etc/hosts.csv`: it is below no input root: add its folder to `input_roots`
        400 SPINE_FILE: cannot read `s3://bucket/labels.csv`: it is below no input root: add its bucket to `input_roots`
        400 SPINE_FILE: cannot read `../labels.csv`: it is below no input root: add its folder to `input_roots`
    "#]]
    .assert_eq(&problems);
    shop.stop().await;
}

#[tokio::test]
async fn a_training_set_that_cannot_be_cut_says_why() {
    let shop = Service::busy_shop().await;
    let mut problems = problem(&shop.api.send("/v1/training-sets?service=shop", "text/csv", SPINE).await);
    problems += &problem(&shop.api.send("/v1/training-sets", "text/csv", SPINE).await);
    problems += &problem(&shop.api.send(SETS, "application/xml", "<rows/>").await);
    problems += &problem(&shop.api.get("/v1/training-sets/training_set-0-0").await);
    problems += &problem(&shop.api.get("/v1/training-sets/training_set-0-0/data").await);
    expect![[r#"
        404 UNKNOWN_SERVICE: feature service `shop` is not defined
        400 INVALID_QUERY: `service` is missing: name one, or with `again` a training set
        415 SPINE_FORMAT: a spine is text/csv, application/json, application/vnd.apache.parquet or application/vnd.apache.arrow.file, not `application/xml`
        404 UNKNOWN_JOB: no training_set is called `training_set-0-0`
        404 UNKNOWN_JOB: no training_set is called `training_set-0-0`
    "#]]
    .assert_eq(&problems);
    let mut failures = String::new();
    for spine in ["bought_at\n2026-01-01T11:00:00Z\n", "user_id,bought_at\nu1,\n", "user_id,bought_at\nu1,soon\n"] {
        let begun = shop.api.send(SETS, "text/csv", spine).await.json();
        let job = ended(&shop, "/v1/training-sets", &begun).await;
        assert_eq!(job["state"], "failed", "{job}");
        failures = failures + job["error"].as_str().expect("a failed job says why") + "\n";
        let data = format!("/v1/training-sets/{}/data", job["id"].as_str().expect("a job has an id"));
        assert!(problem(&shop.api.get(&data).await).starts_with("404 NOT_DONE"));
    }
    expect![[r#"
        column `user_id`: the spine has no such column
          help: it needs every entity key and the label time; it has `bought_at`
        row 1, column `bought_at`: a row needs a label time, and this one is null
          help: write `2026-11-21T10:00:00Z`, or `2026-11-21 10:00:00` for UTC
        row 1, column `bought_at`: `soon` is not a time
          help: write `2026-11-21T10:00:00Z`, or `2026-11-21 10:00:00` for UTC
    "#]]
    .assert_eq(&failures);
    shop.stop().await;
}

#[tokio::test]
async fn a_backfill_writes_a_row_for_each_entity_and_instant_that_has_one() {
    let shop = Service::busy_shop().await;
    let wanted =
        json!({ "view": "activity", "from": "2026-01-01T10:00:00Z", "to": "2026-01-01T14:00:00Z", "every": "1h" });
    let begun = shop.api.post("/v1/backfills", &wanted).await;
    assert_eq!(begun.status, 202, "{begun}");
    let job = ended(&shop, "/v1/backfills", &begun.json()).await;
    let mut asked = wanted.clone();
    asked["version"] = job["request"]["version"].clone();
    assert_eq!((&job["state"], &job["request"]), (&json!("done"), &asked), "{job}");
    assert_eq!(asked["version"].as_str().map(str::len), Some(16), "{job}");
    // At 11, 12 and 13 o'clock for u1, at 13 for u2.
    assert_eq!(job["result"]["rows"], 4, "{job}");
    let folder = job["result"]["folder"].as_str().expect("it says where");
    assert!(std::path::Path::new(folder).join("dt=2026-01-01").is_dir(), "nothing is in {folder}");
    assert!(folder.starts_with(&shop.folder.path().display().to_string()));
    let cancelled =
        shop.api.call("DELETE", &format!("/v1/backfills/{}", job["id"].as_str().expect("an id")), "", Vec::new()).await;
    assert_eq!(cancelled.expect("the service answers").json(), job, "what has ended stays as it ended");

    let mut problems = String::new();
    for (name, value) in [("view", "activty"), ("from", "today"), ("every", "1 hour"), ("to", "2026-01-01T09:00:00Z")] {
        let mut wrong = wanted.clone();
        wrong[name] = value.into();
        let answer = shop.api.post("/v1/backfills", &wrong).await;
        problems += &match answer.status {
            202 => ended(&shop, "/v1/backfills", &answer.json()).await["error"].to_string() + "\n",
            _ => problem(&answer),
        };
    }
    problems += &problem(&shop.api.get("/v1/backfills/backfill-0-0").await);
    expect![[r#"
        404 UNKNOWN_VIEW: feature view `activty` is not defined
        400 INVALID_BODY: `from`: `today` is not an RFC 3339 time such as `2026-11-21T10:00:00Z`
        400 INVALID_BODY: `every`: `1 hour` is not a duration such as `10s`, `5m`, `1h` or `7d`
        "no instant lies in an interval from 2026-01-01T10:00:00Z to 2026-01-01T09:00:00Z by steps of 1h: name a later end, and a step above 0"
        404 UNKNOWN_JOB: no backfill is called `backfill-0-0`
    "#]]
    .assert_eq(&problems);
    shop.stop().await;
}

/// Little memory makes many steps, and a job stops between two of them.
const SMALL_STEPS: [(&str, &str); 1] = [("job_memory_mb", "32")];

async fn shop_of_small_steps() -> Service {
    let shop = Service::shop_with(&SMALL_STEPS).await;
    shop.api.send("/v1/sources/clicks/events?replay=true", "application/json", CLICKS).await.json();
    shop.settle().await;
    shop
}

/// Of an instant every ten seconds for a year: it is not done soon.
async fn begin_long(shop: &Service) -> Value {
    let wanted =
        json!({ "view": "activity", "from": "2026-01-01T10:00:00Z", "to": "2027-01-01T00:00:00Z", "every": "10s" });
    shop.api.post("/v1/backfills", &wanted).await.json()
}

async fn cancel(shop: &Service, begun: &Value) {
    shop.api
        .call("DELETE", &path_of("/v1/backfills", begun), "", Vec::new())
        .await
        .expect("the service answers")
        .json();
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().map(|entry| entry.expect("listed").path());
    entries.flat_map(|path| if path.is_dir() { files_below(&path) } else { vec![path] }).collect()
}

#[tokio::test]
async fn a_backfill_that_is_cancelled_on_its_way_leaves_no_file() {
    let shop = shop_of_small_steps().await;
    let begun = begin_long(&shop).await;
    let tables = shop.folder.path().join("offline/default/features");
    let is_part = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "parquet");
    until("a part is written", async || files_below(&tables).iter().any(is_part).then_some(())).await;
    cancel(&shop, &begun).await;
    let job = ended(&shop, "/v1/backfills", &begun).await;
    assert_eq!((&job["state"], &job["result"]), (&json!("cancelled"), &Value::Null), "{job:#}");
    assert_eq!(files_below(&tables), Vec::<PathBuf>::new());
    shop.stop().await;
}

#[tokio::test]
async fn a_training_set_that_waits_while_the_service_is_restarted_is_cut_afterwards() {
    let shop = shop_of_small_steps().await;
    // Two jobs run at once.
    let before_it = [begin_long(&shop).await, begin_long(&shop).await];
    let begun = shop.api.send(SETS, "text/csv", SPINE).await.json();
    let Service { app, folder, .. } = shop;
    app.stop().await.expect("it stops cleanly");
    let (app, api) = start_with(folder.path(), &SMALL_STEPS).await;
    let shop = Service { app, api, folder };
    for job in &before_it {
        cancel(&shop, job).await;
    }
    let job = ended(&shop, "/v1/training-sets", &begun).await;
    assert_eq!((&job["state"], &job["result"]["rows"]), (&json!("done"), &json!(3)), "{job:#}");
    let again = shop.api.send(SETS, "text/csv", SPINE).await.json();
    let again = ended(&shop, "/v1/training-sets", &again).await;
    let mut sets = Vec::new();
    for job in [&job, &again] {
        sets.push(shop.api.get(&format!("{}/data", path_of("/v1/training-sets", job))).await.body);
    }
    assert!(sets[0].starts_with(b"PAR1") && sets[0] == sets[1], "the set has other bytes than one without a restart");
    assert_eq!(files_below(&shop.folder.path().join("offline/default/training_sets/_spines")), Vec::<PathBuf>::new());
    shop.stop().await;
}

#[tokio::test]
async fn the_history_of_views_goes_online_by_jobs_that_can_be_looked_at() {
    let inputs = tempfile::tempdir().expect("a folder");
    let past = r#"{"id":"h1","at":"2025-12-01T10:00:00Z","user_id":"u1"}"#;
    std::fs::write(inputs.path().join("past.ndjson"), past).expect("written");
    let shop = Service::with(&[("input_roots", &inputs.path().display().to_string())]).await;
    let history = "history: [{ path: past.ndjson, format: ndjson, until: 2026-01-01T00:00:00Z }]\nschema:\n";
    shop.apply(&SHOP.replace("schema:\n", history)).await.json();
    shop.settle().await;
    let seeds = shop.api.get("/v1/seeds").await.json();
    let seeds = seeds["jobs"].as_array().expect("a list");
    let mut views: Vec<&Value> = seeds.iter().map(|job| &job["request"]["view"]).collect();
    views.sort_by_key(|view| view.to_string());
    assert_eq!(views, ["activity", "popularity", "visits"]);
    for seed in seeds {
        assert_eq!((&seed["kind"], &seed["result"]["rows"]), (&json!("seed"), &json!(1)), "{seed:#}");
        assert_eq!(shop.api.get(&path_of("/v1/seeds", seed)).await.json(), *seed);
    }
    let unknown = problem(&shop.api.get("/v1/seeds/backfill-0-0").await);
    assert_eq!(unknown, "404 UNKNOWN_JOB: no seed is called `backfill-0-0`\n");
    shop.stop().await;
}

#[tokio::test]
async fn parity_finds_that_lookups_were_what_the_archive_says() {
    let shop = Service::busy_shop().await;
    let lookup = json!({ "service": "recommender", "entities": { "user_id": ["u1", "u2", "u3"] } });
    shop.api.post("/v1/online-features", &lookup).await.json();
    let mut report = shop.api.post("/v1/parity", &Value::Null).await.json();
    report.as_object_mut().expect("an object").remove("features");
    // Three rows of two views, with four features and with one.
    assert_eq!(
        report,
        json!({ "lookups": 6, "compared": 15, "different": 0, "unchecked": 0, "reasons": [], "examples": [] })
    );
    expect![[r#"
        400 INVALID_QUERY: `last`: `today` is not a duration such as `10s`, `5m`, `1h` or `7d`
    "#]]
    .assert_eq(&problem(&shop.api.post("/v1/parity?last=today", &Value::Null).await));
    shop.stop().await;
}
