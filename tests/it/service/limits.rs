//! What a request may use, and what becomes of one that is too much, too slow, or too many.

use std::time::Duration;

use expect_test::expect;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::{Service, problem, until};

const LOOKUP: &str = "/v1/online-features";

/// For what happens soon, or never.
const PATIENCE: Duration = Duration::from_secs(60);

async fn connect(shop: &Service) -> TcpStream {
    let address = shop.app.url().replace("http://", "");
    TcpStream::connect(address).await.expect("it listens")
}

/// A lookup of which the body has begun, and no more comes.
async fn begin_lookup(shop: &Service) -> TcpStream {
    let mut stream = connect(shop).await;
    let head = "POST /v1/online-features HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: application/json\r\n\
                content-length: 55\r\n\r\n{";
    stream.write_all(head.as_bytes()).await.expect("sent");
    stream
}

/// The rest of [`begin_lookup`].
const REST: &str = r#""service": "shelf", "entities": { "item_id": [7, 8] }}"#;

/// Everything until the service closes the connection.
async fn answer(mut stream: TcpStream) -> String {
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("it answers");
    answer
}

/// The status and the code of an answer as it came.
fn told(answer: &str) -> String {
    let status = answer.split(' ').nth(1).unwrap_or_default();
    let body = answer.split("\r\n\r\n").nth(1).unwrap_or_default();
    let code = serde_json::from_str::<Value>(body).ok().map(|body| body["code"].clone());
    format!("{status} {}", code.unwrap_or_default())
}

async fn metric(shop: &Service, line: &str) -> Option<u64> {
    let text = shop.api.get("/metrics").await.text();
    text.lines().find_map(|it| it.strip_prefix(line)?.trim().parse().ok())
}

