//! Reads of the online store on behalf of lookups: none waits for longer than it may, and none is sent to a store that
//! has been failing, but for a trial now and then. Where shards fail by themselves, each has a breaker of its own, and
//! they are tried one after the other: a trial of what is away holds up the lookup that makes it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::future::join_all;
use tokio::time::{Instant, timeout};

use crate::kernel::key::{EntityKey, Shard};
use crate::kernel::plan::Fingerprint;
use crate::online::{Error, OnlineStore, StoredRow};
use crate::serving::breaker::{Breaker, REST};

/// Clones share the store and what is known of its failures.
#[derive(Clone)]
pub struct Reader {
    store: Arc<dyn OnlineStore>,
    patience: Duration,
    /// One for each shard where shards fail by themselves, else one for all.
    breakers: Arc<[Mutex<Breaker>]>,
    /// Not before, whosesoever it is.
    next_trial: Arc<Mutex<Option<Instant>>>,
    failures: Arc<[AtomicU64; 3]>,
}

/// What became of one row; `None`: it is damaged.
pub type Stored = Result<Option<StoredRow>, Error>;

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
        let breakers = if store.fails_by_shard() { store.shards() } else { 1 };
        let breakers = (0..breakers).map(|_| Mutex::default()).collect();
        Reader { store, patience, breakers, next_trial: Arc::default(), failures: Arc::default() }
    }

    /// Each row by itself, in their order; every failure that may pass is [`Error::Unavailable`].
    pub async fn read(&self, rows: &[(Fingerprint, EntityKey)]) -> Vec<Stored> {
        if !self.store.fails_by_shard() {
            return self.together(&self.breakers[0], rows).await;
        }
        let mut by_shard: BTreeMap<Shard, Vec<usize>> = BTreeMap::new();
        for (place, (_, entity)) in rows.iter().enumerate() {
            by_shard.entry(entity.shard(self.shards())).or_default().push(place);
        }
        let read = by_shard.into_iter().map(|(shard, places)| async move {
            let rows: Vec<_> = places.iter().map(|place| rows[*place].clone()).collect();
            let stored = self.together(&self.breakers[usize::from(shard.0)], &rows).await;
            places.into_iter().zip(stored)
        });
        let mut stored: Vec<(usize, Stored)> = join_all(read).await.into_iter().flatten().collect();
        stored.sort_unstable_by_key(|(place, _)| *place);
        stored.into_iter().map(|(_, stored)| stored).collect()
    }

    /// Rows that are read or fail together.
    async fn together(&self, breaker: &Mutex<Breaker>, rows: &[(Fingerprint, EntityKey)]) -> Vec<Stored> {
        match self.guarded(breaker, rows).await {
            Ok(stored) => stored.into_iter().map(Ok).collect(),
            Err(error) => vec![Err(error); rows.len()],
        }
    }

    async fn guarded(
        &self,
        breaker: &Mutex<Breaker>,
        rows: &[(Fingerprint, EntityKey)],
    ) -> Result<Vec<Option<StoredRow>>, Error> {
        if !self.admits(breaker) {
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
            Err(error) if error.is_transient() => held(breaker).failed(Instant::now()),
            // Damage is an answer.
            _ => self.succeeded(breaker),
        }
        answer
    }

    fn admits(&self, breaker: &Mutex<Breaker>) -> bool {
        let (mut breaker, now) = (held(breaker), Instant::now());
        if !breaker.is_open() {
            return true;
        }
        let mut next_trial = held(&self.next_trial);
        let is_tried = next_trial.is_none_or(|next| next <= now) && breaker.admits(now);
        if is_tried {
            *next_trial = Some(now + REST);
        }
        is_tried
    }

    /// After a trial that succeeds the next may follow at once.
    fn succeeded(&self, breaker: &Mutex<Breaker>) {
        let mut breaker = held(breaker);
        if breaker.is_open() {
            *held(&self.next_trial) = None;
        }
        breaker.succeeded();
    }

    pub fn shards(&self) -> u16 {
        self.store.shards()
    }

    /// For some rows, if not for all.
    pub fn is_circuit_open(&self) -> bool {
        self.breakers.iter().any(|breaker| held(breaker).is_open())
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
}

fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use async_trait::async_trait;

    use super::*;
    use crate::kernel::key::KeyPart;
    use crate::kernel::time::EventTime;
    use crate::online::{Advance, Applied, Claim, Loaded, Nonce, PartKey, PartWrite};

    /// Answers reads of its shards, but for those that are away or silent, and nothing else ever.
    #[derive(Default)]
    struct Flaky {
        shards: Vec<Mutex<Mood>>,
        asked: AtomicU64,
    }

    #[derive(Clone, Copy, Default)]
    enum Mood {
        #[default]
        Well,
        Away,
        Silent,
    }

    const UNASKED: &str = "a reader reads";

    impl Flaky {
        fn set(&self, shard: u16, mood: Mood) {
            *self.shards[usize::from(shard)].lock().expect("nobody panics") = mood;
        }

        fn mood_of(&self, entity: &EntityKey) -> Mood {
            *self.shards[usize::from(entity.shard(self.shards()).0)].lock().expect("nobody panics")
        }

        fn asked(&self) -> u64 {
            self.asked.load(Ordering::SeqCst)
        }
    }

    #[async_trait]
    impl OnlineStore for Flaky {
        fn shards(&self) -> u16 {
            self.shards.len() as u16
        }

        fn fails_by_shard(&self) -> bool {
            self.shards() > 1
        }

        async fn read(&self, rows: &[(Fingerprint, EntityKey)]) -> Result<Vec<Option<StoredRow>>, Error> {
            self.asked.fetch_add(1, Ordering::SeqCst);
            for (_, entity) in rows {
                match self.mood_of(entity) {
                    Mood::Well => {}
                    Mood::Away => return Err(Error::Unavailable("away".to_owned())),
                    Mood::Silent => std::future::pending().await,
                }
            }
            Ok(vec![Some(StoredRow::default()); rows.len()])
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

    fn reader(shards: u16, patience: Duration) -> (Arc<Flaky>, Reader) {
        let shards = (0..shards).map(|_| Mutex::default()).collect();
        let store = Arc::new(Flaky { shards, asked: AtomicU64::default() });
        (store.clone(), Reader::new(store, patience))
    }

    /// A row of each shard, and another of the first.
    fn rows(store: &Flaky) -> Vec<(Fingerprint, EntityKey)> {
        let keys = (0..).map(|int| EntityKey::encode(&[KeyPart::Int(int)]));
        let of = |shard| keys.clone().filter(move |key| key.shard(store.shards()) == Shard(shard));
        let first = of(0).nth(1).expect("a shard has many entities");
        let each = (0..store.shards()).map(|shard| of(shard).next().expect("a shard has many entities"));
        each.chain([first]).map(|key| (Fingerprint(7), key)).collect()
    }

    async fn read(reader: &Reader, rows: &[(Fingerprint, EntityKey)]) -> Vec<Result<(), String>> {
        let stored = reader.read(rows).await.into_iter();
        stored.map(|stored| stored.map(drop).map_err(|error| error.to_string())).collect()
    }

    #[tokio::test]
    async fn a_store_that_keeps_failing_is_not_asked_and_is_asked_again_later() {
        let (store, reader) = reader(1, Duration::from_secs(60));
        let row = &rows(&store)[..1];
        store.set(0, Mood::Away);
        while !reader.is_circuit_open() {
            assert!(read(&reader, row).await[0].is_err());
        }
        let asked = store.asked();
        let refused = reader.read(row).await.remove(0).expect_err("refused");
        assert!(refused.is_transient(), "{refused}");
        assert_eq!(store.asked(), asked, "it was not asked");
        let counts = reader.failures();
        assert_eq!(counts[0], (Failure::Unavailable, asked));
        assert_eq!(counts[2], (Failure::CircuitOpen, 1));
        store.set(0, Mood::Well);
        while read(&reader, row).await[0].is_err() {
            tokio::task::yield_now().await;
        }
        assert!(!reader.is_circuit_open());
    }

    #[tokio::test]
    async fn a_silent_store_is_given_up() {
        let (store, reader) = reader(1, Duration::from_millis(5));
        store.set(0, Mood::Silent);
        let silent = Err("the online store is not available: it has not answered for 5ms".to_owned());
        assert_eq!(read(&reader, &rows(&store)).await, [silent.clone(), silent]);
        assert_eq!(reader.failures()[1], (Failure::TimedOut, 1));
    }

    #[tokio::test]
    async fn rows_of_shards_that_answer_are_read_in_their_order_whatever_the_others_do() {
        let (store, reader) = reader(3, Duration::from_millis(5));
        let rows = rows(&store);
        assert_eq!(read(&reader, &rows).await, vec![Ok(()); 4]);
        store.set(0, Mood::Away);
        store.set(2, Mood::Silent);
        let away = Err("the online store is not available: away".to_owned());
        let silent = Err("the online store is not available: it has not answered for 5ms".to_owned());
        assert_eq!(read(&reader, &rows).await, [away.clone(), Ok(()), silent, away]);
    }

    #[tokio::test]
    async fn shards_that_keep_failing_are_left_alone_and_the_others_are_asked() {
        let (store, reader) = reader(2, Duration::from_secs(60));
        let rows = rows(&store);
        store.set(0, Mood::Away);
        while reader.failures()[Failure::CircuitOpen as usize].1 == 0 {
            let read = read(&reader, &rows).await;
            assert!(read[0].is_err() && read[1].is_ok() && read[2].is_err(), "{read:?}");
        }
    }

    #[tokio::test]
    async fn shards_that_were_away_are_tried_one_after_the_other() {
        let (store, reader) = reader(3, Duration::from_secs(60));
        let rows = &rows(&store)[..3];
        [0, 2].into_iter().for_each(|shard| store.set(shard, Mood::Away));
        for _ in 0..20 {
            read(&reader, rows).await;
        }
        let before = store.asked();
        assert_eq!(read(&reader, rows).await[1], Ok(()));
        assert!(store.asked() - before <= 2, "the shard that is well, and one trial at the most");
        [0, 2].into_iter().for_each(|shard| store.set(shard, Mood::Well));
        while reader.is_circuit_open() {
            read(&reader, rows).await;
            tokio::task::yield_now().await;
        }
        assert_eq!(read(&reader, rows).await, vec![Ok(()); 3]);
    }
}
