//! One run from one seed: processes, group, log and store, and what happens next.

use std::sync::Arc;

use fastrand::Rng;
use freshet::kernel::plan::ViewPlan;
use freshet::kernel::time::Micros;
use freshet::stream::{Settings, Signal};

use super::action::{Action, actions};
use super::fault::{Fault, Faults};
use super::group::Group;
use super::log::Log;
use super::mutant::Mutant;
use super::process::{Call, Process, Scene, Stage, Write};
use super::seeding::Seed;
use super::store::Store;
use super::trace::Trace;
use super::workload::{LOG_END, Place, Workload, start};

pub const STEPS: usize = 500;

/// How many steps a rollback makes dangerous for what arrives late.
const LATE_SOON: usize = 24;

const PROCESSES: usize = 4;
const NAMES: u32 = 3;

pub struct World {
    pub(super) rng: Rng,
    pub(super) mutant: Option<Mutant>,
    pub(super) faults: Faults,
    pub(super) workload: Arc<Workload>,
    pub(super) store: Store,
    pub(super) log: Log,
    pub(super) group: Group,
    pub(super) processes: Vec<Process>,
    /// Calls that their sender gave up, repeated or did not outlive, and that may arrive yet.
    pub(super) late: Vec<(u32, Write)>,
    /// Since the run began.
    pub(super) passed: Micros,
    pub(super) trace: Trace,
    pub(super) is_settling: bool,
    /// By view; `None`: the stream makes all of its rows.
    pub(super) seeds: Vec<Option<Seed>>,
    pub(super) revision: u64,
    /// For so many steps, what is late mostly arrives.
    late_soon: usize,
    settings: Settings,
    /// Which views are written.
    wanted: Vec<bool>,
    actions: Vec<(u32, Action)>,
    numbers: u64,
}

impl World {
    pub fn new(seed: u64, mutant: Option<Mutant>, allowed: Faults, trace: Trace) -> World {
        let mut rng = Rng::with_seed(seed);
        let faults = Faults::draw(&mut rng).and(allowed);
        let workload = Workload::choose(&mut rng);
        let settings = Settings {
            flush_bytes: rng.choice([1, 600, 1 << 20]).expect("one of three"),
            flying_bytes: rng.choice([1, 600, 1 << 20]).expect("one of three"),
            unflushed_bytes: rng.choice([1, 2_000, 1 << 20]).expect("one of three"),
            cache_bytes: rng.choice([0, 2_000, 1 << 20]).expect("one of three"),
            ..Settings::default()
        };
        let shards = rng.u16(1..4);
        let mut world = World {
            mutant,
            faults,
            store: Store::new(shards, workload.clone(), mutant, faults.has(Fault::RollBacks)),
            log: Log::new(workload.clone()),
            group: Group::new(&workload, faults.has(Fault::Partitions)),
            processes: Vec::new(),
            late: Vec::new(),
            passed: Micros::ZERO,
            trace,
            is_settling: false,
            seeds: workload
                .views
                .iter()
                .map(|_| (faults.has(Fault::Seeds) && rng.bool()).then(Seed::default))
                .collect(),
            late_soon: 0,
            settings,
            wanted: workload.views.iter().map(|_| rng.bool()).collect(),
            revision: 0,
            actions: actions(faults),
            numbers: 0,
            workload,
            rng,
        };
        world.trace.note(|| format!("{shards} shards, {:?}", faults.list()));
        if faults.has(Fault::Seeds) {
            world.write_log_of_before();
        }
        world
    }

    /// Until the first thing that must not be.
    pub fn run(&mut self) -> Result<(), String> {
        let is_calm = self.faults.is_calm();
        for _ in 0..STEPS {
            self.step()?;
        }
        self.faults = self.faults.and(Faults::HARMLESS);
        self.settle()?;
        if is_calm && self.store.refusals > 0 {
            return Err(format!("nothing went wrong, and {} flushes were refused", self.store.refusals));
        }
        // No record comes any more, and still a shard that goes back has to be noticed.
        self.roll_back();
        self.settle()?;
        self.store.check_all()?;
        self.promote_all()
    }

    pub fn trace(&self) -> &Trace {
        &self.trace
    }

    fn step(&mut self) -> Result<(), String> {
        self.trace.step();
        if self.processes.is_empty() {
            self.start();
        }
        self.late_soon = self.late_soon.saturating_sub(1);
        let action = if self.late_soon > 0 && self.rng.u32(..4) == 0 { Action::ArriveLate } else { self.draw() };
        let process = self.rng.usize(..self.processes.len());
        let is_awake = !self.processes[process].is_asleep;
        match action {
            Action::Answer if is_awake => self.answer_one(process)?,
            Action::Poll if is_awake => self.poll(process)?,
            Action::Tick if is_awake => self.tick(process)?,
            Action::HearVersions if is_awake => self.hear_versions(process)?,
            Action::Close if is_awake => self.close(process)?,
            Action::DeliverAgain if is_awake => self.deliver_again(process)?,
            Action::SetClock => self.set_clock(process),
            Action::WriteLog => self.write_log(),
            Action::Promote => self.promote()?,
            Action::Start => self.start(),
            Action::Rebalance => self.group.rebalance(&mut self.rng),
            Action::AddPartitions => self.group.add_partitions(&mut self.rng),
            Action::AddVersion => self.want(true),
            Action::DropVersion => self.want(false),
            Action::RemoveVersion => self.remove_version(),
            Action::Crash => self.crash(process),
            Action::Sleep => self.processes[process].is_asleep = true,
            Action::Wake => self.processes[process].is_asleep = false,
            Action::Expire => self.expire(),
            Action::ArriveLate => self.arrive_late()?,
            Action::RollBack => self.roll_back(),
            Action::Empty => self.empty(),
            Action::Truncate => self.truncate(),
            Action::Seed => self.seed_some()?,
            _ => {}
        }
        self.bury();
        Ok(())
    }

