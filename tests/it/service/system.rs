//! Status, probes, metrics, the description and its page, and paths that lead nowhere.

use expect_test::expect;
use serde_json::json;

use super::{Service, pretty, problem, until};

const ROLES: [&str; 3] = ["api", "stream", "archive"];

#[tokio::test]
async fn a_service_without_definitions_is_alive_and_ready() {
    let service = Service::empty().await;
    assert_eq!(service.api.get("/healthz").await.status, 200);
    until("it is ready", async || (service.api.get("/readyz").await.status == 200).then_some(())).await;
    let status = service.api.get("/v1/status").await.json();
    let nothing = json!({ "revision": 0, "project": "default", "roles": ROLES, "partitions": [], "sources": [],
                          "views": [], "jobs": [], "unavailable": [] });
    assert_eq!(status, nothing);
    service.stop().await;
}

#[tokio::test]
async fn status_says_how_far_each_partition_is_and_what_became_of_events() {
    let shop = Service::busy_shop().await;
    let mut status = shop.api.get("/v1/status").await.json();
    for view in status["views"].as_array_mut().expect("a list") {
        assert!(view["version"].as_str().is_some_and(|version| version.len() == 16), "{view}");
        view["version"] = "…".into();
    }
    expect![[r#"
        {
          "revision": 1,
          "project": "default",
          "roles": [
            "api",
            "stream",
            "archive"
          ],
          "partitions": [
            {
              "source": "clicks",
              "topic": "clicks",
              "partition": 0,
              "log_start": 0,
              "log_end": 4,
              "folded_to": 4,
              "lag": 0,
              "lag_seconds": 0.0,
              "archived_to": 4,
              "newest_event_time": "2026-01-01T12:30:00Z",
              "stopped": null
            },
            {
              "source": "clicks",
              "topic": "clicks",
              "partition": 1,
              "log_start": 0,
              "log_end": 0,
              "folded_to": 0,
              "lag": 0,
              "lag_seconds": 0.0,
              "archived_to": 0,
              "newest_event_time": null,
              "stopped": null
            }
          ],
          "sources": [
            {
              "source": "clicks",
              "rejected": {},
              "clamped": 0
            }
          ],
          "views": [
            {
              "view": "activity",
              "version": "…",
              "generation": 0,
              "state": "live",
              "stopped": null,
              "applied": 4,
              "late": 0,
              "duplicate": 0,
              "null_key": 0,
              "filtered": 0,
              "expression_failed": 0,
              "nan_skipped": 0,
              "too_long_skipped": 0,
              "before_log": 0
            },
            {
              "view": "popularity",
              "version": "…",
              "generation": 0,
              "state": "live",
              "stopped": null,
              "applied": 3,
              "late": 0,
              "duplicate": 0,
              "null_key": 1,
              "filtered": 0,
              "expression_failed": 0,
              "nan_skipped": 0,
              "too_long_skipped": 0,
              "before_log": 0
            },
            {
              "view": "study",
              "version": "…",
              "generation": 0,
              "state": "live",
              "stopped": null,
              "applied": 0,
              "late": 0,
              "duplicate": 0,
              "null_key": 0,
              "filtered": 0,
              "expression_failed": 0,
              "nan_skipped": 0,
              "too_long_skipped": 0,
              "before_log": 0
            },
            {
              "view": "visits",
              "version": "…",
              "generation": 0,
              "state": "live",
              "stopped": null,
              "applied": 4,
              "late": 0,
              "duplicate": 0,
              "null_key": 0,
              "filtered": 0,
              "expression_failed": 0,
              "nan_skipped": 0,
              "too_long_skipped": 0,
              "before_log": 0
            }
          ],
          "jobs": [],
          "unavailable": []
        }
    "#]]
    .assert_eq(&pretty(&status));
    until("it is ready", async || (shop.api.get("/readyz").await.text() == "ready").then_some(())).await;
    shop.stop().await;
}

#[tokio::test]
async fn what_is_away_is_null_in_the_status_and_worth_another_try_elsewhere() {
    let shop = Service::busy_shop().await;
    let (offline, aside) = (shop.folder.path().join("offline/default"), shop.folder.path().join("aside"));
    std::fs::rename(&offline, &aside).expect("moved");
    std::fs::write(&offline, "not a folder").expect("written");
    let status = shop.api.get("/v1/status").await.json();
    let partition = &status["partitions"][0];
    assert_eq!((&partition["log_end"], &partition["archived_to"]), (&json!(4), &json!(null)), "{status:#}");
    let missing = status["unavailable"].as_array().expect("a list");
    assert!(missing.iter().any(|it| it.as_str().is_some_and(|it| it.contains("offline/default"))), "{status:#}");
    let letters = shop.api.get("/v1/dead-letters?source=clicks").await;
    assert_eq!(letters.header("retry-after"), "1", "{letters}");
    assert!(problem(&letters).starts_with("503 OFFLINE_UNAVAILABLE: cannot "), "{letters}");
    std::fs::remove_file(&offline).expect("removed");
    std::fs::rename(&aside, &offline).expect("moved");
    assert_eq!(shop.api.get("/v1/status").await.json()["unavailable"], json!([]));
    shop.stop().await;
}

#[tokio::test]
async fn metrics_count_what_was_asked_and_taken() {
    let shop = Service::busy_shop().await;
    let lookup = json!({ "service": "shelf", "entities": { "item_id": [7, 9] } });
    shop.api.post("/v1/online-features", &lookup).await.json();
    let metrics = shop.api.get("/metrics").await;
    assert!(metrics.content_type.starts_with("text/plain"), "{}", metrics.content_type);
    let text = metrics.text();
    let counted = text.lines().filter(|line| {
        let families = ["freshet_events_accepted_total", "freshet_events_folded_total", "freshet_values_served_total"];
        let route = "freshet_request_seconds_count{route=\"/v1/online-features\"";
        let told = line.starts_with(route) || families.iter().any(|family| line.starts_with(family));
        told && !line.ends_with(" 0")
    });
    expect![[r#"
        freshet_events_accepted_total{source="clicks"} 4
        freshet_request_seconds_count{route="/v1/online-features",status="200"} 1
        freshet_values_served_total{status="NOT_FOUND",view="popularity"} 1
        freshet_values_served_total{status="PRESENT",view="popularity"} 1
        freshet_events_folded_total{outcome="applied",version="1a9f3a8e28417257",view="visits"} 4
        freshet_events_folded_total{outcome="applied",version="9d12e7773f35960b",view="activity"} 4
        freshet_events_folded_total{outcome="applied",version="f520a75469447695",view="popularity"} 3
        freshet_events_folded_total{outcome="null_key",version="f520a75469447695",view="popularity"} 1
    "#]]
    .assert_eq(&counted.map(|line| format!("{line}\n")).collect::<String>());
    assert!(text.lines().any(|line| line.starts_with("freshet_lag_records{") && line.ends_with(" 0")), "{text}");
    let archived = async || {
        let text = shop.api.get("/metrics").await.text();
        let of = |family: &str| {
            let lines = text.lines().filter(|line| line.starts_with(family) && line.contains("source=\"clicks\""));
            lines.filter_map(|line| line.rsplit_once(' ')?.1.parse::<u64>().ok()).sum::<u64>()
        };
        (of("freshet_archived_offset{") == 4 && of("freshet_archive_stopped{") == 0).then_some(())
    };
    until("all clicks are archived", archived).await;
    shop.stop().await;
}

#[tokio::test]
async fn the_description_is_served_as_it_is_in_the_code() {
    let service = Service::empty().await;
    let served = service.api.get("/openapi.json").await.json();
    assert_eq!(served, serde_json::to_value(freshet::api::openapi()).expect("it is plain data"));
    service.stop().await;
}

#[tokio::test]
async fn the_page_of_the_description_takes_all_that_it_needs_from_the_service() {
    let service = Service::empty().await;
    let page = service.api.get("/docs/").await;
    assert!(page.status == 200 && page.content_type.starts_with("text/html"), "{page}");
    let text = page.text();
    let assets: Vec<&str> = ["src=\"", "href=\""]
        .iter()
        .flat_map(|attribute| {
            text.split(attribute).skip(1).map(|rest| rest.split('"').next().expect("a split has a first"))
        })
        .collect();
    assert!(assets.len() >= 3, "{text}");
    for asset in assets {
        assert!(!asset.contains("//"), "{asset} comes from elsewhere");
        let answer = service.api.get(&format!("/docs/{}", asset.trim_start_matches("./"))).await;
        assert!(answer.status == 200 && !answer.body.is_empty(), "{asset}: {}", answer.status);
    }
    let start = service.api.get("/docs/swagger-initializer.js").await.text();
    assert!(start.contains("/openapi.json") && !start.contains("petstore"), "{start}");
    service.stop().await;
}

#[tokio::test]
async fn a_path_that_leads_nowhere_is_a_problem() {
    let service = Service::empty().await;
    let mut problems = String::new();
    for (method, path) in
        [("GET", "/v1/features"), ("GET", "/"), ("DELETE", "/v1/online-features"), ("POST", "/healthz")]
    {
        problems += &problem(&service.api.call(method, path, "", Vec::new()).await.expect("the service answers"));
    }
    let dead_letter = service.api.get("/v1/dead-letters/clicks/first/0").await;
    problems += &problem(&dead_letter);
    expect![[r#"
        404 NO_SUCH_PATH: nothing is served at `/v1/features`; see /docs
        404 NO_SUCH_PATH: nothing is served at `/`; see /docs
        405 METHOD_NOT_ALLOWED: `DELETE` is not offered at `/v1/online-features`; see /docs
        405 METHOD_NOT_ALLOWED: `POST` is not offered at `/healthz`; see /docs
        400 INVALID_PATH: Invalid URL: Cannot parse value at index 1 with value `first` to a `u32`
    "#]]
    .assert_eq(&problems);
    service.stop().await;
}
