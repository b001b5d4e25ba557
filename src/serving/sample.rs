//! Keeps some lookups for parity: what was served, as of when, and what the stream had folded by then.
//!
//! A lookup never waits for it: samples go through a bounded queue, and one that finds the queue full is dropped and
//! counted. [`keep`] writes them in files of many.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use crate::kernel::codec::encode_values;
use crate::kernel::engine::Reading;
use crate::kernel::event::decoding_mark;
use crate::kernel::key::EntityKey;
use crate::kernel::plan::ViewPlan;
use crate::kernel::time::EventTime;
use crate::offline::{LoggedLookup, Lookups};

/// How many samples wait to be written.
const QUEUE: usize = 65_536;

/// Samples of one file.
const FILE: usize = 65_536;

/// How long a sample waits for others to be written with.
const INTERVAL: Duration = Duration::from_secs(5);

/// Hands every n-th looked-up row to [`keep`]. Clones share its count.
#[derive(Clone)]
pub struct Sampler {
    queue: mpsc::Sender<Queued>,
    /// 0: none; 1: every row.
    one_in: u64,
    seen: Arc<AtomicU64>,
    dropped: Arc<AtomicU64>,
}

/// What [`keep`] receives.
pub enum Queued {
    Lookup(LoggedLookup),
    /// Write what came before, then say so.
    Flush(oneshot::Sender<()>),
}

impl Sampler {
    pub fn new(one_in: u64) -> (Sampler, mpsc::Receiver<Queued>) {
        let (queue, receiver) = mpsc::channel(QUEUE);
        (Sampler { queue, one_in, seen: Arc::default(), dropped: Arc::default() }, receiver)
    }

    /// Samples that found the queue full, since the start.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Returns once every sample that was taken before is written, or nobody writes any more.
    pub async fn flush(&self) {
        let (done, written) = oneshot::channel();
        if self.queue.send(Queued::Flush(done)).await.is_ok() {
            drop(written.await);
        }
    }

    /// Whether the next row is one that is kept.
    pub(super) fn takes(&self) -> bool {
        self.one_in > 0 && self.seen.fetch_add(1, Ordering::Relaxed).is_multiple_of(self.one_in)
    }

    /// `reading`: of all features.
    pub(super) fn offer(
        &self,
        view: &ViewPlan,
        entity: &EntityKey,
        as_of: EventTime,
        reading: &Reading,
        offsets: &[(u32, u64)],
    ) {
        let lookup = LoggedLookup {
            as_of,
            view: view.name.clone(),
            version: view.fingerprint,
            answers: view.answers(),
            decoding: Some(decoding_mark(&view.source)),
            entity: entity.clone(),
            values: encode_values(&reading.values).into(),
            offsets: offsets.to_vec(),
        };
        if self.queue.try_send(Queued::Lookup(lookup)).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Writes samples until `closing`, and then what is left of them.
pub async fn keep(mut queue: mpsc::Receiver<Queued>, lookups: Lookups, closing: impl Future<Output = ()>) {
    let mut closing = std::pin::pin!(closing);
    let mut waiting = Vec::new();
    let mut every = tokio::time::interval(INTERVAL);
    loop {
        let queued = tokio::select! {
            () = &mut closing => {
                queue.close();
                while let Some(queued) = queue.recv().await {
                    take(queued, &mut waiting, &lookups).await;
                }
                write(&mut waiting, &lookups).await;
                return;
            }
            _ = every.tick() => {
                write(&mut waiting, &lookups).await;
                continue;
            }
            queued = queue.recv() => queued,
        };
        match queued {
            Some(queued) => take(queued, &mut waiting, &lookups).await,
            None => return write(&mut waiting, &lookups).await,
        }
    }
}

async fn take(queued: Queued, waiting: &mut Vec<LoggedLookup>, lookups: &Lookups) {
    match queued {
        Queued::Lookup(lookup) => {
            waiting.push(lookup);
            if waiting.len() >= FILE {
                write(waiting, lookups).await;
            }
        }
        Queued::Flush(done) => {
            write(waiting, lookups).await;
            // Whoever asked may have gone away meanwhile.
            let _ = done.send(());
        }
    }
}

/// Samples that cannot be written are dropped: they are evidence, not data.
async fn write(waiting: &mut Vec<LoggedLookup>, lookups: &Lookups) {
    if waiting.is_empty() {
        return;
    }
    let (batch, lookups) = (std::mem::take(waiting), lookups.clone());
    let count = batch.len();
    match tokio::task::spawn_blocking(move || lookups.append(&batch)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!(%error, count, "sampled lookups could not be written and are dropped"),
        Err(_) => tracing::warn!(count, "sampled lookups were dropped at the end of the process"),
    }
}
