//! The windows of a feature: `windows: [10m, { length: 1h, hop: 1m }]`.

use crate::kernel::definition::fields::{Entry, Fields};
use crate::kernel::definition::findings::{Findings, Place};
use crate::kernel::definition::yaml::Kind;
use crate::kernel::time::Micros;
use crate::kernel::window::Sliding;

/// The most tiles that one window may be cut into: each busy entity keeps so many, and a read merges them.
const TILES_MOST: i64 = 10_000;

const EXAMPLE: &str = "`windows: [1h, 7d]`";

/// A window, and the length as it was written, which is the suffix of the feature's name.
pub(super) struct Written {
    pub suffix: String,
    pub window: Sliding,
    pub place: Place,
}

pub(super) fn read(entry: &Entry, found: &mut Findings) -> Option<Vec<Written>> {
    let items = entry.items(EXAMPLE, found)?;
    let windows: Vec<Option<Written>> = items.iter().map(|item| window(item, found)).collect();
    windows.into_iter().collect()
}

fn window(item: &Entry, found: &mut Findings) -> Option<Written> {
    if !matches!(item.node.kind, Kind::Map(_)) {
        let length = length(item, found)?;
        return finish(item, item, Sliding::new(length), found);
    }
    let mut fields = Fields::of(item, "a window", "`{ length: 1h, hop: 1m }`", found)?;
    let length_entry = fields.required("length", "1h");
    let hop_entry = fields.optional("hop");
    fields.finish(found);
    let length_entry = length_entry?;
    let length = length(&length_entry, found)?;
    let Some(hop_entry) = hop_entry else { return finish(item, &length_entry, Sliding::new(length), found) };
    let hop = hop(&hop_entry, length, found)?;
    finish(item, &length_entry, Sliding { length, hop }, found)
}

fn length(entry: &Entry, found: &mut Findings) -> Option<Micros> {
    let length = entry.duration(found)?;
    if length < Micros::SECOND {
        found.mistake(entry.node.place, "a window must be at least `1s` long", "for all time leave `windows` out");
        return None;
    }
    Some(length)
}

fn hop(entry: &Entry, length: Micros, found: &mut Findings) -> Option<Micros> {
    let hop = entry.duration(found)?;
    if hop < Micros::SECOND || hop > length {
        let what = format!("the hop `{hop}` does not suit a window of `{length}`");
        found.mistake(entry.node.place, what, format!("choose one from `1s` to `{length}`, or leave it out"));
        return None;
    }
    Some(hop)
}

fn finish(item: &Entry, length: &Entry, window: Sliding, found: &mut Findings) -> Option<Written> {
    let tiles = window.length.get() / window.hop.get();
    if tiles > TILES_MOST {
        let what = format!("the hop `{}` cuts the window `{}` into {tiles} tiles", window.hop, window.length);
        let least = Micros::new((window.length.get() / TILES_MOST / Micros::SECOND.get() + 1) * Micros::SECOND.get());
        let help = format!("at most {TILES_MOST} are kept: choose a hop of at least `{least}`");
        found.mistake(item.node.place, what, help);
        return None;
    }
    let suffix = length.text("a duration", found)?.to_owned();
    Some(Written { suffix, window, place: item.node.place })
}
