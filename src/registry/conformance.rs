//! What any registry must do, whatever its backend: the contract of the module as tests.

mod access;
mod jobs;
mod rollbacks;

use crate::kernel::definition::SourceText;
use crate::kernel::name::Name;
use crate::kernel::plan::Fingerprint;
use crate::kernel::time::{EventTime, Micros};
use crate::registry::{Error, JobFilter, Offsets, Registry, Replay, Seed, VersionState};

pub use jobs::running_job;

/// `open` opens the same registry for a project each time; each test takes projects of its own.
pub async fn conforms(open: impl AsyncFn(&str) -> Box<dyn Registry>) {
    an_empty_project_has_nothing(&*open("empty").await).await;
    shards_are_fixed_by_the_first_call(&*open("shards").await, &*open("shards").await).await;
    revisions_are_numbered_without_gaps_and_read_back(&*open("revisions").await, &*open("revisions").await).await;
    of_applies_at_the_same_time_one_wins(&open).await;
    a_version_begins_building_and_replaces_the_live_one_when_promoted(&*open("versions").await).await;
    a_version_is_younger_than_those_that_were_live_before_it(&*open("younger").await).await;
    an_apply_drops_what_it_does_not_name(&*open("drops").await).await;
    a_dropped_version_comes_back_building(&*open("returns").await).await;
    rollbacks::a_rollback_exchanges_the_live_version_and_the_one_before(&*open("back").await, &*open("back").await)
        .await;
    rollbacks::a_view_without_a_version_before_stays_as_it_is(&*open("nothing_before").await).await;
    rollbacks::one_version_before_is_retained_until_its_time_has_passed(&*open("window").await).await;
    rollbacks::what_was_rolled_back_is_retained_until_another_definition_comes(&*open("declared").await).await;
    rollbacks::a_definition_that_returns_is_served_again_from_the_rows_that_it_has(&*open("reverted").await).await;
    rollbacks::of_rollbacks_at_the_same_time_each_is_seen_by_the_next(&open).await;
    a_generation_is_built_beside_the_one_that_serves_and_takes_its_place(&*open("rebuilds").await).await;
    a_generation_that_was_given_up_is_not_promoted(&*open("gives_up").await).await;
    rows_that_nobody_uses_are_retired_until_they_are_removed(&*open("retires").await).await;
    a_generation_is_seeded_up_to_the_cut_that_was_decided_first(&*open("seeds").await, &*open("seeds").await).await;
    rows_that_are_of_no_use_are_replaced_once(&*open("replaced").await, &*open("replaced").await).await;
    the_newest_replay_of_a_source_and_a_mark_counts(&*open("replays").await, &*open("replays").await).await;
    each_apply_and_promotion_is_counted(&*open("changes").await, &*open("changes").await).await;
    jobs::jobs_read_back_the_newest_first(&*open("jobs").await).await;
    jobs::a_job_is_left_behind_when_the_lease_of_its_owner_has_run_out(&*open("leases").await).await;
    jobs::a_job_that_was_left_behind_is_taken_up_once(&*open("taken").await).await;
    jobs::who_lost_a_job_cannot_end_it(&*open("lost").await).await;
    jobs::a_job_that_has_ended_is_begun_again_by_one(&*open("again").await).await;
    jobs::an_owner_hears_which_of_its_jobs_are_to_stop(&*open("stops").await).await;
    access::keys_read_back_the_newest_first_and_revoked_ones_stay(&*open("keys").await, &*open("keys").await).await;
    access::each_change_of_keys_is_counted(&*open("key_changes").await, &*open("key_changes").await).await;
    access::a_key_of_one_project_is_nothing_in_another(&*open("ours").await, &*open("theirs").await).await;
    access::what_is_audited_is_there_before_its_outcome(&*open("audit").await, &*open("audit").await).await;
    projects_do_not_see_each_other(&*open("one").await, &*open("another").await).await;
}

async fn an_empty_project_has_nothing(registry: &dyn Registry) {
    assert_eq!(registry.revision().await.expect("answers"), None);
    assert_eq!(registry.revision_numbered(1).await.expect("answers"), None);
    assert_eq!(registry.versions().await.expect("answers"), []);
    assert_eq!(registry.job("none").await.expect("answers"), None);
    assert_eq!(registry.jobs(JobFilter::default(), 10).await.expect("answers"), []);
}

