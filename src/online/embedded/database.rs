//! The database under the embedded store: tables of bytes, views of one instant, atomic batches. The only file of the
//! store that knows `fjall`.

use std::io;
use std::ops::RangeTo;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use fjall::{Keyspace, KeyspaceCreateOptions, PersistMode, Readable};

use crate::exclusive_folder::{self, ExclusiveFolder};
use crate::online::Error;

#[derive(Clone, Copy, Debug)]
pub enum Table {
    Settings,
    Controls,
    Heads,
    Bodies,
    Ids,
    Expiries,
}

const TABLES: [(Table, &str); 6] = [
    (Table::Settings, "settings"),
    (Table::Controls, "controls"),
    (Table::Heads, "heads"),
    (Table::Bodies, "bodies"),
    (Table::Ids, "ids"),
    (Table::Expiries, "expiries"),
];

pub struct Database {
    place: PathBuf,
    fjall: fjall::Database,
    /// By [`Table`].
    keyspaces: Vec<Keyspace>,
    /// Last, so that it is let go after the database.
    _folder: ExclusiveFolder,
}

/// The database as of one instant.
pub struct View<'a> {
    database: &'a Database,
    snapshot: fjall::Snapshot,
}

/// Writes that happen together or not at all.
pub struct Batch<'a> {
    database: &'a Database,
    inner: fjall::OwnedWriteBatch,
}

impl Database {
    /// Opens the database under `folder`, creating it with `settings` where there is none.
    pub fn open(folder: &Path, cache_bytes: u64, settings: &[(&str, Vec<u8>)]) -> Result<Database, Error> {
        let exclusive = ExclusiveFolder::open(folder).map_err(|error| match error {
            exclusive_folder::Error::InUse => Error::InUse { place: folder.display().to_string() },
            exclusive_folder::Error::Io(error) => unavailable(folder, error),
        })?;
        let path = exclusive.database(|aside| fill(aside, settings)).map_err(|error| failed(folder, error))?;
        let fjall = fjall::Database::builder(&path).cache_size(cache_bytes).open();
        let fjall = fjall.map_err(|error| failed(&path, error))?;
        let keyspaces = keyspaces(&fjall).map_err(|error| failed(&path, error))?;
        Ok(Database { place: path, fjall, keyspaces, _folder: exclusive })
    }

    pub fn view(&self) -> View<'_> {
        View { database: self, snapshot: self.fjall.snapshot() }
    }

    pub fn batch(&self) -> Batch<'_> {
        Batch { database: self, inner: self.fjall.batch() }
    }

    pub fn damaged(&self, what: &str) -> Error {
        damaged(&self.place, format!("{what} cannot be read"))
    }

    fn keyspace(&self, table: Table) -> &Keyspace {
        &self.keyspaces[table as usize]
    }
}

impl View<'_> {
    pub fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, Error> {
        let value = self.snapshot.get(self.database.keyspace(table), key);
        Ok(value.map_err(|error| failed(&self.database.place, error))?.map(|slice| copy(&slice)))
    }

    /// Keys and values whose keys start with `prefix`, ordered.
    pub fn prefix(&self, table: Table, prefix: &[u8]) -> impl Iterator<Item = Result<(Bytes, Bytes), Error>> + Send {
        let entries = self.snapshot.prefix(self.database.keyspace(table), prefix);
        entries.map(|entry| match entry.into_inner() {
            Ok((key, value)) => Ok((copy(&key), copy(&value))),
            Err(error) => Err(failed(&self.database.place, error)),
        })
    }

    /// The keys below `range.end`, ordered.
    pub fn keys(&self, table: Table, range: RangeTo<[u8; 8]>) -> impl Iterator<Item = Result<Bytes, Error>> + Send {
        let entries = self.snapshot.range(self.database.keyspace(table), range);
        entries.map(|entry| match entry.key() {
            Ok(key) => Ok(copy(&key)),
            Err(error) => Err(failed(&self.database.place, error)),
        })
    }
}

impl Batch<'_> {
    pub fn insert(&mut self, table: Table, key: &[u8], value: &[u8]) {
        self.inner.insert(self.database.keyspace(table), key, value);
    }

    pub fn remove(&mut self, table: Table, key: &[u8]) {
        self.inner.remove(self.database.keyspace(table), key);
    }

    /// Returns when the operating system has the batch: from then on it survives the death of the process.
    pub fn commit(self) -> Result<(), Error> {
        self.inner.commit().map_err(|error| failed(&self.database.place, error))
    }
}

fn fill(path: &Path, settings: &[(&str, Vec<u8>)]) -> fjall::Result<()> {
    let fjall = fjall::Database::builder(path).open()?;
    let keyspaces = keyspaces(&fjall)?;
    let mut batch = fjall.batch();
    for (name, value) in settings {
        batch.insert(&keyspaces[Table::Settings as usize], *name, &value[..]);
    }
    batch.commit()?;
    fjall.persist(PersistMode::SyncAll)
}

fn keyspaces(fjall: &fjall::Database) -> fjall::Result<Vec<Keyspace>> {
    TABLES.iter().map(|(_, name)| fjall.keyspace(name, KeyspaceCreateOptions::default)).collect()
}

/// A disk that is full or away may come back; bytes that do not add up will not.
fn failed(place: &Path, error: fjall::Error) -> Error {
    match error {
        fjall::Error::Locked => Error::InUse { place: place.display().to_string() },
        fjall::Error::Io(error) | fjall::Error::Storage(fjall::LsmError::Io(error)) => unavailable(place, error),
        fjall::Error::Poisoned => Error::Unavailable(format!(
            "{}: a write failed earlier; mend the disk and restart the service",
            place.display()
        )),
        other => damaged(place, other.to_string()),
    }
}

fn unavailable(place: &Path, error: io::Error) -> Error {
    Error::Unavailable(format!("{}: {error}", place.display()))
}

fn damaged(place: &Path, detail: String) -> Error {
    Error::Damaged { place: place.display().to_string(), detail }
}

/// A copy, for a slice of the database keeps the whole block alive that it was read from.
fn copy(bytes: &[u8]) -> Bytes {
    Bytes::copy_from_slice(bytes)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn tables_stand_at_their_own_index() {
        assert!(TABLES.iter().enumerate().all(|(index, (table, _))| *table as usize == index));
    }

    #[test]
    fn a_database_that_is_open_is_refused_to_others() {
        let folder = tempfile::tempdir().expect("a folder");
        let held = Database::open(folder.path(), 1 << 20, &[]).expect("a new database");
        let refusal = Database::open(folder.path(), 1 << 20, &[]).map(|_| ()).expect_err("it is in use");
        assert!(matches!(refusal, Error::InUse { .. }), "{refusal}");
        drop(held);
        Database::open(folder.path(), 1 << 20, &[]).expect("it was let go");
    }

    #[test]
    fn what_is_not_a_database_is_damaged_and_said_to_be() {
        let folder = tempfile::tempdir().expect("a folder");
        fs::create_dir_all(folder.path().join("db")).expect("a folder");
        fs::write(folder.path().join("db").join("version"), b"not a database").expect("a file");
        let refusal = Database::open(folder.path(), 1 << 20, &[]).map(|_| ()).expect_err("it is damaged");
        assert!(matches!(refusal, Error::Damaged { .. }), "{refusal}");
    }
}
