//! Jobs, and who may run and end them.

use serde_json::json;

use super::at;
use crate::kernel::time::Micros;
use crate::registry::{Abandoned, Job, JobFilter, JobState, Registry};

pub async fn jobs_read_back_the_newest_first(registry: &dyn Registry) {
    let job = |id: &str, kind: &str, created: i64| Job {
        kind: kind.to_owned(),
        created_at: at(created),
        ..running_job(id, "me")
    };
    for (id, kind, created) in [("a", "backfill", 1), ("b", "training_set", 2), ("c", "backfill", 3)] {
        registry.put_job(&job(id, kind, created)).await.expect("written");
    }
    let done = Job {
        state: JobState::Done,
        progress: 1.0,
        result: Some(json!([1])),
        error: Some("none to speak of".to_owned()),
        finished_at: Some(at(9)),
        ..job("a", "backfill", 1)
    };
    // As often as any backend has connections: each prepares statements by what it sees first.
    for _ in 0..8 {
        registry.put_job(&job("b", "training_set", 2)).await.expect("written");
        registry.put_job(&done).await.expect("written");
    }
    assert_eq!(registry.job("a").await.expect("answers"), Some(done));
    let ids = async |filter, limit| -> String {
        registry.jobs(filter, limit).await.expect("answers").iter().map(|job| job.id.as_str()).collect()
    };
    let (all, of_kind) = (JobFilter::default(), |kind| JobFilter { kind: Some(kind), ..JobFilter::default() });
    assert_eq!(ids(all, 10).await, "cba");
    assert_eq!(ids(of_kind("backfill"), 10).await, "ca");
    assert_eq!(ids(all, 2).await, "cb");
    assert_eq!(ids(of_kind("other"), 10).await, "");
    let running = JobFilter { state: Some(JobState::Running), ..all };
    assert_eq!(ids(running, 10).await, "cb");
    let below_b = Some((registry.job("b").await.expect("answers").expect("known").created_at, "b"));
    assert_eq!(ids(JobFilter { below: below_b, ..all }, 10).await, "a");
    assert_eq!(ids(JobFilter { below: below_b, ..running }, 10).await, "");
}

pub async fn a_job_is_left_behind_when_the_lease_of_its_owner_has_run_out(registry: &dyn Registry) {
    for (id, owner) in [("a", "alive"), ("d", "dead"), ("n", "never heard of")] {
        registry.put_job(&running_job(id, owner)).await.expect("written");
    }
    let ended = Job { state: JobState::Cancelled, ..running_job("e", "dead") };
    registry.put_job(&ended).await.expect("written");
    let abandoned = async || registry.fail_abandoned("gone", at(40)).await.expect("answers");
    renew(registry, "alive", Micros::HOUR).await;
    renew(registry, "dead", Micros::HOUR).await;
    assert_eq!(abandoned().await, ["n"]);
    renew(registry, "dead", Micros::new(-1)).await;
    assert_eq!(abandoned().await, ["d"]);
    assert_eq!(abandoned().await, Vec::<String>::new());
    let failed = registry.job("d").await.expect("answers").expect("known");
    assert_eq!(
        (failed.state, failed.error.as_deref(), failed.finished_at),
        (JobState::Failed, Some("gone"), Some(at(40)))
    );
    assert_eq!(registry.job("a").await.expect("answers"), Some(running_job("a", "alive")));
    assert_eq!(registry.job("e").await.expect("answers"), Some(ended));
}

pub async fn who_lost_a_job_cannot_end_it(registry: &dyn Registry) {
    registry.put_job(&running_job("d", "dead")).await.expect("written");
    renew(registry, "next", Micros::HOUR).await;
    let kind = running_job("d", "dead").kind;
    let taken = registry.take_abandoned(&kind, "next").await.expect("answers");
    assert_eq!(taken, [Abandoned { id: "d".to_owned(), deaths: 0 }]);
    let ended = |owner| Job { state: JobState::Failed, error: Some("gone".to_owned()), ..running_job("d", owner) };
    assert!(!registry.put_job(&ended("dead")).await.expect("answers"), "it is another's");
    assert_eq!(registry.job("d").await.expect("answers"), Some(running_job("d", "next")));
    assert!(registry.put_job(&ended("next")).await.expect("written"));
    assert_eq!(registry.job("d").await.expect("answers"), Some(ended("next")));
}

