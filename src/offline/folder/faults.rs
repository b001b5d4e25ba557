//! Kills between any two operations of a folder.

use std::io;
use std::sync::atomic::{AtomicI64, Ordering};

use crate::offline::folder::{Folder, Place};

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
        let faults = match &self.0.place {
            Place::Disk(disk) => &disk.faults,
            Place::Remote(remote) => &remote.faults,
        };
        faults.left.store(operations, Ordering::SeqCst);
    }
}
