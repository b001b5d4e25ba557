//! What a run is told on its command line, and the line that repeats it.

use std::fmt;
use std::time::Duration;

/// Kills, stops and cuts real processes under load, and checks that nothing is lost or doubled.
#[derive(Clone, Debug, clap::Parser)]
#[command(name = "./chaos")]
pub struct Arguments {
    /// How long faults are injected
    #[arg(long, default_value_t = 20.0)]
    pub minutes: f64,
    /// Decides the traffic and the schedule of faults; a random one is drawn, and printed, where none is given
    #[arg(long, default_value_t = fastrand::u64(..1_000_000))]
    pub seed: u64,
    /// Stream workers; one in so many comes and goes
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(2..=16))]
    pub workers: u64,
    /// Events a second
    #[arg(long, default_value_t = 5_000)]
    pub rate: u64,
    /// Inject this kind of fault alone (as the table calls it)
    #[arg(long)]
    pub only: Option<String>,
    /// Make the check itself wrong, to see that the verdict can fail
    #[arg(long, value_enum)]
    pub plant: Option<Plant>,
}

/// A mistake that the verdict has to find.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Plant {
    /// One event that was sent is hidden from the check: it looks doubled.
    Double,
    /// One event is told to the check twice: it looks lost.
    Lose,
}

impl Arguments {
    pub fn duration(&self) -> Duration {
        Duration::from_secs_f64(self.minutes * 60.0)
    }
}

impl fmt::Display for Arguments {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Arguments { minutes, seed, workers, rate, .. } = self;
        write!(f, "./chaos --minutes {minutes} --seed {seed} --workers {workers} --rate {rate}")?;
        self.only.iter().try_for_each(|kind| write!(f, " --only '{kind}'"))
    }
}
