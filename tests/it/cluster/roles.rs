//! Processes that share the work: they see what the others applied, hand over what they held, and are replaced one
//! after the other without a lookup that fails.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use super::{Cluster, ingest, lookup, ready, served, settle, until, wanted};
use crate::http::Api;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_processes_are_one_service() {
    let cluster = Cluster::new().await;
    let mut processes = [("stream", "s1"), ("stream", "s2"), ("archive", "a1"), ("api", "p1"), ("api", "p2")]
        .map(|(roles, name)| cluster.spawn(roles, name));
    let mut apis = Vec::new();
    for process in &mut processes {
        apis.push(ready(process).await);
    }
    let [stream, _, _, first, second] = &apis[..] else { unreachable!("five were started") };

    first.send("/v1/definitions/apply", "application/yaml", cluster.definitions()).await.json();
    until("the other process sees what was applied", async || {
        let status = second.get("/v1/status").await.json();
        if status["revision"] == 1 { Ok(()) } else { Err(status.to_string()) }
    })
    .await;
    ingest(first, 0..500).await;
    ingest(second, 500..1_000).await;
    settle(first).await;
    settle(second).await;
    assert_eq!(served(first).await, wanted(1_000));
    assert_eq!(served(second).await, wanted(1_000));

    // What a process has no role for, it does not answer.
    assert_eq!(stream.post("/v1/online-features", &lookup()).await.status, 404);
    assert_eq!(stream.get("/v1/status").await.json()["roles"], serde_json::json!(["stream"]));
    let report = second.post("/v1/parity", &serde_json::Value::Null).await.json();
    assert_eq!((&report["different"], &report["unchecked"]), (&0.into(), &0.into()), "{report:#}");
    for process in processes {
        process.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_worker_that_is_stopped_hands_over_and_nothing_is_lost_or_doubled() {
    let cluster = Cluster::new().await;
    let mut api_process = cluster.spawn("api,archive", "p1");
    let api = ready(&mut api_process).await;
    let mut first = cluster.spawn("stream", "s1");
    ready(&mut first).await;
    api.send("/v1/definitions/apply", "application/yaml", cluster.definitions()).await.json();
    ingest(&api, 0..300).await;
    let mut second = cluster.spawn("stream", "s2");
    ready(&mut second).await;
    for round in 1..4 {
        ingest(&api, round * 300..round * 300 + 300).await;
    }
    tokio::join!(first.stop(), ingest(&api, 1_200..1_500));
    ingest(&api, 1_500..1_800).await;
    settle(&api).await;
    assert_eq!(served(&api).await, wanted(1_800));
    second.stop().await;
    api_process.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rolling_restart_of_the_api_processes_fails_no_lookup_of_who_follows_readiness() {
    let cluster = Cluster::new().await;
    let mut worker = cluster.spawn("stream,archive", "s1");
    ready(&mut worker).await;
    let mut processes = [cluster.spawn("api", "p0"), cluster.spawn("api", "p1")];
    let targets = Mutex::new(Vec::new());
    for process in &mut processes {
        let api = ready(process).await;
        targets.lock().expect("no panic").push(api);
    }
    let first = targets.lock().expect("no panic")[0].clone();
    first.send("/v1/definitions/apply", "application/yaml", cluster.definitions()).await.json();
    ingest(&first, 0..100).await;
    let both = targets.lock().expect("no panic").clone();
    for api in &both {
        settle(api).await;
    }

    let done = AtomicBool::new(false);
    let restarts = async {
        let mut replaced = Vec::new();
        for (place, process) in processes.into_iter().enumerate() {
            process.stop().await;
            let mut next = cluster.spawn("api", &format!("p{place}"));
            let api = ready(&mut next).await;
            targets.lock().expect("no panic")[place] = api;
            replaced.push(next);
        }
        done.store(true, Ordering::SeqCst);
        replaced
    };
    let (replaced, answered) = tokio::join!(restarts, look_up(&targets, &done));
    println!("{answered} lookups during the restarts");
    for process in replaced {
        process.stop().await;
    }
    worker.stop().await;
}

/// Asks whichever process says that it is ready, all the time; how many lookups were answered.
async fn look_up(targets: &Mutex<Vec<Api>>, done: &AtomicBool) -> u64 {
    let mut answered = 0;
    while !done.load(Ordering::SeqCst) {
        let now = targets.lock().expect("no panic").clone();
        let mut asked = 0;
        for api in now {
            let Ok(readiness) = api.call("GET", "/readyz", "", Vec::new()).await else { continue };
            if readiness.status != 200 {
                continue;
            }
            asked += 1;
            assert_eq!(served(&api).await, wanted(100));
            answered += 1;
        }
        assert!(asked > 0, "one of the two is ready at any moment");
    }
    answered
}
