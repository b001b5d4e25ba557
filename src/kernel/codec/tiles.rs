//! Heads and bodies ↔ bytes. A body is never decoded as a whole: a read decodes the tiles that it needs, and a seal
//! copies those that the head leaves alone.

use bytes::Bytes;

use crate::kernel::aggregate::Partial;
use crate::kernel::aggregate::bytes::{
    put_slice, put_varint, put_zigzag, take_byte, take_slice, take_varint, take_zigzag,
};
use crate::kernel::codec::{Error, frame};
use crate::kernel::engine::{Tile, Tiles};
use crate::kernel::plan::{Grid, Slot, ViewPlan};
use crate::kernel::time::EventTime;

/// What a head says.
pub(crate) struct Head {
    pub newest: Option<EventTime>,
    pub newest_ingestion: Option<EventTime>,
    pub tiles: Tiles,
}

/// The tiles of one grid within a body, oldest first.
pub(crate) struct SealedGrid<'a> {
    grid: &'a Grid,
    rest: &'a [u8],
    /// Start of the tile before, in hops.
    before: Option<i64>,
}

/// A tile within a body, not decoded.
pub(crate) struct SealedTile<'a> {
    pub start: EventTime,
    pub partials: &'a [u8],
}

pub(crate) fn encode_head(
    view: &ViewPlan,
    newest: Option<EventTime>,
    newest_ingestion: Option<EventTime>,
    tiles: &Tiles,
) -> Bytes {
    let mut out = frame::begin(frame::layout(view.fingerprint));
    put_time(&mut out, newest);
    put_time(&mut out, newest_ingestion);
    for (grid, tiles) in view.grids.iter().zip(&tiles.0) {
        let mut writer = GridWriter::new(grid);
        tiles.iter().for_each(|tile| writer.put(tile));
        writer.finish(&mut out);
    }
    frame::finish(out)
}

pub(crate) fn decode_head(view: &ViewPlan, bytes: &[u8]) -> Result<Head, Error> {
    let payload = frame::open(bytes, frame::layout(view.fingerprint))?;
    take_head(view, payload).ok_or(Error::Damaged { what: "the head does not read" })
}

/// Whether the bytes are a body of this view; what reads it later relies on that.
pub(crate) fn check_body(view: &ViewPlan, body: &[u8]) -> Result<(), Error> {
    frame::open(body, frame::layout(view.fingerprint)).map(drop)
}

/// The grids of a body that was checked, in the order of the plan. Of empty bytes: grids without tiles.
pub(crate) fn sealed_grids<'a>(view: &'a ViewPlan, body: &'a [u8]) -> impl Iterator<Item = SealedGrid<'a>> {
    let mut rest = if body.is_empty() { body } else { frame::payload(body) };
    view.grids.iter().map(move |grid| {
        let tiles = if body.is_empty() { Some(body) } else { take_slice(&mut rest) };
        SealedGrid { grid, rest: tiles.expect("an intact body has every grid of its layout"), before: None }
    })
}

/// The body and the head's tiles in one new body, without the tiles that no read at or after `as_of` sees.
pub(crate) fn seal(view: &ViewPlan, body: &[u8], head: &Tiles, as_of: EventTime) -> Bytes {
    let mut out = frame::begin(frame::layout(view.fingerprint));
    for (sealed, recent) in sealed_grids(view, body).zip(&head.0) {
        seal_grid(sealed, recent, as_of).finish(&mut out);
    }
    frame::finish(out)
}

/// A merge of two ordered lists of tiles; what stands in both is merged.
fn seal_grid<'a>(sealed: SealedGrid<'a>, recent: &[Tile], as_of: EventTime) -> GridWriter<'a> {
    let grid = sealed.grid;
    let mut writer = GridWriter::new(grid);
    let mut recent = recent.iter().filter(|tile| !grid.has_left(tile.start, as_of)).peekable();
    for tile in sealed.filter(|tile| !grid.has_left(tile.start, as_of)) {
        while let Some(earlier) = recent.next_if(|recent| recent.start < tile.start) {
            writer.put(earlier);
        }
        match recent.next_if(|recent| recent.start == tile.start) {
            Some(both) => {
                let mut merged = tile.decode(grid);
                merged.merge(both);
                writer.put(&merged);
            }
            None => writer.copy(&tile),
        }
    }
    recent.for_each(|tile| writer.put(tile));
    writer
}

