//! `/v1/rollbacks` and the history: the version before, at once, and for as long as it is kept.

use expect_test::expect;
use serde_json::{Value, json};

use super::{SHOP, Service, problem, until};

const PATH: &str = "/v1/rollbacks";

/// The shop whose view `activity` leaves cheap clicks out.
fn dear() -> String {
    SHOP.replace("name: activity\n", "name: activity\nwhere: price > 1.0\n")
}

async fn roll_back(shop: &Service, view: &str) -> crate::http::Answer {
    shop.api.post(&format!("{PATH}?by=ada"), &json!({ "view": view })).await
}

async fn clicks(shop: &Service) -> Value {
    let lookup = json!({ "features": ["activity:clicks"], "entities": { "user_id": ["u1"] } });
    shop.api.post("/v1/online-features", &lookup).await.json()["columns"][1]["values"][0].clone()
}

async fn click(shop: &Service, id: &str, price: f64) {
    let click = json!([{ "id": id, "at": "2026-01-01T12:40:00Z", "user_id": "u1", "price": price }]);
    shop.api.post("/v1/sources/clicks/events?replay=true", &click).await.json();
}

/// State of `activity` as it is listed, and of each of its versions, the oldest revision first.
async fn states(shop: &Service) -> String {
    let shown = shop.api.get("/v1/definitions/feature_view/activity").await.json();
    let mut versions = shown["versions"].as_array().expect("a list").clone();
    versions.sort_by_key(|version| version["revision"].as_u64());
    let states: Vec<String> = versions.iter().map(|it| it["state"].as_str().expect("text").to_owned()).collect();
    format!("{}: {}", shown["state"].as_str().expect("text"), states.join(", "))
}

#[tokio::test]
async fn a_rollback_serves_the_version_before_at_once_and_as_fresh_as_ever() {
    let shop = Service::busy_shop().await;
    shop.apply(&dear()).await.json();
    shop.settle().await;
    assert_eq!((clicks(&shop).await, states(&shop).await), (json!(1), "live: retained, live".to_owned()));
    click(&shop, "c5", 0.5).await;
    shop.settle().await;
    let done = roll_back(&shop, "activity").await.json();
    assert_eq!(clicks(&shop).await, 4, "with the click that came after it was replaced");
    assert_eq!(states(&shop).await, "rolled_back: live, retained");
    click(&shop, "c6", 2.0).await;
    shop.settle().await;
    assert_eq!(clicks(&shop).await, 5);
    let again = roll_back(&shop, "activity").await.json();
    assert_eq!((&again["from"], &again["to"], &again["by"]), (&done["to"], &done["from"], &json!("ada")));
    assert_eq!((clicks(&shop).await, states(&shop).await), (json!(2), "live: retained, live".to_owned()));
    shop.stop().await;
}

#[tokio::test]
async fn a_training_set_has_the_version_that_is_served() {
    let shop = Service::busy_shop().await;
    shop.apply(&dear()).await.json();
    shop.settle().await;
    let cut = async || {
        let spine = "user_id,event_timestamp\nu1,2026-01-01T13:00:00Z\n";
        let path = "/v1/training-sets?service=recommender";
        let id = shop.api.send(path, "text/csv", spine).await.json()["id"].as_str().expect("an id").to_owned();
        let path = format!("/v1/training-sets/{id}");
        until("it is cut", async || Some(shop.api.get(&path).await.json()).filter(|job| job["state"] != "running"))
            .await;
        let csv = shop.api.get(&format!("{path}/data?format=csv")).await.text();
        let mut lines = csv.lines().map(|line| line.split(',').map(str::to_owned).collect::<Vec<_>>());
        let (names, values) = (lines.next().expect("a header"), lines.next().expect("a row"));
        let at = names.iter().position(|name| name == "activity:clicks").expect("it is asked for");
        values[at].clone()
    };
    assert_eq!(cut().await, "1");
    roll_back(&shop, "activity").await.json();
    assert_eq!(cut().await, "3");
    shop.stop().await;
}

