//! What other processes apply and promote is seen here too, and which keys they make and revoke. A registry in a file
//! has no other service, but commands that make keys; and a caller may break off between the commit of an apply and its
//! end, so that this process hears of it here.
//!
//! One small query asks whether anything has changed. While the registry is away, or holds what this release cannot
//! read, keys and definitions stay as they were last read.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::MissedTickBehavior;

use crate::api::Access;
use crate::registry::catalogue::Catalogues;
use crate::registry::{Error, Registry};

/// Between two questions at the most: a revoked key is to be refused within a second.
const LONGEST: Duration = Duration::from_millis(500);

pub(super) struct Follower {
    registry: Arc<dyn Registry>,
    access: Access,
    catalogues: Catalogues,
    /// The changes that both have caught up with; `None` where one of them may be older than the registry.
    seen: Option<u64>,
}

impl Follower {
    pub fn new(registry: Arc<dyn Registry>, access: Access, catalogues: Catalogues) -> Follower {
        Follower { registry, access, catalogues, seen: None }
    }

    /// Until `closing`.
    pub async fn run(mut self, every: Duration, closing: impl Future<Output = ()>) {
        let mut closing = std::pin::pin!(closing);
        let mut ticks = tokio::time::interval(every.min(LONGEST));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut is_behind = false;
        loop {
            tokio::select! { () = &mut closing => return, _ = ticks.tick() => {} }
            let outcome = self.catch_up().await;
            match &outcome {
                Ok(()) if is_behind => tracing::info!("keys and definitions are those of the registry again"),
                Err(error) if !is_behind => {
                    tracing::warn!(%error, "keys and definitions stay as they were last read; trying again");
                }
                _ => {}
            }
            is_behind = outcome.is_err();
        }
    }

    /// Keys first: definitions that cannot be read leave nobody's key valid who has none any more.
    async fn catch_up(&mut self) -> Result<(), Error> {
        let before = self.seen.take();
        let changes = self.registry.changes().await?;
        if before != Some(changes) {
            self.access.refresh(&*self.registry).await?;
            self.catalogues.refresh(&*self.registry).await?;
        }
        self.seen = Some(changes);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use tokio::time::timeout;

    use super::*;
    use crate::kernel::definition::SourceText;
    use crate::kernel::time::{EventTime, Micros};
    use crate::registry::access::{ApiKey, KeyText, Scope};
    use crate::registry::sqlite::SqliteRegistry;

    /// Far longer than half a second, and far shorter than an hour.
    const LIMIT: Duration = Duration::from_secs(60);

    const ENTITY: &str = "kind: entity\nname: user\nkeys: [{ name: user_id, type: string }]\n";

    async fn registry(folder: &Path) -> Arc<dyn Registry> {
        let project = "shop".parse().expect("a name");
        Arc::new(SqliteRegistry::open(&folder.join("registry.db"), &project).await.expect("opens"))
    }

    async fn follower(registry: &Arc<dyn Registry>) -> Follower {
        let access = Access::load(&**registry, None).await.expect("loads");
        let catalogues = Catalogues::load(&**registry).await.expect("loads");
        Follower::new(registry.clone(), access, catalogues)
    }

    async fn apply(registry: &dyn Registry, expected: u64, text: &str) {
        let file = SourceText { path: "shop.yaml".to_owned(), text: text.to_owned() };
        registry.apply(expected, &[file], "ada", &[], now()).await.expect("applies");
    }

    fn now() -> EventTime {
        EventTime::from_micros(0).expect("in range") + Micros::DAY
    }

    fn admin() -> ApiKey {
        let text = KeyText::generate().expect("random");
        ApiKey {
            id: text.id().to_owned(),
            name: "ops".to_owned(),
            digest: text.digest(),
            scopes: vec![Scope::Admin],
            services: vec![],
            sources: vec![],
            created_at: now(),
            created_by: "ada".to_owned(),
            revoked: None,
        }
    }

    /// The second apply comes after the first question, so it is heard of by a later one: not after an hour.
    #[tokio::test]
    async fn what_another_process_applies_is_seen_soon_however_seldom_the_registry_is_to_be_asked() {
        let folder = tempfile::tempdir().expect("a folder");
        let (ours, theirs) = (registry(folder.path()).await, registry(folder.path()).await);
        let follower = follower(&ours).await;
        let mut heard = follower.catalogues.subscribe();
        let changes = async {
            for (revision, text) in [(1, ENTITY.to_owned()), (2, ENTITY.replace("user", "item"))] {
                apply(&*theirs, revision - 1, &text).await;
                heard.wait_for(|catalogue| catalogue.revision == revision).await.expect("open");
            }
        };
        let hour = Duration::from_secs(3_600);
        timeout(LIMIT, follower.run(hour, changes)).await.expect("it asks twice a second at least");
    }

    #[tokio::test]
    async fn definitions_that_cannot_be_read_stay_as_they_were_and_keep_no_key_from_being_known() {
        let folder = tempfile::tempdir().expect("a folder");
        let registry = registry(folder.path()).await;
        let mut follower = follower(&registry).await;
        follower.catch_up().await.expect("nothing to catch up with");
        apply(&*registry, 0, "kind: nothing that is known").await;
        registry.add_key(&admin()).await.expect("added");
        for _ in 0..2 {
            follower.catch_up().await.expect_err("not readable");
            assert_eq!(follower.catalogues.current().revision, 0);
            assert!(!follower.access.is_open());
        }
        apply(&*registry, 1, ENTITY).await;
        follower.catch_up().await.expect("readable");
        assert_eq!(follower.catalogues.current().revision, 2);
    }
}
