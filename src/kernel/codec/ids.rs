//! Recently accepted event ids ↔ bytes.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::kernel::aggregate::bytes::{put_slice, put_varint, put_zigzag, take_slice, take_varint, take_zigzag};
use crate::kernel::codec::{Error, frame};
use crate::kernel::plan::ViewPlan;
use crate::kernel::time::{EventTime, Micros};

/// Id → the largest ingestion time at which it was accepted.
type Accepted = BTreeMap<Box<[u8]>, EventTime>;

/// What an id takes with its time, for the first allocation.
const ID_BYTES: usize = 24;

pub(crate) fn encode_ids(view: &ViewPlan, accepted: &Accepted) -> Bytes {
    let mut out = frame::begin(frame::layout(view.fingerprint), accepted.len() * ID_BYTES);
    let base = accepted.values().max().map_or(0, |newest| newest.micros());
    put_zigzag(&mut out, base);
    for (id, at) in accepted {
        put_slice(&mut out, id);
        put_varint(&mut out, base.abs_diff(at.micros()));
    }
    frame::finish(out)
}

pub(crate) fn decode_ids(view: &ViewPlan, bytes: &[u8]) -> Result<Accepted, Error> {
    let mut rest = frame::open(bytes, frame::layout(view.fingerprint))?;
    take_ids(&mut rest).ok_or(Error::Damaged { what: "the event ids do not read" })
}

fn take_ids(rest: &mut &[u8]) -> Option<Accepted> {
    let base = EventTime::unchecked(take_zigzag(rest)?);
    let mut accepted = Accepted::new();
    while !rest.is_empty() {
        let id = take_slice(rest)?;
        let before = i64::try_from(take_varint(rest)?).ok()?;
        accepted.insert(id.into(), base - Micros::new(before));
    }
    Some(accepted)
}
