//! The settings of the service: flags over environment (`FRESHET_…`) over a settings file over defaults, each with
//! where it came from. Secrets are in the fields that need them, and in nothing that is shown.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use crate::batch::Resources;
use crate::kernel::definition::closest;
use crate::kernel::name::Name;
use crate::kernel::time::Micros;
use crate::offline::Inputs;

pub use http::{Http, Tls};
pub use roles::{Role, Roles};
pub use setting::{Origin, Setting};

use check::{Check, Raw};
use setting::SETTINGS;

mod check;
mod http;
mod roles;
mod secret;
mod setting;

/// The effective settings, checked.
#[derive(Clone)]
pub struct Config {
    pub data_dir: PathBuf,
    pub listen: SocketAddr,
    pub http: Http,
    pub project: Name,
    pub roles: Roles,
    /// `None`: the embedded log.
    pub kafka: Option<Kafka>,
    /// `None`: the embedded online store.
    pub redis: Option<Redis>,
    /// URL of a PostgreSQL; `None`: SQLite.
    pub registry: Option<String>,
    pub registry_poll: Duration,
    pub rollback_window: Micros,
    /// Folder or URL; `None`: a folder in `data_dir`.
    pub offline: Option<String>,
    /// Below which files may be read that definitions name.
    pub inputs: Inputs,
    /// Partitions of a topic that an apply creates.
    pub partitions: u32,
    pub flush_interval: Micros,
    pub archive_interval: Micros,
    /// Of the stream worker, in bytes.
    pub worker_cache_bytes: usize,
    /// Of fewer archived records the stream folds new rows by itself.
    pub seed_records: u64,
    /// Of the embedded online store, in bytes.
    pub store_cache_bytes: u64,
    /// Of one training set or backfill.
    pub job_resources: Resources,
    /// One looked-up row in so many is logged for parity; 0: none.
    pub parity_sample: u64,
    /// How long a shutdown goes on answering requests after it says that it is not ready.
    pub drain_delay: Duration,
    settings: Vec<Setting>,
}

#[derive(Clone)]
pub struct Kafka {
    pub brokers: String,
    /// Passed through to the client.
    pub options: Vec<(String, String)>,
    pub create_topics: bool,
    pub replication: u16,
    /// Of this process within its groups; `None`: to be made of the host name and the address.
    pub instance_id: Option<String>,
    pub session_timeout: Duration,
}

#[derive(Clone)]
pub struct Redis {
    pub url: String,
    /// Replicas that have to acknowledge a flush, and how long it waits for them.
    pub wait: u32,
    pub wait_limit: Duration,
}

/// A settings file: a line for each setting.
#[derive(Clone, Debug)]
pub struct File {
    pub path: String,
    pub text: String,
}

