//! One project's files, in a local folder or in an object store, with the operations that both have: create if
//! absent, read, list, delete, and a table that is written bit by bit and appears whole.
//!
//! Promises: a file that [`Folder::create`] made is whole and durable when it returns, and of several that create
//! the same path exactly one succeeds, in any process. A process that dies in between leaves at most files whose
//! names begin with a dot, which nothing lists.
//!
//! It blocks, from any thread: what is remote runs on a thread of its own. Files are read whole where they were in memory
//! when they were written: a request for a part costs more than the columns that a reader leaves aside. A table that was
//! written bit by bit is read in parts.

use std::fs::{self, File, OpenOptions};
use std::hash::{BuildHasher, RandomState};
use std::io::{self, Write};
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;

use crate::kernel::name::Name;
use crate::offline::Error;

use disk::{Disk, Draft};
use remote::{Remote, Upload};

mod disk;
#[cfg(test)]
pub(super) mod faults;
mod remote;
#[cfg(test)]
pub(crate) mod tests;

/// One project's part of the offline store. Clones share it.
#[derive(Clone, Debug)]
pub struct Folder(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    place: Place,
    /// Drawn at random, so that no two writers choose the same name for a file.
    writer: u64,
    files_named: AtomicU64,
}

#[derive(Debug)]
enum Place {
    Disk(Disk),
    Remote(Arc<Remote>),
}

/// Large enough that a request to an object store is worth it, small enough for many readers at once.
const PART_BYTES: u64 = 4 << 20;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Created {
    Done,
    /// The path was taken, and is as it was.
    AlreadyExists,
}

impl Folder {
    /// A local folder (`folder` or `file://folder`), or one of `s3://bucket/prefix`, `gs://bucket/prefix` and
    /// `az://container/prefix`, with credentials and endpoint from the environment. An object store is tried out: one
    /// that is not there, or cannot create a file only where there is none, is refused.
    pub fn open(url: &str, project: &Name) -> Result<Folder, Error> {
        Folder::open_with(url, project, &[])
    }

    /// The same with settings of the object store, such as `aws_endpoint`, over those of the environment.
    pub fn open_with(url: &str, project: &Name, settings: &[(String, String)]) -> Result<Folder, Error> {
        match url.split_once("://") {
            None => Ok(Folder::on_disk(Path::new(url), project)),
            Some(("file", folder)) => Ok(Folder::on_disk(Path::new(folder), project)),
            Some((scheme, place)) => {
                let remote = Remote::connect(scheme, place, project, settings)?;
                let folder = Folder::at(Place::Remote(Arc::new(remote)));
                folder.try_out()?;
                Ok(folder)
            }
        }
    }

    pub fn on_disk(root: &Path, project: &Name) -> Folder {
        Folder::at(Place::Disk(Disk::new(root.join(project.as_str()))))
    }

    fn at(place: Place) -> Folder {
        let writer = RandomState::new().hash_one("writer");
        Folder(Arc::new(Inner { place, writer, files_named: AtomicU64::new(0) }))
    }

    /// Where a path is, for people and their tools: a local path or a URL.
    pub fn place_of(&self, path: &str) -> String {
        match &self.0.place {
            Place::Disk(disk) => disk.path(path).display().to_string(),
            Place::Remote(remote) => remote.url(path),
        }
    }

    /// The whole file. `None`: there is none.
    pub fn get(&self, path: &str) -> Result<Option<Bytes>, Error> {
        match &self.0.place {
            Place::Disk(disk) => disk.get(path),
            Place::Remote(remote) => remote.get(path),
        }
    }

    /// How many bytes a file has. `None`: there is none.
    pub fn size(&self, path: &str) -> Result<Option<u64>, Error> {
        match &self.0.place {
            Place::Disk(disk) => disk.size(path),
            Place::Remote(remote) => remote.size(path),
        }
    }

    /// Part of a file, all of it below the file's size.
    pub fn part(&self, path: &str, part: Range<u64>) -> Result<Bytes, Error> {
        match &self.0.place {
            Place::Disk(disk) => disk.part(path, part),
            Place::Remote(remote) => remote.part(path, part),
        }
    }

    /// The parts that a file of so many bytes is best read in, one after the other.
    pub fn parts(size: u64) -> impl Iterator<Item = Range<u64>> {
        (0..size.div_ceil(PART_BYTES)).map(move |number| {
            let start = number * PART_BYTES;
            start..size.min(start + PART_BYTES)
        })
    }

    /// A file as one of this machine's, for whoever reads here and there in it. `None`: there is none.
    pub(super) fn local(&self, path: &str) -> Result<Option<File>, Error> {
        match &self.0.place {
            Place::Disk(disk) => disk.open(path),
            Place::Remote(_) => self.size(path)?.map(|size| self.fetched(path, size)).transpose(),
        }
    }

    /// The whole file, which something names: that it is not there is damage.
    pub(super) fn read(&self, path: &str) -> Result<Bytes, Error> {
        self.get(path)?.ok_or_else(|| Error::damaged(path, "it is gone"))
    }

