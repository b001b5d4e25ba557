//! Waiting for servers that are away while a process starts: the whole installation may be starting, and who is started
//! again and again by a supervisor comes back later than who waits.
//!
//! Only for what may pass. What has to be mended first ends the start at once.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use crate::app::Error;

/// Between attempts.
const REST: Duration = Duration::from_millis(500);

/// Between lines about what is waited for still.
const TELL: Duration = Duration::from_secs(30);

pub(super) struct Waiting {
    /// What is waited for, for those who probe.
    told: watch::Sender<String>,
    /// `None`: as long as it takes.
    limit: Option<Duration>,
}

impl Waiting {
    pub fn new(limit: Option<Duration>) -> Waiting {
        Waiting { told: watch::Sender::new("the service is starting".to_owned()), limit }
    }

    pub fn subscribe(&self) -> watch::Receiver<String> {
        self.told.subscribe()
    }

    pub async fn until_there<T>(&self, mut open: impl AsyncFnMut() -> Result<T, Error>) -> Result<T, Error> {
        let began = Instant::now();
        let mut tell_at = began;
        loop {
            match open().await {
                Err(error) if error.is_transient() && self.limit.is_none_or(|limit| began.elapsed() < limit) => {
                    let told = self.told.send_replace(error.to_string());
                    // What is missing now, and not each attempt.
                    if told != error.to_string() || Instant::now() >= tell_at {
                        tracing::warn!(%error, waited_s = began.elapsed().as_secs(), "the start waits for a server");
                        tell_at = Instant::now() + TELL;
                    }
                    sleep(REST).await;
                }
                opened => return opened,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event_log;

    fn away() -> Error {
        event_log::Error::Unavailable("no answer from Kafka at k:9092".to_owned()).into()
    }

    fn refused() -> Error {
        event_log::Error::Settings("the password is wrong".to_owned()).into()
    }

    /// What comes of attempts that end so, and how many there were.
    async fn attempts(limit: Option<Duration>, outcomes: Vec<Result<(), Error>>) -> (Result<(), Error>, usize) {
        let (count, mut outcomes) = (outcomes.len(), outcomes.into_iter());
        let outcome = Waiting::new(limit).until_there(async || outcomes.next().expect("asked once too often")).await;
        (outcome, count - outcomes.len())
    }

    #[tokio::test]
    async fn a_server_that_is_away_is_waited_for_and_a_mistake_is_not() {
        let (outcome, count) = attempts(None, vec![Err(away()), Err(away()), Ok(())]).await;
        assert!(outcome.is_ok() && count == 3, "{outcome:?} after {count}");
        let (outcome, count) = attempts(None, vec![Err(away()), Err(refused()), Ok(())]).await;
        assert!(outcome.is_err() && count == 2, "{outcome:?} after {count}");
    }

    #[tokio::test]
    async fn who_has_a_limit_gives_up_and_says_what_for() {
        let (outcome, count) = attempts(Some(Duration::ZERO), vec![Err(away()), Ok(())]).await;
        assert!(outcome.is_err_and(|error| error.to_string().contains("k:9092")) && count == 1);
    }

    #[tokio::test]
    async fn who_probes_hears_what_is_waited_for() {
        let waiting = Waiting::new(None);
        let told = waiting.subscribe();
        let mut outcomes = vec![Err(away()), Ok(())].into_iter();
        waiting.until_there(async || outcomes.next().expect("two attempts")).await.expect("it is there");
        assert_eq!(*told.borrow(), away().to_string());
    }
}
