//! What was done, how it showed, and how it ended: a line for each fault as it happens, and the sums for the table.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

#[derive(Default)]
pub struct Journal(Mutex<Vec<Entry>>);

/// One fault.
pub struct Entry {
    pub fault: &'static str,
    /// Since the start.
    pub at: Duration,
    pub target: String,
    /// How Freshet showed that it noticed; `None`: it did not.
    pub detected: Option<String>,
    /// How long until lookups were fresh again everywhere; `None`: that took too long.
    pub healed: Option<Duration>,
    /// Whether nothing was done meanwhile that reaches beyond one process.
    pub alone: bool,
}

impl Journal {
    pub fn note(&self, entry: Entry) {
        println!("{entry}");
        self.entries().push(entry);
    }

    pub fn by_fault(&self) -> BTreeMap<&'static str, Summary> {
        let mut summaries: BTreeMap<&'static str, Summary> = BTreeMap::new();
        for entry in self.entries().iter() {
            let summary = summaries.entry(entry.fault).or_default();
            summary.injected += 1;
            summary.detected += usize::from(entry.detected.is_some());
            summary.healed += usize::from(entry.healed.is_some());
            summary.times.extend(entry.healed);
            summary.times_alone.extend(entry.healed.filter(|_| entry.alone));
        }
        summaries
    }

    pub fn unhealed(&self) -> usize {
        self.entries().iter().filter(|entry| entry.healed.is_none()).count()
    }

    fn entries(&self) -> MutexGuard<'_, Vec<Entry>> {
        self.0.lock().expect("nobody panics while holding it")
    }
}

/// Of all faults of a kind.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    pub injected: usize,
    pub detected: usize,
    pub healed: usize,
    pub times: Vec<Duration>,
    /// Of those during which nothing was done that reaches beyond one process.
    pub times_alone: Vec<Duration>,
}

/// The smallest of `times` that at least this share of them do not exceed.
pub fn percentile(times: &[Duration], share: f64) -> Option<Duration> {
    let mut sorted = times.to_vec();
    sorted.sort();
    let rank = (share * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.max(1) - 1).copied()
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:>7.1} s  {}: {}", self.at.as_secs_f64(), self.fault, self.target)?;
        match &self.detected {
            Some(detected) => write!(f, "; {detected}")?,
            None => write!(f, "; NOT DETECTED")?,
        }
        match self.healed {
            Some(healed) => write!(f, "; healed in {:.1} s", healed.as_secs_f64())?,
            None => write!(f, "; NOT HEALED")?,
        }
        if self.alone { Ok(()) } else { write!(f, " (with other faults)") }
    }
}
