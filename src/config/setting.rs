//! One setting: its name, its default, its value as it may be shown, and where that came from.

use std::fmt;

/// One setting as `freshet config` shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    pub name: &'static str,
    /// Secrets hidden.
    pub value: String,
    pub origin: Origin,
    pub help: &'static str,
}

/// Where a setting came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    Flag,
    Environment,
    /// The path of the settings file.
    File(String),
    Default,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Origin::Flag => "flag",
            Origin::Environment => "environment",
            Origin::File(path) => path,
            Origin::Default => "default",
        })
    }
}

/// Name, default, and what it is.
pub(super) const SETTINGS: [(&str, &str, &str); 39] = [
    ("data_dir", "freshet-data", "where the embedded parts keep their data"),
    ("listen", "127.0.0.1:6566", "the address to serve on"),
    ("insecure", "false", "whether to serve beyond loopback a project that has no API keys"),
    ("tls_cert", "", "PEM file of the certificate chain to serve TLS with; empty: in the clear"),
    ("tls_key", "", "PEM file of its private key"),
    ("max_body_mb", "16", "the largest body of a call; a training set's spine may have 256 MB"),
    ("max_lookups", "512", "lookups that are answered at once; more are refused with 503"),
    ("max_ingests", "64", "ingest calls that are answered at once; more are refused with 503"),
    (
        "request_timeout_ms",
        "10000",
        "how long a lookup or an ingest call may take, and the body of any other, with more for its size",
    ),
    ("body_timeout_ms", "5000", "how long a client may pause within a body"),
    ("store_timeout_ms", "1000", "how long a lookup waits for the online store"),
    ("max_connections", "10000", "connections at once; more wait"),
    (
        "idle_timeout_ms",
        "75000",
        "how long a connection may be idle, or take nothing of its answer; longer than a balancer's own",
    ),
    ("project", "default", "the name space of this process"),
    ("roles", "api,stream,archive", "what this process does of the work"),
    ("kafka", "", "brokers of the event log, `host:port,host:port`; empty: embedded"),
    ("kafka_options", "", "`name=value;name=value` for the Kafka client: SASL, TLS"),
    ("create_topics", "false", "whether an apply creates topics that Kafka does not have"),
    ("kafka_replication", "1", "copies of each partition of a topic that an apply creates"),
    ("instance_id", "", "this process within its consumer groups, over restarts; empty: host name and `listen`"),
    ("session_timeout_ms", "10000", "after how long a silent process loses its partitions"),
    ("redis", "", "URL of the online store, `redis://`, `rediss://` or `redis+cluster://`; empty: embedded"),
    ("redis_wait", "0", "replicas that have to acknowledge a flush"),
    ("redis_wait_ms", "100", "how long a flush waits for them"),
    ("registry", "", "URL of the registry, `postgres://`; empty: SQLite in `data_dir`"),
    (
        "registry_poll_ms",
        "500",
        "how often the registry is asked for what other processes applied: twice a second at the least",
    ),
    ("rollback_window", "24h", "how long a version that was replaced is written on, so that a rollback finds it"),
    (
        "offline",
        "",
        "the offline store, a folder, `file://`, `s3://`, `gs://` or `az://`; empty: `offline` in `data_dir`",
    ),
    ("input_roots", ".", "folders and buckets below which `history` and spines may name files, separated by `:`"),
    ("partitions", "4", "partitions of a topic that an apply creates"),
    ("flush_interval_ms", "10", "how long a folded event may wait before lookups see it"),
    ("archive_interval_ms", "2000", "how long an event may wait before it is archived"),
    ("worker_cache_mb", "256", "memory for rows that the stream worker keeps at hand"),
    ("seed_records", "100000", "from how many archived records on new rows begin with a bulk fold of the archive"),
    ("store_cache_mb", "256", "memory for the embedded online store's cache"),
    ("job_memory_mb", "512", "memory for what a training set or a backfill sorts; beyond it, it uses the disk"),
    ("job_threads", "0", "threads of a training set or a backfill; 0: as many as the machine has"),
    ("parity_sample", "100", "one looked-up row in so many is logged for parity; 0: none"),
    (
        "drain_delay_ms",
        "",
        "how long a shutdown answers requests on after `/readyz` turned 503; empty: 0 on a loopback address, else 3000",
    ),
];
