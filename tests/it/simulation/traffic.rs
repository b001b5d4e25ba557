//! What passes between processes and the world: calls and their answers, deliveries, and all that can go wrong with
//! them.

use freshet::kernel::plan::Fingerprint;
use freshet::online::{Advance, Applied, Loaded, Nonce, PartKey};
use freshet::stream::{Bounds, Signal, Ticket};

use super::fault::Fault;
use super::group::Control;
use super::mutant::Mutant;
use super::process::{Call, Delivered, Stage, Write};
use super::workload::name_of;
use super::world::World;

/// Deliveries that may come again.
const REPEATABLE: usize = 4;

impl World {
    pub(super) fn answer_one(&mut self, process: usize) -> Result<(), String> {
        let calls = self.processes[process].calls.len();
        if calls == 0 {
            return Ok(());
        }
        let call = self.processes[process].calls.swap_remove(self.rng.usize(..calls));
        match call {
            Call::Write(write) => self.send(process, write),
            call => self.answer(process, call),
        }
    }

    /// Does what is asked, and lets the process hear of it.
    pub(super) fn answer(&mut self, process: usize, call: Call) -> Result<(), String> {
        match call {
            Call::Write(write) => {
                let answer = self.make(process, &write)?;
                self.hear(process, answer)
            }
            Call::Load { ticket, keys, loaded } => self.load(process, ticket, keys, loaded),
            Call::AssignedBounds(places) => {
                let assigned = places.into_iter().map(|place| self.bounds(place)).collect();
                self.with(process, |process, scene| process.hear_bounds(Signal::Assigned(assigned), scene))
            }
            Call::VersionBounds(versions) => {
                let read = |place: &usize| {
                    let topic = &self.workload.places[*place].at.topic;
                    self.group.is_there(*place) && versions.iter().any(|view| view.source.topic == *topic)
                };
                let bounds = (0..self.workload.places.len()).filter(read).map(|place| self.bounds(place)).collect();
                let signal = Signal::Versions { versions, bounds };
                self.with(process, |process, scene| process.hear_bounds(signal, scene))
            }
            Call::Look { ticket, place } => self.hear(process, Signal::Looked { ticket, held: self.log.held(place) }),
            Call::Join => {
                if self.processes[process].stage == Stage::Joining {
                    self.join(process);
                }
                Ok(())
            }
            Call::Membership(proven) => {
                let places = 0..self.workload.places.len();
                let bounds = proven.then(|| places.map(|place| self.bounds(place)).collect());
                self.hear(process, Signal::Membership(bounds))
            }
        }
    }

    /// A write may be lost, be lost and arrive late, be done without an answer, or be done twice. Without an answer
    /// it is tried again.
    fn send(&mut self, process: usize, write: Write) -> Result<(), String> {
        let fate = self.rng.u32(..16);
        let (loses, delays) = (self.faults.has(Fault::LostCalls), self.faults.has(Fault::LateCalls));
        if delays && fate <= 2 {
            self.late.push((self.processes[process].id, write.clone()));
        }
        let is_done = !(loses && (fate == 0 || fate == 3));
        let is_answered = is_done && !(loses && (fate == 1 || fate == 4));
        let answer = if is_done { Some(self.make(process, &write)?) } else { None };
        match answer {
            Some(answer) if is_answered => self.hear(process, answer),
            _ => {
                self.trace.note(|| format!("process {process} hears no answer"));
                self.processes[process].calls.push(Call::Write(write));
                Ok(())
            }
        }
    }

    fn make(&mut self, process: usize, write: &Write) -> Result<Signal, String> {
        if self.mutant == Some(Mutant::NoIdleAdvance) && write.is_quiet() {
            let Write::Apply { shard, .. } = write else { unreachable!("a claim is never quiet") };
            return Ok(Signal::Applied { shard: *shard, outcome: Applied::Done });
        }
        let sender = self.processes[process].id;
        let mut write = write.clone();
        if self.mutant == Some(Mutant::NoRewind) {
            self.processes[process].answered.go_on(&mut write);
        }
        let mut answer = self.execute(sender, &write)?;
        if self.mutant == Some(Mutant::NoRewind) {
            self.processes[process].answered.adopt(&write, &mut answer);
        }
        self.processes[process].answered.learn(&write, &answer);
        Ok(answer)
    }

