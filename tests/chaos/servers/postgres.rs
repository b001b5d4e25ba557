//! PostgreSQL, which holds the registry.

use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::Path;
use std::process::Command;

use anyhow::ensure;
use nix::sys::signal::Signal;

use crate::process::Process;
use crate::servers::program;

/// PostgreSQL does not run as root: then it runs as `nobody`.
const NOBODY: u32 = 65_534;

pub struct Postgres {
    process: Process,
}

impl Postgres {
    pub async fn start(folder: &Path, log: &Path, port: u16) -> anyhow::Result<Postgres> {
        std::fs::create_dir_all(folder)?;
        std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o700))?;
        if is_root()? {
            chown(folder, Some(NOBODY), Some(NOBODY))?;
        }
        let mut initdb = as_nobody("initdb")?;
        let made = initdb.arg("-D").arg(folder).args(["-U", "freshet", "-A", "trust", "--no-sync"]).output()?;
        ensure!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let mut command = as_nobody("postgres")?;
        command.arg("-D").arg(folder).args(["-p", &port.to_string(), "-c", "listen_addresses=127.0.0.1"]);
        command.args(["-c", "unix_socket_directories=", "-c", "fsync=off", "-c", "max_connections=200"]);
        let mut process = Process::spawn(command, log)?;
        process.listens(port).await?;
        Ok(Postgres { process })
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // Its own children end with it at once; a postmaster that is killed leaves them a moment longer.
        let _ = self.process.signal(Signal::SIGQUIT);
    }
}

fn as_nobody(name: &str) -> anyhow::Result<Command> {
    let program = format!("{}/{name}", program("POSTGRES_BIN")?);
    if !is_root()? {
        return Ok(Command::new(program));
    }
    let mut command = Command::new("setpriv");
    command.args([format!("--reuid={NOBODY}"), format!("--regid={NOBODY}"), "--clear-groups".to_owned(), program]);
    Ok(command)
}

fn is_root() -> anyhow::Result<bool> {
    Ok(std::fs::metadata("/proc/self")?.uid() == 0)
}
