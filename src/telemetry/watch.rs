//! How whoever asked for a long job follows it, and stops it: the job says how far it is, and hears in the same
//! call whether to go on.

/// One job, or a part of it that runs from one fraction of the whole to another.
#[derive(Clone, Copy)]
pub struct Watch<'a> {
    progress: &'a dyn Fn(f64),
    counted: &'a dyn Fn(usize),
    cancelled: &'a dyn Fn() -> bool,
    start: f64,
    length: f64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the job was cancelled")]
pub struct Cancelled;

impl<'a> Watch<'a> {
    /// `progress` is told fractions from 0 to 1.
    pub fn new(progress: &'a dyn Fn(f64), cancelled: &'a dyn Fn() -> bool) -> Watch<'a> {
        Watch { progress, counted: &|_| {}, cancelled, start: 0.0, length: 1.0 }
    }

    /// `counted` is told how many rows more the job has made.
    pub fn counting(self, counted: &'a dyn Fn(usize)) -> Watch<'a> {
        Watch { counted, ..self }
    }

    /// The part of the job between two fractions of it.
    pub fn part(self, from: f64, to: f64) -> Watch<'a> {
        Watch { start: self.start + from * self.length, length: (to - from) * self.length, ..self }
    }

    /// One of several parts of equal length; the first is number 0.
    pub fn nth(self, number: usize, of: usize) -> Watch<'a> {
        self.part(number as f64 / of as f64, (number + 1) as f64 / of as f64)
    }

    /// `rows` more are made.
    pub fn count(self, rows: usize) {
        (self.counted)(rows);
    }

    /// `done` steps of `all` are done.
    pub fn at(self, done: usize, all: usize) -> Result<(), Cancelled> {
        let fraction = if all == 0 { 1.0 } else { done as f64 / all as f64 };
        (self.progress)(self.start + fraction * self.length);
        if (self.cancelled)() { Err(Cancelled) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    #[test]
    fn parts_of_parts_report_fractions_of_the_whole() {
        let told = RefCell::new(Vec::new());
        let progress = |fraction| told.borrow_mut().push(fraction);
        let second_half = Watch::new(&progress, &|| false).part(0.5, 1.0);
        assert_eq!(second_half.nth(1, 2).at(1, 2), Ok(()));
        assert_eq!(second_half.at(0, 0), Ok(()));
        assert_eq!(*told.borrow(), [0.875, 1.0]);
    }

    #[test]
    fn a_cancelled_job_hears_of_it_at_its_next_step() {
        assert_eq!(Watch::new(&|_| {}, &|| true).at(0, 9), Err(Cancelled));
    }
}
