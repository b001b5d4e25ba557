//! The operators of a training set: how DataFusion explains them, and that they survive being sent.

use arrow::array::ArrayRef;
use arrow::compute::concat_batches;
use arrow::record_batch::RecordBatch;
use expect_test::expect;
use freshet::batch::Resources;
use freshet::kernel::definition::{self, SourceText};
use freshet::kernel::engine::Knowledge;
use freshet::kernel::plan;
use freshet::training::{self, Job, Request};

use super::training::spine;
use super::{SHOP, Shop, click, unwatched};

const RESOURCES: Resources =
    Resources { threads: std::num::NonZeroUsize::new(2).expect("two"), memory_bytes: 64 << 20 };

fn shop() -> Shop {
    let shop = Shop::new();
    shop.archive(&[
        click(0, "u1", "10:00:00", "10:00:00", "pen", 1.5),
        click(1, "u2", "10:00:00", "10:10:00", "ink", 2.5),
    ]);
    shop.archive(&[click(0, "u1", "10:20:00", "10:20:00", "ink", 4.0)]);
    shop
}

fn questions() -> [RecordBatch; 1] {
    let row = |user, item, at| (Some(user), Some(item), Some(at), 0);
    [spine(&[row("u2", "pen", "10:30:00"), row("u1", "ink", "10:15:00"), row("u1", "ink", "10:30:00")])]
}

fn job(shop: &Shop) -> Job {
    let features = &shop.plan.service("recommender").expect("it is defined").features;
    let request = Request { features, spine: &questions(), label_time: "at", knowledge: Knowledge::AsServed };
    Job::begin(&shop.archive, &shop.plan, &request, RESOURCES).expect("begun")
}

/// The columns of a batch by their names, without those of the spine.
fn features(batches: &[RecordBatch]) -> Vec<ArrayRef> {
    let all = concat_batches(&batches[0].schema(), batches).expect("one schema");
    let is_feature = |name: &str| !["_row", "label", "at", "item_id", "user_id"].contains(&name);
    let schema = all.schema();
    let named = schema.fields().iter().zip(all.columns()).filter(|(field, _)| is_feature(field.name()));
    named.map(|(_, column)| column.clone()).collect()
}

