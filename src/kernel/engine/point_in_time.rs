//! Point in time: what a view's features were at instants of the past, from archived events.
//!
//! ```text
//! EventBatch ─► History::add ─► events by entity ─┬─► Known::at(as_of)       training sets, backfills (semantics §5)
//!                                                 └─► Folded::below(offsets)  parity (§7)
//! ```
//!
//! Promises: batches may come in any order. Which events are copies is decided for each (entity, part) in offset
//! order, before anything is cut. Walks go forward, and fold each event once.
//!
//! Is not bounded in memory: the events of all entities that are asked about are held until the history is dropped.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray};
use arrow::compute::filter_record_batch;

use crate::kernel::engine::{
    Counts, Entrant, Knowledge, Part, Prepared, Reading, RecentIds, Walk, entity_keys, prepare_with_late,
};
use crate::kernel::event::EventBatch;
use crate::kernel::key::{EntityKey, Origin, PartId};
use crate::kernel::plan::ViewPlan;
use crate::kernel::time::EventTime;

/// Events of one view, by entity.
pub struct History {
    view: Arc<ViewPlan>,
    asked: Asked,
    batches: Vec<Prepared>,
    entities: HashMap<EntityKey, Vec<Place>>,
}

/// Whose events are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    All,
    Named,
}

/// An entrant of a batch.
#[derive(Clone, Copy)]
struct Place {
    batch: usize,
    entrant: usize,
}

impl History {
    pub fn of_all(view: Arc<ViewPlan>) -> History {
        History { view, asked: Asked::All, batches: Vec::new(), entities: HashMap::new() }
    }

    /// Of these entities alone.
    pub fn of(view: Arc<ViewPlan>, entities: impl IntoIterator<Item = EntityKey>) -> History {
        let entities = entities.into_iter().map(|entity| (entity, Vec::new())).collect();
        History { asked: Asked::Named, entities, ..History::of_all(view) }
    }

    pub fn view(&self) -> &Arc<ViewPlan> {
        &self.view
    }

    /// Takes in a batch of the view's source.
    pub fn add(&mut self, events: &EventBatch) {
        let events = match self.asked {
            Asked::All => Cow::Borrowed(events),
            Asked::Named => Cow::Owned(self.asked_about(events)),
        };
        let prepared = prepare_with_late(&self.view, &events);
        if prepared.entrants.is_empty() {
            return;
        }
        for (index, entrant) in prepared.entrants.iter().enumerate() {
            let place = Place { batch: self.batches.len(), entrant: index };
            match self.entities.get_mut(&entrant.key) {
                Some(places) => places.push(place),
                None => drop(self.entities.insert(entrant.key.clone(), vec![place])),
            }
        }
        self.batches.push(prepared);
    }

    /// In the order of their bytes, so that equal jobs write equal files.
    pub fn entities(&self) -> Vec<&EntityKey> {
        let mut entities: Vec<&EntityKey> = self.entities.keys().collect();
        entities.sort_unstable();
        entities
    }