#[tokio::test]
async fn a_rollback_holds_until_the_view_is_defined_otherwise() {
    let shop = Service::busy_shop().await;
    shop.apply(&dear()).await.json();
    shop.settle().await;
    roll_back(&shop, "activity").await.json();
    let renamed = dear().replace("name: shelf", "name: rack");
    let planned = shop.api.send("/v1/definitions/plan", "application/yaml", renamed.as_str()).await.json();
    let warning = planned["warnings"][0].as_str().expect("a warning");
    assert!(
        warning.contains("`activity` was rolled back") && warning.contains("freshet rollback activity"),
        "{warning}"
    );
    shop.apply(&renamed).await.json();
    shop.settle().await;
    assert_eq!((clicks(&shop).await, states(&shop).await), (json!(3), "rolled_back: live, retained".to_owned()));
    shop.apply(&SHOP.replace("name: activity\n", "name: activity\nwhere: price > 2.0\n")).await.json();
    shop.settle().await;
    assert_eq!((clicks(&shop).await, states(&shop).await), (json!(1), "live: retained, dropped, live".to_owned()));
    shop.stop().await;
}

#[tokio::test]
async fn without_a_version_before_a_rollback_is_refused_and_says_why() {
    let shop = Service::shop_with(&[("rollback_window", "0s")]).await;
    let unknown = problem(&roll_back(&shop, "activty").await);
    let first = problem(&roll_back(&shop, "activity").await);
    shop.apply(&dear()).await.json();
    shop.settle().await;
    until("its time has passed", async || {
        let states = states(&shop).await;
        (states == "live: dropped, live").then_some(())
    })
    .await;
    let retired = problem(&roll_back(&shop, "activity").await);
    let shown = shop.api.get("/v1/definitions/feature_view/activity").await.json();
    let dropped = shown["versions"].as_array().expect("a list").iter().find(|it| it["state"] == "dropped");
    let dropped = dropped.expect("a dropped version");
    let text = |name: &str| dropped[name].as_str().expect("text").to_owned();
    let live = shown["version"].as_str().expect("text");
    let problems = (unknown + &first + &retired).replace(&text("version"), "<one>").replace(live, "<two>");
    expect![[r#"
        404 UNKNOWN_VIEW: feature view `activty` is not defined
        409 NO_VERSION_BEFORE: view `activity` has had no version before <one>
        409 NO_VERSION_BEFORE: version <one>, the one before of view `activity`, was retired at <then>, its `rollback_window` over: apply the definitions of revision 1 again, and it is built anew
    "#]]
    .assert_eq(&problems.replace(&text("since"), "<then>"));
    shop.stop().await;
}

#[tokio::test]
async fn the_history_says_who_applied_and_rolled_back_what() {
    let shop = Service::shop().await;
    let applied = shop.api.send("/v1/definitions/apply?by=grace", "application/yaml", dear()).await;
    applied.json();
    shop.settle().await;
    let done = roll_back(&shop, "activity").await.json();
    let history = shop.api.get("/v1/definitions/history?limit=2").await.json();
    let entries = history["entries"].as_array().expect("a list").iter();
    let line = |entry: &Value| {
        let changes: Vec<&str> =
            entry["changes"].as_array().expect("a list").iter().map(|line| line.as_str().expect("text")).collect();
        format!("{} {}: {}\n", entry["by"], entry["revision"], changes.join("; "))
    };
    let text: String = entries.map(line).collect();
    let named = |text: String, name: &str, as_what: &str| text.replace(done[name].as_str().expect("text"), as_what);
    expect![[r#"
        "ada" null: < feature view `activity`: rolled back (<two> → <one>)
        "grace" 2: ~ feature view `activity`: values change, a new version is built (<one> → <two>): where new
    "#]]
    .assert_eq(&named(named(text, "from", "<two>"), "to", "<one>"));
    let all = shop.api.get("/v1/definitions/history").await.json();
    assert_eq!(all["entries"].as_array().expect("a list").len(), 3);
    shop.stop().await;
}
