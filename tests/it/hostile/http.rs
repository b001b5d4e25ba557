//! Requests that nobody meant are answered as the caller's mistakes, and so are the jobs that some of them begin.

use serde_json::{Value, json};

use super::{changed, definitions, events, tables};
use crate::kernel_property::seeds;
use crate::service::{SHOP, Service, until};

const CASES: u64 = 1_500;

/// Right bodies for some call each; every call gets all of them.
fn corpus() -> Vec<Vec<u8>> {
    let bodies = [
        r#"{"service":"shelf","entities":{"item_id":[7,8,null]},"include":["statuses","event_times"]}"#,
        r#"{"features":["activity:clicks","visits"],"entities":{"user_id":["u1","é"]}}"#,
        r#"{"files":[{"path":"a.yaml","text":"kind: entity\nname: user\nkeys: [{ name: user_id, type: string }]\n"}]}"#,
        r#"{"view":"activity","from":"2026-01-01T00:00:00Z","to":"2026-01-02T00:00:00Z","every":"1h"}"#,
        r#"{"views":["activity"]}"#,
        r#"{"name":"ranker","scopes":["read"],"services":["shelf"],"sources":[]}"#,
        r#"{"feature_service":"shelf","entities":{"item_id":[7,"8",null]},"full_feature_names":true}"#,
        r#"{"push_source_name":"clicks","df":{"id":["p1"],"at":["2026-01-01T10:00:00Z"],"user_id":["u1"]},"to":"online"}"#,
        r#"{"feature_view_name":"activity","df":{"id":["w1"],"at":["2026-01-01T10:00:00Z"],"user_id":["u1"]}}"#,
        r#"{"view":"activity"}"#,
        "user_id,event_timestamp,label\nu1,2026-01-01T13:00:00Z,1\nu2,2026-01-01T14:00:00Z,0\n",
        r#"[{"user_id":"u1","event_timestamp":"2026-01-01T13:00:00Z","label":1},{"user_id":"u2","event_timestamp":1767276000000}]"#,
        "u1",
        "labels.csv",
    ];
    let bodies = bodies.iter().map(|body| body.as_bytes().to_vec());
    bodies
        .chain(events::corpus())
        .chain(definitions::corpus())
        .chain(tables::parquet())
        .chain(tables::arrow())
        .collect()
}

const CALLS: [(&str, &str); 23] = [
    ("POST", "/v1/online-features"),
    ("POST", "/v1/sources/clicks/events"),
    ("POST", "/v1/sources/clicks/events?replay=true"),
    ("POST", "/v1/definitions/plan"),
    ("POST", "/v1/definitions/apply"),
    ("POST", "/v1/definitions/apply?by="),
    ("POST", "/v1/rollbacks"),
    ("POST", "/v1/training-sets?service=shelf"),
    ("POST", "/v1/training-sets?service=recommender&knowledge=event_time"),
    ("POST", "/v1/training-sets?service=recommender&spine="),
    ("POST", "/v1/training-sets?again="),
    ("GET", "/v1/explain/recommender?user_id="),
    ("GET", "/v1/explain/"),
    ("POST", "/v1/rebuilds"),
    ("POST", "/v1/backfills"),
    ("POST", "/v1/keys"),
    ("GET", "/v1/online-features/shelf?item_id="),
    ("GET", "/v1/dead-letters?source=clicks&reason="),
    ("DELETE", "/v1/keys/"),
    ("POST", "/get-online-features"),
    ("POST", "/push"),
    ("POST", "/write-to-online-store"),
    ("POST", "/v1/parity?last="),
];

const TYPES: [&str; 7] = [
    "application/json",
    "application/yaml",
    "application/x-ndjson",
    "text/csv",
    "application/vnd.apache.parquet",
    "application/vnd.apache.arrow.file",
    "",
];

#[tokio::test]
async fn requests_that_nobody_meant_are_the_callers_mistakes() {
    let shop = Service::shop().await;
    let corpus = corpus();
    for seed in seeds(CASES) {
        let mut rng = fastrand::Rng::with_seed(seed);
        let body = changed(&mut rng, &corpus);
        let (method, path) = *rng.choice(&CALLS).expect("there are calls");
        let content_type = *rng.choice(&TYPES).expect("there are types");
        let in_path = if path.ends_with(['=', '/']) { escaped(&body[..body.len().min(200)]) } else { String::new() };
        let answer = shop.api.call(method, &format!("{path}{in_path}"), content_type, body.clone()).await;
        let answer = answer.unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        let said = format!("seed {seed}: FRESHET_SEED={seed} repeats it: {method} {path}\n{answer}");
        if answer.status >= 400 {
            let refusal = refusal(path, &answer.body).expect(&said);
            // A view that an apply or a rebuild of an earlier request is building is not served: that is an answer too.
            assert!(answer.status < 500 || (answer.status == 503 && refusal == Refusal::Rebuilding), "{said}");
        } else if path.contains("apply") {
            // The next requests are about the shop again, unless its schemas may not follow those that were applied.
            let again = shop.apply(SHOP).await;
            assert!(again.status < 500, "{said}\n{again}");
        }
    }
    let keys = shop.api.get("/v1/keys").await;
    assert_eq!(keys.json()["keys"], json!([]), "with a key every later call was a 401");
    let jobs = ended(&shop).await;
    let is_ours =
        |job: &&Value| job["error"].as_str().is_some_and(|error| error.contains("a mistake in Freshet itself"));
    assert_eq!(jobs.iter().filter(is_ours).collect::<Vec<_>>(), [&Value::Null; 0]);
    assert!(!jobs.is_empty(), "none was begun");
    shop.stop().await;
}

/// The newest jobs that callers begin, once none of them runs or waits.
async fn ended(shop: &Service) -> Vec<Value> {
    let mut ended = Vec::new();
    for path in ["/v1/training-sets", "/v1/backfills"] {
        let are_done = |jobs: &Vec<Value>| jobs.iter().all(|job| job["state"] != "running");
        let listed = async || shop.api.get(path).await.json()["jobs"].as_array().expect("a list").clone();
        ended.extend(until("the jobs have ended", async || Some(listed().await).filter(are_done)).await);
    }
    ended
}

#[derive(PartialEq)]
enum Refusal {
    Rebuilding,
    Other,
}

/// What an answer that is no success says; `None`: nothing that a program can read.
fn refusal(path: &str, body: &[u8]) -> Option<Refusal> {
    let body: Value = serde_json::from_slice(body).ok()?;
    let is_rebuilding = match FEAST.contains(&path) {
        false => body["detail"].is_string().then(|| body["code"].as_str())?? == "REBUILDING",
        true => {
            let failure: Value = serde_json::from_str(body.as_str()?).ok()?;
            failure["class"].as_str()?;
            failure["message"].as_str()?.ends_with("is being built from the log and is not served yet")
        }
    };
    Some(if is_rebuilding { Refusal::Rebuilding } else { Refusal::Other })
}

/// Calls that say what is wrong as Feast does: JSON within a JSON string.
const FEAST: [&str; 3] = ["/get-online-features", "/push", "/write-to-online-store"];

fn escaped(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("%{byte:02x}")).collect()
}
