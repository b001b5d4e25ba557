//! What is served and what is written while versions come, go, are rebuilt and rolled back.

use super::*;
use crate::kernel::time::Micros;
use crate::registry::Offsets;
use crate::registry::sqlite::SqliteRegistry;

const SHOP: &str = "
kind: entity
name: user
keys: [{ name: user_id, type: string }]
---
kind: source
name: clicks
event_time: { field: at, unit: ms }
schema:
  version: 1
  fields:
    - { name: at, type: timestamp, required: true }
    - { name: user_id, type: string, required: true }
    - { name: price, type: float64 }
---
kind: feature_view
name: activity
entity: user
source: clicks
features:
  - { name: clicks, aggregate: count, windows: [WINDOW] }
";

fn shop(window: &str) -> Vec<SourceText> {
    vec![SourceText { path: "shop.yaml".to_owned(), text: SHOP.replace("WINDOW", window) }]
}

fn now() -> EventTime {
    EventTime::from_micros(0).expect("in range") + Micros::DAY
}

async fn registry(folder: &tempfile::TempDir) -> Arc<dyn Registry> {
    let file = folder.path().join("registry.db");
    Arc::new(SqliteRegistry::open(&file, &"shop".parse().expect("a name")).await.expect("opens"))
}

async fn apply_to(registry: &dyn Registry, catalogues: &Catalogues, files: Vec<SourceText>) {
    let current = catalogues.current();
    let planned = plan(&current, &files).expect("no mistakes");
    apply(registry, &planned, current.revision, &files, "ada", now()).await.expect("applies");
    leave_to_the_stream(registry, catalogues).await;
}

/// The archive has nothing for any generation.
async fn leave_to_the_stream(registry: &dyn Registry, catalogues: &Catalogues) {
    for (version, generation) in registry.seeds().await.expect("answers").into_keys() {
        registry.begin_seed(version, generation, &Offsets::new()).await.expect("decides");
        registry.end_seed(version, generation).await.expect("notes");
    }
    catalogues.refresh(registry).await.expect("refreshes");
}

/// The window that lookups of `activity` read, and the one that the newest revision declares.
fn served_and_declared(catalogue: &Catalogue) -> (Option<&str>, Option<&str>) {
    let name = |view: &'static str, plan: Option<&Arc<ViewPlan>>| {
        plan.filter(|plan| plan.name == *view).map(|plan| plan.features[0].name.clone())
    };
    let known = |name: Name| ["clicks_1h", "clicks_2h"].into_iter().find(|known| name == **known);
    let served = name("activity", catalogue.serving("activity")).and_then(known);
    (served, name("activity", catalogue.plan.view("activity")).and_then(known))
}

#[tokio::test]
async fn a_new_version_is_served_once_it_is_promoted_and_the_old_one_until_then() {
    let folder = tempfile::tempdir().expect("a folder");
    let registry = registry(&folder).await;
    let catalogues = Catalogues::load(&*registry).await.expect("loads");
    assert_eq!((catalogues.current().revision, catalogues.current().versions.len()), (0, 0));

    apply_to(&*registry, &catalogues, shop("1h")).await;
    assert_eq!(served_and_declared(&catalogues.current()), (None, Some("clicks_1h")));
    let first = catalogues.current().versions[0].view.fingerprint;
    registry.promote(first, 0, now()).await.expect("promotes");
    catalogues.refresh(&*registry).await.expect("refreshes");
    assert_eq!(served_and_declared(&catalogues.current()), (Some("clicks_1h"), Some("clicks_1h")));

    apply_to(&*registry, &catalogues, shop("2h")).await;
    let both = catalogues.current();
    assert_eq!(served_and_declared(&both), (Some("clicks_1h"), Some("clicks_2h")));
    let building = both.versions.iter().find(|version| version.state == VersionState::Building);
    let second = building.expect("the new version").view.fingerprint;
    registry.promote(second, 0, now()).await.expect("promotes");
    catalogues.refresh(&*registry).await.expect("refreshes");
    assert_eq!(served_and_declared(&catalogues.current()), (Some("clicks_2h"), Some("clicks_2h")));
    assert_eq!(served_and_declared(&both), (Some("clicks_1h"), Some("clicks_2h")), "a snapshot stays as it was");
}

