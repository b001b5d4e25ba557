//! What any online store must do. [`conforms`] is for all of them, [`survives`] for those that outlive their process.

use bytes::Bytes;

use super::{Advance, Applied, Claim, Loaded, Nonce, OnlineStore, PartKey, PartWrite, Position, StoredRow};
use crate::kernel::codec::Image;
use crate::kernel::engine::Flushed;
use crate::kernel::key::{EntityKey, KeyPart, PartId, Shard};
use crate::kernel::plan::Fingerprint;
use crate::kernel::time::EventTime;

mod completeness;
mod dropping;
mod random;

/// When a store drops what expired.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expiring {
    WhenAsked,
    /// By its own clock, and what is written behind time not within a test.
    ByItself,
}

/// On a store with at least two shards that holds nothing yet. Each case starts where all was removed again.
pub async fn conforms(store: &dyn OnlineStore, expiring: Expiring) {
    macro_rules! run {
        ($($case:path,)*) => {
            $(
                $case(store).await;
                store.remove(VIEW).await.expect("removed");
                store.remove(OTHER_VIEW).await.expect("removed");
            )*
        };
    }
    run! {
        an_unknown_row_has_no_parts_and_no_offsets,
        rows_and_offsets_move_together,
        a_wrong_nonce_is_refused_and_nothing_is_written,
        a_wrong_from_is_refused_and_nothing_is_written,
        a_position_that_nobody_claimed_is_refused,
        a_replayed_apply_is_refused_where_it_ended_and_changes_nothing,
        a_fenced_owner_is_refused_and_the_new_one_goes_on,
        claims_keep_offsets_and_use_the_initial_one_once,
        a_refusal_names_what_is_stored_for_each_advance,
        a_step_to_where_it_is_asks_without_writing,
        what_a_flush_leaves_out_stays_as_it_was,
        parts_of_partitions_and_history_stand_side_by_side,
        shards_do_not_touch_each_other,
        completeness::a_shard_is_incomplete_until_it_reached_every_goal,
        completeness::a_mark_stays_whatever_later_goals_say,
        completeness::a_version_is_complete_when_all_its_shards_are,
        completeness::what_was_emptied_and_claimed_anew_is_incomplete,
        dropping::what_never_expires_stays,
        dropping::removing_a_version_leaves_the_others,
        dropping::a_removed_version_starts_anew,
        readers_see_rows_and_offsets_of_one_instant,
    }
    if expiring == Expiring::WhenAsked {
        run! {
            dropping::an_expiry_only_grows_and_only_the_expired_is_dropped,
            dropping::a_row_that_expired_starts_anew,
        }
    }
    random::calls_answer_as_a_plain_model_does(store, expiring).await;
}

/// `open` opens the same store again each time.
pub async fn survives<S: OnlineStore>(mut open: impl FnMut() -> S) {
    let store = open();
    let shards = store.shards();
    let a = entity(&store, SHARD, 0);
    claim(&store, 0, 7, Nonce(1)).await;
    let mut row = part(&a, PartId::Partition(0), "head");
    row.flushed.body = Some("body".into());
    row.flushed.ids = Some("ids".into());
    row.flushed.expires_at = Some(at(10));
    assert_eq!(apply(&store, step(1, 7, 9), &[row]).await, Applied::Done);
    drop(store);

    let store = open();
    assert_eq!(store.shards(), shards);
    assert_eq!(store.offsets(VIEW).await.expect("offsets"), [(SHARD, 0, 9)]);
    let position = Some(Position { nonce: Nonce(1), offset: 9 });
    let image = Image { head: "head".into(), body: "body".into(), ids: "ids".into() };
    assert_eq!(load(&store, &a, PartId::Partition(0)).await, Loaded { image: Some(image), position });
    assert_eq!(store.expire(at(10)).await.expect("expired"), 0);
    assert_eq!(store.expire(at(11)).await.expect("expired"), 1);
}

const VIEW: Fingerprint = Fingerprint(1);
const OTHER_VIEW: Fingerprint = Fingerprint(u64::MAX);
const SHARD: Shard = Shard(0);

fn at(second: i64) -> EventTime {
    EventTime::unchecked(second * 1_000_000)
}

