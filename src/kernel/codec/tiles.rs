//! Heads and bodies ↔ bytes. Tiles are not decoded as a whole: a read decodes those that it needs, and a flush or a
//! seal copies those that stay as they are.

use bytes::Bytes;

use crate::kernel::aggregate::Partial;
use crate::kernel::aggregate::bytes::{
    prefix_slice, put_slice, put_varint, put_zigzag, take_byte, take_slice, take_varint, take_zigzag,
};
use crate::kernel::codec::{Error, frame};
use crate::kernel::engine::Tile;
use crate::kernel::plan::{Grid, Slot, ViewPlan};
use crate::kernel::time::EventTime;

/// What a head says.
pub(crate) struct Head {
    pub newest: Option<EventTime>,
    pub newest_ingestion: Option<EventTime>,
    /// For each grid of the view.
    pub runs: Vec<TileRun>,
}

/// Tiles of one grid as bytes, oldest first, no two with the same start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct TileRun {
    bytes: Vec<u8>,
    count: usize,
}

/// Reads the tiles of a run, or of one grid of a body.
#[derive(Clone, Copy)]
pub(crate) struct EncodedTiles<'a> {
    grid: &'a Grid,
    rest: &'a [u8],
    /// Start of the tile before, in hops.
    before: Option<i64>,
}

/// A tile as bytes.
#[derive(Clone, Copy)]
pub(crate) struct EncodedTile<'a> {
    pub start: EventTime,
    pub partials: &'a [u8],
}

/// The tiles of each grid of the plan, in its order; `None` where the bytes hold no such list.
pub(crate) struct EncodedGrids<'a> {
    grids: &'a [Grid],
    /// Nothing was written.
    rest: Option<&'a [u8]>,
}

impl<'a> Iterator for EncodedGrids<'a> {
    type Item = Option<EncodedTiles<'a>>;

    fn next(&mut self) -> Option<Option<EncodedTiles<'a>>> {
        let (grid, others) = self.grids.split_first()?;
        self.grids = others;
        let tiles = self.rest.as_mut().map_or(Some(&[][..]), take_slice);
        Some(tiles.map(|tiles| EncodedTiles::new(grid, tiles)))
    }
}

pub(crate) fn encode_head<'a>(
    view: &ViewPlan,
    newest: Option<EventTime>,
    newest_ingestion: Option<EventTime>,
    runs: impl Iterator<Item = &'a TileRun> + Clone,
) -> Bytes {
    let tiles: usize = runs.clone().map(|run| run.bytes.len() + LENGTH_BYTES).sum();
    let mut out = frame::begin(frame::layout(view.fingerprint), 2 * TIME_BYTES + tiles);
    put_time(&mut out, newest);
    put_time(&mut out, newest_ingestion);
    runs.for_each(|run| put_slice(&mut out, &run.bytes));
    frame::finish(out)
}

pub(crate) fn decode_head(view: &ViewPlan, bytes: &[u8]) -> Result<Head, Error> {
    let payload = frame::open(bytes, frame::layout(view.fingerprint))?;
    take_head(view, payload).ok_or(Error::Damaged { what: "the head does not read" })
}

/// What a head says, its tiles left where they are.
pub(crate) struct OpenedHead<'a> {
    pub newest: Option<EventTime>,
    pub grids: EncodedGrids<'a>,
}

pub(crate) fn open_head<'a>(view: &'a ViewPlan, bytes: &'a [u8]) -> Result<OpenedHead<'a>, Error> {
    let mut rest = frame::open(bytes, frame::layout(view.fingerprint))?;
    let newest = take_time(&mut rest).and_then(|newest| take_time(&mut rest).map(|_| newest));
    let newest = newest.ok_or(Error::Damaged { what: "the head does not read" })?;
    Ok(OpenedHead { newest, grids: EncodedGrids { grids: &view.grids, rest: Some(rest) } })
}

/// Of empty bytes: grids without tiles.
pub(crate) fn open_body<'a>(view: &'a ViewPlan, bytes: &'a [u8]) -> Result<EncodedGrids<'a>, Error> {
    let rest = match bytes {
        [] => None,
        bytes => Some(frame::open(bytes, frame::layout(view.fingerprint))?),
    };
    Ok(EncodedGrids { grids: &view.grids, rest })
}

/// Whether the bytes are a body of this view; what reads it later relies on that.
pub(crate) fn check_body(view: &ViewPlan, body: &[u8]) -> Result<(), Error> {
    frame::open(body, frame::layout(view.fingerprint)).map(drop)
}

