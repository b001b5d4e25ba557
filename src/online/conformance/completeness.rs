//! Which shards hold all that they should, and that reads keep silent about the others.

use super::{
    Applied, Claim, EntityKey, Nonce, OnlineStore, PartId, SHARD, Shard, StoredRow, VIEW, apply, claim, entity, heads,
    part, read, step, written,
};

/// Claims partition 0 of a shard from offset 0, and completes nothing.
async fn claim_only(store: &dyn OnlineStore, shard: Shard, nonce: u64) {
    let claims = [Claim { version: VIEW, partition: 0, initial: 0 }];
    store.claim(shard, &claims, Nonce(nonce)).await.expect("claimed");
}

async fn complete(store: &dyn OnlineStore, goals: &[(u32, u64)]) -> bool {
    let all = store.complete(VIEW, goals).await.expect("answered");
    assert_eq!(store.is_complete(VIEW).await.expect("answered"), all);
    all
}

async fn offsets(store: &dyn OnlineStore, entity: &EntityKey) -> Vec<(u32, u64)> {
    read(store, VIEW, entity).await.offsets
}

pub async fn a_shard_is_incomplete_until_it_reached_every_goal(store: &dyn OnlineStore) {
    let a = entity(store, SHARD, 0);
    complete(store, &[]).await;
    claim_only(store, SHARD, 1).await;
    assert_eq!(apply(store, step(1, 0, 5), &[part(&a, PartId::Partition(0), "five")]).await, Applied::Done);
    assert_eq!(offsets(store, &a).await, []);
    for goals in [&[(0, 6)][..], &[(0, 256)], &[(0, 5), (1, 0)]] {
        complete(store, goals).await;
        assert_eq!(offsets(store, &a).await, [], "{goals:?} were not reached");
    }
    complete(store, &[(0, 5)]).await;
    assert_eq!(heads(store, &a).await, (vec!["five".into()], vec![(0, 5)]));
}

pub async fn a_mark_stays_whatever_later_goals_say(store: &dyn OnlineStore) {
    let a = written(store).await;
    complete(store, &[(0, 100)]).await;
    assert_eq!(offsets(store, &a).await, [(0, 5)]);
    claim(store, 1, 0, Nonce(2)).await;
    claim_only(store, SHARD, 3).await;
    assert_eq!(offsets(store, &a).await, [(0, 5), (1, 0)]);
}

pub async fn a_version_is_complete_when_all_its_shards_are(store: &dyn OnlineStore) {
    assert!(!complete(store, &[]).await);
    for shard in (0..store.shards()).map(Shard) {
        assert!(!complete(store, &[]).await);
        claim_only(store, shard, 1).await;
    }
    assert!(!store.is_complete(VIEW).await.expect("answered"), "nobody said so");
    assert!(complete(store, &[(0, 0)]).await);
    assert!(complete(store, &[(0, u64::MAX)]).await);
}

pub async fn what_was_emptied_and_claimed_anew_is_incomplete(store: &dyn OnlineStore) {
    let a = written(store).await;
    store.remove(VIEW).await.expect("removed");
    assert_eq!(read(store, VIEW, &a).await, StoredRow::default());
    claim_only(store, SHARD, 2).await;
    assert_eq!(apply(store, step(2, 0, 7), &[]).await, Applied::Done);
    assert_eq!(offsets(store, &a).await, []);
    complete(store, &[(0, 7)]).await;
    assert_eq!(offsets(store, &a).await, [(0, 7)]);
}
