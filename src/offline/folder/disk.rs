//! A local folder. A file is written under a hidden name, made durable, and then put in its place; so are the
//! folders above it.

use std::collections::HashSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use bytes::Bytes;

use crate::offline::Error;
use crate::offline::folder::Created;

#[derive(Debug)]
pub(super) struct Disk {
    root: PathBuf,
    /// Folders that this process knows to be on disk.
    durable: Mutex<HashSet<PathBuf>>,
    #[cfg(test)]
    pub(super) faults: super::faults::Faults,
}

impl Disk {
    /// `root` is the project's own folder.
    pub fn new(root: PathBuf) -> Disk {
        Disk {
            root,
            durable: Mutex::default(),
            #[cfg(test)]
            faults: super::faults::Faults::default(),
        }
    }

    pub fn path(&self, path: &str) -> PathBuf {
        self.root.join(path)
    }

    pub fn create(&self, path: &str, bytes: &[u8], unique: &str) -> Result<Created, Error> {
        let (folder, target) = self.target(path)?;
        let draft = folder.join(format!(".{unique}.tmp"));
        self.perform("write", &draft, || write_new(&draft, bytes))?;
        // A link fails where the name is taken, which a rename would replace.
        let created = self.perform("create", &target, || match fs::hard_link(&draft, &target) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(Created::AlreadyExists),
            linked => linked.map(|()| Created::Done),
        });
        let tidied = self.perform("remove", &draft, || fs::remove_file(&draft));
        let created = created?;
        tidied?;
        self.perform("sync", &folder, || sync(&folder))?;
        Ok(created)
    }

    pub fn draft(&self, path: &str, unique: &str) -> Result<Draft, Error> {
        let (folder, target) = self.target(path)?;
        let draft = folder.join(format!(".{unique}.tmp"));
        let file = self.perform("create", &draft, || new_file(&draft))?;
        Ok(Draft { path: draft, target, file })
    }

    pub fn get(&self, path: &str) -> Result<Option<Bytes>, Error> {
        let target = self.path(path);
        Ok(self.perform("read", &target, || absent_is_none(fs::read(&target)))?.map(Bytes::from))
    }

    pub fn open(&self, path: &str) -> Result<Option<File>, Error> {
        let target = self.path(path);
        self.perform("read", &target, || absent_is_none(File::open(&target)))
    }

    pub fn size(&self, path: &str) -> Result<Option<u64>, Error> {
        let target = self.path(path);
        Ok(self.perform("read", &target, || absent_is_none(fs::metadata(&target)))?.map(|found| found.len()))
    }

    pub fn part(&self, path: &str, part: Range<u64>) -> Result<Bytes, Error> {
        let target = self.path(path);
        let mut bytes = vec![0; (part.end - part.start) as usize];
        self.perform("read", &target, || File::open(&target)?.read_exact_at(&mut bytes, part.start))?;
        Ok(bytes.into())
    }

    pub fn list(&self, path: &str) -> Result<Vec<String>, Error> {
        let target = self.path(path);
        let entries = self.perform("list", &target, || absent_is_none(fs::read_dir(&target)))?;
        let mut names = Vec::new();
        for entry in entries.into_iter().flatten() {
            let entry = entry.map_err(|source| Error::Io { doing: "list", path: target.clone(), source })?;
            names.extend(entry.file_name().into_string().ok());
        }
        Ok(names)
    }

    pub fn delete(&self, path: &str) -> Result<(), Error> {
        let target = self.path(path);
        self.perform("remove", &target, || absent_is_none(fs::remove_file(&target)).map(|_| ()))
    }

    /// The folder of a path, durable, and the path.
    fn target(&self, path: &str) -> Result<(PathBuf, PathBuf), Error> {
        let target = self.path(path);
        let folder = target.parent().expect("a path inside the project has a folder").to_owned();
        self.make_durable(&folder)?;
        Ok((folder, target))
    }

    /// Makes the folder, and every one above it up to the root's own, survive a loss of power.
    fn make_durable(&self, folder: &Path) -> Result<(), Error> {
        if self.durable.lock().expect("no holder of the lock panics").contains(folder) {
            return Ok(());
        }
        self.perform("create", folder, || fs::create_dir_all(folder))?;
        let project_and_root = 2;
        let inside = folder.strip_prefix(&self.root).map_or(0, |rest| rest.components().count());
        for above in folder.ancestors().skip(1).take(inside + project_and_root).filter(|path| path.is_dir()) {
            self.perform("sync", above, || sync(above))?;
        }
        self.durable.lock().expect("no holder of the lock panics").insert(folder.to_owned());
        Ok(())
    }

    /// Every operation on the file system goes through here: a test stops the process between any two of them.
    fn perform<T>(&self, doing: &'static str, path: &Path, act: impl FnOnce() -> io::Result<T>) -> Result<T, Error> {
        #[cfg(test)]
        let act = || self.faults.step().and_then(|()| act());
        act().map_err(|source| Error::Io { doing, path: path.to_owned(), source })
    }
}

/// A file under a hidden name, removed unless it is published.
pub(super) struct Draft {
    path: PathBuf,
    target: PathBuf,
    file: File,
}

impl Draft {
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    pub fn publish(self) -> Result<(), Error> {
        let folder = self.target.parent().expect("a path inside the project has a folder");
        let published =
            self.file.sync_all().and_then(|()| fs::rename(&self.path, &self.target)).and_then(|()| sync(folder));
        published.map_err(|source| Error::Io { doing: "write", path: self.target.clone(), source })
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        // After the rename there is nothing to remove; a draft that stays is hidden, and harms nobody.
        let _ = fs::remove_file(&self.path);
    }
}

fn new_file(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).open(path)
}

fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = new_file(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

fn sync(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

fn absent_is_none<T>(outcome: io::Result<T>) -> io::Result<Option<T>> {
    match outcome {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        outcome => outcome.map(Some),
    }
}
