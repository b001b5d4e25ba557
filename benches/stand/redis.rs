//! What Redis says of itself.

use redis::AsyncCommands;
use redis::aio::MultiplexedConnection;

use super::variable;

pub struct Server(MultiplexedConnection);

impl Server {
    pub async fn connect() -> Server {
        let client = redis::Client::open(variable("REDIS_URL")).expect("a URL");
        Server(client.get_multiplexed_async_connection().await.expect("Redis answers"))
    }

    /// A number of `INFO`.
    pub async fn info(&mut self, field: &str) -> f64 {
        let text: String = redis::cmd("INFO").arg("everything").query_async(&mut self.0).await.expect("Redis answers");
        let line = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
        line.and_then(|number| number.trim().parse().ok()).unwrap_or_else(|| panic!("INFO has no number {field}"))
    }

    pub async fn version(&mut self) -> String {
        let text: String = redis::cmd("INFO").arg("server").query_async(&mut self.0).await.expect("Redis answers");
        let line = text.lines().find_map(|line| line.strip_prefix("redis_version:"));
        line.expect("a server says which it is").trim().to_owned()
    }

    /// Takes away what a run has left, a few keys at a time.
    pub async fn remove(&mut self, pattern: &str) {
        let mut connection = self.0.clone();
        let mut keys = self.0.scan_match::<_, String>(pattern).await.expect("Redis answers");
        let mut batch = Vec::new();
        while let Some(key) = keys.next_item().await {
            batch.push(key.expect("a key is text"));
            if batch.len() == 1_000 {
                let _: usize = connection.unlink(std::mem::take(&mut batch)).await.expect("Redis answers");
            }
        }
        if !batch.is_empty() {
            let _: usize = connection.unlink(batch).await.expect("Redis answers");
        }
    }
}
