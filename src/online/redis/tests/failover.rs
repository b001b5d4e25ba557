//! Servers that restart, lose writes or lose the connection.

use super::*;

/// The connection may be found to be broken by the first call after it, and not before.
async fn read_again(store: &Redis) -> StoredRow {
    for _ in 0..2 {
        match read(store).await {
            Ok(row) => return row,
            Err(error) => assert!(error.is_transient(), "{error}"),
        }
    }
    panic!("the server is back, and the store is not");
}

#[tokio::test]
async fn a_restart_without_persistence_empties_the_store_and_reads_keep_silent_until_it_is_complete() {
    let mut server = Server::start(&[]);
    let store = open(&server.url()).await;
    claim(&store).await;
    store.complete(VERSION, &[]).await.expect("answered");
    store.apply(shard(), &step(0, 9), &[row("nine", None)]).await.expect("answered");
    assert_eq!(heads(&store).await, (vec!["nine".into()], vec![(0, 9)]));

    server.restart();
    assert_eq!(read_again(&store).await, StoredRow::default());
    drop(store.apply(shard(), &step(9, 10), &[]).await);
    assert_eq!(store.apply(shard(), &step(9, 10), &[]).await.expect("answered"), Applied::Refused(vec![None]));
    drop(store.claim(shard(), &[Claim { version: VERSION, partition: 0, initial: 0 }], Nonce(1)).await);
    assert_eq!(claim(&store).await, 0);
    store.apply(shard(), &step(0, 8), &[row("eight", None)]).await.expect("answered");
    assert_eq!(heads(&store).await, (vec!["eight".into()], vec![]));
    store.complete(VERSION, &[(0, 9)]).await.expect("answered");
    assert_eq!(heads(&store).await, (vec!["eight".into()], vec![]));
    store.apply(shard(), &step(8, 9), &[row("nine", None)]).await.expect("answered");
    store.complete(VERSION, &[(0, 9)]).await.expect("answered");
    assert_eq!(heads(&store).await, (vec!["nine".into()], vec![(0, 9)]));
}

#[tokio::test]
async fn a_promoted_replica_that_lagged_lacks_rows_and_positions_together() {
    let primary = Server::start(&[]);
    let replica = Server::replica_of(&primary);
    replica.until_it_follows().await;
    let options = Options { wait: 1, wait_limit: Duration::from_millis(5_000), ..OPTIONS };
    let project = project();
    let store = Redis::open(&primary.url(), &project, options).await.expect("a server");
    claim(&store).await;
    store.complete(VERSION, &[]).await.expect("answered");
    store.apply(shard(), &step(0, 1), &[row("one", None)]).await.expect("the replica has it");
    replica.promote().await;
    let alone = Redis::open(&primary.url(), &project, OPTIONS).await.expect("a server");
    assert_eq!(alone.apply(shard(), &step(1, 2), &[row("two", None)]).await.expect("answered"), Applied::Done);
    assert_eq!(heads(&alone).await, (vec!["two".into()], vec![(0, 2)]));

    let promoted = Redis::open(&replica.url(), &project, OPTIONS).await.expect("it is a primary now");
    assert_eq!(heads(&promoted).await, (vec!["one".into()], vec![(0, 1)]));
    let lost = Applied::Refused(vec![Some(Position { nonce: Nonce(1), offset: 1 })]);
    assert_eq!(promoted.apply(shard(), &step(2, 3), &[row("three", None)]).await.expect("answered"), lost);
    assert_eq!(promoted.apply(shard(), &step(1, 2), &[row("two", None)]).await.expect("answered"), Applied::Done);
}

#[tokio::test]
async fn a_primary_that_became_a_replica_is_not_written_to() {
    let [primary, other] = [Server::start(&[]), Server::start(&[])];
    let store = open(&primary.url()).await;
    claim(&store).await;
    raw(&store, cmd("REPLICAOF").arg("127.0.0.1").arg(other.port())).await;
    let refused = store.apply(shard(), &step(0, 1), &[row("head", None)]).await.expect_err("it is a replica");
    assert!(refused.is_transient() && refused.to_string().contains("replica"), "{refused}");
    let refused = store.apply(shard(), &step(0, 1), &[]).await.expect_err("it is connected to again, and refused");
    assert!(refused.to_string().contains("address of the primary"), "{refused}");
}

#[tokio::test]
async fn an_apply_that_is_cut_happens_whole_or_not_at_all() {
    let server = Server::start(&[]);
    let proxy = CuttingProxy::before(server.port()).await;
    let store = open(&format!("redis://127.0.0.1:{}", proxy.port)).await;
    claim(&store).await;
    assert_eq!(store.apply(shard(), &step(0, 1), &[row("one", None)]).await.expect("answered"), Applied::Done);

    proxy.cut(Cut::Request);
    let unknown = store.apply(shard(), &step(1, 2), &[row("two", None)]).await.expect_err("half of it arrived");
    assert!(unknown.is_transient(), "{unknown}");
    assert_eq!(store.apply(shard(), &step(1, 2), &[row("two", None)]).await.expect("answered"), Applied::Done);

    proxy.cut(Cut::Answer);
    let unknown = store.apply(shard(), &step(2, 3), &[row("three", None)]).await.expect_err("its answer was lost");
    assert!(unknown.is_transient(), "{unknown}");
    let done = Applied::Refused(vec![Some(Position { nonce: Nonce(1), offset: 3 })]);
    assert_eq!(store.apply(shard(), &step(2, 3), &[row("three", None)]).await.expect("answered"), done);
}
