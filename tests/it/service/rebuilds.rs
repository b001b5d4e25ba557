//! `/v1/rebuilds`: rows built anew while others are served.

use expect_test::expect;
use freshet::clock::Clock;
use freshet::kernel::definition::SourceText;
use freshet::registry::sqlite::SqliteRegistry;
use freshet::registry::{Registry, VersionState};
use serde_json::{Value, json};

use super::{SHOP, Service, problem, start, until};

async fn columns(service: &Service, users: &[&str]) -> Value {
    let lookup = json!({ "service": "recommender", "entities": { "user_id": users }, "include": ["statuses"] });
    service.api.post("/v1/online-features", &lookup).await.json()["columns"].clone()
}

/// One click of `u9`.
async fn click(service: &Service, number: usize) {
    let event = json!({ "id": format!("r{number}"), "at": "2026-01-01T10:00:00Z", "user_id": "u9", "price": 0.5 });
    let answer = service.api.send("/v1/sources/clicks/events?replay=true", "application/json", event.to_string()).await;
    assert_eq!(answer.json()["accepted"], 1);
}

async fn rebuilds(service: &Service) -> Vec<Value> {
    service.api.get("/v1/rebuilds").await.json()["rebuilds"].as_array().expect("a list").clone()
}

/// View and generation of all that is written online.
async fn generations(service: &Service) -> Vec<String> {
    let status = service.api.get("/v1/status").await.json();
    let views = status["views"].as_array().expect("a list").iter();
    views.map(|it| format!("{} {} {}", it["view"], it["generation"], it["state"]).replace('"', "")).collect()
}

#[tokio::test]
async fn lookups_neither_fail_nor_differ_while_rows_are_rebuilt_under_ingest() {
    let shop = Service::busy_shop().await;
    let served = columns(&shop, &["u1", "u2", "u3"]).await;
    let begun = shop.api.post("/v1/rebuilds", &json!({})).await;
    assert_eq!(begun.status, 202, "{begun}");
    let begun = begun.json()["rebuilds"].as_array().expect("a list").clone();
    let names: Vec<String> =
        begun.iter().map(|it| format!("{} {} {}", it["view"], it["generation"], it["served"])).collect();
    assert_eq!(names, [r#""activity" 1 true"#, r#""popularity" 1 true"#, r#""visits" 1 true"#]);
    let mut clicks = 0;
    while !rebuilds(&shop).await.is_empty() {
        click(&shop, clicks).await;
        clicks += 1;
        assert_eq!(columns(&shop, &["u1", "u2", "u3"]).await, served, "after {clicks} clicks");
    }
    shop.settle().await;
    assert_eq!(columns(&shop, &["u1", "u2", "u3"]).await, served);
    assert_eq!(columns(&shop, &["u9"]).await[1]["values"], json!([clicks]), "nothing is lost or doubled");
    assert_eq!(generations(&shop).await, ["activity 1 live", "popularity 1 live", "study 0 live", "visits 1 live"]);
    shop.stop().await;
}

#[tokio::test]
async fn a_rebuild_goes_on_after_a_restart() {
    let shop = Service::busy_shop().await;
    let served = columns(&shop, &["u1", "u2"]).await;
    shop.api.post("/v1/rebuilds", &json!({ "views": ["visits"] })).await.json();
    let Service { app, folder, .. } = shop;
    app.stop().await.expect("it stops cleanly");
    let (app, api) = start(folder.path()).await;
    let shop = Service { app, api, folder };
    assert_eq!(columns(&shop, &["u1", "u2"]).await, served);
    until("it is rebuilt", async || rebuilds(&shop).await.is_empty().then_some(())).await;
    assert_eq!(columns(&shop, &["u1", "u2"]).await, served);
    assert_eq!(generations(&shop).await, ["activity 0 live", "popularity 0 live", "study 0 live", "visits 1 live"]);
    shop.stop().await;
}

#[tokio::test]
async fn a_rebuild_that_is_given_up_leaves_what_serves() {
    let shop = Service::busy_shop().await;
    let served = columns(&shop, &["u1"]).await;
    shop.api.post("/v1/rebuilds", &json!({ "views": ["visits"] })).await.json();
    let left = shop.api.call("DELETE", "/v1/rebuilds/visits", "", Vec::new()).await.expect("the service answers");
    assert_eq!(left.json(), json!({ "rebuilds": [] }));
    assert_eq!(columns(&shop, &["u1"]).await, served);
    shop.stop().await;
}

/// The registry takes changes, and what it holds cannot be read, as where a later release wrote it.
#[tokio::test]
async fn a_change_that_was_made_is_answered_so_though_it_cannot_be_read_back() {
    let shop = Service::busy_shop().await;
    shop.apply(&SHOP.replace("name: activity\n", "name: activity\nwhere: price > 1.0\n")).await.json();
    shop.settle().await;
    let project = "default".parse().expect("a name");
    let registry = SqliteRegistry::open(&shop.folder.path().join("registry.sqlite"), &project).await.expect("opens");
    let live = registry.versions().await.expect("answers").into_iter().filter(|it| it.state == VersionState::Live);
    let versions: Vec<_> = live.map(|version| (version.view, version.fingerprint)).collect();
    let unreadable = SourceText { path: "later.yaml".to_owned(), text: "kind: nothing that is known".to_owned() };
    registry.apply(2, &[unreadable], "ada", &versions, Clock::System.now()).await.expect("applies");

    let begun = shop.api.post("/v1/rebuilds", &json!({ "views": ["visits"] })).await;
    assert_eq!(begun.status, 202, "{begun}");
    let rolled_back = shop.api.post("/v1/rollbacks", &json!({ "view": "activity" })).await;
    assert_eq!(rolled_back.status, 200, "{rolled_back}");
    let noted = shop.api.get("/v1/audit").await.json();
    let outcomes: Vec<_> = noted["entries"].as_array().expect("a list").iter().map(|it| &it["outcome"]).collect();
    assert!(outcomes[0].as_str().is_some_and(|it| it.starts_with("200: view activity")) && outcomes[1] == "202");
    let rebuilt = registry.versions().await.expect("answers").into_iter().filter(|it| it.rebuilding.is_some());
    assert_eq!(rebuilt.map(|it| it.view.to_string()).collect::<Vec<_>>(), ["visits"]);
    shop.stop().await;
}

#[tokio::test]
async fn what_cannot_be_rebuilt_is_said() {
    let shop = Service::shop().await;
    let mut problems = problem(&shop.api.post("/v1/rebuilds", &json!({ "views": ["visists"] })).await);
    problems += &problem(&shop.api.post("/v1/rebuilds", &json!({ "views": ["study"] })).await);
    problems += &problem(&shop.api.post("/v1/rebuilds", &json!({ "view": "visits" })).await);
    expect![[r#"
        404 UNKNOWN_VIEW: feature view `visists` is not defined
        400 NOT_ONLINE: view `study` is declared with `online: false`: it has no rows
        400 INVALID_BODY: Failed to deserialize the JSON body into the target type: view: unknown field `view`, expected `views` at line 1 column 7
    "#]].assert_eq(&problems);
    shop.stop().await;
}
