//! Feast's Python server on the same Redis, with as many features.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tempfile::TempDir;

use super::FEATURES;

/// How fast it answers does not depend on how many there are.
pub const USERS: usize = 2_000;

pub struct Feast {
    pub address: String,
    process: Child,
    _folder: TempDir,
}

impl Feast {
    /// With a worker for each processor.
    pub fn start(python: &Path, redis: &str) -> Feast {
        let folder = tempfile::tempdir().expect("a folder");
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/lookup/feast_server.py");
        let workers = std::thread::available_parallelism().expect("the system knows").to_string();
        let (features, users) = (FEATURES.to_string(), USERS.to_string());
        let mut command = Command::new(python);
        command.arg(script).arg(folder.path()).args([redis, &features, &users, &workers]);
        // A group of its own, for its workers are processes that it does not take along.
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let mut process = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().expect("Python starts");
        let lines = BufReader::new(process.stdout.take().expect("it is piped")).lines();
        let mut addresses =
            lines.map_while(Result::ok).filter_map(|line| Some(line.strip_prefix("serving ")?.to_owned()));
        let address = addresses.next().expect("Feast says where it serves");
        Feast { address, process, _folder: folder }
    }
}

impl Drop for Feast {
    fn drop(&mut self) {
        let group = Pid::from_raw(self.process.id() as i32);
        // It may have ended before: then there is nothing to kill.
        let _ = killpg(group, Signal::SIGKILL);
        let _ = self.process.wait();
    }
}