/// The `nth` entity of a shard.
fn entity(store: &dyn OnlineStore, shard: Shard, nth: usize) -> EntityKey {
    let keys = (0..).map(|int| EntityKey::encode(&[KeyPart::Int(int)]));
    keys.filter(|key| key.shard(store.shards()) == shard).nth(nth).expect("a shard has many entities")
}

fn part(entity: &EntityKey, part: PartId, head: &str) -> PartWrite {
    PartWrite {
        key: PartKey { version: VIEW, entity: entity.clone(), part },
        flushed: Flushed {
            head: Bytes::copy_from_slice(head.as_bytes()),
            body: None,
            ids: None,
            expires_at: None,
            expiry_moved: true,
        },
    }
}

fn step(nonce: u64, from: u64, to: u64) -> Advance {
    Advance { version: VIEW, partition: 0, nonce: Nonce(nonce), from, to }
}

/// And completes, so that reads tell offsets.
async fn claim(store: &dyn OnlineStore, partition: u32, initial: u64, nonce: Nonce) -> u64 {
    let claims = [Claim { version: VIEW, partition, initial }];
    let offsets = store.claim(SHARD, &claims, nonce).await.expect("claimed");
    store.complete(VIEW, &[]).await.expect("answered");
    offsets[0]
}

async fn apply(store: &dyn OnlineStore, advance: Advance, rows: &[PartWrite]) -> Applied {
    store.apply(SHARD, &[advance], rows).await.expect("answered")
}

async fn read(store: &dyn OnlineStore, version: Fingerprint, entity: &EntityKey) -> StoredRow {
    store.read(&[(version, entity.clone())]).await.expect("read").remove(0).expect("it is whole")
}

async fn load(store: &dyn OnlineStore, entity: &EntityKey, part: PartId) -> Loaded {
    let key = PartKey { version: VIEW, entity: entity.clone(), part };
    store.load(&[key]).await.expect("loaded").remove(0)
}

/// The row's heads, as text, and the offsets of its shard.
async fn heads(store: &dyn OnlineStore, entity: &EntityKey) -> (Vec<String>, Vec<(u32, u64)>) {
    let row = read(store, VIEW, entity).await;
    let text = |(_, image): &(PartId, Image)| String::from_utf8(image.head.to_vec()).expect("text");
    (row.parts.iter().map(text).collect(), row.offsets)
}

/// A store with one row, written as partition 0 went from 0 to 5 under nonce 1.
async fn written(store: &dyn OnlineStore) -> EntityKey {
    let a = entity(store, SHARD, 0);
    assert_eq!(claim(store, 0, 0, Nonce(1)).await, 0);
    assert_eq!(apply(store, step(1, 0, 5), &[part(&a, PartId::Partition(0), "five")]).await, Applied::Done);
    a
}

async fn an_unknown_row_has_no_parts_and_no_offsets(store: &dyn OnlineStore) {
    let a = entity(store, SHARD, 0);
    assert_eq!(read(store, VIEW, &a).await, StoredRow::default());
    assert_eq!(load(store, &a, PartId::Partition(0)).await, Loaded::default());
    assert_eq!(store.offsets(VIEW).await.expect("offsets"), []);
    claim(store, 0, 3, Nonce(1)).await;
    assert_eq!(heads(store, &a).await, (vec![], vec![(0, 3)]));
}

async fn rows_and_offsets_move_together(store: &dyn OnlineStore) {
    let a = written(store).await;
    assert_eq!(heads(store, &a).await, (vec!["five".into()], vec![(0, 5)]));
    let position = Some(Position { nonce: Nonce(1), offset: 5 });
    assert_eq!(load(store, &a, PartId::Partition(0)).await.position, position);
    let b = entity(store, SHARD, 1);
    let rows = [part(&a, PartId::Partition(0), "six"), part(&b, PartId::Partition(0), "six")];
    assert_eq!(apply(store, step(1, 5, 6), &rows).await, Applied::Done);
    assert_eq!(heads(store, &a).await, (vec!["six".into()], vec![(0, 6)]));
    assert_eq!(heads(store, &b).await, (vec!["six".into()], vec![(0, 6)]));
}

