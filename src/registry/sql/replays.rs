//! Dead letters that were decoded again.

use crate::kernel::name::Name;
use crate::kernel::plan::Fingerprint;
use crate::kernel::time::EventTime;
use crate::registry::sql::SqlRegistry;
use crate::registry::sql::database::{Database, Row, cells};
use crate::registry::{Error, Replay};

impl<D: Database> SqlRegistry<D> {
    pub(super) async fn write_replay(&self, replay: &Replay) -> Result<(), Error> {
        let written = "INSERT INTO replay (project, source, decoding, ends, at, who) VALUES ($1, $2, $3, $4, $5, $6)
             ON CONFLICT (project, source, decoding) DO UPDATE SET
                 ends = excluded.ends, at = excluded.at, who = excluded.who";
        let ends: Vec<String> = replay.ends.iter().map(u64::to_string).collect();
        let cells = cells![
            self.project(),
            replay.source.as_str(),
            replay.decoding.to_string().as_str(),
            ends.join(",").as_str(),
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
            let ends = |text: &str| text.split(',').filter(|it| !it.is_empty()).map(|it| it.parse().ok()).collect();
            Ok(Replay {
                source: source.clone(),
                decoding,
                ends: self.read("list of offsets", row.text(0), ends)?,
                at: EventTime::unchecked(row.integer(1)),
                by: row.text(2).to_owned(),
            })
        };
        rows.first().map(replay).transpose()
    }
}