/// The grids of a body that was checked, in the order of the plan. Of empty bytes: grids without tiles.
pub(crate) fn sealed_grids<'a>(view: &'a ViewPlan, body: &'a [u8]) -> impl Iterator<Item = EncodedTiles<'a>> {
    let mut rest = if body.is_empty() { body } else { frame::payload(body) };
    view.grids.iter().map(move |grid| {
        let tiles = if body.is_empty() { Some(body) } else { take_slice(&mut rest) };
        EncodedTiles::new(grid, tiles.expect("an intact body has every grid of its layout"))
    })
}

/// The body and the head's tiles in one new body, without the tiles that no read at or after `as_of` sees.
pub(crate) fn seal<'a>(
    view: &ViewPlan,
    body: &[u8],
    head: impl Iterator<Item = &'a TileRun>,
    as_of: EventTime,
) -> Bytes {
    let mut out = frame::begin(frame::layout(view.fingerprint), 2 * body.len());
    for (sealed, run) in sealed_grids(view, body).zip(head) {
        let mut writer = Writer::with_capacity(sealed.rest.len() + run.bytes.len());
        writer.put_merged(sealed, run.tiles(sealed.grid).map(Piece::Encoded), as_of);
        put_slice(&mut out, &writer.run.bytes);
    }
    frame::finish(out)
}

impl TileRun {
    pub fn len(&self) -> usize {
        self.count
    }

    /// Rough size in memory.
    pub fn bytes(&self) -> usize {
        self.bytes.capacity()
    }

    pub fn encoded_bytes(&self) -> usize {
        self.bytes.len()
    }

    pub fn tiles<'a>(&'a self, grid: &'a Grid) -> EncodedTiles<'a> {
        EncodedTiles::new(grid, &self.bytes)
    }

    /// Takes in `recent`, which is in its order, and drops the tiles that no read at or after `as_of` sees.
    pub fn take_in(&mut self, grid: &Grid, recent: &[Tile], as_of: EventTime) {
        let oldest_left = self.tiles(grid).next().is_some_and(|oldest| grid.has_left(oldest.start, as_of));
        if recent.is_empty() && !oldest_left {
            return;
        }
        let mut writer = Writer::with_capacity(self.bytes.len() + recent.len() * grid.slots.len() * PARTIAL_BYTES);
        writer.put_merged(self.tiles(grid), recent.iter().map(Piece::Decoded), as_of);
        *self = writer.run;
    }
}

/// What takes how much on average, for the first allocation.
const PARTIAL_BYTES: usize = 16;
const LENGTH_BYTES: usize = 3;
const TIME_BYTES: usize = 10;

impl<'a> EncodedTiles<'a> {
    fn new(grid: &'a Grid, bytes: &'a [u8]) -> EncodedTiles<'a> {
        EncodedTiles { grid, rest: bytes, before: None }
    }

    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// The next tile; `None` where the bytes are none.
    #[inline]
    pub fn take_tile(&mut self) -> Option<EncodedTile<'a>> {
        take_tile(self.grid, &mut self.before, &mut self.rest)
    }

    /// Steps over the tiles in front for which `passes` holds, and returns how many.
    fn skip_front(&mut self, passes: impl Fn(EventTime) -> bool) -> usize {
        let mut skipped = 0;
        loop {
            let mut ahead = *self;
            match ahead.next() {
                Some(tile) if passes(tile.start) => *self = ahead,
                _ => return skipped,
            }
            skipped += 1;
        }
    }
}

impl<'a> Iterator for EncodedTiles<'a> {
    type Item = EncodedTile<'a>;

    #[inline]
    fn next(&mut self) -> Option<EncodedTile<'a>> {
        (!self.is_empty()).then(|| self.take_tile().expect("intact bytes have whole tiles"))
    }
}

impl EncodedTile<'_> {
    /// The partials one by one, in the order of the slots.
    pub fn partials<'a>(&'a self, grid: &'a Grid) -> impl Iterator<Item = Partial> + 'a {
        let mut rest = self.partials;
        let decode = move |slot: &Slot| slot.identity.decode(&mut rest);
        grid.slots.iter().map(decode).map(|partial| partial.expect("intact bytes have partials of their layout"))
    }

    fn decode(&self, grid: &Grid) -> Tile {
        Tile { start: self.start, partials: self.partials(grid).collect() }
    }
}