pub async fn a_job_that_has_ended_is_begun_again_by_one(registry: &dyn Registry) {
    let again = |owner| Job { result: Some(json!({ "attempts": 1 })), ..running_job("a", owner) };
    assert!(registry.begin_job(&running_job("a", "one")).await.expect("begun"));
    assert!(!registry.begin_job(&again("one")).await.expect("answers"), "it runs");
    assert!(!registry.begin_job(&again("two")).await.expect("answers"), "it runs");
    assert_eq!(registry.job("a").await.expect("answers"), Some(running_job("a", "one")));
    registry.ask_to_stop("a").await.expect("noted");
    let failed = Job { state: JobState::Failed, error: Some("full".to_owned()), ..running_job("a", "one") };
    registry.put_job(&Job { finished_at: Some(at(9)), ..failed }).await.expect("written");
    renew(registry, "two", Micros::HOUR).await;
    let later = Job { created_at: at(99), ..again("two") };
    assert!(registry.begin_job(&later).await.expect("begun"));
    assert!(!registry.begin_job(&again("one")).await.expect("answers"), "somebody was first");
    assert_eq!(registry.job("a").await.expect("answers"), Some(again("two")));
    let stopping = registry.renew("two", Micros::HOUR, &[]).await.expect("answers");
    assert_eq!(stopping, Vec::<String>::new(), "it was the one before that was to stop");
}

pub async fn a_job_that_was_left_behind_is_taken_up_once(registry: &dyn Registry) {
    let kind = running_job("a", "alive").kind;
    for (id, owner) in [("a", "alive"), ("d", "dead")] {
        registry.put_job(&running_job(id, owner)).await.expect("written");
    }
    registry.put_job(&Job { kind: "other".to_owned(), ..running_job("o", "dead") }).await.expect("written");
    renew(registry, "alive", Micros::HOUR).await;
    renew(registry, "next", Micros::HOUR).await;
    let taken = async |owner| registry.take_abandoned(&kind, owner).await.expect("answers");
    let began = async |owner| registry.began("d", owner).await.expect("answers");
    let dead = |deaths| Abandoned { id: "d".to_owned(), deaths };
    began("dead").await;
    assert_eq!(taken("next").await, [dead(1)]);
    assert_eq!(taken("alive").await, []);
    assert_eq!(registry.job("d").await.expect("answers"), Some(running_job("d", "next")));
    began("dead").await;
    began("next").await;
    registry.release("next").await.expect("answers");
    assert_eq!(taken("alive").await, [dead(1)], "who leaves it has not died of it");
    let lost = async |owner, next| {
        renew(registry, owner, Micros::new(-1)).await;
        renew(registry, next, Micros::HOUR).await;
        let of_both = taken(next).await;
        assert_eq!(of_both.len(), 2, "{of_both:?}");
        of_both.into_iter().find(|job| job.id == "d").expect("it is one of them").deaths
    };
    assert_eq!(lost("alive", "next").await, 1, "who only had it waiting has not died of it");
    began("next").await;
    assert_eq!(lost("next", "last").await, 2);
    assert_eq!(registry.fail_abandoned("gone", at(40)).await.expect("answers"), ["o"]);
}

pub async fn an_owner_hears_which_of_its_jobs_are_to_stop(registry: &dyn Registry) {
    for (id, owner) in [("a", "me"), ("b", "me"), ("c", "me"), ("d", "another")] {
        registry.put_job(&running_job(id, owner)).await.expect("written");
    }
    let done = Job { state: JobState::Done, ..running_job("c", "me") };
    registry.put_job(&done).await.expect("written");
    for id in ["a", "c", "d", "unknown"] {
        registry.ask_to_stop(id).await.expect("answers");
    }
    let progress = [("b".to_owned(), 0.75), ("c".to_owned(), 0.75)];
    assert_eq!(registry.renew("me", Micros::HOUR, &progress).await.expect("answers"), ["a"]);
    let b = registry.job("b").await.expect("answers").expect("known");
    assert_eq!((b.progress, b.state), (0.75, JobState::Running));
    assert_eq!(registry.job("c").await.expect("answers"), Some(done), "what has ended stays as it ended");
}

async fn renew(registry: &dyn Registry, owner: &str, lease: Micros) {
    registry.renew(owner, lease, &[]).await.expect("renewed");
}

/// A backfill that `owner` began.
pub fn running_job(id: &str, owner: &str) -> Job {
    Job {
        id: id.to_owned(),
        kind: "backfill".to_owned(),
        state: JobState::Running,
        progress: 0.25,
        request: json!({ "view": "v", "limit": 0.1 }),
        result: None,
        error: None,
        created_at: at(1),
        finished_at: None,
        owner: owner.to_owned(),
    }
}
