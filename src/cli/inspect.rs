//! `freshet inspect VIEW key=value…`: the tiles behind each value of one entity.

use std::process::ExitCode;

use serde_json::Value;

use crate::cli::entity::Entity;
use crate::cli::output;

#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  freshet inspect household_spend household_id=2020\n  \
                        freshet inspect household_spend:baskets_30d household_id=2020")]
pub(super) struct Arguments {
    /// A feature view, one of its features as `view:feature`, or a feature service
    view: String,
    #[command(flatten)]
    entity: Entity,
}

pub(super) async fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    arguments.entity.ask(&format!("/v1/explain/{}", arguments.view), text).await
}

/// Each view with its row, each feature with a line for each tile.
fn text(answer: &Value) -> String {
    let mut text = format!("as of {}\n", output::cell(&answer["as_of"]));
    for view in list(&answer["views"]) {
        text += &format!(
            "\n{}, version {}, generation {}; newest event {}\n",
            output::cell(&view["view"]),
            output::cell(&view["version"]),
            view["generation"],
            output::cell(&view["newest_event_time"])
        );
        text += &row(&view["row"]);
        list(&view["features"]).iter().for_each(|it| text += &feature(it));
    }
    text
}

fn row(row: &Value) -> String {
    let partition = |it: &Value| format!("partition {} below offset {}", it["partition"], it["offset"]);
    let partitions: Vec<String> = list(&row["partitions"]).iter().map(partition).collect();
    let part = |it: &Value| format!("{}: {} + {} bytes", output::cell(&it["part"]), it["head_bytes"], it["body_bytes"]);
    let parts: Vec<String> = list(&row["parts"]).iter().map(part).collect();
    let parts = if parts.is_empty() { "nothing is stored".to_owned() } else { parts.join(", ") };
    format!("shard {}: {}\n{parts} (head + body)\n", row["shard"], partitions.join(", "))
}

fn feature(feature: &Value) -> String {
    let column = feature["column"].as_str().unwrap_or_default();
    let window = match &feature["window"] {
        Value::Null => "lifetime".to_owned(),
        window => {
            let text = |name: &str| output::cell(&window[name]);
            format!("{} by {}, {} to {}", text("length"), text("hop"), text("start"), text("end"))
        }
    };
    let head = format!(
        "\n{} = {} ({}): {}({column}) over {window}\n",
        output::cell(&feature["name"]),
        output::cell(&feature["value"]),
        output::cell(&feature["status"]),
        output::cell(&feature["aggregate"])
    );
    let columns = ["start", "end", "part", "place", "inputs", "value"];
    let line = |tile: &Value| columns.map(|name| output::cell(&tile[name])).to_vec();
    match list(&feature["tiles"]) {
        [] => head + "no tile of the window holds anything\n",
        tiles => head + &output::table(&columns, tiles.iter().map(line)) + "\n",
    }
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}
