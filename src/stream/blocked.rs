//! Why no flush gets through to the store, where none has for a while. Shared by all flushes that are under way.

use std::fmt::Display;
use std::sync::{Arc, Mutex, PoisonError};

use crate::stream::retry::Backoff;

/// Flushes wait and try again for as long as it takes; this is for those who ask whether anything moves.
#[derive(Clone, Default)]
pub(super) struct Blocked(Arc<Mutex<Option<String>>>);

impl Blocked {
    /// One of them failed, and not for the first time.
    pub fn failed(&self, backoff: &Backoff, error: &impl Display) {
        if backoff.is_long() {
            self.set(Some(error.to_string()));
        }
    }

    /// A store that takes one flush may refuse others still: it is not blocked.
    pub fn got_through(&self) {
        self.set(None);
    }

    pub fn reason(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, reason: Option<String>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = reason;
    }
}
