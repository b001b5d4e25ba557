//! Members that hear that somebody of their name has replaced them.
//!
//! It may have been themselves. Who hears nothing of its coordinator for as long as its session lasts joins again under
//! another number, and what it said under the one before, on its way to the next coordinator still, is then answered as
//! that of a stranger: the broker cannot tell, and the client takes it for final. So a member that was replaced joins
//! anew, a few times. Two processes of one name replace each other without end, and soon one of them has no turn left.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use crate::event_log::Error;

/// How often a member joins anew within [`WHILE`].
const TURNS: usize = 3;
const WHILE: Duration = Duration::from_secs(120);

/// When a member was replaced.
#[derive(Debug, Default)]
pub struct Replaced(VecDeque<Instant>);

impl Replaced {
    /// Notes the error if it is that of a member that was replaced; whether it is to join anew.
    pub fn joins_anew(&mut self, error: &Error, now: Instant) -> bool {
        if !matches!(error, Error::Fenced { .. }) {
            return false;
        }
        self.0.retain(|at| now.duration_since(*at) < WHILE);
        self.0.push_back(now);
        self.0.len() <= TURNS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_that_was_replaced_joins_anew_a_few_times_in_a_while() {
        let (mut replaced, start) = (Replaced::default(), Instant::now());
        let fenced = Error::Fenced { member: "s1".to_owned() };
        let mut joins_anew = |after: Duration| replaced.joins_anew(&fenced, start + after);
        assert!((0..TURNS).all(|_| joins_anew(Duration::ZERO)));
        assert!(!joins_anew(WHILE / 2), "two of one name");
        assert!(joins_anew(WHILE), "long after");
    }

    #[test]
    fn nothing_else_is_mended_by_joining_anew() {
        let error = Error::Settings("a typo".to_owned());
        assert!(!Replaced::default().joins_anew(&error, Instant::now()));
    }
}
