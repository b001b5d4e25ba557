//! What a process does once at a time, whoever asks: each of it may take a core and much memory for minutes.

use std::sync::Arc;

use axum::http::StatusCode;
use tokio::sync::{Mutex, OwnedMutexGuard};

use crate::api::problem::Problem;

/// Clones share the turns.
#[derive(Clone, Default)]
pub struct Turns {
    parity: Arc<Mutex<()>>,
    conversion: Arc<Mutex<()>>,
}

/// Until it is dropped nobody else has one of its kind. Whoever works on a thread of its own takes it along.
pub(super) type Turn = OwnedMutexGuard<()>;

impl Turns {
    /// To check parity; refused while somebody has it.
    pub(super) fn parity(&self) -> Result<Turn, Problem> {
        self.parity.clone().try_lock_owned().map_err(|_| {
            let detail = "a parity check is under way in this process: ask again when it has ended";
            Problem::new(StatusCode::TOO_MANY_REQUESTS, "PARITY_UNDER_WAY", detail)
        })
    }

    /// To write a table in another format; waits while somebody has it.
    pub(super) async fn conversion(&self) -> Turn {
        self.conversion.clone().lock_owned().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_check_is_refused_until_the_first_has_ended() {
        let turns = Turns::default();
        let first = turns.parity().expect("nobody checks");
        let refused = turns.clone().parity().expect_err("somebody does");
        assert_eq!((refused.status, refused.code), (429, "PARITY_UNDER_WAY"));
        drop(first);
        assert!(turns.parity().is_ok());
    }
}
