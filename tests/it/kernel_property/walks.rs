//! The kernel's own walks through archived events, forward in time and in offsets, against the oracle.

use std::sync::Arc;

use fastrand::Rng;
use freshet::kernel::engine::{History, Knowledge, read};
use freshet::kernel::key::{EntityKey, Origin};
use freshet::kernel::plan::ViewPlan;

use super::generate::Case;
use super::system::{Asked, Checked, Feed, compare};
use crate::oracle::{Event, Question};

pub fn check(case: &Case, plan: &ViewPlan, feed: Feed, rng: &mut Rng) -> Checked {
    let history = history(case, plan, feed, rng);
    for entity in history.entities() {
        in_time(case, &history, entity, Question::TrainingAsServed)?;
        in_time(case, &history, entity, Question::TrainingEventTime)?;
        in_offsets(case, &history, entity, rng)?;
    }
    Ok(())
}

/// Of batches in any order, each with events in any order.
fn history(case: &Case, plan: &ViewPlan, feed: Feed, rng: &mut Rng) -> History {
    let mut events: Vec<&Event> = case.log.iter().collect();
    rng.shuffle(&mut events);
    let mut history = History::of_all(Arc::new(plan.clone()));
    while !events.is_empty() {
        let batch = events.split_off(rng.usize(..events.len()));
        history.add(&feed(&plan.source, &batch).events);
    }
    history
}

fn in_time(case: &Case, history: &History, entity: &EntityKey, question: Question) -> Checked {
    let knowledge = match question {
        Question::TrainingEventTime => Knowledge::EventTime,
        _ => Knowledge::AsServed,
    };
    let events: Vec<&Event> = case.log.iter().collect();
    let mut as_ofs = case.as_ofs.clone();
    as_ofs.sort();
    let mut walk = history.known(entity, knowledge);
    as_ofs.into_iter().try_for_each(|as_of| {
        let found = walk.at(as_of);
        compare(case, "walk in time", &found, &events, entity, Asked { question, as_of }, None)
    })
}

/// Below offsets that may go back.
fn in_offsets(case: &Case, history: &History, entity: &EntityKey, rng: &mut Rng) -> Checked {
    let mut walk = history.folded(entity);
    for as_of in &case.as_ofs {
        let offsets: Vec<(u32, u64)> = (0..case.partitions).map(|it| (it, rng.u64(0..=20))).collect();
        let below = |event: &&Event| match event.origin {
            Origin::Log { partition, offset } => offset < offsets[partition as usize].1,
            Origin::History { .. } => true,
        };
        let events: Vec<&Event> = case.log.iter().filter(below).collect();
        let found = read(history.view(), &[walk.below(&offsets)], *as_of);
        let asked = Asked { question: Question::Lookup, as_of: *as_of };
        compare(case, "walk in offsets", &found, &events, entity, asked, None)?;
    }
    Ok(())
}
