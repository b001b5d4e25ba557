//! The processes of Freshet: stream workers, API servers, an archive; each killed, stopped and started again by itself.

use std::path::PathBuf;
use std::process::Command;

use nix::sys::signal::Signal;
use tokio::sync::{Mutex, MutexGuard};

use crate::process::Process;

/// Where every process finds what it shares with the others.
pub struct Shared {
    pub brokers: String,
    pub redis: String,
    pub registry: String,
    pub offline: PathBuf,
    pub logs: PathBuf,
    pub data: PathBuf,
}

/// Long enough for a pause of the machine, short against a zombie's.
pub const SESSION_TIMEOUT_MS: u64 = 6_000;

/// One process and its place, which stay the same over restarts: name, port, instance id.
pub struct Member {
    pub name: String,
    pub url: String,
    port: u16,
    /// `None` while it is out of the fleet. Whoever does something to it holds the lock meanwhile.
    process: Mutex<Option<Process>>,
    /// What a command line needs.
    settings: Vec<String>,
    log: PathBuf,
}

pub struct Fleet {
    pub workers: Vec<Member>,
    pub apis: [Member; 2],
    pub archive: Member,
}

impl Fleet {
    pub fn new(shared: &Shared, ports: &[u16]) -> Fleet {
        let [api, other_api, archive, workers @ ..] = ports else { panic!("a port for each member") };
        let worker = |(number, port): (usize, &u16)| Member::new(shared, format!("worker-{number}"), "stream", *port);
        Fleet {
            workers: (1..).zip(workers).map(worker).collect(),
            apis: [("api-1", api), ("api-2", other_api)]
                .map(|(name, port)| Member::new(shared, name.into(), "api", *port)),
            archive: Member::new(shared, "archive".into(), "archive", *archive),
        }
    }

    /// The worker that comes and goes.
    pub fn spare(&self) -> &Member {
        self.workers.last().expect("there are workers")
    }

    pub fn all(&self) -> impl Iterator<Item = &Member> {
        self.workers.iter().chain(&self.apis).chain([&self.archive])
    }
}

impl Member {
    fn new(shared: &Shared, name: String, role: &'static str, port: u16) -> Member {
        let settings = [
            ("data_dir", shared.data.join(&name).display().to_string()),
            ("listen", format!("127.0.0.1:{port}")),
            ("project", "chaos".to_owned()),
            ("roles", role.to_owned()),
            ("kafka", shared.brokers.clone()),
            ("redis", shared.redis.clone()),
            ("registry", shared.registry.clone()),
            ("offline", shared.offline.display().to_string()),
            ("instance_id", name.clone()),
            ("session_timeout_ms", SESSION_TIMEOUT_MS.to_string()),
            ("parity_sample", "1".to_owned()),
        ];
        let settings = settings.iter().flat_map(|(name, value)| ["--set".to_owned(), format!("{name}={value}")]);
        Member {
            url: format!("http://127.0.0.1:{port}"),
            port,
            process: Mutex::new(None),
            settings: settings.collect(),
            log: shared.logs.join(format!("{name}.log")),
            name,
        }
    }

    pub async fn hold(&self) -> Held<'_> {
        Held { member: self, process: self.process.lock().await }
    }

    /// `None` where something is being done to it already.
    pub fn try_hold(&self) -> Option<Held<'_>> {
        Some(Held { member: self, process: self.process.try_lock().ok()? })
    }
}

/// A member that nobody else does anything to.
pub struct Held<'a> {
    pub member: &'a Member,
    process: MutexGuard<'a, Option<Process>>,
}

impl Held<'_> {
    /// Whether it is meant to run.
    pub fn is_running(&self) -> bool {
        self.process.is_some()
    }

    /// The last line of its log, if it was started and ended by itself.
    pub fn last_words(&mut self) -> anyhow::Result<Option<String>> {
        let Some(process) = self.process.as_mut() else { return Ok(None) };
        process.has_ended()?.then(|| process.last_log_line()).transpose()
    }

    /// Returns once it listens.
    pub async fn start(&mut self) -> anyhow::Result<()> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_freshet"));
        command.args(["serve", "--log-format", "json"]).args(&self.member.settings).env("FRESHET_LOG", "info");
        let process = self.process.insert(Process::spawn(command, &self.member.log)?);
        process.listens(self.member.port).await
    }

    pub fn kill(&mut self) -> anyhow::Result<()> {
        self.process.take().map_or(Ok(()), |mut process| process.kill())
    }

    /// SIGTERM, and a wait for its clean end.
    pub async fn stop(&mut self) -> anyhow::Result<()> {
        match self.process.take() {
            Some(mut process) => process.end(Signal::SIGTERM).await,
            None => Ok(()),
        }
    }

    pub fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        self.process.as_ref().map_or(Ok(()), |process| process.signal(signal))
    }

    pub fn log_lines_with(&self, text: &str) -> anyhow::Result<usize> {
        self.process.as_ref().map_or(Ok(0), |process| process.log_lines_with(text))
    }
}
