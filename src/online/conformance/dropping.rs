//! What leaves a store, and what does not: expired parts and removed versions.

use super::{
    Advance, Applied, Claim, EntityKey, EventTime, Image, Nonce, OTHER_VIEW, OnlineStore, PartId, SHARD, StoredRow,
    VIEW, apply, at, claim, entity, heads, load, part, read, step, written,
};

/// Writes partition 0's next record, which makes the part expire at `second`, if at all.
async fn write_until(store: &dyn OnlineStore, entity: &EntityKey, from: u64, second: Option<i64>) {
    let mut row = part(entity, PartId::Partition(0), "head");
    row.flushed.body = Some("body".into());
    row.flushed.expires_at = second.map(at);
    assert_eq!(apply(store, step(1, from, from + 1), &[row]).await, Applied::Done);
}

pub async fn an_expiry_only_grows_and_only_the_expired_is_dropped(store: &dyn OnlineStore) {
    let [a, b] = [entity(store, SHARD, 0), entity(store, SHARD, 1)];
    claim(store, 0, 0, Nonce(1)).await;
    write_until(store, &a, 0, Some(-30)).await;
    write_until(store, &a, 1, Some(20)).await;
    write_until(store, &a, 2, Some(10)).await;
    write_until(store, &b, 3, Some(30)).await;
    assert_eq!(store.expire(at(20)).await.expect("expired"), 0);
    assert_eq!(store.expire(at(21)).await.expect("expired"), 1);
    assert_eq!(heads(store, &a).await, (vec![], vec![(0, 4)]));
    assert_eq!(heads(store, &b).await, (vec!["head".into()], vec![(0, 4)]));
    assert_eq!(store.expire(at(31)).await.expect("expired"), 1);
    assert_eq!(heads(store, &b).await, (vec![], vec![(0, 4)]));
    assert_eq!(store.expire(at(31)).await.expect("expired"), 0);
}

pub async fn what_never_expires_stays(store: &dyn OnlineStore) {
    let [a, b] = [entity(store, SHARD, 0), entity(store, SHARD, 1)];
    claim(store, 0, 0, Nonce(1)).await;
    write_until(store, &a, 0, None).await;
    write_until(store, &a, 1, Some(1)).await;
    write_until(store, &b, 2, Some(1)).await;
    write_until(store, &b, 3, None).await;
    assert_eq!(store.expire(EventTime::MAX).await.expect("expired"), 0);
    assert_eq!(heads(store, &a).await.0, ["head"]);
    assert_eq!(heads(store, &b).await.0, ["head"]);
}

pub async fn a_row_that_expired_starts_anew(store: &dyn OnlineStore) {
    let a = entity(store, SHARD, 0);
    claim(store, 0, 0, Nonce(1)).await;
    write_until(store, &a, 0, Some(5)).await;
    assert_eq!(store.expire(at(6)).await.expect("expired"), 1);
    let mut row = part(&a, PartId::Partition(0), "new");
    row.flushed.expires_at = Some(at(3));
    assert_eq!(apply(store, step(1, 1, 2), &[row]).await, Applied::Done);
    let image = Image { head: "new".into(), ..Image::default() };
    assert_eq!(load(store, &a, PartId::Partition(0)).await.image, Some(image));
    assert_eq!(store.expire(at(4)).await.expect("expired"), 1);
}

pub async fn removing_a_version_leaves_the_others(store: &dyn OnlineStore) {
    let a = written(store).await;
    let claims = [Claim { version: OTHER_VIEW, partition: 0, initial: 0 }];
    store.claim(SHARD, &claims, Nonce(4)).await.expect("claimed");
    store.complete(OTHER_VIEW, &[]).await.expect("answered");
    let mut row = part(&a, PartId::Partition(0), "other");
    row.key.version = OTHER_VIEW;
    let advance = Advance { version: OTHER_VIEW, ..step(4, 0, 1) };
    assert_eq!(store.apply(SHARD, &[advance], &[row]).await.expect("answered"), Applied::Done);
    store.remove(VIEW).await.expect("removed");
    assert_eq!(read(store, VIEW, &a).await, StoredRow::default());
    assert_eq!(store.offsets(VIEW).await.expect("offsets"), []);
    let other = read(store, OTHER_VIEW, &a).await;
    assert_eq!((other.parts.len(), other.offsets), (1, vec![(0, 1)]));
}

pub async fn a_removed_version_starts_anew(store: &dyn OnlineStore) {
    let a = written(store).await;
    store.remove(VIEW).await.expect("removed");
    assert_eq!(apply(store, step(1, 5, 6), &[]).await, Applied::Refused(vec![None]));
    assert_eq!(claim(store, 0, 2, Nonce(2)).await, 2);
    assert_eq!(heads(store, &a).await, (vec![], vec![(0, 2)]));
}
