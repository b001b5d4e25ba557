//! A log and a store for one scenario, and the service on them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use freshet::app::App;
use freshet::clock::Clock;
use freshet::config::Config;
use freshet::event_log::embedded::EmbeddedLog;
use freshet::event_log::kafka::{self, KafkaLog};
use freshet::event_log::{self, EventLog, NewRecord};
use freshet::kernel::time::{EventTime, Micros};
use serde_json::{Map, Value, json};
use tempfile::TempDir;
use tokio::time::sleep;

use crate::http::Api;
use crate::servers;

const PARTITIONS: u32 = 2;

pub struct Backend {
    settings: BTreeMap<String, String>,
    topic: String,
    /// When the scenario begins: a day ago and more, so that nothing in it is ahead of a clock.
    begin: EventTime,
    folder: TempDir,
}

impl Backend {
    pub async fn embedded() -> Backend {
        Backend::new(&[]).await
    }

    pub async fn servers() -> Backend {
        Backend::on_redis("REDIS_URL").await
    }

    pub async fn on_a_cluster() -> Backend {
        Backend::on_redis("REDIS_CLUSTER_URL").await
    }

    async fn on_redis(variable: &str) -> Backend {
        let registry = servers::schema().await;
        let servers = [("kafka", servers::address("KAFKA_BROKERS")), ("redis", servers::address(variable))];
        Backend::new(&[&servers[..], &[("registry", registry)]].concat()).await
    }

    pub fn begin(&self) -> EventTime {
        self.begin
    }

    async fn new(servers: &[(&str, String)]) -> Backend {
        let folder = tempfile::tempdir().expect("a folder");
        let mut settings: BTreeMap<String, String> =
            servers.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
        let own = [
            ("data_dir", folder.path().join("data").display().to_string()),
            ("listen", "127.0.0.1:0".to_owned()),
            ("project", servers::unique("scenario")),
            ("create_topics", "true".to_owned()),
            ("archive_interval_ms", "50".to_owned()),
            ("parity_sample", "1".to_owned()),
            ("seed_records", "0".to_owned()),
            ("input_roots", folder.path().display().to_string()),
        ];
        settings.extend(own.map(|(name, value)| (name.to_owned(), value)));
        let begin = Clock::System.now().floor(Micros::DAY) - Micros::DAY;
        let backend = Backend { settings, topic: servers::unique("clicks"), begin, folder };
        backend.log().await.create_topic(&backend.topic, PARTITIONS).await.expect("a topic");
        backend
    }

    /// Appends the records of these lines to the log; nothing serves meanwhile.
    pub async fn append(&self, lines: &str) {
        let lines = lines.lines().map(str::trim).filter(|line| !line.is_empty());
        let records = lines.map(|line| self.record(line)).collect();
        self.log().await.append(&self.topic, records).await.expect("appended");
    }

    /// A service that has folded and archived all of it.
    pub async fn serve(&self) -> (App, Api) {
        let (app, api) = self.start().await;
        self.apply(&api, include_str!("clicks.yaml")).await;
        settle(&api).await;
        (app, api)
    }

    /// A service with what was applied before.
    pub async fn start(&self) -> (App, Api) {
        let config = Config::resolve(&self.settings, |_| None, None).expect("the settings are right");
        let app = App::start(config).await.expect("it starts");
        let api = Api::new(&app.url());
        (app, api)
    }

    /// `TOPIC` is the scenario's own.
    pub async fn apply(&self, api: &Api, definitions: &str) {
        let definitions = definitions.replace("TOPIC", &self.topic);
        api.send("/v1/definitions/apply", "application/yaml", definitions).await.json();
    }

    /// Writes a file below the input root.
    pub fn write(&self, path: &str, text: &str) {
        let path = self.folder.path().join(path);
        std::fs::create_dir_all(path.parent().expect("it has a folder")).expect("made");
        std::fs::write(path, text).expect("written");
    }

    async fn log(&self) -> Arc<dyn EventLog> {
        let Some(brokers) = self.settings.get("kafka") else {
            return self.embedded_log().await;
        };
        let options = kafka::Options {
            brokers: brokers.clone(),
            options: Vec::new(),
            create_topics: true,
            replication: 1,
            instance_id: String::new(),
            session_timeout: Duration::from_secs(10),
        };
        Arc::new(KafkaLog::connect(options).await.expect("Kafka answers"))
    }

    /// A connection that ends lets go of its service a moment after the service has stopped.
    async fn embedded_log(&self) -> Arc<dyn EventLog> {
        for _ in 0..200 {
            match EmbeddedLog::open(&self.folder.path().join("data/log")) {
                Err(event_log::Error::InUse { .. }) => sleep(Duration::from_millis(50)).await,
                opened => return Arc::new(opened.expect("opens")),
            }
        }
        panic!("the service has stopped ten seconds ago and holds its log still")
    }

    fn record(&self, line: &str) -> NewRecord {
        let (event, ingestion) = line.split_once(" in ").unwrap_or((line, ""));
        if let Some(raw) = event.strip_prefix("raw ") {
            let value = Bytes::copy_from_slice(raw.as_bytes());
            return NewRecord { key: None, value, ingestion_time: self.at(ingestion) };
        }
        let words: Vec<&str> = event.split_whitespace().collect();
        let [id, user, item, price, "at", at] = words[..] else { panic!("`{line}` is not an event") };
        let fields = [
            ("id", json!(id)),
            ("at", json!(self.at(at).micros() / 1_000)),
            ("user_id", json!(user)),
            ("item_id", number(item)),
            ("price", number(price)),
        ];
        let fields = fields.into_iter().filter(|(_, value)| !value.is_null() && value != "-");
        let event: Map<String, Value> = fields.map(|(name, value)| (name.to_owned(), value)).collect();
        let ingestion_time = self.at(if ingestion.is_empty() { at } else { ingestion });
        NewRecord { key: Some(user.to_owned().into()), value: Value::Object(event).to_string().into(), ingestion_time }
    }

    /// `mm:ss` after the beginning.
    fn at(&self, text: &str) -> EventTime {
        let (minutes, seconds) = text.split_once(':').unwrap_or_else(|| panic!("`{text}` is not `mm:ss`"));
        let number = |text: &str| text.parse::<i64>().unwrap_or_else(|_| panic!("`{text}` is no number"));
        self.begin + Micros::new((number(minutes) * 60 + number(seconds)) * 1_000_000)
    }
}

/// `-` is none.
fn number(text: &str) -> Value {
    if text == "-" { Value::Null } else { text.parse().expect("a number") }
}

/// Half a minute is for machines that are busy otherwise.
pub async fn settle(api: &Api) {
    let mut status = Value::Null;
    for _ in 0..600 {
        status = api.get("/v1/status").await.json();
        let all = |list: &str, is: fn(&Value) -> bool| status[list].as_array().expect("a list").iter().all(is);
        if all("partitions", |it| it["lag"] == 0 && it["archived_to"] == it["log_end"])
            && all("views", |it| it["state"] != "building")
        {
            return;
        }
        sleep(Duration::from_millis(50)).await;
    }
    panic!("the service does not catch up: {status:#}")
}