async fn shards_are_fixed_by_the_first_call(registry: &dyn Registry, reopened: &dyn Registry) {
    assert_eq!(registry.shards(64).await.expect("answers"), 64);
    assert_eq!(reopened.shards(256).await.expect("answers"), 64);
}

async fn revisions_are_numbered_without_gaps_and_read_back(registry: &dyn Registry, reopened: &dyn Registry) {
    let files = vec![file("b.yaml", "kind: entity"), file("a.yaml", "# ünïcode\n")];
    assert_eq!(registry.apply(0, &files, "ada", &[], at(5)).await.expect("applies"), 1);
    assert_eq!(registry.apply(1, &[], "ben", &[], at(6)).await.expect("applies"), 2);
    for stale in [0, 1, 3] {
        let refused = registry.apply(stale, &files, "cy", &[], at(7)).await;
        assert!(matches!(refused, Err(Error::Conflict { expected, found: 2 }) if expected == stale));
    }
    let newest = reopened.revision().await.expect("answers").expect("applied");
    assert_eq!((newest.number, newest.files, newest.applied_by.as_str(), newest.applied_at), (2, vec![], "ben", at(6)));
    let first = reopened.revision_numbered(1).await.expect("answers").expect("applied");
    assert_eq!((first.number, first.files, first.applied_by.as_str(), first.applied_at), (1, files, "ada", at(5)));
}

async fn of_applies_at_the_same_time_one_wins(open: &impl AsyncFn(&str) -> Box<dyn Registry>) {
    let mut registries = Vec::new();
    for _ in 0..4 {
        registries.push(open("race").await);
    }
    let apply = async |index: usize| {
        let version = (name("view"), Fingerprint(index as u64));
        registries[index].apply(0, &[], &index.to_string(), &[version], at(1)).await
    };
    let outcomes = futures::future::join_all((0..4).map(apply)).await;
    let winner = outcomes.iter().position(|outcome| matches!(outcome, Ok(1))).expect("one wins");
    let conflicts = outcomes.iter().filter(|outcome| matches!(outcome, Err(Error::Conflict { .. }))).count();
    assert_eq!(conflicts, 3, "{outcomes:?}");
    let revision = registries[0].revision().await.expect("answers").expect("applied");
    assert_eq!((revision.number, revision.applied_by), (1, winner.to_string()));
    assert_eq!(states(&*registries[0]).await, [("view".to_owned(), winner as u64, VersionState::Building, 1)]);
}

async fn a_version_begins_building_and_replaces_the_live_one_when_promoted(registry: &dyn Registry) {
    use VersionState::{Building, Live, Retained};
    apply(registry, 0, &[("v", 1), ("w", 9)]).await;
    assert_eq!(states(registry).await, [row("v", 1, Building, 1), row("w", 9, Building, 1)]);
    promote(registry, 1).await;
    apply(registry, 1, &[("v", 2), ("w", 9)]).await;
    assert_eq!(states(registry).await, [row("v", 1, Live, 1), row("v", 2, Building, 2), row("w", 9, Building, 2)]);
    promote(registry, 2).await;
    let promoted = [row("v", 1, Retained, 1), row("v", 2, Live, 2), row("w", 9, Building, 2)];
    assert_eq!(states(registry).await, promoted);
    for again in [2, 1, 77] {
        promote(registry, again).await;
    }
    assert_eq!(states(registry).await, promoted, "nothing left to promote");
}

async fn a_version_is_younger_than_those_that_were_live_before_it(registry: &dyn Registry) {
    let [first, second] = [(name("a"), Fingerprint(1)), (name("b"), Fingerprint(2))];
    registry.apply(0, &[], "ada", std::slice::from_ref(&first), at(10)).await.expect("applies");
    registry.promote(first.1, 0, at(50)).await.expect("promotes");
    // By a process whose clock is behind.
    registry.apply(1, &[], "ada", &[first, second], at(20)).await.expect("applies");
    let versions = registry.versions().await.expect("answers");
    let since = versions.iter().map(|version| (version.fingerprint.0, version.since)).collect::<Vec<_>>();
    assert_eq!(since, [(1, at(50)), (2, EventTime::unchecked(at(50).micros() + 1))]);
}

