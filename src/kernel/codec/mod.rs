//! Parts of rows ↔ bytes, versioned. Bytes stored once stay readable: `tests/golden/codec/v1/` is added to, never
//! rewritten.
//!
//! ```text
//! head    = frame(time newest, time newest ingestion, tiles)   tiles since the last seal
//! body    = frame(tiles)                                       sealed tiles
//! ids     = frame(zigzag base, { slice id, varint µs before base })
//! frame   = version 1 B · layout 4 B · payload · checksum 4 B: xxh3-64 of all before it, low half; little endian
//! layout  = low half of the view's fingerprint
//! tiles   = for each grid of the plan: slice { step, slice { partial for each slot of the grid } }
//! step    = zigzag start / hop for the first tile, then varint hops since the tile before; 0 for a lifetime tile
//! time    = 0, or 1 and zigzag µs
//! ```
//!
//! Equal parts give equal bytes. A frame that was cut or changed anywhere is refused when it is opened; what is
//! within an intact one was written by us for this layout, and is trusted.

mod frame;
mod ids;
mod tiles;
mod values;

use bytes::Bytes;

pub(crate) use ids::{decode_ids, encode_ids};
pub(crate) use tiles::{
    EncodedTile, EncodedTiles, TileRun, check_body, decode_head, encode_head, open_body, open_head, seal, sealed_grids,
};
pub use values::{decode_values, encode_values};

/// A part of a row as a store keeps it. Empty bytes: never written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Image {
    /// Recent tiles and newest times: rewritten by each flush.
    pub head: Bytes,
    /// The sealed tiles: rewritten when the head is full.
    pub body: Bytes,
    /// Recently accepted event ids, where the source names an event id.
    pub ids: Bytes,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("stored bytes have codec version {found}, and this build reads up to {newest}: run a newer build")]
    Version { found: u8, newest: u8 },
    #[error("stored bytes were written for another layout of the view")]
    Layout,
    #[error("stored bytes are damaged: {what}")]
    Damaged { what: &'static str },
}
