//! The HTTP API of a whole service, in this process: what users and their programs see.

mod access;
mod answers;
mod away;
mod changes;
mod commands;
mod dead_letters;
mod deaths;
mod definitions;
mod explain;
mod feast;
mod feast_client;
mod feature_tables;
mod fuzz;
mod ingest;
mod jobs;
mod limits;
mod lookups;
mod partial;
mod program;
mod rebuilds;
mod rollbacks;
mod slow_streams;
mod starter;
mod strangers;
mod system;
mod tls;
#[cfg(feature = "otel")]
mod traces;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use freshet::app::App;
use freshet::config::Config;
use serde_json::Value;
use tempfile::TempDir;
use tokio::time::sleep;

use crate::http::{Answer, Api};

pub const SHOP: &str = include_str!("shop.yaml");

/// Three clicks of `u1`, the middle one without a price, and one of `u2` that has nothing but its time.
const CLICKS: &str = r#"[
    {"id":"c1","at":"2026-01-01T10:00:00Z","user_id":"u1","item_id":7,"price":2.5},
    {"id":"c2","at":"2026-01-01T11:00:00Z","user_id":"u1","item_id":8},
    {"id":"c3","at":"2026-01-01T12:00:00Z","user_id":"u1","item_id":7,"price":0.75},
    {"id":"c4","at":"2026-01-01T12:30:00Z","user_id":"u2"}
]"#;

pub struct Service {
    app: App,
    pub api: Api,
    folder: TempDir,
}

impl Service {
    /// Without definitions.
    async fn empty() -> Service {
        Service::with(&[]).await
    }

    /// With settings of its own.
    async fn with(settings: &[(&str, &str)]) -> Service {
        let folder = tempfile::tempdir().expect("a folder");
        let (app, api) = start_with(folder.path(), settings).await;
        Service { app, api, folder }
    }

    /// With settings of its own, and the shop.
    async fn shop_with(settings: &[(&str, &str)]) -> Service {
        let service = Service::with(settings).await;
        service.apply(SHOP).await.json();
        service.settle().await;
        service
    }

    /// With the shop, which lookups see.
    pub async fn shop() -> Service {
        let service = Service::empty().await;
        service.apply(SHOP).await.json();
        service.settle().await;
        service
    }

    /// With the shop and [`CLICKS`] as history, which lookups see.
    async fn busy_shop() -> Service {
        let service = Service::shop().await;
        service.api.send("/v1/sources/clicks/events?replay=true", "application/json", CLICKS).await.json();
        service.settle().await;
        service
    }

    pub async fn apply(&self, yaml: &str) -> Answer {
        self.api.send("/v1/definitions/apply", "application/yaml", yaml).await
    }

    /// Waits until views are live, lookups see the whole log, and the archive has it.
    async fn settle(&self) {
        let done = |status: &Value| {
            let all = |list: &str, is: fn(&Value) -> bool| status[list].as_array().expect("a list").iter().all(is);
            all("partitions", |it| it["lag"] == 0 && it["archived_to"] == it["log_end"])
                && all("views", |it| it["state"] != "building")
        };
        until("the service is up to date", async || Some(self.api.get("/v1/status").await.json()).filter(done)).await;
    }

    pub async fn stop(self) {
        self.app.stop().await.expect("it stops cleanly");
    }
}

async fn start(folder: &Path) -> (App, Api) {
    start_with(folder, &[]).await
}

async fn start_with(folder: &Path, settings: &[(&str, &str)]) -> (App, Api) {
    let app = App::start(config(folder, settings)).await.expect("it starts");
    let api = Api::new(&app.url());
    (app, api)
}

fn config(folder: &Path, settings: &[(&str, &str)]) -> Config {
    let mut all = BTreeMap::from([("data_dir".to_owned(), folder.display().to_string())]);
    let usual = [
        ("listen", "127.0.0.1:0"),
        ("archive_interval_ms", "50"),
        ("parity_sample", "1"),
        ("partitions", "2"),
        ("seed_records", "0"),
    ];
    all.extend(usual.iter().chain(settings).map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
    Config::resolve(&all, |_| None, None).expect("the settings are right")
}

/// Asks again until there is an answer; half a minute is for machines that are busy otherwise.
pub async fn until<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    for _ in 0..1_500 {
        if let Some(answer) = ask().await {
            return answer;
        }
        sleep(Duration::from_millis(20)).await;
    }
    panic!("waited in vain until {what}")
}

/// `404 UNKNOWN_SOURCE: source ... is not defined`, of an answer that is a problem in every respect.
fn problem(answer: &Answer) -> String {
    assert_eq!(answer.content_type, "application/problem+json", "{answer}");
    let body: Value = serde_json::from_slice(&answer.body).unwrap_or_else(|error| panic!("{error}: {answer}"));
    assert_eq!((&body["type"], &body["status"]), (&"about:blank".into(), &answer.status.into()), "{answer}");
    let text = |name: &str| body[name].as_str().unwrap_or_else(|| panic!("no {name}: {answer}")).to_owned();
    assert!(!text("title").is_empty(), "{answer}");
    format!("{} {}: {}\n", answer.status, text("code"), text("detail"))
}

fn pretty(value: &Value) -> String {
    serde_json::to_string_pretty(value).expect("it is JSON") + "\n"
}
