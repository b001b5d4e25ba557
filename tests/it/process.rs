//! The real binary: a command that runs to its end, and a service of a folder, to be killed at any moment, also before
//! it answers.

use std::collections::VecDeque;
use std::ffi::OsStr;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, ChildStderr, Command, ExitStatus, Output, Stdio};
use std::time::Duration;

use serde_json::Value;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use crate::http::Api;

/// What a command that ran to its end said.
#[derive(Debug)]
pub struct Ran {
    /// `None`: a signal ended it.
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

/// Out of reach of whoever runs the tests: their key, their service, their terminal.
pub fn freshet<A: AsRef<OsStr>>(arguments: impl IntoIterator<Item = A>) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_freshet"));
    command.args(arguments).env_remove("FRESHET_API_KEY").env_remove("FRESHET_URL").stdin(Stdio::null());
    command
}

/// Runs a command to its end, while other tasks go on.
pub async fn run(mut command: Command) -> Ran {
    let output = tokio::task::spawn_blocking(move || command.output()).await.expect("it does not panic");
    let Output { status, stdout, stderr } = output.expect("the program was built");
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Ran { code: status.code(), stdout: text(stdout), stderr: text(stderr) }
}

impl Ran {
    /// Standard output of a command that has to succeed.
    pub fn done(self) -> String {
        assert_eq!(self.code, Some(0), "{}{}", self.stdout, self.stderr);
        self.stdout
    }

    /// Standard output as JSON, of a command that has to succeed.
    pub fn json(self) -> Value {
        serde_json::from_str(&self.done()).expect("it prints JSON")
    }

    /// Standard error of a command that has to end with this code.
    pub fn failed(self, code: i32) -> String {
        assert_eq!(self.code, Some(code), "{}{}", self.stdout, self.stderr);
        self.stderr
    }
}

/// Log lines kept for the message of a failure.
const LINES: usize = 40;

pub struct Process {
    child: Child,
    serving: oneshot::Receiver<String>,
    log: JoinHandle<VecDeque<String>>,
}

impl Process {
    /// Starts it, on a port that the system chooses, and returns at once.
    pub fn spawn(folder: &Path, settings: &[&str]) -> Process {
        Process::spawn_in(&[], folder, settings)
    }

    /// The same in an environment that has these variables too.
    pub fn spawn_in(environment: &[(&str, &str)], folder: &Path, settings: &[&str]) -> Process {
        let mut command = freshet(["serve", "--log-format", "json", "--listen", "127.0.0.1:0", "--data-dir"]);
        command.arg(folder);
        command.args(settings.iter().flat_map(|setting| ["--set", setting]));
        command.envs(environment.iter().copied());
        command.env("FRESHET_LOG", "info").stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the binary was built");
        let stderr = child.stderr.take().expect("it is piped");
        let (found, serving) = oneshot::channel();
        let log = tokio::task::spawn_blocking(move || follow(stderr, found));
        Process { child, serving, log }
    }

    /// Waits until it says where it serves.
    pub async fn ready(&mut self) -> Api {
        match (&mut self.serving).await {
            Ok(url) => Api::new(&url),
            Err(_) => panic!("the service ended before it served:\n{}", self.last_words().await),
        }
    }

    /// SIGKILL: nothing of it runs any more when this returns.
    pub fn kill(&mut self) {
        self.child.kill().expect("it can be killed");
        self.child.wait().expect("it was started here");
    }

    /// How it ended, if it did.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("it was started here")
    }

    /// SIGTERM, and a wait for its end, which has to be a clean one.
    pub async fn stop(mut self) {
        let killed = Command::new("sh").arg("-c").arg(format!("kill -TERM {}", self.child.id())).status();
        assert!(killed.expect("there is a shell").success());
        let status = loop {
            match self.ended() {
                Some(status) => break status,
                // Others go on meanwhile.
                None => sleep(Duration::from_millis(20)).await,
            }
        };
        assert!(status.success(), "{status}:\n{}", self.last_words().await);
    }

    /// Ends it, and returns the newest lines of its log.
    pub async fn last_words(&mut self) -> String {
        self.kill();
        let lines = (&mut self.log).await.expect("following the log does not panic");
        Vec::from(lines).join("\n")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended before: then there is nothing to kill.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Reads the log to its end, so that the service never waits for a reader.
fn follow(stderr: ChildStderr, found: oneshot::Sender<String>) -> VecDeque<String> {
    let mut found = Some(found);
    let mut newest = VecDeque::new();
    for line in BufReader::new(stderr).lines().map_while(Result::ok) {
        let url =
            serde_json::from_str::<Value>(&line).ok().and_then(|it| Some(it["fields"]["url"].as_str()?.to_owned()));
        if let Some(url) = url
            && let Some(found) = found.take()
        {
            // Nobody waits for it where the process is killed while it starts.
            let _ = found.send(url);
        }
        newest.push_back(line);
        if newest.len() > LINES {
            newest.pop_front();
        }
    }
    newest
}
