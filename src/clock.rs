//! The wall clock, real or fixed. Nothing else in the library reads the time of day.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::kernel::time::{EventTime, Micros};

/// Where "now" comes from. Clones share it.
#[derive(Clone, Debug, Default)]
pub enum Clock {
    #[default]
    System,
    /// Stands still until it is moved: for tests.
    Fixed(Arc<AtomicI64>),
}

impl Clock {
    pub fn fixed(now: EventTime) -> Clock {
        Clock::Fixed(Arc::new(AtomicI64::new(now.micros())))
    }

    #[expect(clippy::disallowed_methods, reason = "this is the one place that reads the wall clock")]
    pub fn now(&self) -> EventTime {
        match self {
            Clock::System => {
                let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is past 1970");
                EventTime::unchecked(i64::try_from(since_epoch.as_micros()).expect("the clock is before 9999"))
            }
            Clock::Fixed(micros) => EventTime::unchecked(micros.load(Ordering::SeqCst)),
        }
    }

    /// Moves a fixed clock on; the system's clock moves by itself.
    pub fn advance(&self, by: Micros) {
        if let Clock::Fixed(micros) = self {
            micros.fetch_add(by.get(), Ordering::SeqCst);
        }
    }
}
