//! One version's lookups, computed again.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::kernel::codec::{decode_values, encode_values};
use crate::kernel::engine::{History, read};
use crate::kernel::event::decoding_mark;
use crate::kernel::key::EntityKey;
use crate::kernel::name::FeatureRef;
use crate::kernel::plan::ViewPlan;
use crate::kernel::time::EventTime;
use crate::kernel::value::Value;
use crate::offline::{Archive, LoggedLookup, Pinned, Scope};
use crate::parity::{Difference, EXAMPLES, Error, Report, Unchecked};
use crate::telemetry::{Cancelled, Watch};

/// A lookup that can be compared, with the values that it gave.
struct Served {
    lookup: LoggedLookup,
    values: Vec<Option<Value>>,
}

pub(super) fn check_version(
    archive: &Archive,
    view: &Arc<ViewPlan>,
    pinned: &Pinned,
    lookups: Vec<LoggedLookup>,
    report: &mut Report,
    watch: Watch<'_>,
) -> Result<(), Error> {
    if lookups.is_empty() {
        return Ok(());
    }
    let by_entity = comparable(view, lookups, &pinned.offsets(), report);
    let history = history(archive, view, pinned, &by_entity, watch.part(0.0, 0.5))?;
    let watch = watch.part(0.5, 1.0);
    let entities = by_entity.len();
    for (index, (entity, served)) in by_entity.into_iter().enumerate() {
        compare(&history, &entity, served, report, || watch.at(index, entities))?;
    }
    watch.at(entities, entities).map_err(Error::from)
}

/// By entity, ordered so that reports are.
fn comparable(
    view: &ViewPlan,
    lookups: Vec<LoggedLookup>,
    archived: &BTreeMap<u32, u64>,
    report: &mut Report,
) -> BTreeMap<EntityKey, Vec<Served>> {
    let mut by_entity: BTreeMap<EntityKey, Vec<Served>> = BTreeMap::new();
    for lookup in lookups {
        match served_values(view, &lookup, archived) {
            Ok(values) => by_entity.entry(lookup.entity.clone()).or_default().push(Served { lookup, values }),
            Err(reason) => report.leave_unchecked(Some(view), &lookup, reason),
        }
    }
    by_entity
}

fn served_values(
    view: &ViewPlan,
    lookup: &LoggedLookup,
    archived: &BTreeMap<u32, u64>,
) -> Result<Vec<Option<Value>>, Unchecked> {
    let is_archived = |(partition, offset): &(u32, u64)| *offset <= archived.get(partition).copied().unwrap_or(0);
    if lookup.answers != view.answers() {
        return Err(Unchecked::OtherAnswers);
    }
    if !lookup.offsets.iter().all(is_archived) {
        return Err(Unchecked::NotArchived);
    }
    let values = decode_values(&lookup.values).map_err(|_| Unchecked::Unreadable)?;
    if values.len() == view.features.len() { Ok(values) } else { Err(Unchecked::Unreadable) }
}

/// The events that any of the lookups may have seen.
fn history(
    archive: &Archive,
    view: &Arc<ViewPlan>,
    pinned: &Pinned,
    by_entity: &BTreeMap<EntityKey, Vec<Served>>,
    watch: Watch<'_>,
) -> Result<History, Error> {
    let mut history = History::of(view.clone(), by_entity.keys().cloned());
    let mut below = BTreeMap::new();
    for (partition, offset) in by_entity.values().flatten().flat_map(|served| &served.lookup.offsets) {
        let end = below.entry(*partition).or_insert(*offset);
        *end = (*end).max(*offset);
    }
    // A lookup counts events of its open tile that are ahead of it: there is no end.
    let oldest = by_entity.values().flatten().map(|served| served.lookup.as_of).min();
    let event_time = oldest.zip(view.reach).map(|(oldest, reach)| oldest - reach..EventTime::MAX);
    let mut events =
        archive.read(&view.source, pinned, &Scope { below: Some(below), event_time, fields: Some(view.fields()) });
    let commits = events.size_hint().1.unwrap_or(0);
    while let Some(archived) = events.next() {
        history.add(&archived?.admit(&view.source));
        watch.at(commits - events.size_hint().1.unwrap_or(0), commits)?;
    }
    Ok(history)
}

/// In an order in which offsets grow where they can: where one set of offsets is past another, so is its sum. `go_on` is
/// asked before each lookup, of which one entity may have many.
fn compare(
    history: &History,
    entity: &EntityKey,
    mut served: Vec<Served>,
    report: &mut Report,
    go_on: impl Fn() -> Result<(), Cancelled>,
) -> Result<(), Cancelled> {
    let progress = |it: &Served| it.lookup.offsets.iter().map(|(_, offset)| u128::from(*offset)).sum::<u128>();
    served.sort_by_cached_key(|it| (progress(it), it.lookup.as_of));
    let view = history.view();
    let mut walk = history.folded(entity);
    for Served { lookup, values } in served {
        go_on()?;
        let recomputed = read(view, &[walk.below(&lookup.offsets)], lookup.as_of).values;
        report.compare(view, &lookup, &values, &recomputed);
    }
    Ok(())
}

impl Report {
    fn compare(
        &mut self,
        view: &ViewPlan,
        lookup: &LoggedLookup,
        served: &[Option<Value>],
        recomputed: &[Option<Value>],
    ) {
        let bits = |values: &[Option<Value>], index: usize| encode_values(&values[index..=index]);
        let differs = |index: usize| bits(served, index) != bits(recomputed, index);
        let different: Vec<bool> = (0..view.features.len()).map(differs).collect();
        if different.contains(&true) && lookup.decoding != Some(decoding_mark(&view.source)) {
            return self.leave_unchecked(Some(view), lookup, Unchecked::OtherDecoding);
        }
        for (index, (feature, different)) in view.features.iter().zip(different).enumerate() {
            let name = FeatureRef { view: view.name.clone(), feature: feature.name.clone() };
            if different && self.examples.len() < EXAMPLES {
                self.examples.push(Difference::new(view, index, lookup, served, recomputed));
            }
            for tally in [&mut self.values, self.features.entry(name).or_default()] {
                tally.compared += 1;
                tally.different += usize::from(different);
            }
        }
    }

    /// `view`: where the version is known.
    pub(super) fn leave_unchecked(&mut self, view: Option<&ViewPlan>, lookup: &LoggedLookup, reason: Unchecked) {
        *self.unchecked.entry((lookup.view.clone(), reason)).or_default() += 1;
        let Some(view) = view else {
            self.values.unchecked += decode_values(&lookup.values).map_or(0, |values| values.len());
            return;
        };
        for feature in &view.features {
            let name = FeatureRef { view: view.name.clone(), feature: feature.name.clone() };
            self.features.entry(name).or_default().unchecked += 1;
            self.values.unchecked += 1;
        }
    }
}
