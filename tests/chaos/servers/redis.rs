//! A Redis primary with a replica: killed, rolled back, failed over. Clients come through the proxy.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, bail};
use tokio::time::sleep;

use crate::process::Process;
use crate::servers::program;

pub struct Redis {
    pub primary: Server,
    pub replica: Server,
}

pub struct Server {
    process: Process,
    port: u16,
    folder: PathBuf,
    log: PathBuf,
}

impl Redis {
    pub async fn start(folder: &Path, logs: &Path, [port, replica]: [u16; 2]) -> anyhow::Result<Redis> {
        let primary = Server::start(folder, logs, port, None).await?;
        let replica = Server::start(folder, logs, replica, Some(port)).await?;
        let redis = Redis { primary, replica };
        redis.replica_follows().await?;
        Ok(redis)
    }

    /// Waits until the replica has caught up with the primary.
    pub async fn replica_follows(&self) -> anyhow::Result<()> {
        for _ in 0..600 {
            let info = self.replica.info("replication").await.unwrap_or_default();
            if info.contains("master_link_status:up") {
                return Ok(());
            }
            sleep(Duration::from_millis(100)).await;
        }
        bail!("the replica does not follow its primary: see {}", self.replica.log.display())
    }

    /// The primary is gone for good: the replica takes its place, and an empty server follows it.
    pub async fn fail_over(&mut self) -> anyhow::Result<()> {
        self.primary.process.kill()?;
        std::mem::swap(&mut self.primary, &mut self.replica);
        empty(&self.replica.folder).await?;
        self.replica.process = self.replica.spawn(Some(self.primary.port))?;
        self.replica.process.listens(self.replica.port).await
    }
}

/// A child that saves for the server outlives it by a moment, and writes on.
async fn empty(folder: &Path) -> anyhow::Result<()> {
    for _ in 0..100 {
        match std::fs::remove_dir_all(folder) {
            Err(error) if error.kind() == ErrorKind::DirectoryNotEmpty => sleep(Duration::from_millis(100)).await,
            removed => return Ok(removed?),
        }
    }
    bail!("{} does not become empty", folder.display())
}

impl Server {
    async fn start(folder: &Path, logs: &Path, port: u16, primary: Option<u16>) -> anyhow::Result<Server> {
        let name = format!("redis-{port}");
        let (folder, log) = (folder.join(&name), logs.join(format!("{name}.log")));
        let process = spawn(&folder, &log, port, primary)?;
        let mut server = Server { process, port, folder, log };
        server.process.listens(port).await?;
        Ok(server)
    }

    fn spawn(&self, primary: Option<u16>) -> anyhow::Result<Process> {
        spawn(&self.folder, &self.log, self.port, primary)
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    pub fn kill(&mut self) -> anyhow::Result<()> {
        self.process.kill()
    }

    /// Starts a primary again on what its folder holds, and waits until that is loaded.
    pub async fn start_again(&mut self) -> anyhow::Result<()> {
        self.process = self.spawn(None)?;
        self.process.listens(self.port).await?;
        for _ in 0..600 {
            if self.info("persistence").await.is_ok_and(|info| info.contains("\nloading:0")) {
                return Ok(());
            }
            sleep(Duration::from_millis(100)).await;
        }
        bail!("Redis does not load its file: see {}", self.log.display())
    }

    /// Takes the replica out of replication, with what it has received so far.
    pub async fn stop_following(&self) -> anyhow::Result<()> {
        let mut connection = self.connect().await?;
        redis::cmd("REPLICAOF").arg("NO").arg("ONE").exec_async(&mut connection).await?;
        Ok(())
    }

    /// The file that commands are appended to now, and its length.
    pub fn appended(&self) -> anyhow::Result<(PathBuf, u64)> {
        let folder = self.folder.join("appendonlydir");
        let manifest = std::fs::read_to_string(folder.join("appendonly.aof.manifest"))?;
        let newest = manifest.lines().rfind(|line| line.contains(" type i")).context("the manifest names no file")?;
        let name = newest.split(' ').nth(1).context("a manifest line is `file NAME …`")?;
        let path = folder.join(name);
        let length = std::fs::metadata(&path)?.len();
        Ok((path, length))
    }

    async fn info(&self, section: &str) -> anyhow::Result<String> {
        let mut connection = self.connect().await?;
        Ok(redis::cmd("INFO").arg(section).query_async(&mut connection).await?)
    }

    async fn connect(&self) -> anyhow::Result<redis::aio::MultiplexedConnection> {
        Ok(redis::Client::open(self.url())?.get_multiplexed_async_connection().await?)
    }
}

fn spawn(folder: &Path, log: &Path, port: u16, primary: Option<u16>) -> anyhow::Result<Process> {
    std::fs::create_dir_all(folder)?;
    let mut command = Command::new(program("REDIS_SERVER")?);
    command.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--dir"]).arg(folder);
    command.args([
        "--save",
        "",
        "--appendonly",
        "yes",
        "--appendfsync",
        "everysec",
        "--maxmemory-policy",
        "noeviction",
    ]);
    command.args(primary.iter().flat_map(|port| ["--replicaof".to_owned(), "127.0.0.1".to_owned(), port.to_string()]));
    Process::spawn(command, log)
}