/// Of a store that was [`written`].
async fn refused_without_a_trace(store: &dyn OnlineStore, a: &EntityKey, advance: Advance) {
    let position = Position { nonce: Nonce(1), offset: 5 };
    let answer = apply(store, advance, &[part(a, PartId::Partition(0), "wrong")]).await;
    assert_eq!(answer, Applied::Refused(vec![Some(position)]));
    assert_eq!(heads(store, a).await, (vec!["five".into()], vec![(0, 5)]));
    assert_eq!(load(store, a, PartId::Partition(0)).await.position, Some(position));
}

async fn a_wrong_nonce_is_refused_and_nothing_is_written(store: &dyn OnlineStore) {
    let a = written(store).await;
    refused_without_a_trace(store, &a, step(2, 5, 6)).await;
}

async fn a_wrong_from_is_refused_and_nothing_is_written(store: &dyn OnlineStore) {
    let a = written(store).await;
    refused_without_a_trace(store, &a, step(1, 4, 6)).await;
    refused_without_a_trace(store, &a, step(1, 6, 7)).await;
}

async fn a_position_that_nobody_claimed_is_refused(store: &dyn OnlineStore) {
    let a = entity(store, SHARD, 0);
    let answer = apply(store, step(0, 0, 1), &[part(&a, PartId::Partition(0), "wrong")]).await;
    assert_eq!(answer, Applied::Refused(vec![None]));
    assert_eq!(read(store, VIEW, &a).await, StoredRow::default());
}

async fn a_replayed_apply_is_refused_where_it_ended_and_changes_nothing(store: &dyn OnlineStore) {
    let a = written(store).await;
    refused_without_a_trace(store, &a, step(1, 0, 5)).await;
}

async fn a_fenced_owner_is_refused_and_the_new_one_goes_on(store: &dyn OnlineStore) {
    let a = written(store).await;
    assert_eq!(claim(store, 0, 0, Nonce(2)).await, 5);
    let fenced = apply(store, step(1, 5, 6), &[part(&a, PartId::Partition(0), "wrong")]).await;
    assert_eq!(fenced, Applied::Refused(vec![Some(Position { nonce: Nonce(2), offset: 5 })]));
    assert_eq!(apply(store, step(2, 5, 7), &[part(&a, PartId::Partition(0), "seven")]).await, Applied::Done);
    assert_eq!(heads(store, &a).await, (vec!["seven".into()], vec![(0, 7)]));
}

async fn claims_keep_offsets_and_use_the_initial_one_once(store: &dyn OnlineStore) {
    assert_eq!(claim(store, 0, 40, Nonce(1)).await, 40);
    assert_eq!(apply(store, step(1, 40, 41), &[]).await, Applied::Done);
    assert_eq!(claim(store, 0, 99, Nonce(2)).await, 41);
    let claims = |partition, initial| Claim { version: VIEW, partition, initial };
    let both = store.claim(SHARD, &[claims(3, 8), claims(0, 99)], Nonce(3)).await.expect("claimed");
    assert_eq!(both, [8, 41]);
    assert_eq!(store.offsets(VIEW).await.expect("offsets"), [(SHARD, 0, 41), (SHARD, 3, 8)]);
}

async fn a_refusal_names_what_is_stored_for_each_advance(store: &dyn OnlineStore) {
    let a = written(store).await;
    claim(store, 1, 20, Nonce(2)).await;
    let second = Advance { partition: 1, ..step(2, 20, 21) };
    let unknown = Advance { version: OTHER_VIEW, ..step(1, 0, 1) };
    let advances = [second, step(1, 5, 6), unknown];
    let answer = store.apply(SHARD, &advances, &[part(&a, PartId::Partition(0), "wrong")]).await.expect("answered");
    let position = |nonce, offset| Some(Position { nonce: Nonce(nonce), offset });
    assert_eq!(answer, Applied::Refused(vec![position(2, 20), position(1, 5), None]));
    assert_eq!(heads(store, &a).await, (vec!["five".into()], vec![(0, 5), (1, 20)]));
    assert_eq!(store.apply(SHARD, &advances[..2], &[]).await.expect("answered"), Applied::Done);
    assert_eq!(store.offsets(VIEW).await.expect("offsets"), [(SHARD, 0, 6), (SHARD, 1, 21)]);
}