#[tokio::test]
async fn one_lookup_more_than_there_are_places_is_refused_and_told_to_come_again() {
    let shop = Service::shop_with(&[("max_lookups", "1")]).await;
    let lookup = json!({ "service": "shelf", "entities": { "item_id": [7] } });
    let mut first = begin_lookup(&shop).await;
    let in_flight = "freshet_requests_in_flight{lane=\"lookup\"}";
    until("the first has its place", async || metric(&shop, in_flight).await.filter(|it| *it == 1)).await;
    let refused = shop.api.post(LOOKUP, &lookup).await;
    assert_eq!(refused.header("retry-after"), "1");
    expect![[r#"
        503 OVERLOADED: as many lookup calls are being answered as this process takes; try again
    "#]]
    .assert_eq(&problem(&refused));
    assert_eq!(shop.api.get("/v1/status").await.status, 200, "other lanes are open");
    first.write_all(REST.as_bytes()).await.expect("sent");
    let answered = answer(first).await;
    assert!(answered.starts_with("HTTP/1.1 200"), "{answered}");
    until("its place is free", async || metric(&shop, in_flight).await.filter(|it| *it == 0)).await;
    assert_eq!(shop.api.post(LOOKUP, &lookup).await.status, 200);
    assert_eq!(metric(&shop, "freshet_requests_shed_total{lane=\"lookup\"}").await, Some(1));
    shop.stop().await;
}

#[tokio::test]
async fn a_body_that_comes_too_slowly_is_given_up() {
    let shop = Service::shop_with(&[("body_timeout_ms", "50")]).await;
    assert_eq!(told(&answer(begin_lookup(&shop).await).await), "408 \"BODY_TOO_SLOW\"");
    shop.stop().await;
}

#[tokio::test]
async fn a_call_that_takes_too_long_is_given_up() {
    let shop = Service::shop_with(&[("request_timeout_ms", "50")]).await;
    let answered = answer(begin_lookup(&shop).await).await;
    assert_eq!(told(&answered), "503 \"TIMED_OUT\"");
    assert!(answered.contains("retry-after: 1"), "{answered}");
    assert_eq!(metric(&shop, "freshet_requests_timed_out_total{lane=\"lookup\"}").await, Some(1));
    shop.stop().await;
}

/// A plan of which the body has begun, and no more comes.
async fn begin_plan(shop: &Service) -> TcpStream {
    let mut stream = connect(shop).await;
    let head = "POST /v1/definitions/plan HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 9\r\n\r\nk";
    stream.write_all(head.as_bytes()).await.expect("sent");
    stream
}

#[tokio::test]
async fn a_body_has_its_time_whatever_the_call() {
    let shop = Service::shop_with(&[("request_timeout_ms", "50")]).await;
    assert_eq!(told(&answer(begin_plan(&shop).await).await), "408 \"BODY_TOO_SLOW\"");
    shop.stop().await;
}

#[tokio::test]
async fn who_may_end_it_is_heard_while_others_take_all_places() {
    let shop = Service::shop_with(&[("request_timeout_ms", "3600000"), ("body_timeout_ms", "3600000")]).await;
    let mut begun = Vec::new();
    for _ in 0..32 {
        begun.push(begin_plan(&shop).await);
    }
    let in_flight = "freshet_requests_in_flight{lane=\"work\"}";
    until("all have a place", async || metric(&shop, in_flight).await.filter(|it| *it == 32)).await;
    assert_eq!(shop.api.get("/v1/status").await.status, 503, "no place is left");
    let lookup = json!({ "service": "shelf", "entities": { "item_id": [7] } });
    assert_eq!(shop.api.post(LOOKUP, &lookup).await.status, 200);
    assert_eq!(shop.api.get("/v1/training-sets").await.status, 200);
    assert_eq!(shop.api.call("DELETE", "/v1/keys/none", "", Vec::new()).await.expect("answers").status, 404);
    drop(begun);
    until("the places are free", async || metric(&shop, in_flight).await.filter(|it| *it == 0)).await;
    shop.stop().await;
}

#[tokio::test]
async fn a_place_is_held_until_the_answer_is_taken() {
    let shop = Service::shop_with(&[("max_lookups", "1")]).await;
    let many = json!({
        "features": vec!["popularity:clicks"; 100], "entities": { "item_id": vec![7; 10_000] },
        "include": ["statuses", "event_times"],
    });
    let many = many.to_string();
    let mut slow = connect(&shop).await;
    let head = format!(
        "POST /v1/online-features HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: application/json\r\n\
         content-length: {}\r\n\r\n",
        many.len()
    );
    slow.write_all((head + &many).as_bytes()).await.expect("sent");
    let mut first = [0; 12];
    slow.read_exact(&mut first).await.expect("it answers");
    assert_eq!(&first, b"HTTP/1.1 200");
    let lookup = json!({ "service": "shelf", "entities": { "item_id": [7] } });
    assert_eq!(shop.api.post(LOOKUP, &lookup).await.status, 503, "the answer waits in memory");
    assert!(answer(slow).await.ends_with("]}]}"), "it is all there");
    let free = "freshet_requests_in_flight{lane=\"lookup\"}";
    until("its place is free", async || metric(&shop, free).await.filter(|it| *it == 0)).await;
    assert_eq!(shop.api.post(LOOKUP, &lookup).await.status, 200);
    shop.stop().await;
}

#[tokio::test]
async fn a_connection_without_a_request_is_closed() {
    let shop = Service::shop_with(&[("idle_timeout_ms", "1000")]).await;
    let silent = connect(&shop).await;
    let mut begun = connect(&shop).await;
    begun.write_all(b"GET /healthz HTTP/1.1\r\nhost").await.expect("sent");
    for stream in [silent, begun] {
        let ended = timeout(PATIENCE, answer(stream)).await.expect("the service closes it");
        assert!(ended.is_empty() || told(&ended).starts_with("408"), "no request was sent: {ended}");
    }
    shop.stop().await;
}

#[tokio::test]
async fn what_is_too_much_for_one_call_is_refused() {
    let shop = Service::shop_with(&[("max_body_mb", "1")]).await;
    let large = vec![b' '; (1 << 20) + 1];
    let mut problems = problem(&shop.api.send(LOOKUP, "application/json", large.clone()).await);
    problems += &problem(&shop.api.send("/v1/sources/clicks/events", "application/json", large).await);
    let features_beyond = vec!["popularity:clicks"; 2_001];
    problems +=
        &problem(&shop.api.post(LOOKUP, &json!({ "features": features_beyond, "entities": { "item_id": [7] } })).await);
    let (features, rows) = (vec!["popularity:clicks"; 1_000], vec![7; 2_001]);
    problems +=
        &problem(&shop.api.post(LOOKUP, &json!({ "features": features, "entities": { "item_id": rows } })).await);
    let feast = json!({ "features": features_beyond, "entities": { "item_id": [7] } });
    let refused = shop.api.post("/get-online-features", &feast).await;
    assert!(refused.status == 413 && refused.text().contains("more features than the 2000"), "{refused}");
    expect![[r#"
        413 BODY_TOO_LARGE: the body is larger than `max_body_mb` of the service, or, of a training set, than 256 MB: send it in parts, or have `spine` name a file of the service
        413 BODY_TOO_LARGE: the body is larger than `max_body_mb` of the service, or, of a training set, than 256 MB: send it in parts, or have `spine` name a file of the service
        413 TOO_MANY_FEATURES: the lookup names more features than the 2000 that are answered at once
        413 TOO_MANY_VALUES: the lookup has 2001 rows of 1000 features, and at most 2000000 values are answered at once
    "#]]
    .assert_eq(&problems);
    shop.stop().await;
}

#[tokio::test]
async fn every_answer_has_the_id_of_its_request() {
    let shop = Service::shop_with(&[]).await;
    let http = reqwest::Client::new();
    let id_of = async |path: &str, id: Option<&str>| -> String {
        let mut request = http.get(format!("{}{path}", shop.app.url()));
        if let Some(id) = id {
            request = request.header("x-request-id", id);
        }
        let answer = request.send().await.expect("it answers");
        answer.headers()["x-request-id"].to_str().expect("text").to_owned()
    };
    assert_eq!(id_of("/healthz", Some("7f1c-42")).await, "7f1c-42");
    assert_eq!(id_of("/nowhere", Some("7f1c-43")).await, "7f1c-43");
    let long = "x".repeat(129);
    let (made, other) = (id_of("/v1/status", None).await, id_of("/v1/status", Some(&long)).await);
    assert!(made.len() == 16 && other.len() == 16 && made != other, "{made} {other}");
    shop.stop().await;
}
