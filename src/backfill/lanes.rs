//! The lanes of a run, side by side: what they read together, and how far they are.

use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::backfill::lane::Lane;
use crate::backfill::plan::Plan;
use crate::backfill::{Error, Request};
use crate::batch::{self, Engine, Progress, Resources};
use crate::kernel::engine::entrants::Entrants;
use crate::kernel::engine::{Asked, order};
use crate::kernel::time::Micros;
use crate::offline::{Archive, Pinned, Run, Scope, Step};
use crate::telemetry::Watch;

/// How much of a run is reading events, rather than walking over them.
const READING: f64 = 0.5;

/// What lanes have told and nobody heard yet.
const UNHEARD: usize = 64;

/// How far a lane is.
pub(super) struct Told {
    pub lane: usize,
    /// The hash of the entity that it is at: entities come in the order of their hashes, which are spread evenly.
    pub hash: u64,
    /// Written since it last told.
    pub rows: usize,
}

pub(super) fn run(
    archive: &Archive,
    run: &Run,
    plan: &Plan,
    request: &Request,
    resources: Resources,
    watch: Watch<'_>,
) -> Result<(), Error> {
    watch.at(0, 1)?;
    let steps = (0..plan.lanes).map(|lane| run.steps(lane)).collect::<Result<Vec<_>, _>>()?;
    let pinned = archive.pin_at(&request.view.source, &plan.archived_to)?;
    let progress = Arc::new(Progress::default());
    let events = wanted(plan, request, &pinned, &steps).by_time(archive, &progress);
    let engine = Engine::start(resources)?;
    let (tell, told) = mpsc::channel(UNHEARD);
    let mut running = JoinSet::new();
    for (number, steps) in steps.iter().enumerate() {
        let events = events.clone();
        let lane = Lane::new(request.clone(), plan, run.clone(), number, steps, tell.clone());
        let context = engine.context.clone();
        let task = async move { lane.run(events.execute(number, context).map_err(batch::Error::from)?).await };
        running.spawn_on(task, engine.runtime.handle());
    }
    drop(tell);
    engine.runtime.block_on(follow(running, told, &progress, pinned.commits(), watch))
}

/// The events that any instant sees, of entities that are not done in all lanes.
fn wanted(plan: &Plan, request: &Request, pinned: &Pinned, steps: &[Vec<Step>]) -> batch::Wanted {
    let view = &request.view;
    let (first, end) = (request.interval.start, request.interval.end);
    let found_for = view.found_for();
    let event_time = found_for.map(|found_for| first - found_for..end);
    let done = steps.iter().map(|steps| steps.last().map_or(0, |step| order::hash(&step.reached)));
    let from = done.min().expect("a run has a lane");
    batch::Wanted {
        entrants: Entrants::new(view.clone(), request.knowledge),
        scans: pinned.deal(plan.lanes),
        scope: Scope { below: None, event_time, fields: Some(view.fields()) },
        asked: Arc::new(Asked::all_from(from, first, end - Micros::new(1), found_for)),
        partitions: plan.lanes,
    }
}

/// Until all lanes have ended, or one has failed: the others then end with it.
async fn follow(
    mut running: JoinSet<Result<(), Error>>,
    mut told: mpsc::Receiver<Told>,
    progress: &Progress,
    commits: usize,
    watch: Watch<'_>,
) -> Result<(), Error> {
    let (reading, walking) = (watch.part(0.0, READING), watch.part(READING, 1.0));
    let mut hashes = vec![0; running.len()];
    loop {
        tokio::select! {
            ended = running.join_next() => match ended {
                Some(ended) => ended.expect("a lane does not panic, and is not stopped")?,
                None => return Ok(watch.at(1, 1)?),
            },
            Some(Told { lane, hash, rows }) = told.recv() => {
                hashes[lane] = hash;
                watch.count(rows);
                walking.at(thousandths(&hashes), 1_000)?;
            }
            () = progress.moved() => reading.at(progress.done().min(commits), commits)?,
        }
    }
}

fn thousandths(hashes: &[u64]) -> usize {
    let all: u128 = hashes.iter().map(|hash| u128::from(*hash)).sum();
    (all * 1_000 / (u128::from(u64::MAX) * hashes.len() as u128)) as usize
}
