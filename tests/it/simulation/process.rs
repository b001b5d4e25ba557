//! One process: the real worker, and around it a model of its shell and of its side of the consumer, step for step
//! what `stream/shell.rs` does: what is asked for one after the other, when the consumer is heard, when the group is
//! joined anew.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use freshet::kernel::event::RawRecord;
use freshet::kernel::key::Shard;
use freshet::kernel::plan::{Fingerprint, ViewPlan};
use freshet::kernel::time::Micros;
use freshet::online::{Advance, Claim, Loaded, PartKey, PartWrite};
use freshet::stream::{Effect, Settings, Signal, Ticket, Worker};

use super::answered::Answered;
use super::group::Control;
use super::workload::{TOPICS, Workload};

pub struct Process {
    pub id: u32,
    /// As a static member of the group.
    pub name: u32,
    pub worker: Worker,
    pub stage: Stage,
    pub is_asleep: bool,
    /// Its clock, behind the true one.
    pub is_late_by: Micros,
    pub consumer: Option<Consumer>,
    /// What it was told to write.
    pub versions: Vec<Arc<ViewPlan>>,
    /// Of the list of versions that it was told last.
    pub revision: u64,
    pub asking_bounds: bool,
    /// Whether the versions have changed since it asked.
    is_outdated: bool,
    pub calls: Vec<Call>,
    pub answered: Answered,
    /// Deliveries that may come again.
    pub delivered: Vec<Delivered>,
    pub stopped: BTreeSet<usize>,
    assigned: BTreeSet<usize>,
    releasing: BTreeSet<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    Leaving,
    Joining,
    Joined,
    Closing,
}

/// Its side of the group; every join makes a new one.
#[derive(Default)]
pub struct Consumer {
    pub id: u32,
    pub owned: BTreeSet<usize>,
    pub cursors: BTreeMap<usize, Cursor>,
    /// Revoked, and given back when the process asks for more.
    pub to_release: Vec<usize>,
}

pub struct Cursor {
    pub ticket: Ticket,
    pub next: u64,
    pub is_paused: bool,
    /// It could not be read where it was sought.
    pub is_broken: bool,
    /// Where an earlier seek would have gone on.
    pub before: Option<u64>,
}

#[derive(Clone)]
pub struct Delivered {
    pub ticket: Ticket,
    pub place: usize,
    pub records: Vec<RawRecord>,
    pub next: u64,
}

/// What is asked of the world and not answered yet.
pub enum Call {
    Write(Write),
    /// Of one shard after the other.
    Load {
        ticket: Ticket,
        keys: Vec<PartKey>,
        loaded: Vec<Loaded>,
    },
    AssignedBounds(Vec<usize>),
    VersionBounds(Vec<Arc<ViewPlan>>),
    Join,
    Look {
        ticket: Ticket,
        place: usize,
    },
    /// Asked and answered; to be heard.
    Membership(bool),
}

/// What may be lost, be late or come twice.
#[derive(Clone)]
pub enum Write {
    Claim { ticket: Ticket, shard: Shard, claims: Vec<Claim> },
    Apply { shard: Shard, advances: Vec<Advance>, rows: Arc<[PartWrite]> },
}

/// What a process meets while it performs effects.
pub struct Scene<'a> {
    pub workload: &'a Workload,
    /// What a proof of membership will say.
    pub proven: bool,
}

impl Process {
    pub fn new(
        id: u32,
        name: u32,
        shards: u16,
        settings: Settings,
        versions: Vec<Arc<ViewPlan>>,
        revision: u64,
    ) -> Process {
        let mut process = Process {
            id,
            name,
            worker: Worker::new(shards, settings),
            stage: Stage::Leaving,
            is_asleep: false,
            is_late_by: Micros::ZERO,
            consumer: None,
            versions,
            revision,
            asking_bounds: false,
            is_outdated: false,
            calls: Vec::new(),
            answered: Answered::default(),
            delivered: Vec::new(),
            stopped: BTreeSet::new(),
            assigned: BTreeSet::new(),
            releasing: BTreeSet::new(),
        };
        process.join();
        process
    }