fn take_head(view: &ViewPlan, mut rest: &[u8]) -> Option<Head> {
    let newest = take_time(&mut rest)?;
    let newest_ingestion = take_time(&mut rest)?;
    let runs: Option<Vec<TileRun>> = view.grids.iter().map(|grid| take_run(grid, take_slice(&mut rest)?)).collect();
    rest.is_empty().then_some(Head { newest, newest_ingestion, runs: runs? })
}

fn take_run(grid: &Grid, bytes: &[u8]) -> Option<TileRun> {
    let (mut rest, mut before, mut count) = (bytes, None, 0);
    while !rest.is_empty() {
        take_tile(grid, &mut before, &mut rest)?;
        count += 1;
    }
    Some(TileRun { bytes: bytes.to_vec(), count })
}

#[inline]
fn take_tile<'a>(grid: &Grid, before: &mut Option<i64>, rest: &mut &'a [u8]) -> Option<EncodedTile<'a>> {
    let index = match *before {
        None => take_zigzag(rest)?,
        Some(before) => before.checked_add_unsigned(take_varint(rest)?)?,
    };
    *before = Some(index);
    let start = EventTime::unchecked(index.checked_mul(hop_micros(grid))?);
    Some(EncodedTile { start, partials: take_slice(rest)? })
}

/// A tile in either form.
enum Piece<'a> {
    Decoded(&'a Tile),
    Encoded(EncodedTile<'a>),
}

impl Piece<'_> {
    fn start(&self) -> EventTime {
        match self {
            Piece::Decoded(tile) => tile.start,
            Piece::Encoded(tile) => tile.start,
        }
    }

    fn merge_into(&self, grid: &Grid, tile: &mut Tile) {
        match self {
            Piece::Decoded(own) => tile.merge(own),
            Piece::Encoded(own) => tile.merge(&own.decode(grid)),
        }
    }
}

/// Writes the tiles of one grid, given in their order.
struct Writer {
    run: TileRun,
    before: Option<i64>,
}

impl Writer {
    fn with_capacity(bytes: usize) -> Writer {
        Writer { run: TileRun { bytes: Vec::with_capacity(bytes), count: 0 }, before: None }
    }

    /// Two ordered lists of tiles as one, what stands in both merged, without what no read at or after `as_of` sees.
    fn put_merged<'a>(&mut self, mut older: EncodedTiles, newer: impl Iterator<Item = Piece<'a>>, as_of: EventTime) {
        let grid = older.grid;
        let mut newer = newer.filter(|tile| !grid.has_left(tile.start(), as_of)).peekable();
        older.skip_front(|start| grid.has_left(start, as_of));
        self.copy_front(&mut older, newer.peek().map(Piece::start));
        for tile in older {
            while let Some(earlier) = newer.next_if(|newer| newer.start() < tile.start) {
                self.put(grid, &earlier);
            }
            match newer.next_if(|newer| newer.start() == tile.start) {
                Some(both) => {
                    let mut merged = tile.decode(grid);
                    both.merge_into(grid, &mut merged);
                    self.put(grid, &Piece::Decoded(&merged));
                }
                None => self.put(grid, &Piece::Encoded(tile)),
            }
        }
        newer.for_each(|tile| self.put(grid, &tile));
    }

    /// Moves the tiles before `end` (all, if there is none) over as they are: only the first of a list says where it
    /// starts by itself.
    fn copy_front(&mut self, tiles: &mut EncodedTiles, end: Option<EventTime>) {
        let mut after_first = *tiles;
        let Some(first) = after_first.next().filter(|first| end.is_none_or(|end| first.start < end)) else { return };
        self.put(tiles.grid, &Piece::Encoded(first));
        *tiles = after_first;
        self.run.count += tiles.skip_front(|start| end.is_none_or(|end| start < end));
        let copied = after_first.rest.len() - tiles.rest.len();
        self.run.bytes.extend_from_slice(&after_first.rest[..copied]);
        self.before = tiles.before;
    }

    fn put(&mut self, grid: &Grid, tile: &Piece) {
        let out = &mut self.run.bytes;
        let index = tile.start().micros() / hop_micros(grid);
        match self.before {
            None => put_zigzag(out, index),
            Some(before) => put_varint(out, index.abs_diff(before)),
        }
        match tile {
            Piece::Encoded(tile) => put_slice(out, tile.partials),
            Piece::Decoded(tile) => {
                let from = out.len();
                tile.partials.iter().for_each(|partial| partial.encode(out));
                prefix_slice(out, from);
            }
        }
        self.before = Some(index);
        self.run.count += 1;
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
