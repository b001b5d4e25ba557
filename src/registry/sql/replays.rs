//! Dead letters that were decoded again.

use crate::kernel::name::Name;
use crate::kernel::plan::Fingerprint;
use crate::kernel::time::EventTime;
use crate::registry::sql::SqlRegistry;
use crate::registry::sql::database::{Database, Row, cells};
use crate::registry::sql::offsets::{offsets_of, text_of};
use crate::registry::{Error, Offsets, Replay};

impl<D: Database> SqlRegistry<D> {
    pub(super) async fn write_replay(&self, replay: &Replay) -> Result<(), Error> {
        let written = "INSERT INTO replay (project, source, decoding, ends, at, who) VALUES ($1, $2, $3, $4, $5, $6)
             ON CONFLICT (project, source, decoding) DO UPDATE SET
                 ends = excluded.ends, at = excluded.at, who = excluded.who";
        let cells = cells![
            self.project(),
            replay.source.as_str(),
            replay.decoding.to_string().as_str(),
            text_of(&replay.ends).as_str(),
            replay.at.micros(),
            replay.by.as_str()
        ];
        self.database.run(written, cells).await.map(drop)
    }

    pub(super) async fn select_replay(&self, source: &Name, decoding: Fingerprint) -> Result<Option<Replay>, Error> {
        let rows = "SELECT ends, at, who FROM replay WHERE project = $1 AND source = $2 AND decoding = $3";
        let cells = cells![self.project(), source.as_str(), decoding.to_string().as_str()];
        let rows = self.database.run(rows, cells).await?;
        let replay = |row: &Row| {
            Ok(Replay {
                source: source.clone(),
                decoding,
                ends: self.read("list of offsets", row.text(0), ends_of)?,
                at: EventTime::unchecked(row.integer(1)),
                by: row.text(2).to_owned(),
            })
        };
        rows.first().map(replay).transpose()
    }
}

/// Earlier releases wrote the offsets alone, from partition 0 on.
fn ends_of(text: &str) -> Option<Offsets> {
    let alone = || (0..).zip(text.split(',')).map(|(partition, end)| Some((partition, end.parse().ok()?))).collect();
    offsets_of(text).or_else(alone)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_are_read_as_this_release_and_earlier_ones_wrote_them() {
        assert_eq!(ends_of("0:7,4294967295:3"), Some(Offsets::from([(0, 7), (u32::MAX, 3)])));
        assert_eq!(ends_of("7,0"), Some(Offsets::from([(0, 7), (1, 0)])));
        assert_eq!(ends_of(""), Some(Offsets::new()));
        assert_eq!(ends_of("0:x"), None);
    }
}
