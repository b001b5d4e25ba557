//! A Redis of the benchmark's own: empty, without replicas, gone at the end.

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use redis::aio::MultiplexedConnection;

use super::variable;

const TRIES: u32 = 100;
const BETWEEN_TRIES: Duration = Duration::from_millis(50);

pub struct Server {
    pub url: String,
    connection: MultiplexedConnection,
    _process: Process,
}

struct Process(Child);

impl Server {
    pub async fn start() -> Server {
        let free = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port");
        let port = free.port().to_string();
        let mut command = Command::new(variable("REDIS_SERVER"));
        command.args(["--port", &port, "--save", "", "--appendonly", "no"]).stdout(Stdio::null());
        let process = Process(command.spawn().expect("Redis is installed"));
        let url = format!("redis://127.0.0.1:{port}");
        let client = redis::Client::open(url.as_str()).expect("a URL");
        for _ in 0..TRIES {
            if let Ok(connection) = client.get_multiplexed_async_connection().await {
                return Server { url, connection, _process: process };
            }
            tokio::time::sleep(BETWEEN_TRIES).await;
        }
        panic!("Redis does not answer at {url}")
    }

    /// A number of `INFO`.
    pub async fn number(&mut self, field: &str) -> f64 {
        self.field(field).await.parse().unwrap_or_else(|_| panic!("{field} is no number"))
    }

    pub async fn version(&mut self) -> String {
        self.field("redis_version").await
    }

    /// Seconds on a processor so far.
    pub async fn processor_seconds(&mut self) -> f64 {
        self.number("used_cpu_user").await + self.number("used_cpu_sys").await
    }

    async fn field(&mut self, name: &str) -> String {
        let text: String = redis::cmd("INFO").query_async(&mut self.connection).await.expect("Redis answers");
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.unwrap_or_else(|| panic!("INFO has no {name}")).trim().to_owned()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended before: then there is nothing to kill.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
