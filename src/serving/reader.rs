//! Reads of the online store on behalf of lookups: none waits for longer than it may, and none is sent to a store that
//! has been failing, but for a trial now and then.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, timeout};

use crate::kernel::key::EntityKey;
use crate::kernel::plan::Fingerprint;
use crate::online::{Error, OnlineStore, StoredRow};
use crate::serving::breaker::{Breaker, REST};

/// Clones share the store and what is known of its failures.
#[derive(Clone)]
pub struct Reader {
    store: Arc<dyn OnlineStore>,
    patience: Duration,
    breaker: Arc<Mutex<Breaker>>,
    failures: Arc<[AtomicU64; 3]>,
}

/// Why a read had no answer, as metrics have it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The store said that it is not available.
    Unavailable,
    TimedOut,
    /// It was not asked.
    CircuitOpen,
}

impl Failure {
    pub const ALL: [Failure; 3] = [Failure::Unavailable, Failure::TimedOut, Failure::CircuitOpen];

    pub fn as_str(self) -> &'static str {
        match self {
            Failure::Unavailable => "unavailable",
            Failure::TimedOut => "timed_out",
            Failure::CircuitOpen => "circuit_open",
        }
    }
}

impl Reader {
    pub fn new(store: Arc<dyn OnlineStore>, patience: Duration) -> Reader {
        Reader { store, patience, breaker: Arc::default(), failures: Arc::default() }
    }

    /// As [`OnlineStore::read`]; every failure that may pass is [`Error::Unavailable`].
    pub async fn read(&self, rows: &[(Fingerprint, EntityKey)]) -> Result<Vec<StoredRow>, Error> {
        if !self.breaker().admits(Instant::now()) {
            self.count(Failure::CircuitOpen);
            let detail = format!("it has been failing, and is tried again every {REST:?}");
            return Err(Error::Unavailable(detail));
        }
        let answer = match timeout(self.patience, self.store.read(rows)).await {
            Ok(answer) => answer.inspect_err(|error| self.count_unavailable(error)),
            Err(_) => {
                self.count(Failure::TimedOut);
                Err(Error::Unavailable(format!("it has not answered for {:?}", self.patience)))
            }
        };
        match &answer {
            Err(error) if error.is_transient() => self.breaker().failed(Instant::now()),
            // A damaged row is an answer.
            _ => self.breaker().succeeded(),
        }
        answer
    }

    pub fn shards(&self) -> u16 {
        self.store.shards()
    }

    pub fn is_circuit_open(&self) -> bool {
        self.breaker().is_open()
    }

    /// How often each failure was met.
    pub fn failures(&self) -> [(Failure, u64); 3] {
        Failure::ALL.map(|failure| (failure, self.failures[failure as usize].load(Ordering::Relaxed)))
    }

    fn count_unavailable(&self, error: &Error) {
        if error.is_transient() {
            self.count(Failure::Unavailable);
        }
    }

    fn count(&self, failure: Failure) {
        self.failures[failure as usize].fetch_add(1, Ordering::Relaxed);
    }

    fn breaker(&self) -> MutexGuard<'_, Breaker> {
        self.breaker.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use async_trait::async_trait;

    use super::*;
    use crate::kernel::key::Shard;
    use crate::kernel::time::EventTime;
    use crate::online::{Advance, Applied, Claim, Loaded, Nonce, PartKey, PartWrite};

    /// Answers reads while it is there, and nothing else ever.
    #[derive(Default)]
    struct Flaky {
        is_away: AtomicBool,
        is_silent: AtomicBool,
        asked: AtomicU64,
    }

    const UNASKED: &str = "a reader reads";

    #[async_trait]
    impl OnlineStore for Flaky {
        fn shards(&self) -> u16 {
            1
        }

        async fn read(&self, rows: &[(Fingerprint, EntityKey)]) -> Result<Vec<StoredRow>, Error> {
            self.asked.fetch_add(1, Ordering::SeqCst);
            if self.is_silent.load(Ordering::SeqCst) {
                std::future::pending::<()>().await;
            }
            match self.is_away.load(Ordering::SeqCst) {
                true => Err(Error::Unavailable("away".to_owned())),
                false => Ok(vec![StoredRow::default(); rows.len()]),
            }
        }

        async fn claim(&self, _: Shard, _: &[Claim], _: Nonce) -> Result<Vec<u64>, Error> {
            unreachable!("{UNASKED}")
        }

        async fn apply(&self, _: Shard, _: &[Advance], _: &[PartWrite]) -> Result<Applied, Error> {
            unreachable!("{UNASKED}")
        }

        async fn load(&self, _: &[PartKey]) -> Result<Vec<Loaded>, Error> {
            unreachable!("{UNASKED}")
        }

        async fn offsets(&self, _: Fingerprint) -> Result<Vec<(Shard, u32, u64)>, Error> {
            unreachable!("{UNASKED}")
        }

        async fn complete(&self, _: Fingerprint, _: &[(u32, u64)]) -> Result<bool, Error> {
            unreachable!("{UNASKED}")
        }

        async fn is_complete(&self, _: Fingerprint) -> Result<bool, Error> {
            unreachable!("{UNASKED}")
        }

        async fn expire(&self, _: EventTime) -> Result<usize, Error> {
            unreachable!("{UNASKED}")
        }

        async fn remove(&self, _: Fingerprint) -> Result<(), Error> {
            unreachable!("{UNASKED}")
        }
    }

    fn reader(patience: Duration) -> (Arc<Flaky>, Reader) {
        let store = Arc::new(Flaky::default());
        (store.clone(), Reader::new(store, patience))
    }

    #[tokio::test]
    async fn a_store_that_keeps_failing_is_not_asked_and_is_asked_again_later() {
        let (store, reader) = reader(Duration::from_secs(60));
        store.is_away.store(true, Ordering::SeqCst);
        while !reader.is_circuit_open() {
            reader.read(&[]).await.expect_err("away");
        }
        let asked = store.asked.load(Ordering::SeqCst);
        let refused = reader.read(&[]).await.expect_err("refused");
        assert!(refused.is_transient(), "{refused}");
        assert_eq!(store.asked.load(Ordering::SeqCst), asked, "it was not asked");
        let counts = reader.failures();
        assert_eq!(counts[0], (Failure::Unavailable, asked));
        assert_eq!(counts[2], (Failure::CircuitOpen, 1));
        store.is_away.store(false, Ordering::SeqCst);
        while reader.read(&[]).await.is_err() {
            tokio::task::yield_now().await;
        }
        assert!(!reader.is_circuit_open());
    }

    #[tokio::test]
    async fn a_silent_store_is_given_up() {
        let (store, reader) = reader(Duration::from_millis(5));
        store.is_silent.store(true, Ordering::SeqCst);
        let error = reader.read(&[]).await.expect_err("it never answers");
        assert_eq!(error.to_string(), "the online store is not available: it has not answered for 5ms");
        assert_eq!(reader.failures()[1], (Failure::TimedOut, 1));
    }
}
