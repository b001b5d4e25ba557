//! The two API servers as a client sees them that knows both: where one does not answer, it asks the other.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, ensure};
use freshet::kernel::time::EventTime;
use serde_json::{Value, json};

use crate::disturbance::Disturbances;

pub struct Api {
    http: reqwest::Client,
    urls: [String; 2],
    calls: AtomicUsize,
    pub lookups: Lookups,
}

/// What became of lookups.
#[derive(Default)]
pub struct Lookups {
    pub answered: AtomicU64,
    pub rows: AtomicU64,
    /// 503 while the store was away, or being put right.
    pub unavailable: AtomicU64,
    /// Anything else: none of these is right.
    pub failed: AtomicU64,
    /// The first of those.
    first_failure: Mutex<Option<String>>,
}

impl Lookups {
    pub fn first_failure(&self) -> Option<String> {
        self.first_failure.lock().expect("nobody panics while holding it").clone()
    }

    fn fail(&self, failure: String) {
        self.failed.fetch_add(1, Ordering::Relaxed);
        self.first_failure.lock().expect("nobody panics while holding it").get_or_insert(failure);
    }
}

/// What came back.
struct Answer {
    status: u16,
    body: Vec<u8>,
}

impl Api {
    pub fn new(urls: [String; 2]) -> anyhow::Result<Api> {
        // No pool: a connection to a server that was killed would fail the next call, as no fault of the service.
        let http = reqwest::Client::builder().timeout(Duration::from_secs(10)).pool_max_idle_per_host(0).build()?;
        Ok(Api { http, urls, calls: AtomicUsize::new(0), lookups: Lookups::default() })
    }

    /// All features of `view` for `entities`, with their newest event times; `None` where lookups are unavailable for
    /// now. Every outcome is counted.
    pub async fn look_up(
        &self,
        view: &str,
        key: &str,
        entities: &[String],
        disturbances: &Disturbances,
    ) -> Option<Answered> {
        let body = json!({ "features": [view], "entities": { key: entities }, "include": ["event_times"] });
        let outcome = self.call("/v1/online-features", "application/json", body.to_string()).await;
        match outcome {
            Ok(answer) if answer.status == 200 => {
                self.lookups.answered.fetch_add(1, Ordering::Relaxed);
                self.lookups.rows.fetch_add(entities.len() as u64, Ordering::Relaxed);
                Some(Answered { view: view.to_owned(), body: serde_json::from_slice(&answer.body).ok()? })
            }
            Ok(answer) if answer.status == 503 && disturbances.excuse_lookups() => {
                self.lookups.unavailable.fetch_add(1, Ordering::Relaxed);
                None
            }
            Ok(answer) => {
                self.lookups.fail(format!("{} {}", answer.status, String::from_utf8_lossy(&answer.body)));
                None
            }
            Err(error) => {
                self.lookups.fail(format!("{error:#}"));
                None
            }
        }
    }

    /// Whether all the events (one a line) are durable.
    pub async fn ingest(&self, events: String, count: usize) -> anyhow::Result<()> {
        let answer = self.call("/v1/sources/orders/events", "application/x-ndjson", events).await?;
        let body: Value = answer.json()?;
        ensure!(body["accepted"] == count && body["rejected"] == json!([]), "refused: {body}");
        Ok(())
    }

    pub async fn apply(&self, definitions: &str) -> anyhow::Result<()> {
        self.call("/v1/definitions/apply", "application/yaml", definitions.to_owned()).await?.json().map(drop)
    }

    /// The servers by turns; the other one where that does not answer at all, or is not ready yet: as a load balancer
    /// does.
    async fn call(&self, path: &str, content_type: &str, body: String) -> anyhow::Result<Answer> {
        let turn = self.calls.fetch_add(1, Ordering::Relaxed);
        match self.call_one(&self.urls[turn % 2], path, content_type, body.clone()).await {
            Ok(answer) if !answer.is_of_a_start() => Ok(answer),
            _ => Ok(self.call_one(&self.urls[(turn + 1) % 2], path, content_type, body).await?),
        }
    }

    async fn call_one(
        &self,
        url: &str,
        path: &str,
        content_type: &str,
        body: String,
    ) -> Result<Answer, reqwest::Error> {
        let request = self.http.post(format!("{url}{path}")).header("content-type", content_type).body(body);
        let response = request.send().await?;
        let status = response.status().as_u16();
        Ok(Answer { status, body: response.bytes().await?.to_vec() })
    }

    /// A page of one server, where it answers with a success.
    pub async fn page(&self, url: &str, path: &str) -> Option<String> {
        let request = self.http.get(format!("{url}{path}")).timeout(Duration::from_secs(2));
        request.send().await.ok()?.error_for_status().ok()?.text().await.ok()
    }
}

impl Answer {
    fn is_of_a_start(&self) -> bool {
        self.status == 503 && String::from_utf8_lossy(&self.body).contains(r#""code":"STARTING""#)
    }

    fn json(&self) -> anyhow::Result<Value> {
        let text = String::from_utf8_lossy(&self.body);
        ensure!((200..300).contains(&self.status), "{} {text}", self.status);
        Ok(serde_json::from_str(&text)?)
    }
}

/// The answer to a lookup of one view.
pub struct Answered {
    view: String,
    body: Value,
}

impl Answered {
    pub fn as_of(&self) -> anyhow::Result<EventTime> {
        self.body["as_of"].as_str().context("an answer has its as-of")?.parse().map_err(anyhow::Error::msg)
    }

    /// The values of a feature, a row each; not known: null.
    pub fn values(&self, feature: &str) -> anyhow::Result<Vec<Option<i64>>> {
        let values = self.column(feature)?["values"].as_array().context("a column has values")?;
        Ok(values.iter().map(Value::as_i64).collect())
    }

    /// The newest event time of each row, as a feature of it tells.
    pub fn event_times(&self, feature: &str) -> anyhow::Result<Vec<Option<EventTime>>> {
        let times = self.column(feature)?["event_times"].as_array().context("they were asked for")?;
        let parse = |time: &Value| time.as_str().map(|time| time.parse().map_err(anyhow::Error::msg)).transpose();
        times.iter().map(parse).collect()
    }

    fn column(&self, feature: &str) -> anyhow::Result<&Value> {
        let name = format!("{}:{feature}", self.view);
        let mut columns = self.body["columns"].as_array().context("an answer has columns")?.iter();
        columns.find(|column| column["name"] == *name).with_context(|| format!("no column {name}"))
    }
}
