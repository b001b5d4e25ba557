//! `/v1/explain`, and `freshet inspect` beside it.

use expect_test::expect;
use serde_json::Value;

use super::{Service, pretty, problem};
use crate::process::{freshet, run};

/// Ten years, so that the clicks are within it for as long as this test is run.
const RECENT: &str = "---
kind: feature_view
name: recent
entity: user
source: clicks
features:
  - { name: clicks, aggregate: count, windows: [3650d] }
  - { name: dearest, aggregate: max, column: price, windows: [3650d] }
  - { name: first_item, aggregate: first, column: item_id }
";

async fn shop() -> Service {
    let shop = Service::empty().await;
    shop.apply(&format!("{}{RECENT}", super::SHOP)).await.json();
    shop.settle().await;
    shop.api.send("/v1/sources/clicks/events?replay=true", "application/json", super::CLICKS).await.json();
    shop.settle().await;
    shop
}

/// Without what each run has anew.
fn settled(mut answer: Value) -> Value {
    answer.as_object_mut().expect("an object").remove("as_of").expect("it has an as-of");
    for view in answer["views"].as_array_mut().expect("a list") {
        view["version"] = "…".into();
        for feature in view["features"].as_array_mut().expect("a list") {
            if let Some(window) = feature["window"].as_object_mut() {
                window.insert("start".to_owned(), "…".into());
                window.insert("end".to_owned(), "…".into());
            }
        }
    }
    answer
}

#[tokio::test]
async fn an_explanation_names_the_tiles_of_each_value_and_how_far_the_log_is_in() {
    let shop = shop().await;
    expect![[r#"
        {
          "views": [
            {
              "view": "recent",
              "version": "…",
              "generation": 0,
              "newest_event_time": "2026-01-01T12:00:00Z",
              "row": {
                "entity": {
                  "user_id": "u1"
                },
                "shard": 136,
                "partitions": [
                  {
                    "partition": 0,
                    "offset": 4
                  },
                  {
                    "partition": 1,
                    "offset": 0
                  }
                ],
                "parts": [
                  {
                    "part": "partition 0",
                    "head_bytes": 59,
                    "body_bytes": 0
                  }
                ]
              },
              "features": [
                {
                  "name": "recent:clicks_3650d",
                  "aggregate": "count",
                  "column": null,
                  "value": 3,
                  "status": "PRESENT",
                  "window": {
                    "length": "3650d",
                    "hop": "1d",
                    "start": "…",
                    "end": "…"
                  },
                  "inputs": 3,
                  "tiles": [
                    {
                      "part": "partition 0",
                      "place": "head",
                      "start": "2026-01-01T00:00:00Z",
                      "end": "2026-01-02T00:00:00Z",
                      "inputs": 3,
                      "value": 3
                    }
                  ]
                },
                {
                  "name": "recent:dearest_3650d",
                  "aggregate": "max",
                  "column": "price",
                  "value": 2.5,
                  "status": "PRESENT",
                  "window": {
                    "length": "3650d",
                    "hop": "1d",
                    "start": "…",
                    "end": "…"
                  },
                  "inputs": null,
                  "tiles": [
                    {
                      "part": "partition 0",
                      "place": "head",
                      "start": "2026-01-01T00:00:00Z",
                      "end": "2026-01-02T00:00:00Z",
                      "inputs": null,
                      "value": 2.5
                    }
                  ]
                },
                {
                  "name": "recent:first_item",
                  "aggregate": "first",
                  "column": "item_id",
                  "value": 7,
                  "status": "PRESENT",
                  "window": null,
                  "inputs": null,
                  "tiles": [
                    {
                      "part": "partition 0",
                      "place": "head",
                      "start": null,
                      "end": null,
                      "inputs": null,
                      "value": 7
                    }
                  ]
                }
              ]
            }
          ]
        }
    "#]]
    .assert_eq(&pretty(&settled(shop.api.get("/v1/explain/recent?user_id=u1").await.json())));
    let nobody = settled(shop.api.get("/v1/explain/recent:clicks_3650d?user_id=nobody").await.json());
    let feature = &nobody["views"][0]["features"][0];
    assert_eq!((&feature["value"], &feature["status"]), (&0.into(), &"NOT_FOUND".into()));
    assert_eq!((&feature["tiles"], &feature["inputs"]), (&Value::Array(Vec::new()), &0.into()));
    shop.stop().await;
}

#[tokio::test]
async fn an_explanation_gives_the_values_that_a_lookup_answers() {
    let shop = shop().await;
    for user in ["u1", "u2", "u3"] {
        let explained = shop.api.get(&format!("/v1/explain/recommender?user_id={user}")).await.json();
        let answered = shop.api.get(&format!("/v1/online-features/recommender?user_id={user}")).await.json();
        let views = explained["views"].as_array().expect("a list").iter();
        let features = views.flat_map(|view| view["features"].as_array().expect("a list"));
        let explained: Vec<_> = features.map(|it| (&it["name"], &it["value"], &it["status"])).collect();
        let columns = answered["columns"].as_array().expect("a list").iter().skip(1);
        let answered: Vec<_> = columns.map(|it| (&it["name"], &it["values"][0], &it["statuses"][0])).collect();
        assert_eq!(explained, answered, "{user}");
    }
    shop.stop().await;
}

#[tokio::test]
async fn what_cannot_be_explained_is_told_why() {
    let shop = shop().await;
    let wrong = [
        "/v1/explain/recnt?user_id=u1",
        "/v1/explain/recent:click?user_id=u1",
        "/v1/explain/recent",
        "/v1/explain/recent?user_id=u1&user_id=u2",
        "/v1/explain/study?user_id=u1",
    ];
    let mut problems = String::new();
    for path in wrong {
        problems += &problem(&shop.api.get(path).await);
    }
    expect![[r#"
        404 UNKNOWN_SERVICE: feature service `recnt` is not defined
        404 UNKNOWN_FEATURE: `recent:click` is neither a view nor a `view:feature` of one
        400 MISSING_KEY: key `user_id` of entity `user` is missing: `recent` is looked up by it
        400 KEY_TWICE: key `user_id` is given twice: `POST /v1/online-features` takes many entities
        400 NOT_ONLINE: view `study` is declared with `online: false`: it is for backfills and training sets alone
    "#]]
    .assert_eq(&problems);
    shop.stop().await;
}

#[tokio::test]
async fn inspect_prints_a_line_for_each_tile() {
    let shop = shop().await;
    let command = freshet(["inspect", "recent:dearest_3650d", "user_id=u1", "--url", shop.api.base()]);
    let text = run(command).await.done();
    for expected in ["recent:dearest_3650d = 2.5 (PRESENT): max(price) over 3650d", "2026-01-01T00:00:00Z", "head"] {
        assert!(text.contains(expected), "no `{expected}` in\n{text}");
    }
    shop.stop().await;
}
