//! What the store answered to one process: where its flushes may go on from, and what a process makes of a refusal
//! that does not rewind.

use std::collections::BTreeMap;

use freshet::kernel::key::Shard;
use freshet::kernel::plan::Fingerprint;
use freshet::online::{Advance, Applied, Position};
use freshet::stream::Signal;

use super::process::Write;

#[derive(Default)]
pub struct Answered {
    /// By lane and nonce: the offset that the store answered to a claim, or to a flush.
    lanes: BTreeMap<(Lane, u64), u64>,
    /// Where the store stands instead of where a process believes that it does.
    adopted: BTreeMap<Lane, u64>,
}

type Lane = (Shard, Fingerprint, u32);

impl Answered {
    /// Remembers what the store said about lanes.
    pub fn learn(&mut self, write: &Write, answer: &Signal) {
        match (write, answer) {
            (Write::Claim { shard, claims, .. }, Signal::Claimed { nonce, offsets, .. }) => {
                for (claim, offset) in claims.iter().zip(offsets) {
                    self.lanes.insert(((*shard, claim.version, claim.partition), nonce.0), *offset);
                }
            }
            (Write::Apply { shard, advances, .. }, Signal::Applied { outcome: Applied::Done, .. }) => {
                for advance in advances {
                    self.lanes.insert((lane_of(*shard, advance), advance.nonce.0), advance.to);
                }
            }
            _ => {}
        }
    }

    /// For whoever does not rewind: a refusal by offset passes for done, and the next flush starts where the store
    /// stands.
    pub fn adopt(&mut self, write: &Write, answer: &mut Signal) {
        let Write::Apply { shard, advances, .. } = write else { return };
        let Signal::Applied { outcome, .. } = answer else { return };
        let Applied::Refused(stored) = &*outcome else { return };
        let is_ours =
            |(advance, stored): (&Advance, &Option<Position>)| stored.is_some_and(|it| it.nonce == advance.nonce);
        if advances.iter().zip(stored).all(is_ours) {
            for (advance, stored) in advances.iter().zip(stored.iter().flatten()) {
                self.adopted.insert(lane_of(*shard, advance), stored.offset);
            }
            *outcome = Applied::Done;
        }
    }

    pub fn go_on(&mut self, write: &mut Write) {
        let Write::Apply { shard, advances, .. } = write else { return };
        for advance in advances {
            if let Some(offset) = self.adopted.remove(&lane_of(*shard, advance)) {
                advance.from = offset;
            }
        }
    }

    /// A flush goes on from where the store answered that the lane stands, under the nonce of a claim.
    pub fn check(&self, shard: Shard, advance: &Advance) -> Result<(), String> {
        let known = self.lanes.get(&(lane_of(shard, advance), advance.nonce.0));
        if known == Some(&advance.from) && advance.from <= advance.to {
            return Ok(());
        }
        Err(format!("{advance:?} is flushed, and {known:?} was answered"))
    }
}

fn lane_of(shard: Shard, advance: &Advance) -> Lane {
    (shard, advance.version, advance.partition)
}