    fn draw(&mut self) -> Action {
        let (total, _) = self.actions.last().expect("there is always something to do");
        let drawn = self.rng.u32(..*total);
        self.actions[self.actions.partition_point(|(until, _)| *until <= drawn)].1
    }

    pub(super) fn number(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }

    pub(super) fn views(&self) -> Vec<Arc<ViewPlan>> {
        let is_begun = |view: &usize| self.seeds[*view].as_ref().is_none_or(Seed::is_done);
        let wanted = (0..self.wanted.len()).filter(|view| self.wanted[*view]).filter(is_begun);
        wanted.map(|view| self.plan(view)).collect()
    }

    pub(super) fn hear(&mut self, process: usize, signal: Signal) -> Result<(), String> {
        self.with(process, |process, scene| process.hear(signal, scene))
    }

    /// Lets a process do something that it may have to prove its membership for.
    pub(super) fn with(
        &mut self,
        process: usize,
        step: impl FnOnce(&mut Process, &Scene) -> Result<(), String>,
    ) -> Result<(), String> {
        let is_asked_in_vain = self.faults.has(Fault::LostCalls) && self.rng.u32(..16) == 0;
        let process = &mut self.processes[process];
        let is_member = process.consumer.as_ref().is_some_and(|consumer| self.group.is_member(consumer.id));
        let proven = is_member && !is_asked_in_vain || self.mutant == Some(Mutant::MembershipNotProven);
        step(process, &Scene { workload: &self.workload, proven })
    }

    pub(super) fn tick(&mut self, process: usize) -> Result<(), String> {
        let passed = self.rng.choice([1, 15, 30, 6_000]).expect("one of four");
        self.pass(process, Micros::from_millis(passed))
    }

    /// Time passes, and a process looks at its clock.
    pub(super) fn pass(&mut self, process: usize, time: Micros) -> Result<(), String> {
        self.passed = self.passed + time;
        let now = start() + self.passed - self.processes[process].is_late_by;
        self.hear(process, Signal::Tick { now, passed: self.passed })
    }

    fn set_clock(&mut self, process: usize) {
        let is_late_by = self.rng.choice([Micros::ZERO, Micros::MINUTE, Micros::DAY]).expect("one of three");
        self.trace.note(|| format!("the clock of process {process} is late by {is_late_by}"));
        self.processes[process].is_late_by = is_late_by;
    }

    pub(super) fn hear_versions(&mut self, process: usize) -> Result<(), String> {
        let (revision, views) = (self.revision, self.views());
        let process_now = &mut self.processes[process];
        if process_now.revision == revision || !process_now.takes_versions() {
            return Ok(());
        }
        process_now.revision = revision;
        self.trace.note(|| format!("process {process} is to write {:?}", names(&views)));
        self.with(process, |process, scene| process.write_versions(views, scene))
    }

    fn close(&mut self, process: usize) -> Result<(), String> {
        if self.processes[process].stage == Stage::Closing {
            return Ok(());
        }
        self.trace.note(|| format!("process {process} is to end"));
        self.with(process, |process, scene| process.close(scene))
    }

    fn write_log(&mut self) {
        let place = self.rng.usize(..self.workload.places.len());
        let slots = self.rng.u64(1..5);
        if self.group.is_there(place) {
            self.log.write(place, slots);
        }
    }

    /// What there is to be seeded.
    fn write_log_of_before(&mut self) {
        for place in (0..self.workload.places.len()).filter(|place| self.group.is_there(*place)) {
            self.log.write(place, self.rng.u64(..LOG_END * 2 / 3));
        }
    }

    /// Calls one version complete where it has what the log has now.
    fn promote(&mut self) -> Result<(), String> {
        let view = self.rng.usize(..self.workload.views.len());
        let goals = self.goals(view);
        self.store.promote(self.workload.views[view].fingerprint, goals).map(drop)
    }

    /// What has all of the log can be served, unless the log lost something.
    fn promote_all(&mut self) -> Result<(), String> {
        let is_whole = (0..self.workload.places.len()).all(|place| self.log.held(place).start == 0);
        for view in 0..self.workload.views.len() {
            let goals = self.goals(view);
            if !self.store.promote(self.workload.views[view].fingerprint, goals)? && is_whole {
                return Err(format!("{} has everything, and is not complete", self.workload.views[view].name));
            }
        }
        Ok(())
    }