#[tokio::test]
async fn a_rebuilt_version_is_written_twice_and_served_from_the_old_rows_until_the_new_ones_are_promoted() {
    let folder = tempfile::tempdir().expect("a folder");
    let registry = registry(&folder).await;
    let catalogues = Catalogues::load(&*registry).await.expect("loads");
    apply_to(&*registry, &catalogues, shop("1h")).await;
    let version = catalogues.current().versions[0].view.fingerprint;
    registry.promote(version, 0, now()).await.expect("promotes");
    registry.rebuild(&[version], now()).await.expect("begins");
    leave_to_the_stream(&*registry, &catalogues).await;
    let rows = |catalogue: &Catalogue| catalogue.serving("activity").map(|view| view.rows);
    let beside = catalogues.current();
    let written = |pass| beside.written(pass).iter().map(|view| view.rows).collect::<Vec<Fingerprint>>();
    assert_eq!(rows(&beside), Some(version));
    assert_eq!(written(Pass::Serving), [version]);
    assert_eq!(written(Pass::Building), [version.in_generation(1)]);
    registry.promote(version, 1, now()).await.expect("promotes");
    catalogues.refresh(&*registry).await.expect("refreshes");
    assert_eq!(rows(&catalogues.current()), Some(version.in_generation(1)));
    assert_eq!(catalogues.current().serving("activity").map(|view| view.fingerprint), Some(version));
    assert_eq!(catalogues.current().written(Pass::Serving).len(), 1);
    assert_eq!(catalogues.current().written(Pass::Building).len(), 0);
}

#[tokio::test]
async fn views_applied_together_are_built_in_one_pass_and_later_ones_beside_those_that_are_served() {
    let folder = tempfile::tempdir().expect("a folder");
    let registry = registry(&folder).await;
    let catalogues = Catalogues::load(&*registry).await.expect("loads");
    let views = |names: &[&str]| {
        let (shared, view) = SHOP.split_at(SHOP.rfind("kind: feature_view").expect("a view"));
        let view = view.replace("WINDOW", "1h");
        let named = names
            .iter()
            .map(|name| view.replace("activity", name).replace("name: clicks,", &format!("name: {name}_clicks,")));
        let text = std::iter::once(shared.to_owned()).chain(named).collect::<Vec<_>>().join("\n---\n");
        vec![SourceText { path: "shop.yaml".to_owned(), text }]
    };
    let written = |pass| {
        let names = catalogues.current().written(pass).iter().map(|view| view.name.to_string()).collect::<Vec<_>>();
        names.join(" ")
    };
    apply_to(&*registry, &catalogues, views(&["browsing", "buying"])).await;
    let browsing = catalogues.current().plan.view("browsing").expect("a view").fingerprint;
    registry.promote(browsing, 0, now() + Micros::DAY).await.expect("promotes");
    catalogues.refresh(&*registry).await.expect("refreshes");
    assert_eq!((written(Pass::Serving), written(Pass::Building)), ("browsing buying".to_owned(), String::new()));

    let files = views(&["browsing", "buying", "searching"]);
    let planned = plan(&catalogues.current(), &files).expect("no mistakes");
    let later = now() + Micros::DAY + Micros::DAY;
    apply(&*registry, &planned, 1, &files, "ada", later).await.expect("applies");
    leave_to_the_stream(&*registry, &catalogues).await;
    assert_eq!(
        (written(Pass::Serving), written(Pass::Building)),
        ("browsing buying".to_owned(), "searching".to_owned())
    );
}

