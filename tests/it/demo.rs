//! The README's first command, to its end: what it says of itself has to be so.

use std::fs;

use crate::process::{freshet, run};

#[tokio::test]
async fn the_demo_does_the_whole_job_on_real_events_and_finds_no_difference() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut demo = freshet(["demo", "--exit", "--listen", "127.0.0.1:0", "--data-dir", "demo"]);
    demo.current_dir(folder.path());
    // Servers of others, which a demo leaves alone.
    fs::write(folder.path().join("freshet.yaml"), "redis: redis://127.0.0.1:1\n").expect("written");
    demo.env("FRESHET_REGISTRY", "postgres://127.0.0.1:1/shop").env("FRESHET_KAFKA", "127.0.0.1:1");
    let said = run(demo).await.done();
    let steps = [
        "81342 events in ",
        ", 0 rejected:",
        "before:                lines_10s = 0",
        "event sent:            lines_10s = 1 ",
        "no write: lines_10s = 0 ",
        " rows × 29 features in demo/training.parquet",
        " values compared, 0 different, 0 unchecked.",
    ];
    for step in steps {
        assert!(said.contains(step), "`{step}` is missing of:\n{said}");
    }
    assert!(folder.path().join("demo/training.parquet").exists());
}
