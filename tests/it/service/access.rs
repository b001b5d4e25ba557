//! Keys, what each of them may do, and the audit log.

use std::path::Path;
use std::process::Child;

use expect_test::expect;
use freshet::app::App;
use freshet::registry::Registry;
use freshet::registry::sqlite::SqliteRegistry;
use serde_json::{Value, json};

use super::{SHOP, Service, config, problem, start, start_with, until};
use crate::http::{Answer, Api};
use crate::process::{Ran, freshet, run};

const KEYS: &str = "/v1/keys";

/// Makes a key, and answers with it.
async fn key(api: &Api, body: Value) -> String {
    let made = api.post(KEYS, &body).await;
    assert_eq!(made.status, 201, "{made}");
    made.json()["key"].as_str().expect("a key").to_owned()
}

/// Closes the service: the client of its administrator.
async fn closed(api: &Api) -> Api {
    api.with_key(&key(api, json!({ "name": "ops", "scopes": ["admin"] })).await)
}

/// The registry of a service, as another process would have it.
async fn registry(folder: &Path) -> SqliteRegistry {
    let project = "default".parse().expect("a name");
    SqliteRegistry::open(&folder.join("registry.sqlite"), &project).await.expect("opens")
}

fn id_of(key: &str) -> &str {
    key.split('_').nth(1).expect("a key has an id")
}

