//! A training set that each process dies of.

use freshet::kernel::time::{EventTime, Micros};
use freshet::registry::sqlite::SqliteRegistry;
use freshet::registry::{Job, JobState, Registry};
use serde_json::{Value, json};

use super::{start, until};

/// What processes left that died with the job.
async fn left_behind(folder: &std::path::Path, id: &str, deaths: usize) {
    let project = "default".parse().expect("a name");
    let registry = SqliteRegistry::open(&folder.join("registry.sqlite"), &project).await.expect("opens");
    let request = json!({ "service": "gone", "label_time": "at", "knowledge": "as_served", "spine": "csv" });
    let job = Job {
        id: id.to_owned(),
        kind: "training_set".to_owned(),
        state: JobState::Running,
        progress: 0.0,
        request,
        result: None,
        error: None,
        created_at: EventTime::from_micros(0).expect("a time"),
        finished_at: None,
        owner: "first".to_owned(),
    };
    registry.put_job(&job).await.expect("written");
    registry.began(id, "first").await.expect("noted");
    for process in 1..deaths {
        let owner = format!("process {process}");
        registry.renew(&owner, Micros::HOUR, &[]).await.expect("renewed");
        registry.take_abandoned("training_set", &owner).await.expect("taken");
        registry.began(id, &owner).await.expect("noted");
        registry.renew(&owner, Micros::new(-1), &[]).await.expect("dead");
    }
}

#[tokio::test]
async fn a_training_set_that_process_after_process_dies_of_is_not_taken_up_again() {
    let error = async |deaths| {
        let folder = tempfile::tempdir().expect("a folder");
        left_behind(folder.path(), "training_set-1", deaths).await;
        let (app, api) = start(folder.path()).await;
        let failed = |job: &Value| job["state"] == "failed";
        let path = "/v1/training-sets/training_set-1";
        let job = until("the job has ended", async || Some(api.get(path).await.json()).filter(failed)).await;
        app.stop().await.expect("it stops cleanly");
        job["error"].as_str().expect("it says why").to_owned()
    };
    assert_eq!(error(2).await, "feature service `gone` is not defined", "it was tried");
    let given_up = error(3).await;
    assert!(given_up.starts_with("3 processes were lost while they cut it, and it is not tried again"), "{given_up}");
}
