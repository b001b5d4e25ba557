//! What every stored piece is wrapped in: version and layout before the payload, a checksum after it.

use bytes::Bytes;
use xxhash_rust::xxh3::xxh3_64;

use crate::kernel::codec::Error;
use crate::kernel::plan::Fingerprint;

const VERSION: u8 = 1;
const FRONT: usize = 1 + size_of::<u32>();

/// Starts a frame; the payload, of about this many bytes, is appended to what it returns.
pub(super) fn begin(layout: u32, payload_bytes: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(FRONT + payload_bytes + size_of::<u32>());
    out.push(VERSION);
    out.extend(layout.to_le_bytes());
    out
}

pub(super) fn finish(mut out: Vec<u8>) -> Bytes {
    out.extend(checksum(&out).to_le_bytes());
    Bytes::from(out)
}

/// The payload, where the frame is whole and of this layout. The version is looked at first, for a later one may
/// be framed differently.
pub(super) fn open(bytes: &[u8], layout: u32) -> Result<&[u8], Error> {
    match bytes.first() {
        Some(&VERSION) => {}
        Some(&found) => return Err(Error::Version { found, newest: VERSION }),
        None => return Err(Error::Damaged { what: "nothing is there" }),
    }
    let (framed, check) = bytes.split_last_chunk().ok_or(Error::Damaged { what: "too short" })?;
    if u32::from_le_bytes(*check) != checksum(framed) {
        return Err(Error::Damaged { what: "the checksum does not match" });
    }
    let (front, payload) = framed.split_at_checked(FRONT).ok_or(Error::Damaged { what: "too short" })?;
    if front[1..] == layout.to_le_bytes() { Ok(payload) } else { Err(Error::Layout) }
}

/// The payload of a frame that was opened before.
pub(super) fn payload(bytes: &[u8]) -> &[u8] {
    &bytes[FRONT..bytes.len() - size_of::<u32>()]
}

/// What tells layouts apart: the fingerprint covers all that decides them.
pub(super) fn layout(fingerprint: Fingerprint) -> u32 {
    fingerprint.0 as u32
}

fn checksum(bytes: &[u8]) -> u32 {
    xxh3_64(bytes) as u32
}
