//! The shell of the worker, and the only place of the stream that waits: it owns the consumer, performs effects,
//! and turns deliveries, answers and the passing of time into signals, one after the other.
//!
//! Calls to the store run side by side, and the worker bounds how many: one flush a shard, one load a partition.
//! What fails for now is tried again unchanged until it succeeds, so the worker never hears of an unknown outcome.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, Interval, MissedTickBehavior, sleep_until, timeout};

use crate::clock::Clock;
use crate::event_log::{self, EventLog};
use crate::kernel::plan::ViewPlan;
use crate::kernel::time::Micros;
use crate::online::{self, OnlineStore};
use crate::stream::shell::Shell;
use crate::stream::{Progress, Settings, Signal};

/// How finely the worker sees time pass: half of the flush interval by default.
const TICK: Duration = Duration::from_millis(5);
const PUBLISH: Duration = Duration::from_millis(100);
/// Between looks at how long the log is: what is not delivered for now counts as lag too.
const LOOK: Duration = Duration::from_secs(10);
/// Between lines about what is tried again.
const TELL: Duration = Duration::from_secs(1);

#[derive(Clone, Debug)]
pub struct Options {
    /// The consumer group that shares the partitions.
    pub group: String,
    pub worker: Settings,
    /// How long a shutdown waits for the store; what is not flushed by then is folded again after the next start.
    pub grace: Duration,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Log(#[from] event_log::Error),
    #[error(transparent)]
    Online(#[from] online::Error),
    #[error("the operating system gave no random number: {0}")]
    Random(#[from] getrandom::Error),
}

impl Error {
    pub fn is_transient(&self) -> bool {
        match self {
            Error::Log(error) => error.may_pass(),
            Error::Online(error) => error.is_transient(),
            Error::Random(_) => false,
        }
    }
}

/// Folds the log into the online store, for whatever `versions` says is to be written, until `shutdown`; then
/// flushes and hands its partitions over. Returns early only with an error that trying again would not mend.
pub async fn run(
    log: Arc<dyn EventLog>,
    online: Arc<dyn OnlineStore>,
    mut versions: watch::Receiver<Vec<Arc<ViewPlan>>>,
    progress: watch::Sender<Progress>,
    clock: Clock,
    options: Options,
    shutdown: impl Future<Output = ()>,
) -> Result<(), Error> {
    let (grace, begun) = (options.grace, Instant::now());
    let mut shell = Shell::new(log, online, options, versions.borrow_and_update().clone())?;
    let (mut ticks, mut publish, mut look, mut tell) = (every(TICK), every(PUBLISH), every(LOOK), every(TELL));
    let mut farewell = Farewell { shutdown: pin!(shutdown), grace, until: None };
    while !shell.is_closed() {
        tokio::select! {
            due = farewell.due() => match due {
                Due::Close => shell.close().await?,
                Due::GiveUp => break,
            },
            Ok(()) = versions.changed(), if shell.takes_versions() => {
                let wanted = versions.borrow_and_update().clone();
                shell.write_versions(wanted).await?;
            }
            event = shell.next() => shell.take(event).await?,
            _ = ticks.tick() => shell.step(tick(&clock, begun)).await?,
            _ = publish.tick() => { progress.send_replace(shell.progress()); }
            _ = look.tick() => shell.look(),
            _ = tell.tick() => shell.tell_failures(),
        }
    }
    shell.tell_failures();
    progress.send_replace(shell.progress());
    if timeout(grace, shell.leave()).await.is_err() {
        tracing::warn!("the group did not take the partitions back in time: the others get them when it misses us");
    }
    Ok(())
}

/// The word that it is to end, and from then on how long the store has for the last flush.
struct Farewell<'a, S> {
    shutdown: Pin<&'a mut S>,
    grace: Duration,
    until: Option<Instant>,
}

enum Due {
    Close,
    GiveUp,
}

impl<S: Future<Output = ()>> Farewell<'_, S> {
    /// Cancel safe.
    async fn due(&mut self) -> Due {
        let Some(until) = self.until else {
            self.shutdown.as_mut().await;
            self.until = Some(Instant::now() + self.grace);
            return Due::Close;
        };
        sleep_until(until).await;
        tracing::warn!("the store took too long to take the last flush: its events are folded again at the next start");
        Due::GiveUp
    }
}

fn tick(clock: &Clock, begun: Instant) -> Signal {
    Signal::Tick { now: clock.now(), passed: Micros::new(begun.elapsed().as_micros() as i64) }
}

/// A tick that was missed is not made up for.
fn every(period: Duration) -> Interval {
    let mut interval = tokio::time::interval(period);
    interval.set_missed_tick_behavior(MissedTickBehavior::Skip);
    interval
}
