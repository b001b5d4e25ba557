//! The consumer group as its coordinator sees it: who is a member, whose each partition is, and what each member has
//! still to hear. Rebalances are cooperative: a partition that moves is revoked first, and assigned once it is back.

use std::collections::{BTreeMap, VecDeque};

use fastrand::Rng;

use super::workload::{TOPICS, Workload};

pub struct Group {
    members: BTreeMap<u32, Member>,
    /// By place.
    owners: Vec<Owner>,
    /// The topic of each place, and whether the place is there yet.
    places: Vec<(usize, bool)>,
}

/// Heard in order.
#[derive(Clone, Debug)]
pub enum Control {
    Assigned(Vec<usize>),
    Revoked(Vec<usize>),
}

struct Member {
    process: u32,
    topics: [bool; TOPICS.len()],
    inbox: VecDeque<Control>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Owner {
    Nobody,
    Member(u32),
    Revoking(u32),
}

impl Group {
    /// With `fewer`, the last partition of the first topic is still to come.
    pub fn new(workload: &Workload, fewer: bool) -> Group {
        let last = workload.places.iter().rposition(|place| place.topic == 0);
        let places = workload.places.iter().enumerate();
        let places = places.map(|(index, place)| (place.topic, !(fewer && Some(index) == last))).collect();
        Group { members: BTreeMap::new(), owners: vec![Owner::Nobody; workload.places.len()], places }
    }

    pub fn is_there(&self, place: usize) -> bool {
        self.places[place].1
    }

    pub fn add_partitions(&mut self, rng: &mut Rng) {
        self.places.iter_mut().for_each(|(_, is_there)| *is_there = true);
        self.rebalance(rng);
    }

    /// A member by this name that was there already is replaced, and keeps its partitions.
    pub fn join(&mut self, name: u32, process: u32, topics: [bool; TOPICS.len()], rng: &mut Rng) {
        let member = Member { process, topics, inbox: VecDeque::new() };
        if self.members.insert(name, member).is_none() {
            return self.rebalance(rng);
        }
        self.free(|owner| owner == Owner::Revoking(name));
        let kept = self.places_of(Owner::Member(name));
        let (kept, unread): (Vec<usize>, Vec<usize>) =
            kept.into_iter().partition(|place| topics[self.places[*place].0]);
        unread.into_iter().for_each(|place| self.owners[place] = Owner::Nobody);
        self.tell(name, Control::Assigned(kept));
        self.assign_free(rng);
    }

    pub fn is_member(&self, process: u32) -> bool {
        self.name_of(process).is_some()
    }

    /// By name, of all members.
    pub fn members(&self) -> Vec<(u32, u32)> {
        self.members.iter().map(|(name, member)| (*name, member.process)).collect()
    }

    /// What its session ended for, or its good-bye.
    pub fn remove(&mut self, name: u32, rng: &mut Rng) {
        if self.members.remove(&name).is_some() {
            self.free(|owner| owner == Owner::Member(name) || owner == Owner::Revoking(name));
            self.rebalance(rng);
        }
    }

    pub fn name_of(&self, process: u32) -> Option<u32> {
        self.members.iter().find(|(_, member)| member.process == process).map(|(name, _)| *name)
    }

    pub fn has_news(&self, process: u32) -> bool {
        self.name_of(process).is_some_and(|name| !self.members[&name].inbox.is_empty())
    }

    pub fn hear(&mut self, process: u32) -> Option<Control> {
        let name = self.name_of(process)?;
        self.members.get_mut(&name)?.inbox.pop_front()
    }

    /// A member gives back what was revoked.
    pub fn released(&mut self, process: u32, places: &[usize], rng: &mut Rng) {
        let Some(name) = self.name_of(process) else { return };
        for place in places {
            if self.owners[*place] == Owner::Revoking(name) {
                self.owners[*place] = Owner::Nobody;
            }
        }
        self.assign_free(rng);
    }

    /// Some partitions move, and nobody's get an owner.
    pub fn rebalance(&mut self, rng: &mut Rng) {
        let mut revoked: BTreeMap<u32, Vec<usize>> = BTreeMap::new();
        for place in 0..self.owners.len() {
            let Owner::Member(name) = self.owners[place] else { continue };
            if rng.u32(..3) == 0 && self.candidates(place).len() > 1 {
                self.owners[place] = Owner::Revoking(name);
                revoked.entry(name).or_default().push(place);
            }
        }
        revoked.into_iter().for_each(|(name, places)| self.tell(name, Control::Revoked(places)));
        self.assign_free(rng);
    }

    fn assign_free(&mut self, rng: &mut Rng) {
        let mut assigned: BTreeMap<u32, Vec<usize>> = BTreeMap::new();
        for place in self.places_of(Owner::Nobody) {
            if let Some(name) = rng.choice(self.candidates(place)) {
                self.owners[place] = Owner::Member(name);
                assigned.entry(name).or_default().push(place);
            }
        }
        assigned.into_iter().for_each(|(name, places)| self.tell(name, Control::Assigned(places)));
    }

    fn candidates(&self, place: usize) -> Vec<u32> {
        let (topic, is_there) = self.places[place];
        let reads = |member: &Member| is_there && member.topics[topic];
        self.members.iter().filter(|(_, member)| reads(member)).map(|(name, _)| *name).collect()
    }

    fn tell(&mut self, name: u32, control: Control) {
        if !matches!(&control, Control::Assigned(places) | Control::Revoked(places) if places.is_empty()) {
            self.members.get_mut(&name).expect("it owns something").inbox.push_back(control);
        }
    }

    fn free(&mut self, leaves: impl Fn(Owner) -> bool) {
        self.owners.iter_mut().filter(|owner| leaves(**owner)).for_each(|owner| *owner = Owner::Nobody);
    }

    fn places_of(&self, wanted: Owner) -> Vec<usize> {
        (0..self.owners.len()).filter(|place| self.owners[*place] == wanted).collect()
    }
}