async fn an_apply_drops_what_it_does_not_name(registry: &dyn Registry) {
    use VersionState::{Building, Live};
    apply(registry, 0, &[("v", 1), ("gone", 5)]).await;
    promote(registry, 1).await;
    promote(registry, 5).await;
    apply(registry, 1, &[("v", 2)]).await;
    apply(registry, 2, &[("v", 3)]).await;
    assert_eq!(states(registry).await, [row("v", 1, Live, 1), row("v", 3, Building, 3)], "an older Building one goes");
    apply(registry, 3, &[("v", 1)]).await;
    assert_eq!(states(registry).await, [row("v", 1, Live, 4)], "back to the live one: nothing is left to build");
    promote(registry, 3).await;
    assert_eq!(states(registry).await, [row("v", 1, Live, 4)], "a dropped version is not promoted");
}

async fn a_dropped_version_comes_back_building(registry: &dyn Registry) {
    apply(registry, 0, &[("v", 1)]).await;
    promote(registry, 1).await;
    apply(registry, 1, &[]).await;
    assert_eq!(states(registry).await, []);
    registry.apply(2, &[], "ada", &[(name("v"), Fingerprint(1))], at(30)).await.expect("applies");
    let versions = registry.versions().await.expect("answers");
    assert_eq!((versions[0].state, versions[0].since, versions[0].revision), (VersionState::Building, at(30), 3));
}

async fn a_generation_is_built_beside_the_one_that_serves_and_takes_its_place(registry: &dyn Registry) {
    apply(registry, 0, &[("v", 1), ("w", 2)]).await;
    assert_eq!(generations(registry).await, [(1, 0, None), (2, 0, None)]);
    rebuild(registry, 1).await;
    assert_eq!(generations(registry).await, [(1, 1, None), (2, 0, None)], "one that is still built starts anew");
    registry.promote(Fingerprint(1), 0, at(20)).await.expect("answers");
    assert_eq!(states(registry).await[0].2, VersionState::Building, "its first generation was given up");
    registry.promote(Fingerprint(1), 1, at(20)).await.expect("answers");
    rebuild(registry, 1).await;
    rebuild(registry, 99).await;
    assert_eq!(generations(registry).await, [(1, 1, Some(2)), (2, 0, None)]);
    registry.promote(Fingerprint(1), 2, at(21)).await.expect("answers");
    assert_eq!(generations(registry).await, [(1, 2, None), (2, 0, None)]);
    let states: Vec<_> = states(registry).await.into_iter().map(|row| row.2).collect();
    assert_eq!(states, [VersionState::Live, VersionState::Building]);
}

async fn a_generation_that_was_given_up_is_not_promoted(registry: &dyn Registry) {
    apply(registry, 0, &[("v", 1)]).await;
    promote(registry, 1).await;
    rebuild(registry, 1).await;
    rebuild(registry, 1).await;
    registry.promote(Fingerprint(1), 1, at(21)).await.expect("answers");
    assert_eq!(generations(registry).await, [(1, 0, Some(2))]);
    registry.stop_rebuild(&[Fingerprint(1)], at(22)).await.expect("answers");
    registry.promote(Fingerprint(1), 2, at(23)).await.expect("answers");
    assert_eq!(generations(registry).await, [(1, 0, None)]);
    rebuild(registry, 1).await;
    assert_eq!(generations(registry).await, [(1, 0, Some(3))], "no number comes again");
}

async fn rows_that_nobody_uses_are_retired_until_they_are_removed(registry: &dyn Registry) {
    let retired = async |before: i64| -> Vec<(u64, u32)> {
        let retired = registry.retired(at(before)).await.expect("answers");
        retired.into_iter().map(|(fingerprint, generation)| (fingerprint.0, generation)).collect()
    };
    apply(registry, 0, &[("v", 1)]).await;
    promote(registry, 1).await;
    rebuild(registry, 1).await;
    rebuild(registry, 1).await;
    assert_eq!((retired(15).await, retired(16).await), (vec![], vec![(1, 1)]), "given up at 15");
    registry.promote(Fingerprint(1), 2, at(30)).await.expect("answers");
    assert_eq!((retired(30).await, retired(31).await), (vec![], vec![(1, 0), (1, 1)]));
    registry.rows_removed(Fingerprint(1), 0).await.expect("answers");
    assert_eq!(retired(31).await, [(1, 1)]);
    registry.rows_removed(Fingerprint(1), 1).await.expect("answers");
    registry.apply(1, &[], "ada", &[], at(40)).await.expect("applies");
    assert_eq!(retired(41).await, [(1, 2)], "a dropped version has no use for rows");
    registry.apply(2, &[], "ada", &[(name("v"), Fingerprint(1))], at(50)).await.expect("applies");
    assert_eq!((generations(registry).await, retired(99).await), (vec![(1, 3, None)], vec![(1, 2)]));
}

