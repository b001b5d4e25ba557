//! The `freshet` of this build, in a process of its own, as its users have it.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use super::variable;

/// Between looks at how far the service is.
const LOOK: Duration = Duration::from_millis(20);

pub struct Service {
    pub url: String,
    child: Child,
    http: reqwest::Client,
    /// Gone with it.
    folder: Option<TempDir>,
}

impl Service {
    /// On `redis` and otherwise the servers of the environment, without the archive.
    pub async fn start(project: &str, redis: &str, settings: &[(&str, &str)]) -> Service {
        let folder = tempfile::tempdir().expect("a folder");
        let [kafka, registry] = ["KAFKA_BROKERS", "DATABASE_URL"].map(variable);
        let offline = format!("file://{}", folder.path().join("offline").display());
        let fixed = [
            ("project", project),
            ("kafka", &kafka),
            ("redis", redis),
            ("registry", &registry),
            ("offline", &offline),
            ("roles", "api,stream"),
        ];
        let settings: Vec<(&str, &str)> = fixed.iter().chain(settings).copied().collect();
        let mut service = Service::embedded(folder.path(), &settings);
        service.folder = Some(folder);
        service
    }

    /// On its own parts, in a folder that stays.
    pub fn embedded(folder: &Path, settings: &[(&str, &str)]) -> Service {
        let mut command = Command::new(env!("CARGO_BIN_EXE_freshet"));
        command.args(["serve", "--log-format", "json", "--listen", "127.0.0.1:0", "--data-dir"]).arg(folder);
        for (name, value) in settings {
            command.args(["--set", &format!("{name}={value}")]);
        }
        command
            .env("FRESHET_LOG", "warn,freshet=info")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let mut child = command.spawn().expect("the binary was built");
        let mut lines = BufReader::new(child.stderr.take().expect("it is piped")).lines().map_while(Result::ok);
        let url = lines.by_ref().find_map(|line| url_in(&line)).expect("the service says where it serves");
        std::thread::spawn(move || lines.filter(|line| line.contains("ERROR")).for_each(|line| eprintln!("{line}")));
        Service { url, child, http: reqwest::Client::new(), folder: None }
    }

    pub async fn apply(&self, definitions: &str) {
        let url = format!("{}/v1/definitions/apply", self.url);
        let request = self.http.post(url).header("content-type", "application/yaml").body(definitions.to_owned());
        let answer = request.send().await.expect("the service answers");
        assert!(answer.status().is_success(), "{}", answer.text().await.expect("a text"));
    }

    pub async fn get(&self, path: &str) -> Value {
        let answer = self.http.get(format!("{}{path}", self.url)).send().await.expect("the service answers");
        json(answer).await
    }

    pub async fn post(&self, path: &str, body: &Value) -> Value {
        let request = self.http.post(format!("{}{path}", self.url)).header("content-type", "application/json");
        let answer = request.body(body.to_string()).send().await.expect("the service answers");
        assert!(answer.status().is_success(), "{}", answer.text().await.expect("a text"));
        json(answer).await
    }

    /// Asks for the status until it is so, and returns that.
    pub async fn until(&self, is: impl Fn(&Value) -> bool) -> Value {
        loop {
            let status = self.get("/v1/status").await;
            if is(&status) {
                return status;
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Seconds on a processor so far.
    pub fn processor_seconds(&self) -> f64 {
        let path = format!("/proc/{}/stat", self.child.id());
        let text = std::fs::read_to_string(path).expect("the process lives");
        let fields: Vec<&str> = text.rsplit(')').next().expect("a name in brackets").split_whitespace().collect();
        // utime and stime, in hundredths: the fields 14 and 15 of proc(5), two of which are before the bracket.
        fields[11..=12].iter().map(|ticks| ticks.parse::<f64>().expect("a number") / 100.0).sum()
    }

    /// The most memory that it ever had, in bytes.
    pub fn peak_memory(&self) -> f64 {
        let path = format!("/proc/{}/status", self.child.id());
        let text = std::fs::read_to_string(path).expect("the process lives");
        let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("Linux counts it");
        let kilobytes: f64 = line.trim().trim_end_matches(" kB").parse().expect("a number");
        kilobytes * 1024.0
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // It may have ended before: then there is nothing to kill.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

async fn json(answer: reqwest::Response) -> Value {
    let bytes = answer.bytes().await.expect("the answer comes whole");
    serde_json::from_slice(&bytes).expect("it answers JSON")
}

fn url_in(line: &str) -> Option<String> {
    let line: Value = serde_json::from_str(line).ok()?;
    Some(line["fields"]["url"].as_str()?.to_owned())
}

/// Sum of a number over the partitions of a status.
pub fn sum(status: &Value, field: &str) -> u64 {
    let partitions = status["partitions"].as_array().expect("a list");
    partitions.iter().map(|partition| partition[field].as_u64().unwrap_or(0)).sum()
}
