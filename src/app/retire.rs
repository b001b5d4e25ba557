//! Drops versions that were retained for a rollback and whose time has passed, and removes the rows of generations that
//! were replaced, given up or dropped. The registry knows them until they are gone, so a removal that was cut short is
//! made good by whoever is next.

use std::sync::Arc;
use std::time::Duration;

use crate::clock::Clock;
use crate::kernel::time::{EventTime, Micros};
use crate::online::OnlineStore;
use crate::registry::{self, Registry};

/// How long rows stay after their generation was replaced: far longer than a lookup takes, and than a process needs
/// to hear of it.
const LINGER: Micros = Micros::new(10_000_000);

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
    loop {
        tokio::select! { () = &mut closing => return, _ = every.tick() => {} }
        let now = clock.now();
        let outcome = match drop_retained(&*registry, rollback_window, now).await {
            Ok(()) => remove_due(&*registry, &*online, now).await,
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

async fn remove_due(registry: &dyn Registry, online: &dyn OnlineStore, now: EventTime) -> Result<(), String> {
    let retired = registry.retired(now - LINGER).await.map_err(|error| error.to_string())?;
    for (fingerprint, generation) in retired {
        online.remove(fingerprint.in_generation(generation)).await.map_err(|error| error.to_string())?;
        registry.rows_removed(fingerprint, generation).await.map_err(|error| error.to_string())?;
        tracing::info!(version = %fingerprint, generation, "removed rows that nobody reads any more");
    }
    Ok(())
}