async fn a_generation_is_seeded_up_to_the_cut_that_was_decided_first(registry: &dyn Registry, another: &dyn Registry) {
    let seeds = async || -> Vec<(u64, u32, Seed)> {
        let seeds = another.seeds().await.expect("answers");
        seeds.into_iter().map(|((fingerprint, generation), seed)| (fingerprint.0, generation, seed)).collect()
    };
    let cut = |places: &[(u32, u64)]| -> Offsets { places.iter().copied().collect() };
    let (first, later) = (cut(&[(0, 7), (11, u64::from(u32::MAX) + 1)]), cut(&[(0, 9)]));
    apply(registry, 0, &[("v", 1), ("w", 2)]).await;
    assert_eq!(seeds().await, [(1, 0, Seed::Undecided), (2, 0, Seed::Undecided)]);
    registry.end_seed(Fingerprint(1), 0).await.expect("answers");
    assert_eq!(seeds().await[0].2, Seed::Undecided, "nothing was decided that could be done");
    let changes = registry.changes().await.expect("answers");
    assert_eq!(registry.begin_seed(Fingerprint(1), 0, &first).await.expect("decided"), Some(first.clone()));
    assert_eq!(another.begin_seed(Fingerprint(1), 0, &later).await.expect("answers"), Some(first.clone()));
    assert_eq!(registry.begin_seed(Fingerprint(2), 0, &cut(&[])).await.expect("decided"), Some(cut(&[])));
    assert_eq!(registry.begin_seed(Fingerprint(1), 1, &later).await.expect("answers"), None);
    assert_eq!(seeds().await, [(1, 0, Seed::Begun(first.clone())), (2, 0, Seed::Begun(cut(&[])))]);
    registry.end_seed(Fingerprint(1), 0).await.expect("noted");
    assert!(another.changes().await.expect("answers") > changes, "the stream hears that it may begin");
    promote(registry, 1).await;
    rebuild(registry, 1).await;
    assert_eq!(seeds().await[..2], [(1, 0, Seed::Done(first)), (1, 1, Seed::Undecided)]);
}

async fn rows_that_are_of_no_use_are_replaced_once(registry: &dyn Registry, another: &dyn Registry) {
    let replace = async |registry: &dyn Registry, version: u64, generation, seed: &Seed| {
        registry.replace_rows(Fingerprint(version), generation, seed, at(20)).await.expect("answers")
    };
    let seed_of =
        async |generation| -> Seed { another.seeds().await.expect("answers")[&(Fingerprint(1), generation)].clone() };
    let cut = Offsets::from([(0, 7)]);
    apply(registry, 0, &[("v", 1)]).await;
    assert!(!replace(registry, 1, 1, &Seed::Undecided).await, "there is no such generation");
    assert!(!replace(registry, 2, 0, &Seed::Undecided).await, "nor such a version");
    let changes = registry.changes().await.expect("answers");
    assert!(replace(registry, 1, 0, &Seed::Done(Offsets::new())).await);
    assert!(another.changes().await.expect("answers") > changes);
    assert!(!replace(another, 1, 0, &Seed::Undecided).await, "somebody was first");
    assert_eq!((generations(registry).await, seed_of(1).await), (vec![(1, 1, None)], Seed::Done(Offsets::new())));
    registry.promote(Fingerprint(1), 1, at(21)).await.expect("answers");
    assert!(replace(registry, 1, 1, &Seed::Undecided).await);
    assert!(!replace(another, 1, 1, &Seed::Undecided).await, "one is built beside it");
    assert_eq!((generations(registry).await, seed_of(2).await), (vec![(1, 1, Some(2))], Seed::Undecided));
    assert!(replace(another, 1, 2, &Seed::Begun(cut.clone())).await, "in place of what is built beside it");
    assert!(!replace(registry, 1, 2, &Seed::Undecided).await);
    assert_eq!((generations(registry).await, seed_of(3).await), (vec![(1, 1, Some(3))], Seed::Begun(cut)));
    apply(registry, 1, &[]).await;
    assert!(!replace(registry, 1, 3, &Seed::Undecided).await, "nobody needs it");
}