impl<'a> Iterator for SealedGrid<'a> {
    type Item = SealedTile<'a>;

    fn next(&mut self) -> Option<SealedTile<'a>> {
        (!self.rest.is_empty())
            .then(|| take_tile(self.grid, &mut self.before, &mut self.rest).expect("an intact body has whole tiles"))
    }
}

impl SealedTile<'_> {
    /// The partials one by one, in the order of the slots.
    pub fn partials<'a>(&'a self, grid: &'a Grid) -> impl Iterator<Item = Partial> + 'a {
        let mut rest = self.partials;
        let decode = move |slot: &Slot| slot.identity.decode(&mut rest);
        grid.slots.iter().map(decode).map(|partial| partial.expect("an intact body has partials of its layout"))
    }

    fn decode(&self, grid: &Grid) -> Tile {
        Tile { start: self.start, partials: self.partials(grid).collect() }
    }
}

fn take_head(view: &ViewPlan, mut rest: &[u8]) -> Option<Head> {
    let newest = take_time(&mut rest)?;
    let newest_ingestion = take_time(&mut rest)?;
    let grids: Option<Vec<Vec<Tile>>> =
        view.grids.iter().map(|grid| take_tiles(grid, take_slice(&mut rest)?)).collect();
    rest.is_empty().then_some(Head { newest, newest_ingestion, tiles: Tiles(grids?) })
}

fn take_tiles(grid: &Grid, mut rest: &[u8]) -> Option<Vec<Tile>> {
    let (mut before, mut tiles) = (None, Vec::new());
    while !rest.is_empty() {
        let SealedTile { start, partials: mut bytes } = take_tile(grid, &mut before, &mut rest)?;
        let partials: Option<Box<[Partial]>> = grid.slots.iter().map(|slot| slot.identity.decode(&mut bytes)).collect();
        tiles.push(Tile { start, partials: partials? });
    }
    Some(tiles)
}

fn take_tile<'a>(grid: &Grid, before: &mut Option<i64>, rest: &mut &'a [u8]) -> Option<SealedTile<'a>> {
    let index = match *before {
        None => take_zigzag(rest)?,
        Some(before) => before.checked_add_unsigned(take_varint(rest)?)?,
    };
    *before = Some(index);
    let start = EventTime::unchecked(index.checked_mul(hop_micros(grid))?);
    Some(SealedTile { start, partials: take_slice(rest)? })
}

/// Writes the tiles of one grid, given in their order.
struct GridWriter<'a> {
    grid: &'a Grid,
    out: Vec<u8>,
    before: Option<i64>,
    /// Room for the partials of one tile, whose length comes first.
    partials: Vec<u8>,
}

impl<'a> GridWriter<'a> {
    fn new(grid: &'a Grid) -> GridWriter<'a> {
        GridWriter { grid, out: Vec::new(), before: None, partials: Vec::new() }
    }

    fn put(&mut self, tile: &Tile) {
        let mut partials = std::mem::take(&mut self.partials);
        partials.clear();
        tile.partials.iter().for_each(|partial| partial.encode(&mut partials));
        self.copy(&SealedTile { start: tile.start, partials: &partials });
        self.partials = partials;
    }

    fn copy(&mut self, tile: &SealedTile) {
        let index = tile.start.micros() / hop_micros(self.grid);
        match self.before {
            None => put_zigzag(&mut self.out, index),
            Some(before) => put_varint(&mut self.out, index.abs_diff(before)),
        }
        self.before = Some(index);
        put_slice(&mut self.out, tile.partials);
    }

    fn finish(self, out: &mut Vec<u8>) {
        put_slice(out, &self.out);
    }
}

/// A lifetime tile starts at 0, which is no hop away.
fn hop_micros(grid: &Grid) -> i64 {
    grid.hop.map_or(1, |hop| hop.get())
}

fn put_time(out: &mut Vec<u8>, time: Option<EventTime>) {
    out.push(u8::from(time.is_some()));
    time.iter().for_each(|time| put_zigzag(out, time.micros()));
}

fn take_time(rest: &mut &[u8]) -> Option<Option<EventTime>> {
    match take_byte(rest)? {
        0 => Some(None),
        1 => Some(Some(EventTime::unchecked(take_zigzag(rest)?))),
        _ => None,
    }
}
