//! One lane: entities one after another, each walked from instant to instant, over those at which it cannot be found.

use datafusion_execution::SendableRecordBatchStream;
use futures::StreamExt;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

use crate::backfill::lanes::Told;
use crate::backfill::plan::Plan;
use crate::backfill::rows::Rows;
use crate::backfill::{Error, Request};
use crate::batch;
use crate::kernel::engine::entrants::{Entrants, Sorted};
use crate::kernel::engine::{Presence, Walk, order};
use crate::kernel::time::EventTime;
use crate::offline::{Run, Step};
use crate::telemetry::Cancelled;

pub(super) struct Lane {
    request: Request,
    entrants: Entrants,
    run: Run,
    number: usize,
    step_bytes: usize,
    /// Steps that were written, by this process or another.
    steps: usize,
    /// The last row of those: nothing up to it is written again.
    reached: Vec<u8>,
    walk: Walk,
    /// Whose walk it is, and the next instant to answer.
    entity: Vec<u8>,
    as_of: EventTime,
    rows: Rows,
    tell: mpsc::Sender<Told>,
}

impl Lane {
    pub fn new(
        request: Request,
        plan: &Plan,
        run: Run,
        number: usize,
        steps: &[Step],
        tell: mpsc::Sender<Told>,
    ) -> Lane {
        let view = request.view.clone();
        Lane {
            entrants: Entrants::new(view.clone(), request.knowledge),
            run,
            number,
            step_bytes: plan.step_bytes,
            steps: steps.len(),
            reached: steps.last().map(|step| step.reached.clone()).unwrap_or_default(),
            walk: Walk::new(view.clone()),
            entity: Vec::new(),
            as_of: request.interval.end,
            rows: Rows::new(view),
            tell,
            request,
        }
    }

    /// `events`: in the order of entities and then of time. Writing blocks the thread, as walking does.
    pub async fn run(mut self, mut events: SendableRecordBatchStream) -> Result<(), Error> {
        while let Some(batch) = events.next().await.transpose().map_err(batch::Error::from)? {
            let events = Sorted::new(&self.entrants, &batch);
            for row in 0..events.rows() {
                self.take(&events, row)?;
            }
            self.tell()?;
        }
        self.answer_until(self.request.interval.end)?;
        self.write_step()
    }

    fn take(&mut self, events: &Sorted, row: usize) -> Result<(), Error> {
        let entity = order::entity(events.order(row));
        if self.entity != entity {
            self.answer_until(self.request.interval.end)?;
            self.entity.clear();
            self.entity.extend(entity);
            self.walk.begin();
            self.as_of = self.request.interval.start;
        }
        // Of an entity that is done nothing is asked any more.
        if !self.reached.is_empty() && entity < order::entity(&self.reached) {
            self.as_of = self.request.interval.end;
        }
        self.answer_until(order::time(events.order(row)))?;
        if self.as_of < self.request.interval.end {
            events.fold(row, &mut self.walk, self.as_of);
        }
        Ok(())
    }

    /// Answers the instants before `change`, at which the next event becomes known.
    fn answer_until(&mut self, change: EventTime) -> Result<(), Error> {
        let end = change.min(self.request.interval.end);
        while self.as_of < end {
            let reading = self.walk.at(self.as_of);
            if reading.presence == Presence::NotFound {
                self.as_of = self.request.instant_from(end);
                return Ok(());
            }
            let row = order::at(&self.entity, self.as_of);
            if row > self.reached {
                self.rows.add(order::key(&self.entity), self.as_of, &reading);
                self.reached = row;
            }
            if self.rows.bytes() >= self.step_bytes {
                self.write_step()?;
            }
            self.as_of = self.as_of + self.request.every;
        }
        Ok(())
    }

    fn write_step(&mut self) -> Result<(), Error> {
        if let Some(rows) = self.rows.take() {
            self.run.write(self.number, self.steps, &rows, &self.reached)?;
            self.steps += 1;
        }
        self.tell()
    }

    /// An error once nobody listens: the run was cancelled, or has failed in another lane.
    fn tell(&mut self) -> Result<(), Error> {
        match self.tell.try_reserve() {
            Ok(place) => {
                let hash = if self.entity.is_empty() { 0 } else { order::hash(&self.entity) };
                place.send(Told { lane: self.number, hash, rows: self.rows.counted() });
                Ok(())
            }
            // The next time will do.
            Err(TrySendError::Full(())) => Ok(()),
            Err(TrySendError::Closed(())) => Err(Cancelled.into()),
        }
    }
}
