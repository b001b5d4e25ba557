//! Parts of rows ↔ bytes, versioned. Bytes stored once stay readable: `tests/golden/codec/v1/` is added to, never
//! rewritten.

use bytes::Bytes;

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
    #[error("stored row has codec version {found}; this build reads up to {newest}")]
    Version { found: u8, newest: u8 },
    #[error("stored row was written for another layout of the view")]
    Layout,
    #[error("stored row is damaged at byte {at}")]
    Damaged { at: usize },
}