#[tokio::test]
async fn the_first_key_closes_the_service_to_everybody_without_one() {
    let service = Service::empty().await;
    let lower = service.api.post(KEYS, &json!({ "name": "ranker", "scopes": ["read", "ingest"] })).await;
    expect![[r#"
        409 FIRST_KEY: the first key closes the project to calls without one, so it needs the scope `admin`
    "#]]
    .assert_eq(&problem(&lower));
    assert_eq!(service.api.get("/v1/definitions").await.status, 200);
    let key = key(&service.api, json!({ "name": "ops", "scopes": ["admin"] })).await;
    let refused = service.api.get("/v1/definitions").await;
    assert_eq!(refused.header("www-authenticate"), "Bearer");
    expect![[r#"
        401 API_KEY_MISSING: the call needs an API key: send `Authorization: Bearer KEY`; commands take it from FRESHET_API_KEY; `freshet keys create` makes one
    "#]]
    .assert_eq(&problem(&refused));
    assert_eq!(service.api.with_key(&key).get("/v1/definitions").await.status, 200);
    for open in ["/healthz", "/metrics", "/openapi.json", "/docs/"] {
        assert_eq!(service.api.get(open).await.status, 200, "{open}");
    }
    service.stop().await;
}

#[tokio::test]
async fn a_key_with_one_wrong_letter_is_no_key() {
    let service = Service::empty().await;
    let key = key(&service.api, json!({ "name": "ops", "scopes": ["admin"] })).await;
    for place in 0..key.len() {
        let mut wrong = key.clone().into_bytes();
        wrong[place] = if wrong[place] == b'a' { b'b' } else { b'a' };
        let wrong = String::from_utf8(wrong).expect("letters");
        let answer = service.api.with_key(&wrong).get("/v1/definitions").await;
        assert!(problem(&answer).starts_with("401 API_KEY_INVALID"), "{place}: {answer}");
    }
    let cut = service.api.with_key(&key[..key.len() - 1]).get("/v1/definitions").await;
    assert_eq!(cut.status, 401);
    assert_eq!(service.api.with_key(&key).get("/v1/definitions").await.status, 200);
    service.stop().await;
}

/// Every operation as (method, path with something in it, the scope that is described).
fn operations() -> Vec<(String, String, Option<String>)> {
    let description = serde_json::to_value(freshet::api::openapi()).expect("a description is plain data");
    let paths = description["paths"].as_object().expect("there are paths").clone();
    let of_path = |(path, item): (String, Value)| {
        let pieces = path.split('/').map(|piece| if piece.starts_with('{') { "1" } else { piece });
        let path = pieces.collect::<Vec<_>>().join("/");
        let item = item.as_object().expect("a path has operations").clone();
        item.into_iter().map(move |(method, operation)| {
            let scope = operation["security"][0]["api_key"][0].as_str().map(str::to_owned);
            (method.to_uppercase(), path.clone(), scope)
        })
    };
    paths.into_iter().flat_map(of_path).collect()
}

#[tokio::test]
async fn every_call_takes_the_keys_that_its_description_names_and_no_others() {
    let service = Service::empty().await;
    let admin = closed(&service.api).await;
    let read = service.api.with_key(&key(&admin, json!({ "name": "r", "scopes": ["read"] })).await);
    let ingest = service.api.with_key(&key(&admin, json!({ "name": "i", "scopes": ["ingest"] })).await);
    let call = async |api: &Api, method: &str, path: &str| -> u16 {
        api.call(method, path, "application/json", b"{}".to_vec()).await.expect("it answers").status
    };
    let is_refused = |status: u16| [401, 403].contains(&status);
    let mut open = Vec::new();
    for (method, path, scope) in operations() {
        let without = call(&service.api, &method, &path).await;
        let Some(scope) = scope else {
            assert!(!is_refused(without), "{method} {path} is described as open");
            open.push(path);
            continue;
        };
        assert_eq!(without, 401, "{method} {path} without a key");
        for (api, name) in [(&read, "read"), (&ingest, "ingest"), (&admin, "admin")] {
            let status = call(api, &method, &path).await;
            let allowed = name == scope || name == "admin";
            let expected = if allowed { !is_refused(status) } else { status == 403 };
            assert!(expected, "{method} {path} needs `{scope}`, and answered {status} to a key with `{name}`");
        }
    }
    assert_eq!(open, ["/docs/", "/health", "/healthz", "/metrics", "/openapi.json", "/readyz"]);
    service.stop().await;
}

#[tokio::test]
async fn a_key_reads_its_services_and_feeds_its_sources_and_no_others() {
    let shop = Service::busy_shop().await;
    let admin = closed(&shop.api).await;
    let limited = json!({ "name": "shelf", "scopes": ["read", "ingest"], "services": ["shelf"], "sources": ["views"] });
    let limited = shop.api.with_key(&key(&admin, limited).await);
    let lookup = |service: &str| json!({ "service": service, "entities": { "item_id": [7] } });
    assert_eq!(limited.post("/v1/online-features", &lookup("shelf")).await.status, 200);
    assert_eq!(limited.get("/v1/online-features/shelf?item_id=7").await.status, 200);
    let features = json!({ "features": ["popularity:clicks"], "entities": { "item_id": [7] } });
    let spine = "user_id,event_timestamp\nu1,2026-01-01T13:00:00Z\n";
    let training = "/v1/training-sets?service=recommender";
    let of_another = admin.send(training, "text/csv", spine).await.json()["id"].as_str().expect("an id").to_owned();
    let job = format!("/v1/training-sets/{of_another}");
    let refused = [
        limited.post("/v1/online-features", &lookup("recommender")).await,
        limited.get("/v1/online-features/recommender?user_id=u1").await,
        limited.post("/v1/online-features", &features).await,
        limited.send(training, "text/csv", spine).await,
        limited.get(&format!("{job}/data")).await,
        limited.call("DELETE", &job, "", Vec::new()).await.expect("it answers"),
        limited.post("/v1/sources/clicks/events", &json!({})).await,
        limited.get("/v1/dead-letters?source=clicks").await,
        limited.get("/v1/dead-letters/clicks/0/0").await,
    ];
    let of_feast = [
        ("/get-online-features", json!({ "feature_service": "recommender", "entities": { "user_id": ["u1"] } })),
        ("/get-online-features", json!({ "features": ["popularity:clicks"], "entities": { "item_id": [7] } })),
        ("/push", json!({ "push_source_name": "clicks", "df": {} })),
        ("/write-to-online-store", json!({ "feature_view_name": "activity", "df": {} })),
    ];
    for (path, body) in of_feast {
        let answer = limited.post(path, &body).await;
        assert!(answer.status == 403 && answer.text().contains("FeastPermissionError"), "{path}: {answer}");
    }
    expect![[r#"
        403 BEYOND_KEY: key `shelf` is limited to `shelf`, and `recommender` is another feature service
        403 BEYOND_KEY: key `shelf` is limited to `shelf`, and `recommender` is another feature service
        403 BEYOND_KEY: key `shelf` reads the services `shelf`: name one instead of features
        403 BEYOND_KEY: key `shelf` is limited to `shelf`, and `recommender` is another feature service
        403 BEYOND_KEY: key `shelf` is limited to `shelf`, and `recommender` is another feature service
        403 BEYOND_KEY: key `shelf` is limited to `shelf`, and `recommender` is another feature service
        403 BEYOND_KEY: key `shelf` is limited to `views`, and `clicks` is another source
        403 BEYOND_KEY: key `shelf` is limited to `views`, and `clicks` is another source
        403 BEYOND_KEY: key `shelf` is limited to `views`, and `clicks` is another source
    "#]]
    .assert_eq(&refused.iter().map(problem).collect::<String>());
    assert_eq!(limited.post("/v1/sources/views/events", &json!({})).await.status, 404, "allowed, and not defined");
    shop.stop().await;
}

#[tokio::test]
async fn a_limited_key_sees_the_jobs_of_its_services_and_checks_nobodys_values() {
    let shop = Service::busy_shop().await;
    let admin = closed(&shop.api).await;
    const OF_FILE: &str = "/v1/training-sets?service=shelf&spine=labels.csv";
    let limited = json!({ "name": "shelf", "scopes": ["read"], "services": ["shelf"] });
    let limited = shop.api.with_key(&key(&admin, limited).await);
    let id = |begun: &Answer| begun.json()["id"].as_str().expect("an id").to_owned();
    let cut = async |service: &str, spine: &str| {
        id(&admin.send(&format!("/v1/training-sets?service={service}"), "text/csv", spine).await)
    };
    let own_set = cut("shelf", "item_id,event_timestamp\n7,2026-01-01T13:00:00Z\n").await;
    let another_set = cut("recommender", "user_id,event_timestamp\nu1,2026-01-01T13:00:00Z\n").await;
    let fill = async |view: &str| {
        let wanted =
            json!({ "view": view, "from": "2026-01-01T10:00:00Z", "to": "2026-01-01T11:00:00Z", "every": "1h" });
        id(&admin.post("/v1/backfills", &wanted).await)
    };
    let (own_fill, another_fill) = (fill("popularity").await, fill("activity").await);
    for (jobs, own, another) in [("/v1/training-sets", own_set, another_set), ("/v1/backfills", own_fill, another_fill)]
    {
        let listed = limited.get(jobs).await.json();
        let ids: Vec<&Value> = listed["jobs"].as_array().expect("a list").iter().map(|job| &job["id"]).collect();
        assert_eq!(ids, [own.as_str()], "{jobs}");
        assert_eq!(admin.get(jobs).await.json()["jobs"].as_array().map(Vec::len), Some(2));
        assert_eq!(limited.get(&format!("{jobs}/{own}")).await.status, 200);
        let refused = problem(&limited.get(&format!("{jobs}/{another}")).await);
        assert!(refused.starts_with("403 BEYOND_KEY: key `shelf` is limited to `shelf`, and "), "{refused}");
    }
    expect![[r#"
        403 BEYOND_KEY: a parity check shows values of every service, and key `shelf` is limited to `shelf`: ask with a key that is not limited
        403 BEYOND_KEY: key `shelf` is limited to `shelf`, and names no file of the service: send the rows as the body
    "#]]
    .assert_eq(&(problem(&limited.post("/v1/parity", &Value::Null).await) + &problem(&limited.send(OF_FILE, "", "").await)));
    assert_eq!(admin.post("/v1/parity", &Value::Null).await.json()["different"], 0);
    shop.stop().await;
}

#[tokio::test]
async fn only_an_administrator_replays_history() {
    let shop = Service::shop().await;
    let admin = closed(&shop.api).await;
    let producer = shop.api.with_key(&key(&admin, json!({ "name": "site", "scopes": ["ingest"] })).await);
    let event = json!({ "id": "a", "at": "2026-01-01T10:00:00Z", "user_id": "u1" });
    expect![[r#"
        403 SCOPE_MISSING: the call needs the scope `admin`, and key `site` has ingest
    "#]]
    .assert_eq(&problem(&producer.post("/v1/sources/clicks/events?replay=true", &event).await));
    assert_eq!(producer.post("/v1/sources/clicks/events", &event).await.json()["accepted"], 1);
    assert_eq!(admin.post("/v1/sources/clicks/events?replay=true", &event).await.json()["accepted"], 1);
    shop.stop().await;
}

#[tokio::test]
async fn a_revoked_key_is_refused_at_once_and_the_last_one_leaves_the_service_closed() {
    let service = Service::empty().await;
    let first = key(&service.api, json!({ "name": "ops", "scopes": ["admin"] })).await;
    let admin = service.api.with_key(&first);
    let revoke = async |key: &str| -> Answer {
        admin.call("DELETE", &format!("{KEYS}/{}", id_of(key)), "", Vec::new()).await.expect("it answers")
    };
    let reader = key(&admin, json!({ "name": "ranker", "scopes": ["read"] })).await;
    assert_eq!(service.api.with_key(&reader).get("/v1/status").await.status, 200);
    assert_ne!(revoke(&reader).await.json()["revoked_at"], Value::Null);
    assert_eq!(service.api.with_key(&reader).get("/v1/status").await.status, 401);
    assert!(problem(&revoke("freshet_aaaaaaaaaaaa_").await).starts_with("404 UNKNOWN_KEY_ID"));
    assert_eq!(revoke(&first).await.status, 200);
    assert_eq!(admin.get("/v1/status").await.status, 401);
    assert_eq!(service.api.get("/v1/status").await.status, 401, "no key is left, and it is not open again");
    service.stop().await;
}

#[tokio::test]
async fn a_key_that_another_process_revokes_is_refused_here() {
    let service = Service::empty().await;
    let key = key(&service.api, json!({ "name": "ops", "scopes": ["admin"] })).await;
    let admin = service.api.with_key(&key);
    assert_eq!(admin.get("/v1/status").await.status, 200);
    let elsewhere = registry(service.folder.path()).await;
    let now = elsewhere.keys().await.expect("answers")[0].created_at;
    elsewhere.revoke_key(id_of(&key), "somebody else", now).await.expect("answers");
    until("the key is refused", async || (admin.get("/v1/status").await.status == 401).then_some(())).await;
    service.stop().await;
}

#[tokio::test]
async fn what_is_not_a_key_is_not_made() {
    let service = Service::empty().await;
    let admin = closed(&service.api).await;
    let wrong = [
        json!({ "name": " ", "scopes": ["read"] }),
        json!({ "name": "a\nb", "scopes": ["read"] }),
        json!({ "name": "ranker", "scopes": [] }),
        json!({ "name": "ranker", "scopes": ["read"], "services": ["My Shelf"] }),
        json!({ "name": "ranker", "scopes": ["admin"], "services": ["shelf"] }),
        json!({ "name": "ranker", "scopes": ["read"], "sources": ["clicks"] }),
        json!({ "name": "ranker", "scopes": ["ingest"], "services": ["shelf"] }),
        json!({ "name": "ranker", "scopes": ["write"] }),
    ];
    let mut problems = String::new();
    for body in &wrong {
        problems += &problem(&admin.post(KEYS, body).await);
    }
    expect![[r#"
        400 INVALID_KEY: `name` says who calls with the key, in 1 to 100 characters
        400 INVALID_KEY: `name` says who calls with the key, in 1 to 100 characters
        400 INVALID_KEY: `scopes` is empty: give one or more of `read`, `ingest`, `admin`
        400 INVALID_KEY: `services`: `My Shelf` is not a name: `a` to `z` first, then `a` to `z`, `0` to `9` and `_`
        400 INVALID_KEY: a key with the scope `admin` may do everything: it cannot be limited to services or sources
        400 INVALID_KEY: `sources` limit the scope `ingest`, which the key does not have: limit `read` by `services`
        400 INVALID_KEY: `services` limit the scope `read`, which the key does not have: limit `ingest` by `sources`
        400 INVALID_BODY: Failed to deserialize the JSON body into the target type: scopes[0]: unknown variant `write`, expected one of `read`, `ingest`, `admin` at line 1 column 34
    "#]].assert_eq(&problems);
    assert_eq!(admin.get(KEYS).await.json()["keys"].as_array().map(Vec::len), Some(1));
    service.stop().await;
}

#[tokio::test]
async fn nothing_that_a_key_could_be_made_from_is_shown_or_kept() {
    let service = Service::empty().await;
    let key = key(&service.api, json!({ "name": "ops", "scopes": ["admin"] })).await;
    let secret = key.splitn(3, '_').nth(2).expect("a key has a secret");
    let admin = service.api.with_key(&key);
    for path in [KEYS, "/v1/audit", "/metrics", "/v1/status"] {
        assert!(!admin.get(path).await.text().contains(secret), "{path}");
    }
    let kept = std::fs::read(service.folder.path().join("registry.sqlite")).expect("it is there");
    let log = std::fs::read(service.folder.path().join("registry.sqlite-wal")).unwrap_or_default();
    let holds = |bytes: &[u8]| bytes.windows(secret.len()).any(|window| window == secret.as_bytes());
    assert!(!holds(&kept) && !holds(&log));
    service.stop().await;
}

/// Killed when the test is done with it, however it ends.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended before: then there is nothing to kill.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Where the service of a log file answers, once the file says so.
async fn url_in(log: &Path) -> String {
    let line = |line: &str| {
        let line: Value = serde_json::from_str(line).ok()?;
        Some(line["fields"]["url"].as_str()?.to_owned())
    };
    until("it serves", async || std::fs::read_to_string(log).ok()?.lines().find_map(line)).await
}

#[tokio::test]
async fn no_line_of_the_log_holds_a_key_however_much_is_logged() {
    let folder = tempfile::tempdir().expect("a folder");
    let log = folder.path().join("service.txt");
    let mut command = freshet(["serve", "--log-format", "json", "--listen", "127.0.0.1:0", "--data-dir"]);
    command.arg(folder.path());
    let file = std::fs::File::create(&log).expect("created");
    let service = Running(command.env("FRESHET_LOG", "trace").stderr(file).spawn().expect("the binary was built"));
    let api = Api::new(&url_in(&log).await);
    let key = key(&api, json!({ "name": "ops", "scopes": ["admin"] })).await;
    let admin = api.with_key(&key);
    assert_eq!(admin.get("/v1/definitions").await.status, 200);
    assert_eq!(admin.get("/v1/definitions/entity/none").await.status, 404);
    assert_eq!(api.with_key(&key.replace(id_of(&key), "0123456789ab")).get("/v1/status").await.status, 401);
    drop(service);
    let text = std::fs::read_to_string(&log).expect("it is text");
    assert!(text.contains(id_of(&key)), "what was done with the key is told by its id");
    let secret = key.splitn(3, '_').nth(2).expect("a key has a secret");
    assert!(!text.contains(secret));
}

#[tokio::test]
async fn the_audit_log_has_every_change_and_who_made_it() {
    let service = Service::empty().await;
    let admin = closed(&service.api).await;
    let reader = service.api.with_key(&key(&admin, json!({ "name": "ranker", "scopes": ["read"] })).await);
    admin.send("/v1/definitions/apply?by=ada", "application/yaml", SHOP).await.json();
    admin.send("/v1/definitions/apply", "application/yaml", "kind: none").await;
    reader.send("/v1/definitions/apply", "application/yaml", SHOP).await;
    admin.get("/v1/definitions").await.json();
    let log = admin.get("/v1/audit").await.json();
    let ids = admin.get(KEYS).await.json();
    let line = |entry: &Value| format!("{} | {} | {}\n", entry["by"], entry["call"], entry["outcome"]).replace('"', "");
    let mut text: String = log["entries"].as_array().expect("a list").iter().map(line).collect();
    for key in ids["keys"].as_array().expect("a list") {
        text =
            text.replace(key["id"].as_str().expect("an id"), &format!("<{}>", key["name"].as_str().expect("a name")));
    }
    expect![[r#"
        key <ops>, ops | POST /v1/definitions/apply | 400
        key <ops>, ops | POST /v1/definitions/apply?by=ada | 200: revision 1, 9 changes
        key <ops>, ops | POST /v1/keys | 201: key <ranker> (ranker) with read
        unknown | POST /v1/keys | 201: key <ops> (ops) with admin
    "#]]
    .assert_eq(&text);
    service.stop().await;
}

#[tokio::test]
async fn nobody_but_its_own_process_calls_a_service_that_is_for_it_alone() {
    let folder = tempfile::tempdir().expect("a folder");
    let (app, key) = App::start_alone(config(folder.path(), &[("listen", "0.0.0.0:0")])).await.expect("it starts");
    let api = Api::new(&app.url());
    assert!(app.url().starts_with("http://127.0.0.1:"), "{}", app.url());
    assert_eq!(api.get("/v1/definitions").await.status, 401);
    assert_eq!(api.with_key(key.reveal()).send("/v1/definitions/apply", "application/yaml", SHOP).await.status, 200);
    app.stop().await.expect("it stops cleanly");
}

#[tokio::test]
async fn a_project_without_keys_is_served_beyond_loopback_only_where_that_is_asked_for() {
    let folder = tempfile::tempdir().expect("a folder");
    let everywhere = [("listen", "0.0.0.0:0"), ("drain_delay_ms", "0")];
    let refused = App::start(config(folder.path(), &everywhere)).await.err().expect("refused").to_string();
    assert!(refused.contains("has no API keys") && refused.contains("--insecure"), "{refused}");
    let insecure = [everywhere[0], everywhere[1], ("insecure", "true")];
    let (app, _) = start_with(folder.path(), &insecure).await;
    app.stop().await.expect("it stops cleanly");
    let (app, api) = start(folder.path()).await;
    closed(&api).await;
    app.stop().await.expect("it stops cleanly");
    let (app, _) = start_with(folder.path(), &everywhere).await;
    let api = Api::new(&app.url().replace("0.0.0.0", "127.0.0.1"));
    assert_eq!(api.get("/v1/definitions").await.status, 401);
    app.stop().await.expect("it stops cleanly");
}

async fn run_with(key: Option<&str>, arguments: &[&str]) -> Ran {
    let mut command = freshet(arguments);
    command.envs(key.map(|key| ("FRESHET_API_KEY", key)));
    run(command).await
}

#[tokio::test]
async fn commands_make_list_and_revoke_keys() {
    let folder = tempfile::tempdir().expect("a folder");
    let data_dir = folder.path().display().to_string();
    let first = ["keys", "create", "ops", "--scope", "admin", "--local", "--data-dir", &data_dir];
    let first = run_with(None, &first).await;
    assert!(first.stderr.contains("from now on every call without one is refused"), "{}", first.stderr);
    let first = first.done().trim().to_owned();
    let (app, api) = start(folder.path()).await;
    let url = app.url();
    assert_eq!(run_with(None, &["ready", "--url", &url]).await.done(), "ready\n", "health checks have no key");
    let ranker = ["keys", "create", "ranker", "--scope", "read,ingest", "--service", "shelf", "--url", &url];
    let refused = run_with(None, &ranker).await.failed(1);
    assert!(refused.contains("the call needs an API key"), "{refused}");
    let ranker = run_with(Some(&first), &ranker).await;
    assert!(!ranker.stderr.contains("from now on"), "{}", ranker.stderr);
    let ranker = ranker.done().trim().to_owned();
    assert_eq!(api.with_key(&ranker).get("/v1/status").await.status, 200);
    let listed = run_with(Some(&first), &["keys", "list", "--url", &url]).await.done();
    let rows: Vec<Vec<&str>> = listed.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows[1][..4], [id_of(&ranker), "ranker", "read,", "ingest"], "{listed}");
    assert_eq!(rows[2][..3], [id_of(&first), "ops", "admin"], "{listed}");
    run_with(Some(&first), &["keys", "revoke", id_of(&ranker), "--url", &url]).await.done();
    assert_eq!(api.with_key(&ranker).get("/v1/status").await.status, 401);
    app.stop().await.expect("it stops cleanly");
    let gone = run_with(None, &["ready", "--url", &url]).await.failed(1);
    assert!(gone.contains("no service answers"), "{gone}");
}
