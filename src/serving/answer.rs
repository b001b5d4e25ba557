//! What a lookup found. Each row's values are kept once, as they were read; columns look into them.

use std::sync::Arc;

use crate::kernel::engine::{Presence, Reading, Status};
use crate::kernel::name::{FeatureRef, Name};
use crate::kernel::plan::{FeaturePlan, ViewPlan};
use crate::kernel::time::EventTime;
use crate::kernel::value::{Value, ValueType};
use crate::serving::Unavailable;

#[derive(Debug)]
pub struct Answer {
    pub as_of: EventTime,
    pub(super) views: Vec<ViewAnswer>,
    /// The view of each column, and the position of its value in the view's readings.
    pub(super) columns: Vec<(usize, usize)>,
    /// Why some values cannot be told: one for each view and kind.
    pub unavailable: Vec<Unavailable>,
}

#[derive(Debug)]
pub(super) struct ViewAnswer {
    pub plan: Arc<ViewPlan>,
    /// Of each value of a reading, the position in the plan.
    pub features: Vec<usize>,
    /// For each row of the request, its reading.
    pub rows: Vec<usize>,
    /// The last one is of an entity without a key, where a row has none. `None`: it could not be read.
    pub readings: Vec<Option<Reading>>,
}

/// One feature for each row of the request.
#[derive(Clone, Copy)]
pub struct Column<'a> {
    view: &'a ViewAnswer,
    value: usize,
}

impl Answer {
    /// In the order of the service or of the request.
    pub fn columns(&self) -> impl ExactSizeIterator<Item = Column<'_>> {
        self.columns.iter().map(|(view, value)| Column { view: &self.views[*view], value: *value })
    }

    /// What its values take, where rows share them as often as they are told.
    pub(super) fn bytes(&self) -> usize {
        self.columns().map(Column::bytes).sum()
    }

    /// Of a key that one of the views is looked up by.
    pub fn key_type(&self, name: &str) -> Option<&ValueType> {
        let keys = self.views.iter().flat_map(|view| &view.plan.entity.keys);
        keys.into_iter().find(|(key, _)| *key == *name).map(|(_, value_type)| value_type)
    }

    /// By view: how many values have each status, where there are any.
    pub fn statuses(&self) -> impl Iterator<Item = (&Name, Status, usize)> {
        self.views.iter().flat_map(|view| {
            let counts = Status::ALL.into_iter().zip(view.statuses());
            counts.filter(|(_, count)| *count > 0).map(|(status, count)| (&view.plan.name, status, count))
        })
    }

    /// By view: values that are null because they did not fit their type.
    pub fn overflowed(&self) -> impl Iterator<Item = (&Name, usize)> {
        let overflowed = |view: &ViewAnswer| view.readings.iter().flatten().map(|it| it.overflowed).sum::<usize>();
        let by_view = self.views.iter().map(move |view| (&view.plan.name, overflowed(view)));
        by_view.filter(|(_, overflowed)| *overflowed > 0)
    }
}

/// Of the values of one row.
pub(super) fn bytes(reading: &Reading) -> usize {
    reading.values.iter().map(|value| bytes_of(value.as_ref())).sum()
}

fn bytes_of(value: Option<&Value>) -> usize {
    let beside = match value {
        Some(Value::Text(text)) => text.len(),
        Some(Value::Bytes(bytes)) => bytes.len(),
        Some(Value::List(items)) => items.iter().map(|item| bytes_of(Some(item))).sum(),
        _ => 0,
    };
    PLACE + beside
}

/// What any value takes, in whatever form it is told.
const PLACE: usize = 8;

impl ViewAnswer {
    /// Nothing of it could be read.
    pub fn tells_nothing(&self) -> bool {
        self.readings.iter().all(Option::is_none)
    }

    /// In the order of [`Status::ALL`].
    fn statuses(&self) -> [usize; Status::ALL.len()] {
        let mut counts = [0; Status::ALL.len()];
        for reading in self.rows.iter().map(|row| &self.readings[*row]) {
            let Some(reading) = reading else {
                counts[Status::Unavailable as usize] += self.features.len();
                continue;
            };
            let values = reading.values.len();
            match reading.presence {
                Presence::NotFound => counts[Status::NotFound as usize] += values,
                Presence::OutsideMaxAge => counts[Status::OutsideMaxAge as usize] += values,
                Presence::Known => {
                    let nulls = reading.values.iter().filter(|value| value.is_none()).count();
                    counts[Status::NullValue as usize] += nulls;
                    counts[Status::Present as usize] += values - nulls;
                }
            }
        }
        counts
    }
}

impl<'a> Column<'a> {
    pub fn view(self) -> &'a Name {
        &self.view.plan.name
    }

    pub fn name(self) -> &'a Name {
        &self.plan().name
    }

    pub fn feature(self) -> FeatureRef {
        FeatureRef { view: self.view().clone(), feature: self.name().clone() }
    }

    pub fn value_type(self) -> &'a ValueType {
        &self.plan().value_type
    }

    pub fn values(self) -> impl ExactSizeIterator<Item = Option<&'a Value>> {
        self.readings().map(move |reading| reading?.values[self.value].as_ref())
    }

    pub fn statuses(self) -> impl ExactSizeIterator<Item = Status> {
        self.readings().map(move |reading| reading.map_or(Status::Unavailable, |reading| reading.status(self.value)))
    }

    /// Newest event time of each row.
    pub fn event_times(self) -> impl ExactSizeIterator<Item = Option<EventTime>> {
        self.readings().map(|reading| reading?.newest)
    }

    /// Most types have one size, and then no value is looked at.
    fn bytes(self) -> usize {
        match self.value_type() {
            ValueType::String | ValueType::Bytes | ValueType::List(_) => self.values().map(bytes_of).sum(),
            _ => self.view.rows.len() * PLACE,
        }
    }

    fn plan(self) -> &'a FeaturePlan {
        &self.view.plan.features[self.view.features[self.value]]
    }

    fn readings(self) -> impl ExactSizeIterator<Item = Option<&'a Reading>> {
        self.view.rows.iter().map(move |row| self.view.readings[*row].as_ref())
    }
}