#[tokio::test]
async fn a_generation_is_written_once_what_the_archive_gives_of_it_is_there() {
    let folder = tempfile::tempdir().expect("a folder");
    let registry = registry(&folder).await;
    let catalogues = Catalogues::load(&*registry).await.expect("loads");
    let planned = plan(&catalogues.current(), &shop("1h")).expect("no mistakes");
    apply(&*registry, &planned, 0, &shop("1h"), "ada", now()).await.expect("applies");
    let version = planned.plan.views[0].fingerprint;
    let written = async || {
        catalogues.refresh(&*registry).await.expect("refreshes");
        catalogues.current().written(Pass::Serving)
    };
    assert_eq!(written().await.len(), 0, "nobody has decided");
    registry.begin_seed(version, 0, &Offsets::from([(3, 70)])).await.expect("decides");
    assert_eq!(written().await.len(), 0, "the archive is being folded");
    registry.end_seed(version, 0).await.expect("notes");
    let view = written().await.remove(0);
    assert_eq!((view.folded_from(3), view.folded_from(4)), (70, 0));
}

/// What the service `models` reads as it is served, and whether lookups find all of it.
fn service(catalogue: &Catalogue) -> (String, bool) {
    let service = catalogue.served.service("models").expect("it is defined");
    let features: Vec<String> = service.features.iter().map(ToString::to_string).collect();
    (features.join(" "), service.features.iter().all(|feature| catalogue.served.feature(feature).is_some()))
}

#[tokio::test]
async fn a_service_is_as_before_until_a_view_that_is_new_in_it_is_served() {
    let folder = tempfile::tempdir().expect("a folder");
    let registry = registry(&folder).await;
    let catalogues = Catalogues::load(&*registry).await.expect("loads");
    let (shared, view) = SHOP.split_at(SHOP.rfind("kind: feature_view").expect("a view"));
    let view = view.replace("WINDOW", "1h");
    let second = view.replace("activity", "browsing").replace("name: clicks,", "name: looks,");
    let files = |views: &[&str], reads: &str| {
        let service = format!("kind: feature_service\nname: models\nfeatures: [{reads}]\n");
        let text = format!("{shared}{}\n---\n{service}", views.join("\n---\n"));
        vec![SourceText { path: "shop.yaml".to_owned(), text }]
    };
    let promote = async |view: &str| {
        let version = catalogues.current().plan.view(view).expect("it is declared").fingerprint;
        registry.promote(version, 0, now()).await.expect("promotes");
        catalogues.refresh(&*registry).await.expect("refreshes");
    };
    let served = || service(&catalogues.current()).0;
    apply_to(&*registry, &catalogues, files(&[&view], "activity")).await;
    promote("activity").await;
    apply_to(&*registry, &catalogues, files(&[&view, &second], "activity, browsing")).await;
    assert_eq!(served(), "activity:clicks_1h", "nothing of the new one is there");
    // The service changes once more meanwhile: two revisions wait for the same view.
    apply_to(&*registry, &catalogues, files(&[&view, &second], "browsing, activity")).await;
    assert_eq!(served(), "activity:clicks_1h");
    promote("browsing").await;
    assert_eq!(served(), "browsing:looks_1h activity:clicks_1h");
}

#[tokio::test]
async fn a_service_is_as_before_until_all_that_it_reads_is_served_and_again_after_a_rollback() {
    let folder = tempfile::tempdir().expect("a folder");
    let registry = registry(&folder).await;
    let catalogues = Catalogues::load(&*registry).await.expect("loads");
    let with_service = |window: &str| {
        let text = SHOP.replace("WINDOW", window);
        let text = format!("{text}---\nkind: feature_service\nname: models\nfeatures: [activity]\n");
        vec![SourceText { path: "shop.yaml".to_owned(), text }]
    };
    let promote = async |state: &str| {
        let current = catalogues.current();
        let building = current.versions.iter().find(|it| it.state == VersionState::Building).expect(state);
        registry.promote(building.view.fingerprint, 0, now()).await.expect("promotes");
        catalogues.refresh(&*registry).await.expect("refreshes");
    };
    let one = ("activity:clicks_1h".to_owned(), true);
    let two = ("activity:clicks_1h activity:clicks_2h".to_owned(), true);
    apply_to(&*registry, &catalogues, with_service("1h")).await;
    promote("the first version").await;
    apply_to(&*registry, &catalogues, with_service("1h, 2h")).await;
    assert_eq!(service(&catalogues.current()), one, "the version with both is being built");
    assert!(catalogues.current().is_building("activity", "clicks_2h"));
    promote("the second version").await;
    assert_eq!(service(&catalogues.current()), two);
    registry.roll_back(&"activity".parse().expect("a name"), "ada", now()).await.expect("answers").expect("done");
    catalogues.refresh(&*registry).await.expect("refreshes");
    assert_eq!(service(&catalogues.current()), one);
    assert_eq!(catalogues.current().written(Pass::Serving).len(), 2, "what was rolled back stays fresh");
    assert!(!catalogues.current().is_building("activity", "clicks_2h"));
}