async fn a_step_to_where_it_is_asks_without_writing(store: &dyn OnlineStore) {
    let a = written(store).await;
    assert_eq!(apply(store, step(1, 5, 5), &[]).await, Applied::Done);
    assert!(matches!(apply(store, step(1, 4, 4), &[]).await, Applied::Refused(_)));
    assert_eq!(heads(store, &a).await, (vec!["five".into()], vec![(0, 5)]));
}

async fn what_a_flush_leaves_out_stays_as_it_was(store: &dyn OnlineStore) {
    let a = written(store).await;
    let mut whole = part(&a, PartId::Partition(0), "six");
    (whole.flushed.body, whole.flushed.ids) = (Some("body".into()), Some("ids".into()));
    apply(store, step(1, 5, 6), &[whole]).await;
    apply(store, step(1, 6, 7), &[part(&a, PartId::Partition(0), "seven")]).await;
    let image = Image { head: "seven".into(), body: "body".into(), ids: "ids".into() };
    assert_eq!(load(store, &a, PartId::Partition(0)).await.image, Some(image.clone()));
    let row = read(store, VIEW, &a).await;
    assert_eq!(row.parts, [(PartId::Partition(0), Image { ids: Bytes::new(), ..image })]);
}

async fn parts_of_partitions_and_history_stand_side_by_side(store: &dyn OnlineStore) {
    let a = written(store).await;
    claim(store, 256, 0, Nonce(2)).await;
    let rows = [part(&a, PartId::Partition(256), "far"), part(&a, PartId::History, "long ago")];
    assert_eq!(apply(store, Advance { partition: 256, ..step(2, 0, 1) }, &rows).await, Applied::Done);
    let parts = read(store, VIEW, &a).await.parts;
    let ids: Vec<PartId> = parts.iter().map(|(part, _)| *part).collect();
    assert_eq!(ids, [PartId::History, PartId::Partition(0), PartId::Partition(256)]);
    let history = load(store, &a, PartId::History).await;
    assert_eq!((history.image.map(|image| image.head), history.position), (Some("long ago".into()), None));
}

async fn shards_do_not_touch_each_other(store: &dyn OnlineStore) {
    let a = written(store).await;
    let elsewhere = entity(store, Shard(1), 0);
    let claims = [Claim { version: VIEW, partition: 0, initial: 2 }];
    assert_eq!(store.claim(Shard(1), &claims, Nonce(9)).await.expect("claimed"), [2]);
    let rows = [part(&elsewhere, PartId::Partition(0), "there")];
    assert_eq!(store.apply(Shard(1), &[step(9, 2, 3)], &rows).await.expect("answered"), Applied::Done);
    assert_eq!(heads(store, &a).await, (vec!["five".into()], vec![(0, 5)]));
    assert_eq!(heads(store, &elsewhere).await, (vec!["there".into()], vec![]));
    store.complete(VIEW, &[]).await.expect("answered");
    assert_eq!(heads(store, &elsewhere).await, (vec!["there".into()], vec![(0, 3)]));
    assert_eq!(store.offsets(VIEW).await.expect("offsets"), [(SHARD, 0, 5), (Shard(1), 0, 3)]);
}

/// Each write makes the head say the offset that it moves to, so a torn read shows.
async fn readers_see_rows_and_offsets_of_one_instant(store: &dyn OnlineStore) {
    let a = &entity(store, SHARD, 0);
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| on_this_thread(write_offsets(store, a)));
        scope.spawn(move || {
            while !writer.is_finished() {
                on_this_thread(check_offsets(store, a));
            }
        });
    });
}

fn on_this_thread(work: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(work);
}

async fn write_offsets(store: &dyn OnlineStore, entity: &EntityKey) {
    claim(store, 0, 0, Nonce(1)).await;
    for offset in 0..500 {
        let row = part(entity, PartId::Partition(0), &(offset + 1).to_string());
        assert_eq!(apply(store, step(1, offset, offset + 1), &[row]).await, Applied::Done);
    }
}

async fn check_offsets(store: &dyn OnlineStore, entity: &EntityKey) {
    for _ in 0..20 {
        let (heads, offsets) = heads(store, entity).await;
        let offset = offsets.first().map_or(0, |(_, offset)| *offset);
        assert_eq!(heads.first().map_or("0", String::as_str), offset.to_string());
    }
}
