//! A flush as a call of `apply.lua`: its keys and arguments, in the order that the script tells.

use bytes::Bytes;
use redis::Cmd;

use super::layout::{self, Keys};
use crate::kernel::engine::Flushed;
use crate::kernel::key::Shard;
use crate::online::{Advance, PartWrite, Position};

pub struct Flush<'a> {
    pub keys: &'a Keys,
    pub shard: Shard,
    pub advances: &'a [Advance],
    pub rows: &'a [PartWrite],
    /// Whether a call that was done before is written again, for WAIT to have something to wait for.
    pub confirms: bool,
}

impl Flush<'_> {
    pub fn add_to(&self, command: &mut Cmd) {
        let Flush { keys, shard, advances, rows, confirms } = *self;
        let with_ids = || rows.iter().filter(|row| row.flushed.ids.is_some());
        command.arg(advances.len() + rows.len() + with_ids().count());
        advances.iter().for_each(|advance| _ = command.arg(keys.control(advance.version, shard)));
        rows.iter().for_each(|row| _ = command.arg(keys.row(row.key.version, shard, &row.key.entity)));
        with_ids().for_each(|row| _ = command.arg(keys.ids(row.key.version, shard, &row.key.entity)));
        command.arg(advances.len()).arg(if confirms { "confirm" } else { "" });
        for Advance { partition, nonce, from, to, .. } in advances {
            let position = |offset: u64| layout::encode_position(Position { nonce: *nonce, offset });
            command.arg(&layout::position_field(*partition)).arg(&position(*from)).arg(&position(*to));
        }
        command.arg(rows.len());
        rows.iter().for_each(|row| add_part(command, advances, row));
    }

    /// How many arguments it adds, and how many bytes: roughly, and rather too many.
    pub fn size(&self) -> (usize, usize) {
        let arguments = 4 + ADVANCE_ARGUMENTS * self.advances.len() + PART_ARGUMENTS * self.rows.len();
        let bytes = self.rows.iter().map(part_bytes).sum::<usize>() + ADVANCE_BYTES * self.advances.len();
        (arguments, bytes)
    }
}

const ADVANCE_ARGUMENTS: usize = 4;
const ADVANCE_BYTES: usize = 80;
/// With ids, which have a key of their own.
const PART_ARGUMENTS: usize = 8;
/// Beside its entity and what it brings.
const PART_BYTES: usize = 64;

fn part_bytes(PartWrite { key, flushed }: &PartWrite) -> usize {
    let Flushed { head, body, ids, .. } = flushed;
    let brought = [body, ids].into_iter().flatten().map(Bytes::len).sum::<usize>();
    PART_BYTES + key.entity.as_bytes().len() + head.len() + brought
}

fn add_part(command: &mut Cmd, advances: &[Advance], PartWrite { key, flushed }: &PartWrite) {
    let of_version = |advance: &Advance| advance.version == key.version;
    let advance = advances.iter().position(of_version).expect("each row belongs to one of the advances");
    let brings = match (&flushed.body, &flushed.ids) {
        (None, None) => "h",
        (Some(_), None) => "hb",
        (None, Some(_)) => "hi",
        (Some(_), Some(_)) => "hbi",
    };
    command.arg(advance + 1).arg(brings);
    // Rounded up: never sooner.
    let expiry = flushed.expires_at.map(|instant| (instant.micros() + 999).div_euclid(1_000));
    match (expiry, flushed.expiry_moved) {
        (Some(instant), true) => command.arg(instant),
        (Some(instant), false) => command.arg(format!("={instant}")),
        (None, true) => command.arg(""),
        (None, false) => command.arg("="),
    };
    command.arg(&layout::part_name(key.part)).arg(&flushed.head[..]);
    for bytes in [&flushed.body, &flushed.ids].into_iter().flatten() {
        command.arg(&bytes[..]);
    }
}
