//! Versions that are retained, and views that are rolled back.

use super::{apply, at, generations, name, promote, rebuild, row, states};
use crate::kernel::plan::Fingerprint;
use crate::registry::VersionState::{Building, Dropped, Live, Retained};
use crate::registry::{Registry, Rollback};

/// Applies a version of `v`, and promotes it.
async fn replace(registry: &dyn Registry, expected: u64, version: u64) {
    apply(registry, expected, &[("v", version)]).await;
    promote(registry, version).await;
}

async fn roll_back(registry: &dyn Registry, seconds: i64) -> Option<Rollback> {
    registry.roll_back(&name("v"), "ada", at(seconds)).await.expect("answers")
}

/// What is dropped because it was retained since before then.
async fn drop_retained(registry: &dyn Registry, before: i64) -> Vec<u64> {
    let dropped = registry.drop_retained(at(before), at(90)).await.expect("answers");
    dropped.into_iter().map(|(_, version)| version.0).collect()
}

pub async fn a_rollback_exchanges_the_live_version_and_the_one_before(
    registry: &dyn Registry,
    reopened: &dyn Registry,
) {
    replace(registry, 0, 1).await;
    replace(registry, 1, 2).await;
    rebuild(registry, 2).await;
    let before = reopened.changes().await.expect("answers");
    let back = Rollback { view: name("v"), from: Fingerprint(2), to: Fingerprint(1), at: at(30), by: "ada".to_owned() };
    assert_eq!(roll_back(registry, 30).await.as_ref(), Some(&back));
    assert!(reopened.changes().await.expect("answers") > before, "others hear of it");
    assert_eq!(states(reopened).await, [row("v", 1, Live, 1), row("v", 2, Retained, 2)]);
    assert_eq!(generations(registry).await, [(1, 0, None), (2, 0, None)], "what was built beside it is given up");
    let forth = Rollback { from: Fingerprint(1), to: Fingerprint(2), at: at(31), ..back.clone() };
    assert_eq!(roll_back(reopened, 31).await.as_ref(), Some(&forth));
    assert_eq!(states(registry).await, [row("v", 1, Retained, 1), row("v", 2, Live, 2)], "twice is back where it was");
    assert_eq!(reopened.rollbacks(9).await.expect("answers"), [forth.clone(), back]);
    assert_eq!(reopened.rollbacks(1).await.expect("answers"), [forth]);
}

pub async fn a_view_without_a_version_before_stays_as_it_is(registry: &dyn Registry) {
    assert_eq!(roll_back(registry, 30).await, None, "not known");
    apply(registry, 0, &[("v", 1)]).await;
    assert_eq!(roll_back(registry, 30).await, None, "not served yet");
    promote(registry, 1).await;
    apply(registry, 1, &[("v", 2)]).await;
    let before = registry.changes().await.expect("answers");
    assert_eq!(roll_back(registry, 30).await, None, "the only one that was ever served");
    assert_eq!(states(registry).await, [row("v", 1, Live, 1), row("v", 2, Building, 2)]);
    assert_eq!(registry.changes().await.expect("answers"), before);
    assert_eq!(registry.rollbacks(9).await.expect("answers"), []);
}

pub async fn one_version_before_is_retained_until_its_time_has_passed(registry: &dyn Registry) {
    replace(registry, 0, 1).await;
    replace(registry, 1, 2).await;
    replace(registry, 2, 3).await;
    assert_eq!(states(registry).await, [row("v", 2, Retained, 2), row("v", 3, Live, 3)], "the one before that is gone");
    assert_eq!(drop_retained(registry, 20).await, Vec::<u64>::new());
    assert_eq!(drop_retained(registry, 21).await, [2], "retained since 20");
    assert_eq!(states(registry).await, [row("v", 3, Live, 3)]);
    assert_eq!(roll_back(registry, 95).await, None);
    let all = registry.versions_of(&name("v")).await.expect("answers");
    let all: Vec<_> = all.iter().map(|it| (it.fingerprint.0, it.state)).collect();
    assert_eq!(all, [(2, Dropped), (1, Dropped), (3, Live)]);
    let retired = registry.retired(at(91)).await.expect("answers");
    assert_eq!(retired, [(Fingerprint(1), 0), (Fingerprint(2), 0)], "their rows may go");
}

pub async fn what_was_rolled_back_is_retained_until_another_definition_comes(registry: &dyn Registry) {
    replace(registry, 0, 1).await;
    replace(registry, 1, 2).await;
    roll_back(registry, 30).await.expect("rolled back");
    assert_eq!(drop_retained(registry, 80).await, Vec::<u64>::new(), "it is what the definitions declare");
    apply(registry, 2, &[("v", 2), ("w", 9)]).await;
    let sticky = [row("v", 1, Live, 1), row("v", 2, Retained, 3), row("w", 9, Building, 3)];
    assert_eq!(states(registry).await, sticky, "an apply of something else does not undo the rollback");
    promote(registry, 2).await;
    assert_eq!(states(registry).await, sticky);
    apply(registry, 3, &[("v", 3), ("w", 9)]).await;
    promote(registry, 3).await;
    let states = states(registry).await;
    assert_eq!(states[..2], [row("v", 1, Retained, 1), row("v", 3, Live, 4)], "the next one replaces what is served");
}

pub async fn a_definition_that_returns_is_served_again_from_the_rows_that_it_has(registry: &dyn Registry) {
    replace(registry, 0, 1).await;
    replace(registry, 1, 2).await;
    apply(registry, 2, &[("v", 1)]).await;
    assert_eq!(states(registry).await, [row("v", 1, Building, 3), row("v", 2, Live, 2)]);
    assert_eq!(generations(registry).await, [(1, 0, None), (2, 0, None)], "nothing is begun anew");
    promote(registry, 1).await;
    assert_eq!(states(registry).await, [row("v", 1, Live, 3), row("v", 2, Retained, 2)]);
}

pub async fn of_rollbacks_at_the_same_time_each_is_seen_by_the_next(open: &impl AsyncFn(&str) -> Box<dyn Registry>) {
    let mut registries = Vec::new();
    for _ in 0..4 {
        registries.push(open("back_and_forth").await);
    }
    replace(&*registries[0], 0, 1).await;
    replace(&*registries[0], 1, 2).await;
    let outcomes = futures::future::join_all(registries.iter().map(|registry| roll_back(&**registry, 30))).await;
    let to_one = outcomes.iter().flatten().filter(|done| done.to == Fingerprint(1)).count();
    assert_eq!((outcomes.iter().flatten().count(), to_one), (4, 2), "{outcomes:?}");
    assert_eq!(states(&*registries[0]).await, [row("v", 1, Retained, 1), row("v", 2, Live, 2)]);
}
