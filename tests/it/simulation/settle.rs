//! The end of a run: nothing goes wrong any more, everybody is heard, and it must come to rest with all that the log
//! holds in the store.

use freshet::kernel::time::Micros;

use super::process::{Call, Stage};
use super::workload::LOG_END;
use super::world::World;

/// Each is a step of every process; a run needs some twenty.
const ROUNDS: usize = 150;

impl World {
    pub(super) fn settle(&mut self) -> Result<(), String> {
        self.trace.note(|| "nothing goes wrong any more".into());
        self.calm_down()?;
        for _ in 0..ROUNDS {
            if self.processes.is_empty() {
                self.start();
            }
            let quiet = self.round()?;
            if quiet && self.lagging().is_none() {
                return Ok(());
            }
        }
        let wrong = self.lagging().unwrap_or("the processes fight".into());
        let stages: Vec<_> = self.processes.iter().map(|it| (it.id, it.stage, it.calls.len(), &it.stopped)).collect();
        Err(format!("it does not come to rest: {wrong}; {stages:?}"))
    }

    /// Everything is written, what was late has arrived, who is dead is known to be.
    fn calm_down(&mut self) -> Result<(), String> {
        self.is_settling = true;
        while !self.late.is_empty() {
            self.arrive_late()?;
        }
        (0..self.workload.places.len()).for_each(|place| self.log.write(place, LOG_END));
        self.group.add_partitions(&mut self.rng);
        self.want_all();
        self.processes.iter_mut().for_each(|process| process.is_asleep = false);
        Ok(())
    }

    /// Members whose consumer is no more are missed by the group.
    fn expire_silent(&mut self) {
        for (name, consumer) in self.group.members() {
            if !self.processes.iter().any(|process| process.consumer.as_ref().is_some_and(|own| own.id == consumer)) {
                self.group.remove(name, &mut self.rng);
            }
        }
    }

    /// Whether nobody had anything to do but to ask whether the store still stands.
    fn round(&mut self) -> Result<bool, String> {
        self.trace.step();
        self.expire_silent();
        self.seed_all()?;
        let refusals = self.store.refusals;
        let mut quiet = true;
        let ids: Vec<u32> = self.processes.iter().map(|process| process.id).collect();
        for id in ids {
            let Some(process) = self.processes.iter().position(|process| process.id == id) else { continue };
            quiet &= self.settle_one(process)?;
            self.bury();
        }
        Ok(quiet && refusals == self.store.refusals)
    }

    fn settle_one(&mut self, process: usize) -> Result<bool, String> {
        let mut quiet = self.processes[process].stage == Stage::Joined;
        self.hear_versions(process)?;
        for call in std::mem::take(&mut self.processes[process].calls) {
            quiet &= matches!(&call, Call::Write(write) if write.is_quiet());
            self.answer(process, call)?;
        }
        let id = self.processes[process].id;
        for _ in 0..8 {
            self.poll(process)?;
            // Its name may be taken: then it has ended.
            if self.processes.get(process).is_none_or(|process| process.id != id) {
                return Ok(false);
            }
        }
        self.pass(process, Micros::from_millis(6_000))?;
        Ok(quiet)
    }

    /// A lane that does not have what the log has, unless records were gone when they were needed and the partition
    /// has stopped for it.
    fn lagging(&self) -> Option<String> {
        for (index, place) in self.workload.places.iter().enumerate() {
            let held = self.log.held(index);
            let read = self.workload.views.iter().filter(|view| view.source.topic == place.at.topic);
            let lanes = read.flat_map(|view| self.store.shards().map(move |shard| (view, shard)));
            let offset = |(view, shard): (&std::sync::Arc<freshet::kernel::plan::ViewPlan>, _)| {
                self.store.offset(shard, view.fingerprint, place.at.partition)
            };
            let offsets: Vec<Option<u64>> = lanes.map(offset).collect();
            let has_stopped = self.processes.iter().any(|process| process.stopped.contains(&index));
            let may_stop = held.start > 0;
            if offsets.iter().any(|offset| *offset != Some(held.end)) && !(has_stopped && may_stop) {
                return Some(format!("{:?} holds {held:?}, and the store has {offsets:?}", place.at));
            }
        }
        None
    }
}