#[test]
fn each_view_is_sorted_by_entity_and_time_and_joined_in_one_pass() {
    let shop = shop();
    let explained = job(&shop).explain().replace(&shop.plan.views[0].fingerprint.to_string(), "<fingerprint>");
    let explained = explained.replace(&shop.plan.views[1].fingerprint.to_string(), "<fingerprint>");
    expect![[r#"
        SortPreservingMergeExec: [_row@0 ASC]
          SortExec: expr=[_row@0 ASC], preserve_partitioning=[true]
            PointInTimeExec: view=user_activity@<fingerprint>, knowledge=as_served, features=[spend_1h, items_1h]
              SortExec: expr=[_order@0 ASC], preserve_partitioning=[true]
                CopiesExec: dedup_window=1h
                  SortExec: expr=[_order@0 ASC], preserve_partitioning=[true]
                    RepartitionExec: partitioning=Hash([_shard@1], 2), input_partitions=2
                      EventsExec: view=user_activity, source=clicks, files=[2 of 2, 1 of 1]
              SortExec: expr=[_order@0 ASC], preserve_partitioning=[true]
                RepartitionExec: partitioning=Hash([_shard@1], 2), input_partitions=1
                  QuestionsExec: rows=3
        SortPreservingMergeExec: [_row@0 ASC]
          SortExec: expr=[_row@0 ASC], preserve_partitioning=[true]
            PointInTimeExec: view=item_popularity@<fingerprint>, knowledge=as_served, features=[views]
              SortExec: expr=[_order@0 ASC], preserve_partitioning=[true]
                CopiesExec: dedup_window=1h
                  SortExec: expr=[_order@0 ASC], preserve_partitioning=[true]
                    RepartitionExec: partitioning=Hash([_shard@1], 2), input_partitions=2
                      EventsExec: view=item_popularity, source=clicks, files=[2 of 2, 1 of 1]
              SortExec: expr=[_order@0 ASC], preserve_partitioning=[true]
                RepartitionExec: partitioning=Hash([_shard@1], 2), input_partitions=1
                  QuestionsExec: rows=3
    "#]]
    .assert_eq(&explained);
}

#[test]
fn files_of_other_times_are_left_out_where_the_source_has_no_event_id() {
    let shop = Shop::of(&SHOP.replace("event_id: id\n", "").replace("dedup_window: 1h\n", ""));
    shop.archive(&[click(0, "u1", "10:00:00", "10:00:00", "pen", 1.5)]);
    shop.archive(&[click(0, "u1", "08:00:00", "10:20:00", "ink", 4.0)]);
    let explained = job(&shop).explain();
    let read: Vec<&str> = explained.lines().filter_map(|line| line.trim().strip_prefix("EventsExec: ")).collect();
    expect![[r#"
        [
            "view=user_activity, source=clicks, files=[1 of 1, 0 of 1], event_time=[2026-11-21T09:14:00Z, 2026-11-21T10:30:00.000001Z)",
            "view=item_popularity, source=clicks, files=[1 of 1, 1 of 1], event_time=[0001-01-01T00:00:00Z, 2026-11-21T10:30:00.000001Z)",
        ]
    "#]]
    .assert_debug_eq(&read);
}

#[test]
fn a_task_that_was_sent_gives_the_same_answers() {
    let shop = shop();
    let job = job(&shop);
    let mut batches = Vec::new();
    job.run(unwatched(), &mut |batch| {
        batches.push(batch);
        Ok(())
    })
    .expect("answered");
    let [spend, views, items] = features(&batches).try_into().expect("three features");
    let tasks = job.tasks();
    let answered = |task: &String| training::answer(task, &shop.archive, &shop.plan, RESOURCES).expect("answered");
    let answers: Vec<Vec<ArrayRef>> = tasks.iter().map(|task| features(&answered(task))).collect();
    assert_eq!(answers, [vec![spend, items], vec![views]]);
    let again: Vec<Vec<ArrayRef>> = tasks.iter().map(|task| features(&answered(task))).collect();
    assert_eq!(again, answers, "a task can run again");
}

#[test]
fn a_task_for_other_definitions_is_refused() {
    let shop = shop();
    let task = &job(&shop).tasks()[0];
    let refused =
        |plan: &plan::Plan| training::answer(task, &shop.archive, plan, RESOURCES).expect_err("refused").to_string();
    let other_default = ("column: price, windows: [1h] }", "column: price, windows: [1h], default: -1.0 }");
    for (here, there) in [("allowed_lateness: 30m", "allowed_lateness: 31m"), other_default] {
        assert!(SHOP.contains(here), "{here}");
        let text = SHOP.replace(here, there);
        let changed = definition::parse(&[SourceText { path: "shop.yaml".into(), text }]).expect("right");
        let message = refused(&plan::compile(&changed));
        assert!(message.contains("is for version") && message.ends_with("apply the same definitions"), "{message}");
    }
    assert!(refused(&plan::Plan::default()).contains("is not defined here"));
    let damaged = training::answer("{}", &shop.archive, &shop.plan, RESOURCES).expect_err("refused");
    assert!(damaged.to_string().starts_with("not a task of this release"), "{damaged}");
}

#[test]
fn a_task_answers_from_the_commits_that_it_names() {
    let shop = shop();
    let task = &job(&shop).tasks()[0];
    let before = training::answer(task, &shop.archive, &shop.plan, RESOURCES).expect("answered");
    shop.archive(&[click(0, "u1", "10:14:00", "10:14:00", "pad", 100.0)]);
    assert_eq!(training::answer(task, &shop.archive, &shop.plan, RESOURCES).expect("answered"), before);
}
