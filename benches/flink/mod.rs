//! The same windows on Apache Flink, thrown away at the end: what the comparison leaves out, it leaves out for Flink.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::stand::kafka::Topic;
use super::stand::{random_name, variable};

pub const VERSION: &str = "2.2.1";
const JOB: &str = include_str!("windows.sql");
/// What a job of next to nothing has: its start is not counted.
const WARM_UP_EVENTS: usize = 1_000;

/// Events a second, the start of JVM and job not counted.
pub async fn rate(folder: &Path, backlog: &Topic, events: usize) -> f64 {
    let few = Topic::create(&random_name("bench"), backlog.partitions).await;
    let producer = few.producer(50);
    let end = freshet::kernel::time::EventTime::from_micros(super::now_ms() * 1_000).expect("a time of our century");
    for event in super::workload::events(WARM_UP_EVENTS, super::Users::Zipf(100), end, 1) {
        producer.send(&event.user, &event.json, event.sent_ms);
    }
    producer.finish();
    let start = run(folder, &few.name);
    let whole = run(folder, &backlog.name);
    println!("Flink: a job of {WARM_UP_EVENTS} events {start:.1?}, of {events} events {whole:.1?}");
    (events - WARM_UP_EVENTS) as f64 / whole.saturating_sub(start).as_secs_f64()
}

fn run(folder: &Path, topic: &str) -> Duration {
    let job = tempfile::NamedTempFile::with_suffix(".sql").expect("a file");
    let text = JOB.replace("{topic}", topic).replace("{brokers}", &variable("KAFKA_BROKERS"));
    std::fs::write(job.path(), text).expect("it can be written");
    let jars = |place: &str| folder.join(place).join("*").display().to_string();
    let started = Instant::now();
    let output = Command::new("java")
        .args([
            "-Xmx4g",
            "--add-opens=java.base/java.util=ALL-UNNAMED",
            "--add-opens=java.base/java.lang=ALL-UNNAMED",
            "-cp",
        ])
        .arg([jars("lib"), jars("opt")].join(":"))
        .args(["org.apache.flink.table.client.SqlClient", "embedded", "-f"])
        .arg(job.path())
        .env("FLINK_CONF_DIR", folder.join("conf"))
        .stdin(Stdio::null())
        .output()
        .expect("there is a Java 17");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && !said.contains("[ERROR]"),
        "{said}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    started.elapsed()
}