    pub(super) fn execute(&mut self, sender: u32, write: &Write) -> Result<Signal, String> {
        match write {
            Write::Claim { ticket, shard, claims } => {
                let nonce = Nonce(self.number());
                let offsets = self.store.claim(sender, *shard, claims, nonce);
                self.trace.note(|| {
                    let claims: Vec<String> =
                        claims.iter().map(|claim| lane_name(claim.version, claim.partition)).collect();
                    format!("{sender} claims of shard {} {}: {offsets:?}", shard.0, claims.join(" "))
                });
                Ok(Signal::Claimed { ticket: *ticket, nonce, offsets })
            }
            Write::Apply { shard, advances, rows } => {
                let outcome = self.store.apply(sender, *shard, advances, rows);
                let tells_nothing = write.is_quiet() && outcome == Ok(Applied::Done);
                self.trace.note_unless(tells_nothing, || {
                    let advances: Vec<String> = advances.iter().map(advance_name).collect();
                    let outcome = if outcome == Ok(Applied::Done) { "done" } else { "REFUSED" };
                    format!(
                        "{sender} flushes {} rows to shard {}, {}: {outcome}",
                        rows.len(),
                        shard.0,
                        advances.join(" ")
                    )
                });
                Ok(Signal::Applied { shard: *shard, outcome: outcome? })
            }
        }
    }

    /// A call of the past arrives, mostly one that the store would take.
    pub(super) fn arrive_late(&mut self) -> Result<(), String> {
        if self.late.is_empty() {
            return Ok(());
        }
        let fits = self.late.iter().rposition(|(_, write)| self.store.would_take(write));
        let any = self.rng.usize(..self.late.len());
        let (sender, write) = self.late.remove(fits.filter(|_| self.rng.u32(..8) > 0).unwrap_or(any));
        self.trace.note(|| "late:".into());
        self.execute(sender, &write).map(drop)
    }

    /// One shard after the other: between two of them anything can happen.
    fn load(
        &mut self,
        process: usize,
        ticket: Ticket,
        keys: Vec<PartKey>,
        mut loaded: Vec<Loaded>,
    ) -> Result<(), String> {
        let shards = self.store.shards().count() as u16;
        let shard = keys[loaded.len()].entity.shard(shards);
        let rest = &keys[loaded.len()..];
        let same = rest.iter().take_while(|key| key.entity.shard(shards) == shard).count();
        let mut more = self.store.load(&rest[..same]);
        if self.mutant == Some(Mutant::StoredPartsForgotten) {
            more.iter_mut().for_each(|loaded| loaded.image = None);
        }
        loaded.extend(more);
        if loaded.len() == keys.len() {
            let loaded = loaded.into_iter().map(Ok).collect();
            return self.hear(process, Signal::Loaded { ticket, loaded });
        }
        self.processes[process].calls.push(Call::Load { ticket, keys, loaded });
        Ok(())
    }

    fn bounds(&self, place: usize) -> Bounds {
        Bounds { partition: self.workload.places[place].at.clone(), held: self.log.held(place) }
    }

    fn join(&mut self, process: usize) {
        let consumer = self.number() as u32;
        let (name, topics) = (self.processes[process].name, self.processes[process].topics());
        let name = if self.faults.has(Fault::Names) { name } else { consumer };
        self.trace.note(|| format!("process {process} joins as {name}"));
        self.processes[process].joined(consumer);
        self.group.join(name, consumer, topics, &mut self.rng);
    }

    /// The consumer is asked for the next delivery.
    pub(super) fn poll(&mut self, process: usize) -> Result<(), String> {
        if !self.processes[process].listens() {
            return Ok(());
        }
        let consumer = self.processes[process].consumer.as_mut().expect("it listens");
        let released = std::mem::take(&mut consumer.to_release);
        let id = consumer.id;
        if !released.is_empty() {
            self.group.released(id, &released, &mut self.rng);
        }
        if !self.group.is_member(id) {
            return self.poll_expelled(process);
        }
        if self.group.has_news(id) && self.rng.u32(..3) > 0 {
            return self.hear_news(process);
        }
        self.deliver(process)
    }

    /// One that the group expelled finds out sooner or later, gives everything back, and joins anew; one whose name
    /// another has taken ends. In the end it has to find out by being refused, if there is anybody to refuse it for.
    fn poll_expelled(&mut self, process: usize) -> Result<(), String> {
        let name = self.processes[process].name;
        if self.faults.has(Fault::Names) && self.group.members().iter().any(|(other, _)| *other == name) {
            self.crash(process);
            return Ok(());
        }
        let consumer = self.processes[process].consumer.as_ref().expect("it listens");
        if consumer.owned.is_empty() {
            self.join(process);
        } else if (!self.is_settling || self.group.members().is_empty()) && self.rng.u32(..4) == 0 {
            let lost = consumer.owned.iter().copied().collect();
            self.trace.note(|| format!("process {process} hears that it was expelled"));
            return self.revoke(process, lost);
        } else {
            return self.deliver(process);
        }
        Ok(())
    }

