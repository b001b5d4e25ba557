//! Drops versions that were retained for a rollback and whose time has passed, and removes the rows of generations that
//! were replaced, given up or dropped. The registry knows them until they are gone for good, so a removal that was cut
//! short, or undone by a worker that had not heard of it, is made good by whoever is next.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::app::error::Error;
use crate::clock::Clock;
use crate::kernel::plan::Fingerprint;
use crate::kernel::time::{EventTime, Micros};
use crate::online::{self, OnlineStore};
use crate::registry::{self, Registry};

/// How long rows stay after their generation was replaced: far longer than a lookup takes, and than a process needs
/// to hear of it.
const LINGER: Micros = Micros::new(10_000_000);

/// After so long a removal is looked at again. A worker that could not read the registry, or a release that cannot read
/// its newest revision, may have written the rows anew meanwhile.
const LOOK_AGAIN: Micros = Micros::HOUR;

const EVERY: Duration = Duration::from_secs(5);

pub(super) async fn remove_retired(
    registry: Arc<dyn Registry>,
    online: Arc<dyn OnlineStore>,
    clock: Clock,
    rollback_window: Micros,
    closing: impl Future<Output = ()>,
) {
    let mut closing = std::pin::pin!(closing);
    let mut every = tokio::time::interval(EVERY);
    let mut remover = Remover { registry: registry.clone(), online, removed: BTreeMap::new() };
    loop {
        tokio::select! { () = &mut closing => return, _ = every.tick() => {} }
        let now = clock.now();
        let outcome = match drop_retained(&*registry, rollback_window, now).await {
            Ok(()) => remover.remove_due(now).await.map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        };
        if let Err(reason) = outcome {
            tracing::warn!(reason, "rows that nobody reads any more stay a while longer");
        }
    }
}

async fn drop_retained(registry: &dyn Registry, window: Micros, now: EventTime) -> Result<(), registry::Error> {
    for (view, version) in registry.drop_retained(now - window, now).await? {
        tracing::info!(%view, %version, "no longer written: it can no longer be rolled back to");
    }
    Ok(())
}

struct Remover {
    registry: Arc<dyn Registry>,
    online: Arc<dyn OnlineStore>,
    /// When the rows of a generation were removed, for those that the registry is still to forget.
    removed: BTreeMap<(Fingerprint, u32), EventTime>,
}

impl Remover {
    async fn remove_due(&mut self, now: EventTime) -> Result<(), Error> {
        for (fingerprint, generation) in self.registry.retired(now - LINGER).await? {
            match self.removed.get(&(fingerprint, generation)) {
                Some(at) if now.since(*at) < LOOK_AGAIN => {}
                Some(_) if self.is_gone(fingerprint, generation).await? => {
                    self.registry.rows_removed(fingerprint, generation).await?;
                    self.removed.remove(&(fingerprint, generation));
                }
                _ => {
                    self.online.remove(fingerprint.in_generation(generation)).await?;
                    self.removed.insert((fingerprint, generation), now);
                    tracing::info!(version = %fingerprint, generation, "removed rows that nobody reads any more");
                }
            }
        }
        Ok(())
    }

    async fn is_gone(&self, fingerprint: Fingerprint, generation: u32) -> Result<bool, online::Error> {
        Ok(self.online.offsets(fingerprint.in_generation(generation)).await?.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::key::Shard;
    use crate::online::{Claim, Memory, Nonce};
    use crate::registry::sqlite::SqliteRegistry;

    const DROPPED: Fingerprint = Fingerprint(7);

    #[tokio::test]
    async fn rows_that_a_worker_writes_anew_are_removed_again_and_the_registry_knows_them_until_they_are_gone() {
        let folder = tempfile::tempdir().expect("a folder");
        let project = "shop".parse().expect("a name");
        let registry = SqliteRegistry::open(&folder.path().join("registry.db"), &project).await.expect("opens");
        let registry: Arc<dyn Registry> = Arc::new(registry);
        let start = EventTime::from_micros(0).expect("in range");
        registry.apply(0, &[], "ada", &[("v".parse().expect("a name"), DROPPED)], start).await.expect("applies");
        registry.apply(1, &[], "ada", &[], start).await.expect("applies");
        let online = Arc::new(Memory::new(1));
        let write = async || {
            let claim = Claim { version: DROPPED.in_generation(0), partition: 0, initial: 0 };
            online.claim(Shard(0), &[claim], Nonce(1)).await.expect("claimed");
        };
        let mut remover = Remover { registry: registry.clone(), online: online.clone(), removed: BTreeMap::new() };
        let mut known = Vec::new();
        // Written, and after the first removal once more.
        for hour in 1..=4 {
            if hour <= 2 {
                write().await;
            }
            let now = start + Micros::new(hour * (LOOK_AGAIN + Micros::SECOND).get());
            remover.remove_due(now).await.expect("removed");
            assert!(remover.is_gone(DROPPED, 0).await.expect("known"), "hour {hour}");
            known.push(registry.retired(now).await.expect("known").len());
        }
        assert_eq!(known, [1, 1, 0, 0]);
    }
}