async fn the_newest_replay_of_a_source_and_a_mark_counts(registry: &dyn Registry, reopened: &dyn Registry) {
    let replay = |decoding: u64, ends: &[u64], by: &str| Replay {
        source: name("clicks"),
        decoding: Fingerprint(decoding),
        ends: (0..).zip(ends.iter().copied()).collect(),
        at: at(5),
        by: by.to_owned(),
    };
    let read = async |decoding: u64| reopened.replay(&name("clicks"), Fingerprint(decoding)).await.expect("answers");
    assert_eq!(read(1).await, None);
    for replay in [replay(1, &[], "ada"), replay(1, &[7, 0], "ben"), replay(2, &[9], "cy")] {
        registry.put_replay(&replay).await.expect("written");
    }
    assert_eq!((read(1).await, read(2).await), (Some(replay(1, &[7, 0], "ben")), Some(replay(2, &[9], "cy"))));
    assert_eq!(reopened.replay(&name("views"), Fingerprint(1)).await.expect("answers"), None);
}

async fn each_apply_and_promotion_is_counted(registry: &dyn Registry, reopened: &dyn Registry) {
    let mut before = registry.changes().await.expect("answers");
    let mut moved = async || {
        let after = reopened.changes().await.expect("answers");
        std::mem::replace(&mut before, after) < after
    };
    apply(registry, 0, &[("v", 1)]).await;
    assert!(moved().await, "an apply");
    promote(registry, 1).await;
    assert!(moved().await, "a promotion");
    registry.apply(7, &[], "ada", &[], at(1)).await.expect_err("a conflict");
    registry.put_job(&running_job("a", "me")).await.expect("written");
    assert!(!moved().await, "neither what was refused nor a job");
}

async fn projects_do_not_see_each_other(one: &dyn Registry, another: &dyn Registry) {
    one.shards(8).await.expect("answers");
    apply(one, 0, &[("v", 1)]).await;
    an_empty_project_has_nothing(another).await;
    apply(another, 0, &[("v", 1)]).await;
    promote(another, 1).await;
    assert_eq!(states(one).await, [row("v", 1, VersionState::Building, 1)]);
    assert_eq!(another.shards(16).await.expect("answers"), 16);
}

type Row = (String, u64, VersionState, u64);

fn row(view: &str, fingerprint: u64, state: VersionState, revision: u64) -> Row {
    (view.to_owned(), fingerprint, state, revision)
}

async fn states(registry: &dyn Registry) -> Vec<Row> {
    let versions = registry.versions().await.expect("answers");
    let mut rows: Vec<_> =
        versions.iter().map(|it| row(it.view.as_str(), it.fingerprint.0, it.state, it.revision)).collect();
    rows.sort_by_key(|row| (row.0.clone(), row.1));
    rows
}

async fn apply(registry: &dyn Registry, expected: u64, versions: &[(&str, u64)]) {
    let versions: Vec<_> = versions.iter().map(|(view, number)| (name(view), Fingerprint(*number))).collect();
    registry.apply(expected, &[], "ada", &versions, at(10)).await.expect("applies");
}

async fn promote(registry: &dyn Registry, fingerprint: u64) {
    registry.promote(Fingerprint(fingerprint), 0, at(20)).await.expect("answers");
}

async fn rebuild(registry: &dyn Registry, fingerprint: u64) {
    registry.rebuild(&[Fingerprint(fingerprint)], at(15)).await.expect("answers");
}

/// Fingerprint, generation, and the one beside it.
async fn generations(registry: &dyn Registry) -> Vec<(u64, u32, Option<u32>)> {
    let versions = registry.versions().await.expect("answers");
    let mut rows: Vec<_> = versions.iter().map(|it| (it.fingerprint.0, it.generation, it.rebuilding)).collect();
    rows.sort_unstable();
    rows
}

fn name(text: &str) -> Name {
    text.parse().expect("a name")
}

fn file(path: &str, text: &str) -> SourceText {
    SourceText { path: path.to_owned(), text: text.to_owned() }
}

fn at(seconds: i64) -> EventTime {
    EventTime::from_micros(0).expect("in range") + Micros::new(seconds * 1_000_000)
}