    pub fn is_closed(&self) -> bool {
        self.stage == Stage::Closing && self.worker.is_idle()
    }

    /// Whether the consumer is asked for the next delivery.
    pub fn listens(&self) -> bool {
        self.stage == Stage::Joined && self.releasing.is_empty() && !self.asking_bounds && self.consumer.is_some()
    }

    pub fn takes_versions(&self) -> bool {
        self.stage != Stage::Closing
    }

    pub fn topics(&self) -> [bool; TOPICS.len()] {
        topics(&self.versions)
    }

    /// Versions of other topics need another consumer, so everything is let go first.
    pub fn write_versions(&mut self, versions: Vec<Arc<ViewPlan>>, scene: &Scene) -> Result<(), String> {
        let before = self.topics();
        self.versions = versions;
        match self.stage {
            Stage::Joined if self.topics() != before => {
                self.stage = Stage::Leaving;
                return self.hear(Signal::ReleaseAll, scene);
            }
            Stage::Joined if self.asking_bounds => self.is_outdated = true,
            Stage::Joined => self.ask_for_versions(),
            Stage::Joining => self.begin_to_join(),
            Stage::Leaving | Stage::Closing => {}
        }
        Ok(())
    }

    fn ask_for_versions(&mut self) {
        self.asking_bounds = true;
        self.calls.push(Call::VersionBounds(self.versions.clone()));
    }

    pub fn close(&mut self, scene: &Scene) -> Result<(), String> {
        self.stage = Stage::Closing;
        self.hear(Signal::ReleaseAll, scene)
    }

    pub fn joined(&mut self, id: u32) {
        self.consumer = Some(Consumer { id, ..Consumer::default() });
        self.stage = Stage::Joined;
    }

    /// Bounds that an assignment or new versions wait for, if they do still.
    pub fn hear_bounds(&mut self, signal: Signal, scene: &Scene) -> Result<(), String> {
        if !std::mem::take(&mut self.asking_bounds) {
            return Ok(());
        }
        if let Signal::Assigned(bounds) = &signal {
            self.assigned.extend(bounds.iter().map(|bounds| scene.workload.place_at(&bounds.partition)));
        }
        self.hear(signal, scene)?;
        if std::mem::take(&mut self.is_outdated) && self.stage == Stage::Joined {
            self.ask_for_versions();
        }
        Ok(())
    }

    pub fn hear_control(&mut self, control: Control, scene: &Scene) -> Result<(), String> {
        let consumer = self.consumer.as_mut().expect("it listens");
        match control {
            Control::Assigned(places) => {
                consumer.owned.extend(&places);
                self.asking_bounds = true;
                self.calls.push(Call::AssignedBounds(places));
                Ok(())
            }
            Control::Revoked(places) => {
                for place in &places {
                    consumer.owned.remove(place);
                    consumer.cursors.remove(place);
                }
                self.releasing.extend(&places);
                let revoked = places.iter().map(|place| scene.workload.places[*place].at.clone()).collect();
                consumer.to_release.extend(places);
                self.hear(Signal::Revoked(revoked), scene)
            }
        }
    }

    /// Lets the worker take a step, and does what it wants done.
    pub fn hear(&mut self, signal: Signal, scene: &Scene) -> Result<(), String> {
        for effect in self.worker.handle(signal) {
            self.perform(effect, scene)?;
        }
        self.join_once_left();
        Ok(())
    }

    /// Who is on the way out takes nothing up.
    fn join_once_left(&mut self) {
        if self.stage != Stage::Joined {
            (self.asking_bounds, self.is_outdated) = (false, false);
            self.calls.retain(|call| !matches!(call, Call::AssignedBounds(_) | Call::VersionBounds(_)));
        }
        if self.stage == Stage::Leaving && self.worker.is_idle() {
            self.join();
        }
    }

    fn join(&mut self) {
        self.consumer = None;
        self.releasing.clear();
        self.begin_to_join();
    }

