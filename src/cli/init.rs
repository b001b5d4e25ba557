//! `freshet init DIR`: a starter project: definitions, a day of made-up events, labels, and a page that says what to do
//! with them. Nothing that is there already is written over.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use serde_json::json;

use crate::clock::Clock;
use crate::kernel::time::{EventTime, Micros};

#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  freshet init shop && cd shop && cat README.md")]
pub(super) struct Arguments {
    /// The project's folder, which is made
    #[arg(value_name = "DIR")]
    folder: PathBuf,
}

const SETTINGS: &str = "\
data_dir: freshet-data
# Every row that is looked up is kept for `freshet parity`; leave it away in production.
parity_sample: 1
";
const README: &str = include_str!("init/README.md");
const DEFINITIONS: &str = include_str!("init/shop.yaml");

/// Of the events: one each half hour, the newest just now.
const EVENTS: i64 = 48;
const EVERY: Micros = Micros::new(30 * 60 * 1_000_000);

const ITEMS: [(&str, f64); 5] = [("teapot", 24.5), ("cup", 6.25), ("saucer", 3.0), ("kettle", 49.9), ("tray", 12.0)];

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let now = Clock::System.now();
    let files = [
        ("README.md", README.to_owned()),
        ("freshet.yaml", SETTINGS.to_owned()),
        (".gitignore", "freshet-data/\ntraining.parquet\n".to_owned()),
        ("feature-defs/shop.yaml", DEFINITIONS.to_owned()),
        ("events.ndjson", events(now)),
        ("labels.csv", labels(now)),
    ];
    let folder = &arguments.folder;
    if let Some((path, _)) = files.iter().find(|(path, _)| folder.join(path).exists()) {
        bail!("{} is there already, and is left as it is: name a new folder", folder.join(path).display());
    }
    for (path, text) in &files {
        write(&folder.join(path), text)?;
        println!("{}", folder.join(path).display());
    }
    println!("\nNext: cd {} && cat README.md", folder.display());
    Ok(ExitCode::SUCCESS)
}

fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    let parent = path.parent().expect("a file is in a folder");
    std::fs::create_dir_all(parent).with_context(|| format!("cannot create {}", parent.display()))?;
    std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

/// Three shoppers look at what there is in turn, and buy every fourth thing.
fn events(now: EventTime) -> String {
    let event = |number: i64| {
        let (item, price) = ITEMS[number as usize % ITEMS.len()];
        json!({
            "event_id": format!("e{number:02}"), "timestamp": at(now, number).micros() / 1_000,
            "user_id": user(number), "event": if is_purchase(number) { "purchase" } else { "view" },
            "item_id": item, "price": price,
        })
    };
    (0..EVENTS).map(|number| event(number).to_string() + "\n").collect()
}

/// Just before each purchase: what was known then is what a model may learn from.
fn labels(now: EventTime) -> String {
    let purchases = (EVENTS / 2..EVENTS).filter(|number| is_purchase(*number));
    let row = |number: i64| format!("{},{},{}\n", user(number), at(now, number), number % 3);
    "user_id,event_timestamp,bought_again\n".to_owned() + &purchases.map(row).collect::<String>()
}

fn at(now: EventTime, number: i64) -> EventTime {
    now.floor(Micros::SECOND) - Micros::new((EVENTS - 1 - number) * EVERY.get())
}

fn user(number: i64) -> String {
    format!("u{}", number % 3 + 1)
}

fn is_purchase(number: i64) -> bool {
    number % 4 == 3
}