/// Shows what may be shown.
impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl Config {
    /// `env` reads a variable of the environment. Every mistake at once.
    pub fn resolve(
        flags: &BTreeMap<String, String>,
        env: impl Fn(&str) -> Option<String>,
        file: Option<&File>,
    ) -> Result<Config, Vec<String>> {
        let mut mistakes = Vec::new();
        let lines = file.map(|file| parse_file(file, &mut mistakes)).unwrap_or_default();
        let known = |name: &String| SETTINGS.iter().any(|(known, _, _)| known == name);
        let unknown = flags.keys().chain(lines.keys()).filter(|name| !known(name));
        mistakes.extend(unknown.map(|name| format!("`{name}` is not a setting: `freshet config` lists them")));

        let raw = SETTINGS.map(|(name, default, _)| {
            let variable = env(&format!("FRESHET_{}", name.to_uppercase()));
            let (value, origin) = if let Some(value) = flags.get(name) {
                (value.clone(), Origin::Flag)
            } else if let Some(value) = variable {
                (value, Origin::Environment)
            } else if let (Some(value), Some(file)) = (lines.get(name), file) {
                (value.clone(), Origin::File(file.path.clone()))
            } else {
                (default.to_owned(), Origin::Default)
            };
            Raw { name, value, origin }
        });
        let mut check = Check { raw: raw.into(), mistakes };
        let config = Config::checked(&mut check);
        match config {
            Some(config) if check.mistakes.is_empty() => Ok(config),
            _ => Err(check.mistakes),
        }
    }

    /// For the service of one command, beside whoever serves by the same settings: on a port that nobody knows, in the
    /// clear. Where every part is shared the others fold and archive, for a member that comes and goes would have them
    /// divide the log anew. It is not one of them: whoever takes a member's name ends that member.
    pub fn alone(mut self) -> Config {
        self.listen = (Ipv4Addr::LOCALHOST, 0).into();
        self.http.tls = None;
        let is_shared =
            self.kafka.is_some() && self.redis.is_some() && self.registry.is_some() && self.offline.is_some();
        self.roles = if is_shared { Roles::only(Role::Api) } else { Roles::all() };
        if let Some(kafka) = &mut self.kafka {
            kafka.instance_id = None;
        }
        self
    }

    /// In the order of their documentation.
    pub fn settings(&self) -> &[Setting] {
        &self.settings
    }

    /// `None` only where a mistake was found; looks at everything, so that all of them are.
    fn checked(check: &mut Check) -> Option<Config> {
        let partitions = check.number("partitions", 1, 1_024) as u32;
        let flush_interval = Micros::from_millis(check.number("flush_interval_ms", 1, 60_000) as i64);
        let archive_interval = Micros::from_millis(check.number("archive_interval_ms", 10, 3_600_000) as i64);
        let worker_cache_bytes = (check.number("worker_cache_mb", 1, 1 << 20) << 20) as usize;
        let seed_records = check.number("seed_records", 0, u64::MAX);
        let store_cache_bytes = check.number("store_cache_mb", 1, 1 << 20) << 20;
        let job_resources = job_resources(check);
        let parity_sample = check.number("parity_sample", 0, 1 << 40);
        let registry_poll = Duration::from_millis(check.number("registry_poll_ms", 10, 60_000));
        let rollback_window = check.parsed("rollback_window");
        let listen = listen(check);
        let http = Http::checked(check);
        let project = check.parsed("project");
        let roles: Option<Roles> = check.parsed("roles");
        let kafka = kafka(check);
        let redis = redis(check);
        let registry = check.url("registry", &["postgres", "postgresql"]);
        let offline = offline(check);
        let drain_delay = drain_delay(check, listen);
        if let Some(roles) = roles.as_ref().filter(|roles| !roles.are_all()) {
            shared_parts(check, roles);
        }
        let data_dir = check.text("data_dir").to_owned();
        let inputs = Inputs::new(roots(check.text("input_roots"))).without(kept_in(&data_dir, offline.as_deref()));
        Some(Config {
            data_dir: data_dir.into(),
            listen: listen?,
            http,
            project: project?,
            roles: roles?,
            kafka,
            redis,
            registry,
            registry_poll,
            rollback_window: rollback_window?,
            offline,
            inputs,
            partitions,
            flush_interval,
            archive_interval,
            worker_cache_bytes,
            seed_records,
            store_cache_bytes,
            job_resources,
            parity_sample,
            drain_delay,
            settings: check.shown(),
        })
    }
}

/// A variable that nothing reads, and that is spelled nearly as one of a setting: that one.
pub fn meant_by(variable: &str) -> Option<String> {
    let name = variable.strip_prefix("FRESHET_")?.to_lowercase();
    let meant = closest(&name, &SETTINGS.map(|(known, _, _)| known)).filter(|meant| *meant != name)?;
    Some(format!("FRESHET_{}", meant.to_uppercase()))
}

/// Where the service keeps what it has: folders and URLs.
fn kept_in(data_dir: &str, offline: Option<&str>) -> Vec<String> {
    let offline = offline.map(|place| place.strip_prefix("file://").unwrap_or(place));
    std::iter::once(data_dir).chain(offline).map(str::to_owned).collect()
}