#[tokio::test]
async fn a_refresh_tells_only_of_changes() {
    let folder = tempfile::tempdir().expect("a folder");
    let registry = registry(&folder).await;
    let catalogues = Catalogues::load(&*registry).await.expect("loads");
    let mut heard = catalogues.subscribe();
    catalogues.refresh(&*registry).await.expect("refreshes");
    assert!(!heard.has_changed().expect("open"));
    apply_to(&*registry, &catalogues, shop("1h")).await;
    assert!(heard.has_changed().expect("open"));
    assert_eq!(heard.borrow_and_update().revision, 1);
}

#[tokio::test]
async fn applying_what_is_applied_writes_no_revision_unless_it_was_planned_against_another() {
    let folder = tempfile::tempdir().expect("a folder");
    let registry = registry(&folder).await;
    let catalogues = Catalogues::load(&*registry).await.expect("loads");
    apply_to(&*registry, &catalogues, shop("1h")).await;
    apply_to(&*registry, &catalogues, shop("1h")).await;
    assert_eq!(catalogues.current().revision, 1);
    let planned = plan(&catalogues.current(), &shop("1h")).expect("no mistakes");
    let refused = apply(&*registry, &planned, 7, &shop("1h"), "ada", now()).await;
    assert!(matches!(refused, Err(Error::Conflict { expected: 7, found: 1 })), "{refused:?}");
}

/// The process that applies may not have heard yet of the revision that another one planned against.
#[tokio::test]
async fn what_another_process_planned_against_is_read_before_it_is_compared_with() {
    let folder = tempfile::tempdir().expect("a folder");
    let (ours, theirs) = (registry(&folder).await, registry(&folder).await);
    let here = Catalogues::load(&*ours).await.expect("loads");
    let there = Catalogues::load(&*theirs).await.expect("loads");
    apply_to(&*theirs, &there, shop("1h")).await;
    assert_eq!(here.current().revision, 0);
    let read = here.of_revision(&*ours, 1).await.expect("it is the newest");
    assert!(read.revision == 1 && read.plan.view("activity").is_some());
    apply_to(&*theirs, &there, shop("2h")).await;
    let refused = here.of_revision(&*ours, 4).await;
    assert!(matches!(refused, Err(Error::Conflict { expected: 4, found: 2 })), "{refused:?}");
    let refused = here.of_revision(&*ours, 1).await;
    assert!(matches!(refused, Err(Error::Conflict { expected: 1, found: 2 })), "{refused:?}");
}

#[tokio::test]
async fn a_revision_that_no_longer_reads_says_which_and_where() {
    let folder = tempfile::tempdir().expect("a folder");
    let registry = registry(&folder).await;
    registry.apply(0, &shop("1 fortnight"), "ada", &[], now()).await.expect("applies");
    let message = Catalogues::load(&*registry).await.err().expect("refused").to_string();
    assert!(message.contains("revision 1") && message.contains("does not accept it: shop.yaml:"), "{message}");
}

#[tokio::test]
async fn a_version_that_this_release_computes_otherwise_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let registry = registry(&folder).await;
    let other = ("activity".parse().expect("a name"), Fingerprint(7));
    registry.apply(0, &shop("1h"), "ada", &[other], now()).await.expect("applies");
    let refused = Catalogue::load(&*registry).await.expect_err("refused");
    assert!(refused.to_string().contains("another version of view `activity` than 0000000000000007"), "{refused}");
}
