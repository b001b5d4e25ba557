//! The replay of dead letters: what a source rejected, and takes since its schema was mended.
//!
//! Nothing is sent to the log a second time. A record stays where it is, and whatever reads the log from then on decodes
//! it by the schema of then: new versions, training sets, backfills. What has passed it already are the rows of views
//! that the mend left as they are. A replay has those built anew, and so each record counts once, with its own ingestion
//! time and place.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::Serialize;
use utoipa::ToSchema;

use crate::api::State;
use crate::api::problem::Problem;
use crate::kernel::definition::Source;
use crate::kernel::event::decoding_mark;
use crate::kernel::key::HISTORY;
use crate::kernel::plan::{Fingerprint, Plan};
use crate::registry::catalogue::{Catalogue, Version, compile};
use crate::registry::{Registry, Replay, VersionState};

use super::{known, on_archive};

/// What became of dead letters that were decoded again.
#[derive(Serialize, ToSchema)]
pub(in crate::api) struct Replayed {
    source: String,
    /// Records that the source takes by now. Those of an earlier replay are not among them.
    taken: u64,
    /// Records that it rejects still.
    rejected: u64,
    /// Views that had passed them: their rows are built anew, beside those that are served meanwhile.
    rebuilding: BTreeSet<String>,
    /// Views that have them already, for they are built, or were, since the schema was mended.
    up_to_date: BTreeSet<String>,
}

impl Replayed {
    /// For the audit log.
    pub fn summary(&self) -> String {
        let Replayed { source, taken, rejected, rebuilding, .. } = self;
        format!("{taken} dead letters of {source} taken, {rejected} rejected still, {} views rebuilt", rebuilding.len())
    }
}

/// Up to where the dead letters of each partition were replayed under the schema of now.
pub(super) async fn ends(state: &State, source: &str) -> Result<BTreeMap<u32, u64>, Problem> {
    let source = known(state, source)?;
    let replay = state.registry.replay(&source.name, decoding_mark(&source)).await?;
    Ok(replay.map(|replay| replay.ends).unwrap_or_default())
}

/// Of the log, and of what is archived of history files.
async fn ends_now(state: &State, source: &Source) -> Result<BTreeMap<u32, u64>, Problem> {
    let log = state.log.bounds(&source.topic).await?;
    let history = on_archive(state, source.name.as_str(), |archive, source| archive.position(source, HISTORY)).await?;
    Ok((0..).zip(log.iter().map(|held| held.end)).chain(history.map(|end| (HISTORY, end))).collect())
}

pub(super) async fn replay(state: &State, name: &str, by: String) -> Result<Replayed, Problem> {
    let source = known(state, name)?;
    let ends_now = ends_now(state, &source).await?;
    let done = ends(state, name).await?;
    let outcome = on_archive(state, name, move |archive, source| archive.decode_again(source, &done)).await?;
    let mut replayed = Replayed {
        source: source.name.to_string(),
        taken: outcome.taken,
        rejected: outcome.rejected,
        rebuilding: BTreeSet::new(),
        up_to_date: BTreeSet::new(),
    };
    if outcome.taken == 0 {
        return Ok(replayed);
    }
    let catalogue = state.catalogues.current();
    let behind = behind(&*state.registry, &catalogue, &source).await?;
    for version in of(&catalogue, &source) {
        let is_behind = behind.contains(&version.view.fingerprint);
        let views = if is_behind { &mut replayed.rebuilding } else { &mut replayed.up_to_date };
        views.insert(version.view.name.to_string());
    }
    let now = state.clock.now();
    state.registry.rebuild(&behind, now).await?;
    // After it: a replay that is cut short in between is done once more, and rows that are built twice are the same.
    let (ends, decoding) = (ends_now, decoding_mark(&source));
    state.registry.put_replay(&Replay { source: source.name.clone(), decoding, ends, at: now, by }).await?;
    state.follow_definitions().await;
    Ok(replayed)
}

/// The versions with rows that decode by the source as it is now: one that is retained may be of an earlier revision, and
/// rejects what that one rejected.
fn of<'c>(catalogue: &'c Catalogue, source: &Source) -> impl Iterator<Item = &'c Version> {
    let mark = decoding_mark(source);
    let name = source.name.clone();
    let versions = catalogue.versions.iter().filter(|it| it.view.online);
    versions.filter(move |it| it.view.source.name == name && decoding_mark(&it.view.source) == mark)
}

/// The versions of a source whose rows were begun before it was as it is now.
async fn behind(
    registry: &dyn Registry,
    catalogue: &Catalogue,
    source: &Arc<Source>,
) -> Result<Vec<Fingerprint>, Problem> {
    let Some((number, before)) = before(registry, catalogue.revision, source).await? else { return Ok(Vec::new()) };
    let is_behind = |version: &&Version| {
        let declared = before.view(version.view.name.as_str()).map(|view| view.fingerprint);
        let is_older = declared == Some(version.view.fingerprint) || version.revision <= number;
        is_older && version.state != VersionState::Building
    };
    let behind = of(catalogue, source).filter(is_behind).map(|version| version.view.fingerprint);
    Ok(behind.collect::<BTreeSet<_>>().into_iter().collect())
}

/// The newest revision of which the source decodes otherwise, or that this release does not read any more; `None` where
/// it never did.
async fn before(registry: &dyn Registry, newest: u64, source: &Source) -> Result<Option<(u64, Plan)>, Problem> {
    let mark = decoding_mark(source);
    for number in (1..newest).rev() {
        let Some(revision) = registry.revision_numbered(number).await? else { return Ok(None) };
        let plan = compile(&revision.files, number).unwrap_or_default();
        if plan.source(source.name.as_str()).is_none_or(|before| decoding_mark(before) != mark) {
            return Ok(Some((number, plan)));
        }
    }
    Ok(None)
}
