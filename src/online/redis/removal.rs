//! How a version leaves Redis: its controls go first, and with them, at once, its rows for writers and readers alike.
//! Then its keys are looked for and unlinked, some at a time, so that nobody waits.
//!
//! An index of the rows of each shard would spare the search through the keys of the server. It would also cost each
//! row memory and a write, and keep what expired: too much for what happens when somebody changes a view.

use std::collections::BTreeMap;

use futures::future::try_join_all;
use redis::cmd;

use super::Redis;
use super::scripts::{Fill, SWEEP};
use crate::kernel::key::Shard;
use crate::kernel::plan::Fingerprint;
use crate::online::Error;

/// Keys looked at in one step.
const STEP: usize = 1_000;

impl Redis {
    pub(super) async fn remove_version(&self, version: Fingerprint) -> Result<(), Error> {
        try_join_all((0..self.keys.shards()).map(|shard| async move {
            let mut unlink = cmd("UNLINK");
            unlink.arg(self.keys.control(version, Shard(shard)));
            self.write_lane(Shard(shard)).command(&unlink).await
        }))
        .await?;
        for (primary, _) in self.reads.each_primary(&cmd("PING")).await? {
            self.sweep(version, &primary).await?;
        }
        Ok(())
    }

    /// Rows of a claim that came meanwhile are of another generation, and stay.
    async fn sweep(&self, version: Fingerprint, primary: &str) -> Result<(), Error> {
        let pattern = self.keys.pattern(version);
        let mut cursor = 0;
        loop {
            let mut scan = cmd("SCAN");
            scan.arg(cursor).arg("MATCH").arg(&pattern).arg("COUNT").arg(STEP);
            let answer = self.reads.at(primary, &scan).await?;
            let (next, found): (u64, Vec<Vec<u8>>) =
                redis::from_redis_value(answer).map_err(|_| self.damaged("a scan"))?;
            self.sweep_keys(version, found).await?;
            if next == 0 {
                return Ok(());
            }
            cursor = next;
        }
    }

    async fn sweep_keys(&self, version: Fingerprint, found: Vec<Vec<u8>>) -> Result<(), Error> {
        let mut by_shard: BTreeMap<Shard, Vec<Vec<u8>>> = BTreeMap::new();
        for key in found {
            if let Some(shard) = self.keys.shard_of(&key) {
                by_shard.entry(shard).or_default().push(key);
            }
        }
        for (shard, keys) in by_shard {
            let fill = |command: &mut redis::Cmd| {
                command.arg(keys.len() + 1).arg(self.keys.control(version, shard)).arg(&keys);
            };
            self.write_lane(shard).script(&SWEEP, Fill::short(&fill), None).await?;
        }
        Ok(())
    }
}
