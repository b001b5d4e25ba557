//! `/v1/definitions`: plan, apply, list, show, and what serves while a view is rebuilt.

use expect_test::expect;
use serde_json::{Value, json};

use super::{SHOP, Service, pretty, problem, until};
use crate::process::{Ran, freshet, run};

const PLAN: &str = "/v1/definitions/plan";
const APPLY: &str = "/v1/definitions/apply";

/// A line for each change.
fn changes(answer: &Value) -> String {
    let rows = answer["changes"].as_array().expect("a list").iter();
    let line =
        |row: &Value| ["change", "kind", "name", "detail"].map(|name| row[name].as_str().expect("text")).join(" ");
    rows.map(|row| line(row).trim_end().to_owned() + "\n").collect()
}

#[tokio::test]
async fn plan_says_what_apply_does_and_changes_nothing() {
    let service = Service::empty().await;
    let planned = service.api.send(PLAN, "application/yaml", SHOP).await.json();
    expect![[r#"
        new entity user
        new entity item
        new source clicks
        new feature_view activity
        new feature_view visits
        new feature_view popularity
        new feature_view study
        new feature_service recommender
        new feature_service shelf
    "#]]
    .assert_eq(&changes(&planned));
    assert_eq!(service.api.get("/v1/definitions").await.json(), json!({ "revision": 0, "definitions": [] }));
    let applied = service.apply(SHOP).await.json();
    assert_eq!((&applied["revision"], &applied["changes"]), (&json!(1), &planned["changes"]));
    let again = service.api.send(PLAN, "application/yaml", SHOP).await.json();
    assert_eq!(again, json!({ "revision": 1, "changes": [] }));
    service.stop().await;
}

#[tokio::test]
async fn plan_tells_apart_what_changes_values_and_what_does_not() {
    let shop = Service::shop().await;
    let changed = SHOP
        .replace("description: A shopper\n", "description: Whoever shops\n")
        .replace(
            "name: items, aggregate: last_n, column: item_id, n: 2",
            "name: items, aggregate: last_n, column: item_id, n: 3",
        )
        .replace("max_age: 1h", "max_age: 2h")
        .replace("kind: feature_service\nname: shelf\nfeatures: [popularity]\n", "");
    let changed = changed.trim_end().trim_end_matches("---");
    expect![[r#"
        described entity user no effect on values
        recomputed feature_view activity feature items changed
        changed feature_view visits max_age changed
        removed feature_service shelf
    "#]]
    .assert_eq(&changes(&shop.api.send(PLAN, "application/yaml", changed).await.json()));
    shop.stop().await;
}

#[tokio::test]
async fn plan_says_what_a_view_costs_and_whom_a_change_breaks() {
    let shop = Service::busy_shop().await;
    let changed = SHOP
        .replace(
            "name: items, aggregate: last_n, column: item_id, n: 2, distinct: true",
            "name: prices, aggregate: mean, column: price, windows: [1h]",
        )
        .replace("kind: feature_service\nname: shelf\nfeatures: [popularity]\n", "")
        .replace("entity: item\nsource: clicks\n", "entity: item\nsource: clicks\nwhere: price > 1.0\n");
    let changed = changed.trim_end().trim_end_matches("---");
    let planned = shop.api.send(PLAN, "application/yaml", changed).await.json();
    let rows = planned["changes"].as_array().expect("a list").iter();
    let rows: String = rows.map(|row| format!("{} | {} | {}\n", row["name"], row["breaks"], row["cost"])).collect();
    expect![[r#"
        activity | lookups of `activity:items` fail | {state_bytes_per_entity:764,tiles_per_entity:62,keeps_values:true,events_to_read:4,parts_per_read:1}
        popularity | null | {state_bytes_per_entity:12,tiles_per_entity:1,keeps_values:false,events_to_read:4,parts_per_read:2}
        recommender | lookups of `activity:items` fail | null
        shelf | calls that name it fail | null
    "#]]
    .assert_eq(&rows.replace('"', ""));
    shop.stop().await;
}

#[tokio::test]
async fn what_is_deprecated_is_shown_and_told_to_those_that_use_it() {
    let service = Service::empty().await;
    let deprecated = SHOP
        .replace("name: visits, aggregate: count", "name: visits, aggregate: count, deprecated: use activity:clicks")
        .replace("entity: item\nsource: clicks", "entity: item\nsource: clicks\ndeprecated: nobody buys by it");
    let planned = service.api.send(PLAN, "application/yaml", deprecated.as_str()).await.json();
    let expected = json!([
        "feature service `recommender` uses the deprecated feature `visits:visits`: use activity:clicks",
        "feature service `shelf` uses the deprecated feature view `popularity`: nobody buys by it",
    ]);
    assert_eq!(planned["warnings"], expected);
    assert_eq!(service.apply(&deprecated).await.json()["warnings"], expected);
    let listed = service.api.get("/v1/definitions").await.json();
    let popularity = listed["definitions"].as_array().expect("a list").iter().find(|it| it["name"] == "popularity");
    assert_eq!(popularity.expect("it is listed")["deprecated"], "nobody buys by it");
    let visits = service.api.get("/v1/definitions/feature_view/visits").await.json();
    assert_eq!(visits["features"][0]["deprecated"], "use activity:clicks");
    let silent = problem(&service.apply(&SHOP.replace("name: shelf", "name: shelf\ndeprecated: true")).await);
    assert_eq!(silent, "400 INVALID_DEFINITIONS: the definitions have 1 mistake\n");
    service.stop().await;
}

#[tokio::test]
async fn what_is_applied_is_listed_and_shown_with_its_lineage() {
    let shop = Service::shop().await;
    let listed = shop.api.get("/v1/definitions").await.json();
    let names = listed["definitions"].as_array().expect("a list").iter();
    let names: Vec<String> = names.map(|it| format!("{} {} {}", it["kind"], it["name"], it["state"])).collect();
    expect![[r#"
        "entity" "user" null
        "entity" "item" null
        "source" "clicks" null
        "feature_view" "activity" "live"
        "feature_view" "visits" "live"
        "feature_view" "popularity" "live"
        "feature_view" "study" "live"
        "feature_service" "recommender" null
        "feature_service" "shelf" null
    "#]]
    .assert_eq(&(names.join("\n") + "\n"));
    expect![[r#"
        {
          "kind": "entity",
          "name": "user",
          "keys": [
            {
              "name": "user_id",
              "type": "string"
            }
          ],
          "views": [
            "activity",
            "visits",
            "study"
          ],
          "description": "A shopper",
          "owner": "growth@shop.example",
          "tags": {},
          "deprecated": null,
          "lineage": [
            {
              "source": "clicks",
              "view": "activity",
              "services": [
                "recommender"
              ]
            },
            {
              "source": "clicks",
              "view": "visits",
              "services": [
                "recommender"
              ]
            },
            {
              "source": "clicks",
              "view": "study",
              "services": []
            }
          ]
        }
    "#]]
    .assert_eq(&pretty(&shop.api.get("/v1/definitions/entity/user").await.json()));
    let view = shop.api.get("/v1/definitions/feature_view/activity").await.json();
    assert_eq!((&view["source"], &view["services"]), (&json!("clicks"), &json!(["recommender"])));
    let source = shop.api.get("/v1/definitions/source/clicks").await.json();
    assert_eq!(source["views"], json!(["activity", "visits", "popularity", "study"]));
    let service = shop.api.get("/v1/definitions/feature_service/shelf").await.json();
    assert_eq!(service["features"], json!(["popularity:clicks"]));
    let mut problems = problem(&shop.api.get("/v1/definitions/feature_view/shelf").await);
    problems += &problem(&shop.api.get("/v1/definitions/view/activity").await);
    expect![[r#"
        404 UNKNOWN_DEFINITION: no `feature_view` is called `shelf`
        404 UNKNOWN_DEFINITION: no `view` is called `activity`
    "#]]
    .assert_eq(&problems);
    shop.stop().await;
}

#[tokio::test]
async fn every_mistake_comes_back_with_its_place_and_nothing_is_applied() {
    let service = Service::empty().await;
    let files = json!({ "files": [
        { "path": "entities.yaml", "text": "kind: entity\nname: user\nkeys: [{ name: user_id, type: text }]\n" },
        { "path": "views.yaml", "text": "kind: feature_view\nname: activity\nentity: usr\nsource: clicks\nfeatures: []\n" },
    ] });
    let refused = service.api.post(APPLY, &files).await;
    problem(&refused);
    expect![[r#"
        {
          "type": "about:blank",
          "title": "Bad Request",
          "status": 400,
          "code": "INVALID_DEFINITIONS",
          "detail": "the definitions have 4 mistakes",
          "errors": [
            {
              "place": "entities.yaml",
              "line": 3,
              "column": 31,
              "detail": "unknown type `text`",
              "help": "one of `bool`, `int32`, `int64`, `float32`, `float64`, `string`, `bytes`, `timestamp`, `date`, `decimal(p,s)`, `list<T>`"
            },
            {
              "place": "views.yaml",
              "line": 3,
              "column": 9,
              "detail": "unknown entity `usr`",
              "help": "did you mean `user`?"
            },
            {
              "place": "views.yaml",
              "line": 4,
              "column": 9,
              "detail": "unknown source `clicks`",
              "help": "there is none yet"
            },
            {
              "place": "views.yaml",
              "line": 5,
              "column": 11,
              "detail": "`features` is empty",
              "help": "write `features: [{ name: views, aggregate: count, windows: [1h] }]`"
            }
          ]
        }
    "#]]
    .assert_eq(&pretty(&serde_json::from_slice(&refused.body).expect("it is JSON")));
    assert_eq!(service.api.post(PLAN, &files).await.body, refused.body);
    assert_eq!(service.api.get("/v1/definitions").await.json()["revision"], 0);
    let mut problems = problem(&service.api.post(PLAN, &json!({ "file": [] })).await);
    problems += &problem(&service.api.send(PLAN, "application/yaml", b"\xff".to_vec()).await);
    expect![[r#"
        400 INVALID_BODY: unknown field `file`, expected `files` at line 1 column 7
        400 INVALID_BODY: the YAML is not UTF-8: invalid utf-8 sequence of 1 bytes from index 0
    "#]]
    .assert_eq(&problems);
    service.stop().await;
}

#[tokio::test]
async fn a_body_that_defines_nothing_does_not_remove_what_is_applied() {
    let shop = Service::shop().await;
    let mut problems = String::new();
    for (content_type, body) in [
        ("", ""),
        ("application/yaml", "null"),
        ("application/yaml", "# nothing"),
        ("application/json", r#"{ "files": [] }"#),
        ("application/json", "[[]]"),
    ] {
        problems += &problem(&shop.api.send("/v1/definitions/apply", content_type, body).await);
    }
    expect![[r#"
        400 NO_DEFINITIONS: the body defines nothing: send all definitions of the project, for what is left out is removed
        400 NO_DEFINITIONS: the body defines nothing: send all definitions of the project, for what is left out is removed
        400 NO_DEFINITIONS: the body defines nothing: send all definitions of the project, for what is left out is removed
        400 NO_DEFINITIONS: the body defines nothing: send all definitions of the project, for what is left out is removed
        400 INVALID_BODY: invalid type: sequence, expected an object at line 1 column 0
    "#]].assert_eq(&problems);
    assert_eq!(shop.api.get("/v1/definitions").await.json()["revision"], 1);
    shop.stop().await;
}

#[tokio::test]
async fn an_apply_on_an_older_revision_and_a_schema_that_breaks_its_rule_are_refused() {
    let shop = Service::shop().await;
    let renamed = SHOP.replace("name: shelf", "name: rack");
    let conflict = shop.api.send("/v1/definitions/apply?revision=0", "application/yaml", renamed.as_str()).await;
    let narrowed = SHOP.replace(
        "{ name: item_id, type: int64 }\n    - { name: price",
        "{ name: item_id, type: int64, required: true }\n    - { name: price",
    );
    let incompatible = shop.apply(&narrowed).await;
    let planned = shop.api.send(PLAN, "application/yaml", narrowed.as_str()).await.json();
    expect![[r#"
        409 CONFLICT: revision 0 is no longer the newest: revision 1 was applied meanwhile
        409 INCOMPATIBLE_SCHEMA: the change breaks a compatibility rule of a schema
    "#]]
    .assert_eq(&(problem(&conflict) + &problem(&incompatible)));
    expect![[r#"
        [
          {
            "place": "source `clicks`",
            "detail": "the field `item_id` was optional and is now required, which `compatibility: backward` forbids",
            "help": "leave it optional; or declare `compatibility: none` where no event of the other schema matters any more"
          }
        ]
    "#]]
    .assert_eq(&pretty(&serde_json::from_slice::<Value>(&incompatible.body).expect("it is JSON")["errors"]));
    expect![[r#"
        {
          "source": "clicks",
          "detail": "the field `item_id` was optional and is now required, which `compatibility: backward` forbids",
          "help": "leave it optional; or declare `compatibility: none` where no event of the other schema matters any more"
        }
    "#]]
    .assert_eq(&pretty(&planned["refused"][0]));
    assert_eq!(shop.api.get("/v1/definitions").await.json()["revision"], 1);
    let applied = shop.api.send("/v1/definitions/apply?revision=1&by=ada", "application/yaml", renamed).await.json();
    assert_eq!(applied["revision"], 2);
    shop.stop().await;
}

#[tokio::test]
async fn a_changed_view_serves_its_old_version_until_the_new_one_has_caught_up() {
    let shop = Service::busy_shop().await;
    let lookup = json!({ "features": ["activity:clicks"], "entities": { "user_id": ["u1"] } });
    let clicks = async || shop.api.post("/v1/online-features", &lookup).await.json()["columns"][1]["values"][0].clone();
    assert_eq!(clicks().await, 3);
    let changed = SHOP.replace("name: activity\n", "name: activity\nwhere: price > 1.0\n");
    expect![[r#"
        recomputed feature_view activity where new
    "#]]
    .assert_eq(&changes(&shop.apply(&changed).await.json()));
    // The old version's value until the new one's is there: never nothing, and never a part of it.
    let next = until("the new version serves", async || Some(clicks().await).filter(|clicks| *clicks != 3)).await;
    assert_eq!(next, 1);
    shop.settle().await;
    assert_eq!(clicks().await, 1, "and it never goes back");
    shop.stop().await;
}

#[tokio::test]
async fn what_is_served_stays_fresh_while_a_new_version_reads_the_whole_log() {
    let shop = Service::busy_shop().await;
    let past: Vec<Value> = (0..20_000)
        .map(|number| json!({ "id": format!("p{number}"), "at": "2026-01-01T09:00:00Z", "user_id": format!("p{number}"), "price": 2 }))
        .collect();
    shop.api.post("/v1/sources/clicks/events?replay=true", &json!(past)).await.json();
    shop.settle().await;

    shop.apply(&SHOP.replace("name: activity\n", "name: activity\nwhere: price > 1.0\n")).await.json();
    let click = json!([{ "id": "c5", "at": "2026-01-01T12:40:00Z", "user_id": "u1", "price": 0.5 }]);
    shop.api.post("/v1/sources/clicks/events?replay=true", &click).await.json();
    let lookup = json!({ "features": ["activity:clicks"], "entities": { "user_id": ["u1"] } });
    let clicks = async || shop.api.post("/v1/online-features", &lookup).await.json()["columns"][1]["values"][0].clone();
    let next = until("the click is seen", async || Some(clicks().await).filter(|clicks| *clicks != 3)).await;
    assert_eq!(next, 4, "of the old version, which does not wait for the new one");
    shop.settle().await;
    assert_eq!(clicks().await, 1, "of the new version, which has taken over");
    shop.api
        .post(
            "/v1/sources/clicks/events?replay=true",
            &json!([{ "id": "c6", "at": "2026-01-01T12:50:00Z", "user_id": "u1", "price": 3 }]),
        )
        .await
        .json();
    until("the new version goes on", async || Some(clicks().await).filter(|clicks| *clicks == 2)).await;
    shop.stop().await;
}

#[tokio::test]
async fn what_was_applied_is_served_again_after_a_restart() {
    let shop = Service::busy_shop().await;
    let lookup = json!({ "service": "recommender", "entities": { "user_id": ["u1", "u2"] } });
    let before = shop.api.post("/v1/online-features", &lookup).await.json()["columns"].clone();
    let Service { app, folder, .. } = shop;
    app.stop().await.expect("it stops cleanly");
    let (app, api) = super::start(folder.path()).await;
    assert_eq!(api.post("/v1/online-features", &lookup).await.json()["columns"], before);
    Service { app, api, folder }.stop().await;
}

#[tokio::test]
async fn commands_apply_what_takes_nothing_away_and_ask_before_the_rest() {
    let shop = Service::shop().await;
    let run_with = async |command: &str, yaml: &str, more: &[&str]| {
        let path = shop.folder.path().join("shop.yaml");
        std::fs::write(&path, yaml).expect("written");
        let mut command = freshet([command, "--url", shop.api.base()]);
        command.arg(&path).args(more);
        run(command).await
    };
    let more = format!("{SHOP}---\nkind: feature_service\nname: shop_window\nfeatures: [popularity]\n");
    let said = run_with("apply", &more, &[]).await.done();
    assert_eq!(said, "+ feature service `shop_window`: new\napplied as revision 2\n");
    let Ran { code, stdout, stderr } = run_with("apply", SHOP, &[]).await;
    assert_eq!(code, Some(2), "{stdout}{stderr}");
    assert!(stdout.contains("breaks: calls that name it fail") && stderr.contains("give `--yes`"), "{stdout}{stderr}");
    assert_eq!(shop.api.get("/v1/definitions").await.json()["revision"], 2);
    assert_eq!(run_with("apply", SHOP, &["--yes", "--output", "json"]).await.json()["revision"], 3);
    let narrowed = SHOP.replace("{ name: price, type: float64 }", "{ name: price, type: float64, required: true }");
    for command in ["plan", "apply"] {
        let Ran { code, stdout: said, .. } = run_with(command, &narrowed, &[]).await;
        let is_told = said.contains("! source `clicks`: the field `price` was optional") && said.contains("help: ");
        assert!(code == Some(1) && is_told, "{code:?}: {said}");
    }
    shop.stop().await;
}
