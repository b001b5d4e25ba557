//! Redis servers for tests: those that the test command started for all, and one of a test's own.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::{env, thread};

use nix::sys::signal::{self, Signal};
use nix::unistd::Pid;
use redis::{Cmd, Value, cmd};
use tempfile::TempDir;

/// The URL of a server that tests share.
pub fn shared(variable: &str) -> String {
    env::var(variable).unwrap_or_else(|_| panic!("{variable} is not set: run ./test, or tests/servers cargo test ..."))
}

/// Without persistence, and killed when dropped.
pub struct Server {
    process: Child,
    port: u16,
    options: Vec<String>,
    folder: TempDir,
}

impl Server {
    /// Returns once it takes connections.
    pub fn start(options: &[&str]) -> Server {
        let folder = tempfile::tempdir().expect("a folder");
        let port = free_port();
        let options = options.iter().map(|option| (*option).to_owned()).collect();
        let process = run(port, &options, &folder);
        Server { process, port, options, folder }
    }

    pub fn replica_of(primary: &Server) -> Server {
        Server::start(&["--replicaof", &format!("127.0.0.1 {}", primary.port)])
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// SIGKILL, and a start with nothing.
    pub fn restart(&mut self) {
        self.kill();
        self.process = run(self.port, &self.options, &self.folder);
    }

    /// Of a replica: until it has all that its primary had.
    pub async fn until_it_follows(&self) {
        let client = redis::Client::open(self.url()).expect("a URL");
        let mut connection = client.get_multiplexed_async_connection().await.expect("a connection");
        loop {
            let info: String = cmd("INFO").arg("replication").query_async(&mut connection).await.expect("answered");
            if info.contains("master_link_status:up") {
                return;
            }
        }
    }

    pub async fn promote(&self) {
        self.ask(cmd("REPLICAOF").arg("NO").arg("ONE")).await;
    }

    /// On a connection of its own.
    pub async fn ask(&self, command: &Cmd) -> Value {
        let client = redis::Client::open(self.url()).expect("a URL");
        let mut connection = client.get_multiplexed_async_connection().await.expect("a connection");
        command.query_async(&mut connection).await.expect("answered")
    }

    /// Its connections stand, and it says nothing any more.
    pub fn fall_silent(&self) {
        self.signal(Signal::SIGSTOP);
    }

    pub fn speak_again(&self) {
        self.signal(Signal::SIGCONT);
    }

    fn signal(&self, signal: Signal) {
        let id = Pid::from_raw(self.process.id().try_into().expect("an id of a process"));
        signal::kill(id, signal).expect("it is our own");
    }

    pub fn kill(&mut self) {
        self.process.kill().expect("it is our own");
        self.process.wait().expect("it ended");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

fn run(port: u16, options: &Vec<String>, folder: &TempDir) -> Child {
    let program = env::var("REDIS_SERVER").unwrap_or_else(|_| "redis-server".to_owned());
    let mut process = Command::new(program)
        .args(["--port", &port.to_string(), "--save", "", "--appendonly", "no", "--repl-diskless-sync-delay", "0"])
        .arg("--dir")
        .arg(folder.path())
        .args(options)
        .stdout(Stdio::piped())
        .spawn()
        .expect("redis-server is there: run ./test, or tests/servers cargo test ...");
    let mut lines = BufReader::new(process.stdout.take().expect("it is piped")).lines();
    let is_ready = |line: &Result<String, _>| line.as_ref().is_ok_and(|line| line.contains("Ready to accept"));
    assert!(lines.by_ref().any(|line| is_ready(&line)), "redis-server ended before it was ready");
    drain(lines);
    process
}

/// So that the server never waits for a reader of its log.
#[expect(clippy::disallowed_methods, reason = "it ends with the server")]
fn drain(lines: impl Iterator<Item = std::io::Result<String>> + Send + 'static) {
    thread::spawn(move || lines.for_each(drop));
}

pub fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("it is bound").port()
}
