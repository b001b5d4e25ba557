//! The offline store's disk: small, and a file system of its own, so that it can be filled without harm to others.
//! Where mounting one is not allowed, the folder is an ordinary one, and no disk is ever full.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context;
use freshet::kernel::name::Name;
use freshet::offline::{Archive, Folder};

pub struct Disk {
    folder: PathBuf,
    mounted: bool,
}

/// What a run's archive needs at most: a base, and so much a minute.
const MEGABYTES: f64 = 256.0;
const MEGABYTES_A_MINUTE: f64 = 80.0;

impl Disk {
    pub fn new(folder: &Path, minutes: f64) -> anyhow::Result<Disk> {
        std::fs::create_dir_all(folder)?;
        std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o755))?;
        let size = format!("size={}m", (MEGABYTES + minutes * MEGABYTES_A_MINUTE).ceil());
        let mount = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(folder).output();
        Ok(Disk { folder: folder.to_owned(), mounted: mount.is_ok_and(|mount| mount.status.success()) })
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// What Freshet keeps on it.
    pub fn archive(&self) -> anyhow::Result<Archive> {
        let folder = self.folder.to_str().context("the folder's name is text")?;
        Ok(Archive::new(Folder::open(folder, &project())?))
    }

    pub fn can_be_full(&self) -> bool {
        self.mounted
    }

    /// Takes all that is left of it, until the answer is dropped.
    pub async fn fill(&self) -> anyhow::Result<Full> {
        let path = self.folder.join("ballast");
        tokio::task::spawn_blocking(move || Full::write(path)).await?
    }
}

/// Holds all that was left of a disk.
pub struct Full(PathBuf);

impl Full {
    fn write(path: PathBuf) -> anyhow::Result<Full> {
        let mut file = File::create(&path)?;
        let full = Full(path);
        let mut length = 1 << 20;
        while length > 0 {
            match file.write(&vec![0; length]) {
                Ok(_) => {}
                Err(error) if error.kind() == std::io::ErrorKind::StorageFull => length /= 2,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(full)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        if self.mounted {
            // Lazily: a process that is on its way out may still hold a file.
            let _ = Command::new("umount").arg("-l").arg(&self.folder).status();
        }
    }
}

impl Drop for Full {
    fn drop(&mut self) {
        // If it is gone already, the disk is not full either.
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Of every process of a run.
pub fn project() -> Name {
    "chaos".parse().expect("it is a name")
}
