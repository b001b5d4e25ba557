//! The spine of a training set that is being cut, as it was handed in: kept until its job has ended, so that whoever goes
//! on with the job has it.

use bytes::Bytes;

use crate::offline::{Error, Folder};

pub struct KeptSpine {
    folder: Folder,
    path: String,
}

impl KeptSpine {
    pub fn of(folder: &Folder, job: &str) -> KeptSpine {
        KeptSpine { folder: folder.clone(), path: format!("training_sets/_spines/{job}") }
    }

    /// Durable when it returns.
    pub fn keep(&self, bytes: &[u8]) -> Result<(), Error> {
        self.folder.create(&self.path, bytes).map(drop)
    }

    pub fn read(&self) -> Result<Bytes, Error> {
        self.folder.read(&self.path)
    }

    pub fn forget(&self) -> Result<(), Error> {
        self.folder.delete(&self.path)
    }
}
