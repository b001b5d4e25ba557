//! A folder with the operations that an object store has too: create if absent, get, list, delete.
//!
//! Promises: a file that [`Folder::create`] made is whole and durable when it returns, and of several that create
//! the same path exactly one succeeds, in any process. A process that dies in between leaves at most files whose
//! names begin with a dot, which nothing lists.

use std::collections::HashSet;
use std::fs::{self, File, OpenOptions};
use std::hash::{BuildHasher, RandomState};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use crate::kernel::name::Name;
use crate::offline::Error;

/// One project's part of the offline store. Clones share it.
#[derive(Clone, Debug)]
pub struct Folder(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    root: PathBuf,
    /// Drawn at random, so that no two writers choose the same name for a file.
    writer: u64,
    files_named: AtomicU64,
    /// Folders that this process knows to be on disk.
    durable: Mutex<HashSet<PathBuf>>,
    #[cfg(test)]
    faults: tests::Faults,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Created {
    Done,
    /// The path was taken, and is as it was.
    AlreadyExists,
}

impl Folder {
    pub fn open(root: &Path, project: &Name) -> Folder {
        Folder(Arc::new(Inner {
            root: root.join(project.as_str()),
            writer: RandomState::new().hash_one(root),
            files_named: AtomicU64::new(0),
            durable: Mutex::default(),
            #[cfg(test)]
            faults: tests::Faults::default(),
        }))
    }

    pub fn path(&self, path: &str) -> PathBuf {
        self.0.root.join(path)
    }

    /// Part of a file's name that no other file has.
    pub(super) fn unique(&self) -> String {
        let number = self.0.files_named.fetch_add(1, Ordering::Relaxed);
        format!("{:016x}-{number:06}", self.0.writer)
    }

    /// Writes the whole file, unless there is one.
    pub(super) fn create(&self, path: &str, bytes: &[u8]) -> Result<Created, Error> {
        let target = self.path(path);
        let folder = target.parent().expect("a path inside the project has a folder").to_owned();
        self.make_durable(&folder)?;
        let draft = folder.join(format!(".{}.tmp", self.unique()));
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

    /// `None`: no such file.
    pub(super) fn get(&self, path: &str) -> Result<Option<Vec<u8>>, Error> {
        let target = self.path(path);
        self.perform("read", &target, || absent_is_none(fs::read(&target)))
    }

    pub(super) fn open_file(&self, path: &str) -> Result<File, Error> {
        let target = self.path(path);
        self.perform("open", &target, || File::open(&target))
    }

    /// Names directly inside the folder, in order; none if it does not exist.
    pub(super) fn list(&self, path: &str) -> Result<Vec<String>, Error> {
        let target = self.path(path);
        let entries = self.perform("list", &target, || absent_is_none(fs::read_dir(&target)))?;
        let mut names = Vec::new();
        for entry in entries.into_iter().flatten() {
            let entry = entry.map_err(|source| Error::Io { doing: "list", path: target.clone(), source })?;
            names.extend(entry.file_name().into_string().ok().filter(|name| !name.starts_with('.')));
        }
        names.sort_unstable();
        Ok(names)
    }

    pub(super) fn delete(&self, path: &str) -> Result<(), Error> {
        let target = self.path(path);
        self.perform("remove", &target, || absent_is_none(fs::remove_file(&target)).map(|_| ()))
    }

    /// Makes the folder, and every one above it up to the root's own, survive a loss of power.
    fn make_durable(&self, folder: &Path) -> Result<(), Error> {
        if self.0.durable.lock().expect("no holder of the lock panics").contains(folder) {
            return Ok(());
        }
        self.perform("create", folder, || fs::create_dir_all(folder))?;
        let project_and_root = 2;
        let inside = folder.strip_prefix(&self.0.root).map_or(0, |rest| rest.components().count());
        for above in folder.ancestors().skip(1).take(inside + project_and_root).filter(|path| path.is_dir()) {
            self.perform("sync", above, || sync(above))?;
        }
        self.0.durable.lock().expect("no holder of the lock panics").insert(folder.to_owned());
        Ok(())
    }

    /// Every operation on the file system goes through here: a test stops the process between any two of them.
    fn perform<T>(&self, doing: &'static str, path: &Path, act: impl FnOnce() -> io::Result<T>) -> Result<T, Error> {
        #[cfg(test)]
        let act = || self.0.faults.step().and_then(|()| act());
        act().map_err(|source| Error::Io { doing, path: path.to_owned(), source })
    }
}

fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

pub(super) fn sync(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

fn absent_is_none<T>(outcome: io::Result<T>) -> io::Result<Option<T>> {
    match outcome {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        outcome => outcome.map(Some),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::sync::atomic::AtomicI64;

    use super::*;

    /// Counts operations, and from a chosen one on refuses all, as for a process that was killed there.
    #[derive(Debug)]
    pub struct Faults {
        left: AtomicI64,
    }

    impl Default for Faults {
        fn default() -> Faults {
            Faults { left: AtomicI64::new(i64::MAX) }
        }
    }

    impl Faults {
        pub fn step(&self) -> io::Result<()> {
            match self.left.fetch_sub(1, Ordering::SeqCst) {
                left if left > 0 => Ok(()),
                _ => Err(io::Error::other("killed by the test")),
            }
        }
    }

    impl Folder {
        /// Lets `operations` more happen, and none after them.
        pub fn kill_after(&self, operations: i64) {
            self.0.faults.left.store(operations, Ordering::SeqCst);
        }
    }

    pub fn project(root: &Path) -> Folder {
        Folder::open(root, &"default".parse().expect("a name"))
    }

    #[test]
    fn of_two_that_create_a_path_one_succeeds_and_the_file_is_its() {
        let root = tempfile::tempdir().expect("a folder");
        let (one, other) = (project(root.path()), project(root.path()));
        assert_eq!(one.create("a/b", b"one").expect("created"), Created::Done);
        assert_eq!(other.create("a/b", b"other").expect("refused"), Created::AlreadyExists);
        assert_eq!(other.get("a/b").expect("read").as_deref(), Some(&b"one"[..]));
    }

    #[test]
    fn a_kill_at_any_operation_leaves_the_whole_file_or_none() {
        for operations in 0.. {
            let root = tempfile::tempdir().expect("a folder");
            let dying = project(root.path());
            dying.kill_after(operations);
            let outcome = dying.create("a/b/c", b"whole");
            let survivor = project(root.path());
            let found = survivor.get("a/b/c").expect("read");
            assert!(found.is_none() || found.as_deref() == Some(b"whole"), "after {operations} operations: {found:?}");
            assert!(survivor.list("a/b").expect("listed").iter().all(|name| name == "c"));
            if outcome.is_ok() {
                assert!(operations > 4, "a create is several operations");
                assert!(found.is_some());
                return;
            }
        }
    }

    #[test]
    fn what_does_not_exist_is_empty_and_not_an_error() {
        let root = tempfile::tempdir().expect("a folder");
        let folder = project(root.path());
        assert_eq!(folder.list("nothing").expect("listed"), Vec::<String>::new());
        assert_eq!(folder.get("nothing").expect("read"), None);
        folder.delete("nothing").expect("nothing to delete");
    }
}