    /// Walks an entity forward in time, as far as `knowledge` goes.
    pub fn known(&self, entity: &EntityKey, knowledge: Knowledge) -> Known<'_> {
        let mut events = self.accepted(entity);
        if knowledge != Knowledge::EventTime {
            events.retain(|place| !self.entrant(*place).late);
        }
        let visible_from = |place: Place| (knowledge.visible_from(&self.entrant(place).event), place);
        let mut events: Vec<_> = events.into_iter().map(visible_from).collect();
        events.sort_by_key(|(visible_from, _)| *visible_from);
        Known { history: self, events, folded: 0, walk: Walk::new(self.view.clone()) }
    }

    /// Walks an entity forward in the offsets of its partitions, as the stream folded it.
    pub fn folded(&self, entity: &EntityKey) -> Folded<'_> {
        let mut lanes: Vec<Lane> = Vec::new();
        for place in self.accepted(entity) {
            let entrant = self.entrant(place);
            let part = entrant.event.origin.part();
            if entrant.late {
                continue;
            }
            match lanes.last_mut() {
                Some(lane) if lane.part == part => lane.events.push(place),
                _ => lanes.push(Lane { part, events: vec![place], folded: 0 }),
            }
        }
        Folded { history: self, lanes, part: Part::new(&self.view) }
    }

    /// The entity's events without copies, part by part in the order of their offsets.
    fn accepted(&self, entity: &EntityKey) -> Vec<Place> {
        let mut places = self.entities.get(entity).cloned().unwrap_or_default();
        places.sort_unstable_by_key(|place| self.entrant(*place).event.origin);
        let (mut part, mut ids) = (None, RecentIds::default());
        places.retain(|place| {
            let entrant = self.entrant(*place);
            let own = Some(entrant.event.origin.part());
            if part != own {
                (part, ids) = (own, RecentIds::default());
            }
            ids.accept(&self.view, entrant)
        });
        places
    }

    /// The events of the named entities: nothing is computed for others, and nothing of them is held.
    fn asked_about(&self, events: &EventBatch) -> EventBatch {
        let column = |field: &usize| events.fields.column(*field).clone();
        let keys = entity_keys(&self.view.key_fields.iter().map(column).collect::<Vec<ArrayRef>>());
        let asked = |key: &Option<EntityKey>| key.as_ref().is_some_and(|key| self.entities.contains_key(key));
        let mask: Vec<bool> = keys.iter().map(asked).collect();
        let kept = events.events.iter().zip(&mask).filter(|(_, asked)| **asked).map(|(event, _)| *event).collect();
        let fields = filter_record_batch(&events.fields, &BooleanArray::from(mask));
        EventBatch { fields: fields.expect("the mask has a bit for each row"), events: kept }
    }

    fn entrant(&self, place: Place) -> &Entrant {
        &self.batches[place.batch].entrants[place.entrant]
    }

    fn apply(&self, place: Place, part: &mut Part) {
        // How often walks fold an event says nothing about it.
        part.apply(&self.view, &self.batches[place.batch], place.entrant, &mut Counts::default());
    }
}

/// One entity at instants that never go back.
pub struct Known<'a> {
    history: &'a History,
    /// In the order in which they become known.
    events: Vec<(EventTime, Place)>,
    folded: usize,
    walk: Walk,
}

impl Known<'_> {
    /// The features at `as_of`, which is no earlier than the one before.
    pub fn at(&mut self, as_of: EventTime) -> Reading {
        while let Some((_, place)) = self.events.get(self.folded).filter(|(from, _)| *from <= as_of) {
            let (prepared, entrant) = (&self.history.batches[place.batch], self.history.entrant(*place));
            self.walk.fold(&prepared.inputs, entrant.row, entrant.event.stamp(), as_of);
            self.folded += 1;
        }
        self.walk.at(as_of)
    }

    /// When the next event becomes known; until then only time itself changes what is read.
    pub fn next_change(&self) -> Option<EventTime> {
        self.events.get(self.folded).map(|(visible_from, _)| *visible_from)
    }
}

/// One entity as the stream has it at given offsets.
pub struct Folded<'a> {
    history: &'a History,
    lanes: Vec<Lane>,
    part: Part,
}

struct Lane {
    part: PartId,
    /// In the order of their offsets.
    events: Vec<Place>,
    folded: usize,
}

impl Folded<'_> {
    /// What every event below its partition's offset adds up to; of a partition that is not named there is none.
    /// Offsets that mostly grow from call to call cost little: where one goes back, folding begins anew.
    pub fn below(&mut self, offsets: &[(u32, u64)]) -> &Part {
        let history = self.history;
        let wanted: Vec<usize> = self.lanes.iter().map(|lane| lane.below(history, offsets)).collect();
        if self.lanes.iter().zip(&wanted).any(|(lane, wanted)| *wanted < lane.folded) {
            self.part = Part::new(&history.view);
            self.lanes.iter_mut().for_each(|lane| lane.folded = 0);
        }
        for (lane, wanted) in self.lanes.iter_mut().zip(wanted) {
            lane.events[lane.folded..wanted].iter().for_each(|place| history.apply(*place, &mut self.part));
            lane.folded = wanted;
        }
        &self.part
    }
}

impl Lane {
    /// How many of the lane's events are below its offset. What came from files was there before the log.
    fn below(&self, history: &History, offsets: &[(u32, u64)]) -> usize {
        let PartId::Partition(own) = self.part else { return self.events.len() };
        let end = offsets.iter().find(|(partition, _)| *partition == own).map_or(0, |(_, offset)| *offset);
        self.events.partition_point(|place| match history.entrant(*place).event.origin {
            Origin::Log { offset, .. } => offset < end,
            Origin::History { .. } => true,
        })
    }
}

#[cfg(test)]
mod tests;