    /// Files that something names, many at a time where each is asked for.
    pub(super) fn read_all(&self, paths: &[String]) -> Result<Vec<Bytes>, Error> {
        let found = match &self.0.place {
            Place::Disk(disk) => paths.iter().map(|path| disk.get(path)).collect(),
            Place::Remote(remote) => remote.get_all(paths),
        }?;
        let there = |(path, file): (&String, Option<Bytes>)| file.ok_or_else(|| Error::damaged(path, "it is gone"));
        paths.iter().zip(found).map(there).collect()
    }

    /// Part of a file's name that no other file has.
    pub(super) fn unique(&self) -> String {
        let number = self.0.files_named.fetch_add(1, Ordering::Relaxed);
        format!("{:016x}-{number:06}", self.0.writer)
    }

    /// Writes the whole file, unless there is one.
    pub(super) fn create(&self, path: &str, bytes: &[u8]) -> Result<Created, Error> {
        let unique = self.unique();
        match &self.0.place {
            Place::Disk(disk) => disk.create(path, bytes, &unique),
            Place::Remote(remote) => remote.create(path, bytes, unique),
        }
    }

    /// Begins a file that replaces what is at the path once it is published.
    pub(super) fn output(&self, path: &str) -> Result<Output, Error> {
        Ok(Output(match &self.0.place {
            Place::Disk(disk) => Writing::Draft(disk.draft(path, &self.unique())?),
            Place::Remote(remote) => Writing::Upload(Upload::new(remote.clone(), path)),
        }))
    }

    /// Names directly inside the folder, in order; none if it does not exist.
    pub(super) fn list(&self, path: &str) -> Result<Vec<String>, Error> {
        Ok(listed(match &self.0.place {
            Place::Disk(disk) => disk.list(path),
            Place::Remote(remote) => remote.list(path),
        }?))
    }

    /// Of a folder that has files alone, the names that sort after one; an object store is not asked for the others.
    pub(super) fn list_after(&self, path: &str, after: Option<&str>) -> Result<Vec<String>, Error> {
        let Some(after) = after else { return self.list(path) };
        let mut names = match &self.0.place {
            Place::Disk(disk) => disk.list(path),
            Place::Remote(remote) => remote.list_after(path, after),
        }?;
        names.retain(|name| name.as_str() > after);
        Ok(listed(names))
    }

    pub(super) fn delete(&self, path: &str) -> Result<(), Error> {
        match &self.0.place {
            Place::Disk(disk) => disk.delete(path),
            Place::Remote(remote) => remote.delete(path),
        }
    }

    /// A copy without a name, which is gone once it is closed, be it by the end of the process.
    fn fetched(&self, path: &str, size: u64) -> Result<File, Error> {
        let place = std::env::temp_dir().join(format!("freshet-{}", self.unique()));
        let failed = |source| Error::Io { doing: "write", path: place.clone(), source };
        let mut file = OpenOptions::new().read(true).write(true).create_new(true).open(&place).map_err(failed)?;
        fs::remove_file(&place).map_err(failed)?;
        for part in Folder::parts(size) {
            file.write_all(&self.part(path, part)?).map_err(failed)?;
        }
        Ok(file)
    }

    /// A store that ignores the condition of a put would let two archivers overwrite each other's commits.
    fn try_out(&self) -> Result<(), Error> {
        let path = format!(".tried-{}", self.unique());
        let outcomes = [self.create(&path, b"first")?, self.create(&path, b"second")?];
        self.delete(&path)?;
        match outcomes {
            [Created::Done, Created::AlreadyExists] => Ok(()),
            _ => Err(Error::NoConditionalPut { url: self.place_of("") }),
        }
    }
}

fn listed(mut names: Vec<String>) -> Vec<String> {
    names.retain(|name| !name.starts_with('.'));
    names.sort_unstable();
    names
}

/// A bucket that others fill, to be read. Clones share it.
#[derive(Clone, Debug)]
pub(super) struct Bucket(Arc<Remote>);

impl Bucket {
    pub fn open(scheme: &str, bucket: &str) -> Result<Bucket, Error> {
        Ok(Bucket(Arc::new(Remote::bucket(scheme, bucket)?)))
    }

    /// Names directly inside the folder, in order; none if it does not exist.
    pub fn list(&self, path: &str) -> Result<Vec<String>, Error> {
        let mut names = self.0.list(path)?;
        names.sort_unstable();
        Ok(names)
    }

    /// Of an object that something lists.
    pub fn size(&self, path: &str) -> Result<u64, Error> {
        self.0.size(path)?.ok_or_else(|| Error::damaged(path, "it is gone"))
    }

    /// The whole object, which something lists.
    pub fn read(&self, path: &str) -> Result<Bytes, Error> {
        self.0.get(path)?.ok_or_else(|| Error::damaged(path, "it is gone"))
    }
}

/// A file on its way. Dropping it leaves what was at its path.
pub(super) struct Output(Writing);

enum Writing {
    Draft(Draft),
    Upload(Upload),
}

impl Output {
    /// Durable when it returns.
    pub fn publish(self) -> Result<(), Error> {
        match self.0 {
            Writing::Draft(draft) => draft.publish(),
            Writing::Upload(upload) => upload.publish(),
        }
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.0 {
            Writing::Draft(draft) => draft.write(bytes),
            Writing::Upload(upload) => upload.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