    fn hear_news(&mut self, process: usize) -> Result<(), String> {
        let id = self.processes[process].consumer.as_ref().expect("it listens").id;
        let Some(control) = self.group.hear(id) else { return Ok(()) };
        self.trace.note(|| format!("process {process} hears {control:?}"));
        match control {
            Control::Revoked(places) => self.revoke(process, places),
            assigned => self.with(process, |process, scene| process.hear_control(assigned, scene)),
        }
    }

    fn revoke(&mut self, process: usize, places: Vec<usize>) -> Result<(), String> {
        let revoked = Control::Revoked(places.clone());
        self.with(process, |process, scene| process.hear_control(revoked, scene))?;
        if self.mutant == Some(Mutant::ReleasedBeforeFlush)
            && let Some(consumer) = &mut self.processes[process].consumer
        {
            consumer.to_release.clear();
            let id = consumer.id;
            self.group.released(id, &places, &mut self.rng);
        }
        Ok(())
    }

    /// The next records of a partition; now and then although it is paused, for a pause takes effect when it does.
    fn deliver(&mut self, process: usize) -> Result<(), String> {
        let hurries = self.faults.has(Fault::Duplicates) && self.rng.u32(..16) == 0;
        let consumer = self.processes[process].consumer.as_mut().expect("it listens");
        let ready = consumer.cursors.iter().filter(|(_, cursor)| !cursor.is_broken && (hurries || !cursor.is_paused));
        let ready: Vec<usize> = ready.map(|(place, _)| *place).collect();
        let Some(place) = self.rng.choice(ready) else { return Ok(()) };
        let held = self.log.held(place);
        let cursor = consumer.cursors.get_mut(&place).expect("it was listed");
        let from = match (self.mutant, cursor.before.take()) {
            (Some(Mutant::StaleDeliveries), Some(before)) => before,
            (Some(Mutant::TruncationSkipped), _) => cursor.next.max(held.start),
            _ => cursor.next,
        };
        if from < held.start {
            cursor.is_broken = true;
            return self.out_of_range(process, place);
        }
        let limit = self.rng.usize(1..6);
        let Some((records, mut next)) = self.log.read(place, from, limit, &mut self.rng) else { return Ok(()) };
        if self.mutant == Some(Mutant::GapNotFollowed) {
            next = records.last().map_or(from, |record| record.offset + 1);
        }
        cursor.next = next;
        let delivered = Delivered { ticket: cursor.ticket, place, records, next };
        let past = &mut self.processes[process].delivered;
        if self.faults.has(Fault::Duplicates) {
            past.truncate(REPEATABLE - 1);
            past.insert(0, delivered.clone());
        }
        self.hear_records(process, delivered)
    }

    fn out_of_range(&mut self, process: usize, place: usize) -> Result<(), String> {
        self.trace.note(|| format!("process {process} cannot read place {place} where it wants to"));
        let partition = self.workload.places[place].at.clone();
        self.hear(process, Signal::Unreadable { partition, reason: "it is gone".into() })
    }

    pub(super) fn deliver_again(&mut self, process: usize) -> Result<(), String> {
        match self.rng.choice(&self.processes[process].delivered).cloned() {
            Some(delivered) => self.hear_records(process, delivered),
            None => Ok(()),
        }
    }

    fn hear_records(&mut self, process: usize, delivered: Delivered) -> Result<(), String> {
        let Delivered { ticket, place, records, next } = delivered;
        let partition = self.workload.places[place].at.clone();
        self.trace.note(|| {
            let offsets: Vec<u64> = records.iter().map(|record| record.offset).collect();
            format!("process {process} hears {offsets:?} of {}, next {next}", name_of(&partition))
        });
        let log_end = self.log.held(place).end;
        self.hear(process, Signal::Records { ticket, partition, records, next, log_end })
    }
}

fn lane_name(version: Fingerprint, partition: u32) -> String {
    format!("{:.4}/{partition}", version.to_string())
}

fn advance_name(advance: &Advance) -> String {
    format!("{}#{} {}..{}", lane_name(advance.version, advance.partition), advance.nonce.0, advance.from, advance.to)
}
