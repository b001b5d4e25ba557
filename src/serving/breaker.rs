//! A circuit breaker: after some failures in a row a server is left alone for a while, so that those who ask it are told
//! at once instead of waiting, and it is not asked by a thousand while it comes back.
//!
//! ```text
//! closed ──[FAILURES] in a row──► open ──[REST] passed──► one trial ──succeeds──► closed
//!                                   ▲                          └──────fails──────► open
//!                                   └── everybody else is refused meanwhile
//! ```

use std::time::Duration;

use tokio::time::Instant;

/// How many failures in a row open it.
const FAILURES: u32 = 10;

/// How long it stays open before a trial.
pub(super) const REST: Duration = Duration::from_millis(500);

/// Knows no clock: whoever asks says what time it is.
#[derive(Debug, Default)]
pub(super) struct Breaker {
    failures: u32,
    /// When the next trial may begin; none while it is closed.
    trial_at: Option<Instant>,
}

impl Breaker {
    /// Whether a call may be made now. While it is open, one in each [`REST`] may: the trial.
    pub fn admits(&mut self, now: Instant) -> bool {
        match self.trial_at {
            None => true,
            Some(at) if now < at => false,
            Some(_) => {
                self.trial_at = Some(now + REST);
                true
            }
        }
    }

    pub fn succeeded(&mut self) {
        *self = Breaker::default();
    }

    pub fn failed(&mut self, now: Instant) {
        self.failures = self.failures.saturating_add(1);
        if self.failures >= FAILURES {
            self.trial_at = Some(now + REST);
        }
    }

    pub fn is_open(&self) -> bool {
        self.trial_at.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opened(now: Instant) -> Breaker {
        let mut breaker = Breaker::default();
        (0..FAILURES).for_each(|_| breaker.failed(now));
        breaker
    }

    #[test]
    fn failures_in_a_row_open_it_and_scattered_ones_do_not() {
        let now = Instant::now();
        let mut breaker = Breaker::default();
        for _ in 0..3 {
            (1..FAILURES).for_each(|_| breaker.failed(now));
            assert!(breaker.admits(now) && !breaker.is_open());
            breaker.succeeded();
        }
        let mut breaker = opened(now);
        assert!(breaker.is_open() && !breaker.admits(now));
    }

    #[test]
    fn one_trial_passes_in_each_rest_and_its_success_closes_it() {
        let now = Instant::now();
        let mut breaker = opened(now);
        assert!(breaker.admits(now + REST), "the trial");
        assert!(!breaker.admits(now + REST), "nobody else meanwhile");
        breaker.failed(now + REST);
        assert!(!breaker.admits(now + REST));
        assert!(breaker.admits(now + 2 * REST), "the next trial");
        breaker.succeeded();
        assert!(breaker.admits(now + 2 * REST) && !breaker.is_open());
    }

    #[test]
    fn a_trial_that_never_ends_does_not_close_it_for_good() {
        let now = Instant::now();
        let mut breaker = opened(now);
        assert!(breaker.admits(now + REST) && breaker.admits(now + 2 * REST));
    }
}
