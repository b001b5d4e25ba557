//! What a running job and those who ask about it share: how far it is, and whether it is to stop.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};

use crate::kernel::time::EventTime;
use crate::telemetry::{Cancelled, Watch};

#[derive(Clone, Default)]
pub struct Handle(Arc<Told>);

#[derive(Default)]
struct Told {
    /// From 0 to 1, as bits.
    progress: AtomicU64,
    rows: AtomicU64,
    /// In microseconds; 0: it still waits for its turn.
    began: AtomicI64,
    cancelled: AtomicBool,
    left: AtomicBool,
}

/// Stops a job when it is dropped: nobody waits for it any more.
pub(in crate::api) struct Waiting(Handle);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

/// How fast a job goes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Pace {
    pub rows: u64,
    pub rows_per_second: f64,
    /// If it goes on as it went so far.
    pub seconds_left: Option<f64>,
}

impl Handle {
    /// Runs a job that can be followed and stopped.
    pub fn watched<T>(&self, job: impl FnOnce(Watch<'_>) -> T) -> T {
        let progress = |done: f64| self.0.progress.store(done.to_bits(), Ordering::Relaxed);
        let counted = |rows| {
            self.0.rows.fetch_add(rows as u64, Ordering::Relaxed);
        };
        let cancelled = || self.is_cancelled();
        job(Watch::new(&progress, &cancelled).counting(&counted))
    }

    pub fn is_cancelled(&self) -> bool {
        self.0.cancelled.load(Ordering::Acquire)
    }

    /// An error where the job was cancelled, be it before its turn came.
    pub fn check(&self) -> Result<(), String> {
        if self.is_cancelled() { Err(Cancelled.to_string()) } else { Ok(()) }
    }

    /// For work that is done for one caller alone.
    pub(in crate::api) fn waiting(&self) -> Waiting {
        Waiting(self.clone())
    }

    pub(super) fn cancel(&self) {
        self.0.cancelled.store(true, Ordering::Release);
    }

    /// Stops the job here, to be taken up elsewhere, unless somebody cancelled it.
    pub(super) fn leave(&self) {
        self.0.left.store(!self.is_cancelled(), Ordering::Relaxed);
        self.cancel();
    }

    /// Whether another process takes the job up. Known once the job hears that it is cancelled.
    pub fn is_left(&self) -> bool {
        self.0.left.load(Ordering::Relaxed)
    }

    pub(super) fn begin(&self, now: EventTime) {
        self.0.began.store(now.micros(), Ordering::Relaxed);
    }

    pub(super) fn progress(&self) -> f64 {
        f64::from_bits(self.0.progress.load(Ordering::Relaxed))
    }

    /// `None`: it has not begun.
    pub(super) fn pace(&self, now: EventTime) -> Option<Pace> {
        let began = Some(self.0.began.load(Ordering::Relaxed)).filter(|began| *began != 0)?;
        let seconds = (now.micros() - began).max(1) as f64 / 1e6;
        let (rows, progress) = (self.0.rows.load(Ordering::Relaxed), self.progress());
        let seconds_left = (progress > 0.0).then(|| seconds * (1.0 - progress) / progress);
        Some(Pace { rows, rows_per_second: rows as f64 / seconds, seconds_left })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_that_is_a_quarter_done_takes_three_times_as_long_again() {
        let handle = Handle::default();
        assert_eq!(handle.pace(EventTime::unchecked(5_000_000)), None);
        handle.begin(EventTime::unchecked(1_000_000));
        let stopped = handle.watched(|watch| {
            watch.count(80);
            watch.at(1, 4)
        });
        assert!(stopped.is_ok());
        let pace = Pace { rows: 80, rows_per_second: 20.0, seconds_left: Some(12.0) };
        assert_eq!(handle.pace(EventTime::unchecked(5_000_000)), Some(pace));
    }

    #[test]
    fn work_that_nobody_waits_for_any_more_is_told_to_stop() {
        let handle = Handle::default();
        let waiting = handle.waiting();
        assert!(handle.watched(|watch| watch.at(0, 2)).is_ok());
        drop(waiting);
        assert_eq!(handle.watched(|watch| watch.at(1, 2)), Err(Cancelled));
    }

    #[test]
    fn a_job_is_left_to_another_process_unless_somebody_cancelled_it() {
        let (running, cancelled) = (Handle::default(), Handle::default());
        cancelled.cancel();
        [&running, &cancelled].into_iter().for_each(Handle::leave);
        assert!(running.is_cancelled() && running.is_left());
        assert!(cancelled.is_cancelled() && !cancelled.is_left());
    }
}
