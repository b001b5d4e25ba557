//! A child process with its log in a file. It is ended by its id when it is dropped: at the end of a run, at a panic,
//! at Ctrl-C.

use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, bail};
use nix::sys::signal::{self, Signal};
use nix::unistd::Pid;
use tokio::net::TcpStream;
use tokio::time::sleep;

pub struct Process {
    child: Child,
    log: PathBuf,
}

/// How long a server may take to start, or a process to end.
const PATIENCE: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(20);

impl Process {
    /// `log` is appended to: a process that is started again goes on in the same file.
    pub fn spawn(mut command: Command, log: &Path) -> anyhow::Result<Process> {
        let file = File::options().create(true).append(true).open(log)?;
        command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
        // A group of its own: Ctrl-C is for the driver alone, which then ends what it started.
        command.process_group(0);
        let child = command.spawn().with_context(|| format!("cannot start {:?}", command.get_program()))?;
        Ok(Process { child, log: log.to_owned() })
    }

    pub fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        let id = Pid::from_raw(i32::try_from(self.child.id())?);
        signal::kill(id, signal).with_context(|| format!("{signal} to {id}"))
    }

    /// SIGKILL: nothing of it runs any more when this returns.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Sends a signal that asks it to end, and waits for a clean end.
    pub async fn end(&mut self, by: Signal) -> anyhow::Result<()> {
        self.signal(by)?;
        for _ in 0..PATIENCE.as_millis() / POLL.as_millis() {
            match self.child.try_wait()? {
                Some(status) if status.success() => return Ok(()),
                Some(status) => bail!("{status} after {by}: see {}", self.log.display()),
                None => sleep(POLL).await,
            }
        }
        bail!("still there {PATIENCE:?} after {by}: see {}", self.log.display())
    }

    /// Waits until it accepts connections.
    pub async fn listens(&mut self, port: u16) -> anyhow::Result<()> {
        for _ in 0..PATIENCE.as_millis() / POLL.as_millis() {
            if let Some(status) = self.child.try_wait()? {
                bail!("{status} before it listened on port {port}: see {}", self.log.display());
            }
            if TcpStream::connect(("127.0.0.1", port)).await.is_ok() {
                return Ok(());
            }
            sleep(POLL).await;
        }
        bail!("nothing listens on port {port} after {PATIENCE:?}: see {}", self.log.display())
    }

    pub fn has_ended(&mut self) -> anyhow::Result<bool> {
        Ok(self.child.try_wait()?.is_some())
    }

    /// Why it ended, as a rule.
    pub fn last_log_line(&self) -> anyhow::Result<String> {
        let log = std::fs::read(&self.log)?;
        Ok(String::from_utf8_lossy(&log).lines().next_back().unwrap_or_default().to_owned())
    }

    /// How many lines of its log hold `text`.
    pub fn log_lines_with(&self, text: &str) -> anyhow::Result<usize> {
        let log = std::fs::read(&self.log)?;
        Ok(String::from_utf8_lossy(&log).lines().filter(|line| line.contains(text)).count())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended before: then there is nothing to kill.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Ports that nobody listens on. Below the range from which the system takes the ports of outgoing connections: while
/// a server is down, one of those could otherwise get its port, or connect a client to itself.
pub fn free_ports<const N: usize>(random: &mut fastrand::Rng) -> anyhow::Result<[u16; N]> {
    let mut held = Vec::new();
    for _ in 0..1_000 {
        if held.len() == N {
            break;
        }
        held.extend(std::net::TcpListener::bind(("127.0.0.1", random.u16(20_000..32_000))));
    }
    let ports = held.iter().map(|listener| Ok(listener.local_addr()?.port())).collect::<anyhow::Result<Vec<u16>>>()?;
    ports.try_into().map_err(|found| anyhow::anyhow!("only {found:?} of {N} ports are free"))
}
