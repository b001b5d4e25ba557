//! Trying again: how long to wait before the next attempt at what the world refused for now.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::stream::run::Error;

const FIRST: Duration = Duration::from_millis(10);
const LONGEST: Duration = Duration::from_secs(5);

/// After so many attempts a call has waited for five to ten seconds: longer than a failover or a restart takes.
const MANY: u32 = 10;

/// The waits of one call: doubled each time up to a limit, and spread by a seed, so that many callers who failed
/// together do not come back together.
pub(super) struct Backoff {
    seed: u64,
    attempt: u32,
    failures: Failures,
}

/// Attempts that failed since they were last told of, by why. A store that goes fails a call for each shard in a moment:
/// one line says so for all of them.
#[derive(Clone, Default)]
pub(super) struct Failures(Arc<Mutex<BTreeMap<String, u64>>>);

impl Failures {
    /// To be called once in a while.
    pub fn tell(&self) {
        for (why, calls) in self.take() {
            tracing::warn!(calls, "trying again: {why}");
        }
    }

    fn count(&self, error: &Error) {
        let mut failures = self.0.lock().expect("nothing panics while it counts failures");
        *failures.entry(error.to_string()).or_default() += 1;
    }

    fn take(&self) -> BTreeMap<String, u64> {
        std::mem::take(&mut *self.0.lock().expect("nothing panics while it counts failures"))
    }
}

impl Backoff {
    pub fn new(seed: u64, failures: Failures) -> Backoff {
        Backoff { seed, attempt: 0, failures }
    }

    /// Calls until it is done, or trying again would not help.
    pub async fn until_done<T, E: Into<Error>, F: Future<Output = Result<T, E>>>(
        &mut self,
        call: impl Fn() -> F,
    ) -> Result<T, Error> {
        loop {
            match call().await {
                Ok(done) => return Ok(done),
                Err(error) => self.wait(error).await?,
            }
        }
    }

    /// Counts what failed and waits, or gives the error back where trying again would not help.
    pub async fn wait(&mut self, error: impl Into<Error>) -> Result<(), Error> {
        let error = error.into();
        if !error.is_transient() {
            return Err(error);
        }
        self.failures.count(&error);
        tokio::time::sleep(self.next_delay()).await;
        Ok(())
    }

    /// Whether the call has waited for longer than what passes by itself takes.
    pub fn is_long(&self) -> bool {
        self.attempt >= MANY
    }

    /// Between half of the doubled delay and all of it.
    fn next_delay(&mut self) -> Duration {
        let whole = FIRST.saturating_mul(1 << self.attempt.min(16)).min(LONGEST);
        self.attempt += 1;
        let spread = xxhash_rust::xxh3::xxh3_64_with_seed(&self.attempt.to_le_bytes(), self.seed) % 1_000;
        whole / 2 + whole / 2 * spread as u32 / 1_000
    }
}

#[cfg(test)]
mod tests {
    use futures::future::{join, join_all};

    use super::*;
    use crate::online;

    #[test]
    fn a_call_waits_long_once_it_has_waited_for_seconds() {
        let mut backoff = Backoff::new(1, Failures::default());
        let mut waited = Duration::ZERO;
        while !backoff.is_long() {
            waited += backoff.next_delay();
        }
        assert!((Duration::from_secs(5)..Duration::from_secs(11)).contains(&waited), "{waited:?}");
    }

    #[test]
    fn delays_double_up_to_the_limit_and_differ_by_seed() {
        let delays = |seed| {
            let mut backoff = Backoff::new(seed, Failures::default());
            (0..40).map(|_| backoff.next_delay()).collect::<Vec<_>>()
        };
        assert_eq!(delays(1), delays(1));
        assert_ne!(delays(1), delays(2));
        for (attempt, delay) in delays(3).into_iter().enumerate() {
            let whole = FIRST.saturating_mul(1 << attempt.min(16)).min(LONGEST);
            assert!(whole / 2 <= delay && delay <= whole, "attempt {attempt} waits {delay:?}");
        }
    }

    #[tokio::test]
    async fn calls_that_fail_for_one_reason_are_told_of_together_and_once() {
        let failures = Failures::default();
        let away = |store: &str| online::Error::Unavailable(format!("{store} is away"));
        let call = |seed, store: &'static str| {
            let mut backoff = Backoff::new(seed, failures.clone());
            async move { backoff.wait(away(store)).await.expect("it may come back") }
        };
        join(join_all((0..256).map(|shard| call(shard, "redis"))), call(256, "another")).await;
        let told: Vec<(String, u64)> = failures.take().into_iter().collect();
        let text = |store: &str| Error::from(away(store)).to_string();
        assert_eq!(told, [(text("another"), 1), (text("redis"), 256)]);
        assert!(failures.take().is_empty());
    }
}