/// Parts end at `:`, but not at that of `s3://`.
fn roots(text: &str) -> Vec<String> {
    let mut roots: Vec<String> = Vec::new();
    for part in text.split(':') {
        match roots.last_mut().filter(|_| part.starts_with("//")) {
            Some(scheme) => *scheme = format!("{scheme}:{part}"),
            None => roots.push(part.to_owned()),
        }
    }
    roots.retain(|root| !root.is_empty());
    roots
}

fn job_resources(check: &mut Check) -> Resources {
    let usual = Resources::default();
    let threads = NonZeroUsize::new(check.number("job_threads", 0, 1_024) as usize);
    // Below that, sorts have no room to merge what they spilled.
    let memory_bytes = (check.number("job_memory_mb", 32, 1 << 20) << 20) as usize;
    Resources { threads: threads.unwrap_or(usual.threads), memory_bytes }
}

fn listen(check: &mut Check) -> Option<SocketAddr> {
    let text = check.text("listen").to_owned();
    let wrong = |_| check.wrong("listen", format_args!("`{text}` is not an address such as `127.0.0.1:6566`"));
    text.parse().map_err(wrong).ok()
}

fn kafka(check: &mut Check) -> Option<Kafka> {
    let options = check.options("kafka_options");
    let create_topics = check.flag("create_topics");
    let replication = check.number("kafka_replication", 1, 100) as u16;
    let session_timeout = Duration::from_millis(check.number("session_timeout_ms", 1_000, 3_600_000));
    let instance_id = check.given("instance_id");
    let brokers = check.given("kafka")?;
    Some(Kafka { brokers, options, create_topics, replication, instance_id, session_timeout })
}

fn redis(check: &mut Check) -> Option<Redis> {
    let wait = check.number("redis_wait", 0, 100) as u32;
    let wait_limit = Duration::from_millis(check.number("redis_wait_ms", 1, 60_000));
    let url = check.url("redis", &["redis", "rediss", "redis+cluster", "rediss+cluster"])?;
    Some(Redis { url, wait, wait_limit })
}

/// A folder, or a URL.
fn offline(check: &mut Check) -> Option<String> {
    let is_url = check.text("offline").contains("://");
    if is_url { check.url("offline", &["file", "s3", "gs", "az"]) } else { check.given("offline") }
}

/// A load balancer takes a while to see that a process is leaving; on a loopback address there is none.
fn drain_delay(check: &mut Check, listen: Option<SocketAddr>) -> Duration {
    let usual = if listen.is_some_and(|address| address.ip().is_loopback()) { 0 } else { 3_000 };
    let given = check.given("drain_delay_ms").map(|_| check.number("drain_delay_ms", 0, 600_000));
    Duration::from_millis(given.unwrap_or(usual))
}

/// A process that does a part of the work does it on what others see too.
fn shared_parts(check: &mut Check, roles: &Roles) {
    let parts = [
        ("kafka", "the embedded log", "the brokers, such as `kafka-1:9092`"),
        ("redis", "the embedded online store", "a Redis, such as `redis://redis-1:6379`"),
        ("registry", "the SQLite registry", "a PostgreSQL, such as `postgres://freshet@db-1/freshet`"),
        ("offline", "the offline store in `data_dir`", "a place that all see, such as `s3://bucket/freshet`"),
    ];
    for (name, embedded, mend) in parts {
        if check.text(name).is_empty() {
            let detail = format!("a process with the roles `{roles}` shares it, and {embedded} belongs to one process");
            check.mistakes.push(format!("setting `{name}` is empty: {detail}; name {mend}"));
        }
    }
}

/// `name: value` a line, with `#` comments: all that the settings need of YAML.
fn parse_file(file: &File, mistakes: &mut Vec<String>) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for (index, line) in file.text.lines().enumerate() {
        let line = line.split(" #").next().unwrap_or_default().trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        match line.split_once(':') {
            Some((name, value)) => {
                found.insert(name.trim().to_owned(), value.trim().trim_matches(['"', '\'']).to_owned());
            }
            // The line may hold a secret.
            None => mistakes.push(format!("{}:{}: it is not `name: value`", file.path, index + 1)),
        }
    }
    found
}

#[cfg(test)]
mod tests;