    /// For the versions that are to be written by now.
    fn begin_to_join(&mut self) {
        let effects = self.worker.handle(Signal::Versions { versions: self.versions.clone(), bounds: Vec::new() });
        assert!(effects.is_empty(), "a worker without partitions wants nothing done");
        self.calls.retain(|call| !matches!(call, Call::Join));
        if self.versions.is_empty() {
            self.stage = Stage::Joined;
        } else {
            self.stage = Stage::Joining;
            self.calls.push(Call::Join);
        }
    }

    fn perform(&mut self, effect: Effect, scene: &Scene) -> Result<(), String> {
        match effect {
            Effect::Claim { ticket, shard, claims } => {
                for claim in &claims {
                    self.check_assigned(claim.version, claim.partition, scene)?;
                }
                self.calls.push(Call::Write(Write::Claim { ticket, shard, claims }));
            }
            Effect::Apply { shard, advances, rows } => {
                for advance in &advances {
                    self.answered.check(shard, advance)?;
                    self.check_assigned(advance.version, advance.partition, scene)?;
                }
                self.calls.push(Call::Write(Write::Apply { shard, advances, rows }));
            }
            Effect::Load { ticket, keys } => self.calls.push(Call::Load { ticket, keys, loaded: Vec::new() }),
            Effect::Seek { ticket, partition, offset } => {
                let place = scene.workload.place_at(&partition);
                self.consumer().seek(place, ticket, offset);
            }
            Effect::Pause(partition) => self.consumer().pause(scene.workload.place_at(&partition), true),
            Effect::Resume(partition) => self.consumer().pause(scene.workload.place_at(&partition), false),
            Effect::ProveMembership => {
                if !scene.proven && self.stage == Stage::Joined {
                    self.stage = Stage::Leaving;
                }
                self.calls.push(Call::Membership(scene.proven));
            }
            Effect::Look { ticket, partition } => {
                self.calls.push(Call::Look { ticket, place: scene.workload.place_at(&partition) });
            }
            Effect::Released(partition) => {
                let place = scene.workload.place_at(&partition);
                self.assigned.remove(&place);
                self.releasing.remove(&place);
                self.stopped.remove(&place);
            }
            Effect::Stopped { partition, .. } => drop(self.stopped.insert(scene.workload.place_at(&partition))),
        }
        Ok(())
    }

    fn check_assigned(&self, version: Fingerprint, partition: u32, scene: &Scene) -> Result<(), String> {
        let place = scene.workload.place(scene.workload.view(version), partition);
        let name = scene.workload.places[place].at.clone();
        if self.assigned.contains(&place) {
            Ok(())
        } else {
            Err(format!("process {} writes for {name:?}, which it let go", self.id))
        }
    }

    fn consumer(&mut self) -> &mut Consumer {
        self.consumer.as_mut().expect("a partition is assigned by a consumer, which stays until it is released")
    }
}

impl Consumer {
    /// Nothing happens to what is not ours any more.
    fn seek(&mut self, place: usize, ticket: Ticket, next: u64) {
        if self.owned.contains(&place) {
            let before = self.cursors.get(&place).map(|cursor| cursor.next);
            self.cursors.insert(place, Cursor { ticket, next, is_paused: false, is_broken: false, before });
        }
    }

    fn pause(&mut self, place: usize, is_paused: bool) {
        if let Some(cursor) = self.cursors.get_mut(&place) {
            cursor.is_paused = is_paused;
        }
    }
}

impl Write {
    /// A flush that only asks whether the store stands where we left it.
    pub fn is_quiet(&self) -> bool {
        matches!(self, Write::Apply { advances, rows, .. }
            if rows.is_empty() && advances.iter().all(|advance| advance.from == advance.to))
    }
}

fn topics(versions: &[Arc<ViewPlan>]) -> [bool; TOPICS.len()] {
    TOPICS.map(|topic| versions.iter().any(|view| view.source.topic == topic))
}