    pub(super) fn goals(&self, view: usize) -> Vec<(u32, u64)> {
        let topic = &self.workload.views[view].source.topic;
        let read = |(index, place): &(usize, &Place)| place.at.topic == *topic && self.group.is_there(*index);
        let places = self.workload.places.iter().enumerate().filter(read);
        places.map(|(index, place)| (place.at.partition, self.log.held(index).end)).collect()
    }

    /// By a name of its own, or by that of a process that is gone or was taken for dead.
    pub(super) fn start(&mut self) {
        if self.processes.len() == PROCESSES {
            return;
        }
        let id = self.number() as u32;
        let mut name = id;
        if self.faults.has(Fault::Names) {
            let is_used = |name| self.processes.iter().any(|process| process.name == name && !process.is_asleep);
            let free: Vec<u32> = (0..NAMES).map(|name| u32::MAX - name).filter(|name| !is_used(*name)).collect();
            let Some(chosen) = self.rng.choice(free) else { return };
            name = chosen;
        }
        self.trace.note(|| format!("process {} starts, as {name}", self.processes.len()));
        let (settings, views, shards) = (self.settings.clone(), self.views(), self.store.shards().count() as u16);
        self.processes.push(Process::new(id, name, shards, settings, views, self.revision));
    }

    fn want(&mut self, wanted: bool) {
        let view = self.rng.usize(..self.wanted.len());
        if self.wanted[view] != wanted {
            self.wanted[view] = wanted;
            self.revision += 1;
        }
    }

    pub(super) fn want_all(&mut self) {
        if self.wanted.contains(&false) {
            self.wanted.fill(true);
            self.revision += 1;
        }
    }

    fn remove_version(&mut self) {
        let view = self.rng.usize(..self.wanted.len());
        if !self.wanted[view] {
            self.trace.note(|| format!("the store removes {}", self.workload.views[view].name));
            self.store.remove(self.workload.views[view].fingerprint);
            self.seeds[view].iter_mut().for_each(Seed::begin_again);
        }
    }

    pub(super) fn crash(&mut self, process: usize) {
        self.trace.note(|| format!("process {process} crashes"));
        let gone = self.processes.remove(process);
        if self.faults.has(Fault::LateCalls) {
            let writes = gone.calls.into_iter().filter_map(|call| match call {
                Call::Write(write) => Some((gone.id, write)),
                _ => None,
            });
            self.late.extend(writes);
        }
    }

    /// The session of one who is silent ends; now and then of one who is only hard to hear.
    fn expire(&mut self) {
        let Some((name, consumer)) = self.rng.choice(self.group.members()) else { return };
        let heard =
            |process: &Process| process.consumer.as_ref().is_some_and(|own| own.id == consumer) && !process.is_asleep;
        if !self.processes.iter().any(heard) || self.rng.u32(..8) == 0 {
            self.trace.note(|| format!("the session of {name} ends"));
            self.group.remove(name, &mut self.rng);
        }
    }

    /// Mostly of a shard that somebody is just about to load from, for that is when it matters.
    fn roll_back(&mut self) {
        let loading = self.processes.iter().flat_map(|process| &process.calls).find_map(|call| match call {
            Call::Load { keys, loaded, .. } => Some(keys[loaded.len()].entity.shard(self.store.shards().len() as u16)),
            _ => None,
        });
        let any = self.rng.choice(self.store.shards()).expect("there is a shard");
        let shard = loading.filter(|_| self.rng.bool()).unwrap_or(any);
        let most = self.rng.choice([1, 1, 4, 32]).expect("one of four");
        let writes = self.rng.usize(1..=most);
        self.trace.note(|| format!("shard {} loses {writes} writes", shard.0));
        let lost = self.store.roll_back(shard, writes);
        // An earlier attempt of what was lost may still be on its way.
        if self.faults.has(Fault::LateCalls) {
            self.late.extend(lost);
            self.late_soon = LATE_SOON;
        }
    }

    fn empty(&mut self) {
        let shard = self.rng.choice(self.store.shards()).expect("there is a shard");
        self.trace.note(|| format!("shard {} is emptied", shard.0));
        self.store.empty(shard);
    }

    fn truncate(&mut self) {
        let place = self.rng.usize(..self.workload.places.len());
        let start = self.rng.u64(..LOG_END);
        self.trace.note(|| format!("place {place} loses what is below {start}"));
        self.log.truncate(place, start);
    }

    /// Who has flushed and let go of everything says good-bye to the group and ends.
    pub(super) fn bury(&mut self) {
        while let Some(index) = self.processes.iter().position(Process::is_closed) {
            let process = self.processes.remove(index);
            let name = process.consumer.and_then(|consumer| self.group.name_of(consumer.id));
            if let Some(name) = name {
                self.group.remove(name, &mut self.rng);
            }
        }
    }
}

fn names(views: &[Arc<ViewPlan>]) -> Vec<&str> {
    views.iter().map(|view| view.name.as_str()).collect()
}
