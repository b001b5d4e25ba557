//! A folder that one process has at a time, with a database in it that appears whole or not at all: an embedded
//! database whose first creation was killed half-way could never be opened again.
//!
//! ```text
//! <folder>/lock     locked while a process has the folder
//! <folder>/db       the database
//! <folder>/db.new   one that is being created; what a killed creation left is deleted
//! ```
//!
//! It knows no database: how to create one is handed in.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

/// Let go when it is dropped: after the database.
pub struct ExclusiveFolder {
    folder: PathBuf,
    _locked: File,
}

#[derive(Debug)]
pub enum Error {
    InUse,
    Io(io::Error),
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Error {
        Error::Io(error)
    }
}

const LOCK: &str = "lock";

impl ExclusiveFolder {
    /// Takes the folder, creating it where there is none.
    pub fn open(folder: &Path) -> Result<ExclusiveFolder, Error> {
        fs::create_dir_all(folder)?;
        // Our own lock: a database's own is there too late to guard its creation.
        let file = File::create(folder.join(LOCK))?;
        match file.try_lock() {
            Ok(()) => Ok(ExclusiveFolder { folder: folder.to_owned(), _locked: file }),
            Err(TryLockError::WouldBlock) => Err(Error::InUse),
            Err(TryLockError::Error(error)) => Err(Error::Io(error)),
        }
    }

    /// Whether somebody has taken the folder, now or ever.
    pub fn is_one(folder: &Path) -> bool {
        folder.join(LOCK).exists()
    }

    /// Where the database stands. Where there is none, `create` makes one elsewhere first, and closes it durable.
    pub fn database<E: From<io::Error>>(&self, create: impl FnOnce(&Path) -> Result<(), E>) -> Result<PathBuf, E> {
        let path = self.folder.join("db");
        if path.exists() {
            return Ok(path);
        }
        let aside = self.folder.join("db.new");
        match fs::remove_dir_all(&aside) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
        create(&aside)?;
        fs::rename(&aside, &path)?;
        // The new name lives in the folder, which has to reach the disk as well.
        File::open(&self.folder)?.sync_all()?;
        Ok(path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn created(folder: &ExclusiveFolder, text: &str) -> String {
        let create = |aside: &Path| fs::create_dir_all(aside).and_then(|()| fs::write(aside.join("text"), text));
        let path = folder.database(create).expect("a database");
        fs::read_to_string(path.join("text")).expect("what was created")
    }

    #[test]
    fn a_creation_that_was_killed_is_begun_again() {
        let folder = tempfile::tempdir().expect("a folder");
        let half = folder.path().join("db.new");
        fs::create_dir_all(half.join("tables")).expect("half a database");
        let exclusive = ExclusiveFolder::open(folder.path()).expect("ours");
        assert_eq!(created(&exclusive, "first"), "first");
        assert!(!half.exists() && !folder.path().join("db").join("tables").exists());
    }

    #[test]
    fn a_creation_that_fails_leaves_no_database_and_one_that_is_there_stays() {
        let folder = tempfile::tempdir().expect("a folder");
        let exclusive = ExclusiveFolder::open(folder.path()).expect("ours");
        let fails = |aside: &Path| fs::create_dir_all(aside).and(Err(io::Error::other("the disk is full")));
        assert!(exclusive.database(fails).is_err());
        assert_eq!(created(&exclusive, "first"), "first");
        assert_eq!(created(&exclusive, "second"), "first");
    }

    #[test]
    fn a_folder_is_one_owner_s_until_it_is_let_go() {
        let folder = tempfile::tempdir().expect("a folder");
        let held = ExclusiveFolder::open(folder.path()).expect("ours");
        assert!(matches!(ExclusiveFolder::open(folder.path()), Err(Error::InUse)));
        drop(held);
        assert!(ExclusiveFolder::open(folder.path()).is_ok());
    }
}
