//! `freshet demo`: the main job on embedded parts, in one process, told in plain words. Everything goes through the
//! service's own HTTP calls, so the tour that it prints at the end does what it did.
//!
//! It replaces what is applied, and begins with an empty log. So it works on its own parts alone, whatever servers the
//! environment and a settings file name, and in a folder that it made or found empty.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use bytes::Bytes;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::app::App;
use crate::cli::client::{Body, Client};
use crate::cli::{WrongUse, apply, get, ingest, offline, output};
use crate::clock::Clock;
use crate::config::Config;
use crate::kernel::definition::SourceText;
use crate::kernel::time::{EventTime, Micros};
use crate::telemetry::{self, LogFormat};

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  freshet demo --exit\n\nIt runs on parts of its own, and takes no setting from the \
                        environment or from freshet.yaml."
)]
pub(super) struct Arguments {
    /// Stop at the end instead of serving on
    #[arg(long)]
    exit: bool,
    /// Where to serve
    #[arg(long, default_value = "127.0.0.1:6566", value_name = "ADDRESS")]
    listen: String,
    /// Where to keep the demo's data: a folder that is new, or empty, or of an earlier demo, which is replaced
    #[arg(long, default_value = "freshet-data/demo", value_name = "FOLDER")]
    data_dir: PathBuf,
}

/// Complete Journey 2.0 (84.51°, CC0): every basket line of 2017 of one household in twenty, products joined in.
const EVENTS: &[u8] = include_bytes!("demo/purchases.parquet");
const EVENT_COUNT: u64 = 81_342;

const DEFINITIONS: [(&str, &str); 5] = [
    ("feature-defs/entities.yaml", include_str!("../../feature-defs/entities.yaml")),
    ("feature-defs/purchases.yaml", include_str!("../../feature-defs/purchases.yaml")),
    ("feature-defs/household.yaml", include_str!("../../feature-defs/household.yaml")),
    ("feature-defs/product.yaml", include_str!("../../feature-defs/product.yaml")),
    ("feature-defs/services.yaml", include_str!("../../feature-defs/services.yaml")),
];

/// A household and a product with much to show.
const HOUSEHOLD: i64 = 2_020;
const PRODUCT: i64 = 1_082_185;

pub(super) async fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    telemetry::init(LogFormat::Text, "warn");
    let demo = Demo::start(&arguments).await?;
    demo.tell().await?;
    if arguments.exit {
        demo.app.stop().await?;
        return Ok(ExitCode::SUCCESS);
    }
    println!("\nServing at {} until Ctrl-C.", demo.client.base());
    demo.app.until_stopped().await?;
    Ok(ExitCode::SUCCESS)
}

/// Of the service, within the demo's folder.
const DATA: &str = "data";

/// Says of a folder that a demo made what is in it.
const MARK: &str = ".freshet-demo";

struct Demo {
    app: App,
    client: Client,
    folder: PathBuf,
}

impl Demo {
    async fn start(arguments: &Arguments) -> anyhow::Result<Demo> {
        let folder = arguments.data_dir.clone();
        make_room(&folder)?;
        let app = App::start(config(&folder.join(DATA), &arguments.listen)?).await?;
        let client = Client::new(&app.url(), None)?;
        Ok(Demo { app, client, folder })
    }

    async fn tell(&self) -> anyhow::Result<()> {
        let began = Instant::now();
        self.apply().await?;
        let shift = self.stream().await?;
        self.look_up().await?;
        self.live().await?;
        self.many_lookups().await?;
        self.train(shift).await?;
        self.backfill().await?;
        self.parity().await?;
        println!("\nAll of that took {:.0} s.", began.elapsed().as_secs_f64());
        self.tour();
        Ok(())
    }

    async fn apply(&self) -> anyhow::Result<()> {
        heading("1. Declare features", "feature-defs/ says in YAML what a shop's recommender reads.");
        let files: Vec<SourceText> = DEFINITIONS
            .iter()
            .map(|(path, text)| SourceText { path: (*path).to_owned(), text: (*text).to_owned() })
            .collect();
        let planned = apply::planned(&self.client, &files).await?;
        let applied = apply::applied(&self.client, &files, &planned["revision"]).await?;
        let changes = applied["changes"].as_array().into_iter().flatten();
        let names: Vec<String> = changes.map(|change| output::cell(&change["name"])).collect();
        println!("Applied {} definitions: {}.", names.len(), names.join(", "));
        Ok(())
    }

    /// Returns by how much times were moved.
    async fn stream(&self) -> anyhow::Result<Micros> {
        heading(
            "2. Stream a year of real purchases",
            "Basket lines of 2017 from Complete Journey 2.0 (CC0). All times are moved so that the newest is now.",
        );
        let began = Instant::now();
        let job = ingest::Job { inputs: vec![bundled()], replay: true, shift_to_now: true, rate: None };
        let ingest::Sent { answer, shift } = ingest::send(&self.client, "purchases", &job).await?;
        self.wait_until_folded().await?;
        let seconds = began.elapsed().as_secs_f64();
        let rate = answer.accepted as f64 / seconds;
        println!("{} events in {seconds:.1} s ({rate:.0}/s), {} rejected: ", answer.accepted, answer.rejected.len());
        println!("durable in the log, folded into three views, readable online.");
        Ok(shift)
    }

    async fn wait_until_folded(&self) -> anyhow::Result<()> {
        let deadline = Instant::now() + Duration::from_secs(120);
        loop {
            let status = self.client.get("/v1/status", &[]).await?;
            let partitions = status["partitions"].as_array().context("a status lists partitions")?;
            if !partitions.is_empty() && partitions.iter().all(|partition| partition["lag"] == 0) {
                return Ok(());
            }
            if Instant::now() > deadline {
                bail!("the stream has not caught up in two minutes: {status}");
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn look_up(&self) -> anyhow::Result<()> {
        heading(
            "3. Look features up",
            &format!("What the recommender knows of household {HOUSEHOLD} and product {PRODUCT} now."),
        );
        println!("{}", get::table(&self.lookup_one().await?));
        Ok(())
    }

    async fn lookup_one(&self) -> anyhow::Result<Value> {
        let keys = [("household_id", HOUSEHOLD.to_string()), ("product_id", PRODUCT.to_string())];
        self.client.get("/v1/online-features/recommender", &keys).await
    }

    /// The number of lines in the last ten seconds, and the newest purchase.
    async fn at_the_till(&self) -> anyhow::Result<i64> {
        let answer = self.lookup_one().await?;
        let mut columns = answer["columns"].as_array().into_iter().flatten();
        let column = columns.find(|column| column["name"] == "household_spend:lines_10s");
        column.and_then(|column| column["values"][0].as_i64()).context("the service has `lines_10s`")
    }

    async fn live(&self) -> anyhow::Result<()> {
        heading(
            "4. Watch a value change",
            "The household buys something now; `lines_10s` counts basket lines of the last 10 seconds.",
        );
        println!("before:                lines_10s = {}", self.at_the_till().await?);
        let now = Clock::System.now();
        let event = json!({ "line_id": 1_000_000, "timestamp": now.micros() / 1_000, "household_id": HOUSEHOLD, "basket_id": 1,
                            "product_id": PRODUCT, "department": "GROCERY", "quantity": 1, "sales_value": 1.99, "discount": 0.5 });
        let sent = Instant::now();
        self.client.call("POST", "/v1/sources/purchases/events", &[], Body::Json(event)).await?;
        let acknowledged = sent.elapsed();
        let risen = self.until(|lines| lines > 0).await?;
        println!(
            "event sent:            lines_10s = {risen}   ({} ms to durable, {} ms to readable)",
            acknowledged.as_millis(),
            sent.elapsed().as_millis()
        );
        let fallen = self.until(|lines| lines == 0).await?;
        println!(
            "{:4.1} s later, no write: lines_10s = {fallen}   (the window moved on)",
            sent.elapsed().as_secs_f64()
        );
        Ok(())
    }

    async fn until(&self, wanted: impl Fn(i64) -> bool) -> anyhow::Result<i64> {
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            let lines = self.at_the_till().await?;
            if wanted(lines) {
                return Ok(lines);
            }
            if Instant::now() > deadline {
                bail!("`lines_10s` stays at {lines}");
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    async fn many_lookups(&self) -> anyhow::Result<()> {
        let pairs = ingest::every(&bundled(), 100)?;
        let key = |name: &str| pairs.iter().map(|event| event[name].clone()).collect::<Vec<_>>();
        let body = json!({ "service": "recommender",
                           "entities": { "household_id": key("household_id"), "product_id": key("product_id") } });
        let began = Instant::now();
        let answer = self.client.call("POST", "/v1/online-features", &[], Body::Json(body)).await?;
        let values = (answer["columns"].as_array().map_or(0, Vec::len) - 2) * pairs.len();
        println!(
            "\nA lookup of {} households and products at once: {values} values in {} ms.",
            pairs.len(),
            began.elapsed().as_millis()
        );
        Ok(())
    }

    async fn train(&self, shift: Micros) -> anyhow::Result<()> {
        heading(
            "5. Cut a training set",
            "A row for each of some hundred purchases, with what a lookup just before it would have said.",
        );
        let spine = self.folder.join("labels.csv");
        let out = self.folder.join("training.parquet");
        let labels = ingest::every(&bundled(), 160)?;
        fs::write(&spine, labels_csv(&labels, shift)?)?;
        let job = offline::cut(&self.client, &[("service", "recommender".to_owned())], &spine, &out).await?;
        println!(
            "{} rows × {} features in {}, at the label times of {}.",
            job["result"]["rows"],
            job["result"]["features"],
            out.display(),
            spine.display()
        );
        Ok(())
    }

    async fn backfill(&self) -> anyhow::Result<()> {
        heading("6. Backfill", "The same features at the end of each of the last 30 days, as Parquet.");
        let to = Clock::System.now().floor(Micros::DAY);
        let from = to - Micros::new(30 * Micros::DAY.get());
        let body = Body::Json(
            json!({ "view": "household_spend", "from": from.to_string(), "to": to.to_string(), "every": "1d" }),
        );
        let job = offline::run_job(&self.client, "/v1/backfills", &[], body).await?;
        println!("{} rows in {}.", job["result"]["rows"], output::cell(&job["result"]["folder"]));
        Ok(())
    }

    async fn parity(&self) -> anyhow::Result<()> {
        heading(
            "7. Prove it",
            "Every value that was served above, computed again from the archive, and compared bit for bit.",
        );
        let report = self.client.call("POST", "/v1/parity", &[], Body::None).await?;
        println!(
            "{} values compared, {} different, {} unchecked.",
            report["compared"], report["different"], report["unchecked"]
        );
        if report["different"] != 0 {
            bail!("served and recomputed values differ:\n{}", offline::parity_table(&report));
        }
        Ok(())
    }

    fn tour(&self) {
        let url = self.client.base();
        println!("\nTry it:");
        println!("  curl '{url}/v1/online-features/recommender?household_id={HOUSEHOLD}&product_id={PRODUCT}'");
        println!("  curl -X POST {url}/v1/online-features -H 'content-type: application/json' \\");
        println!(
            "    -d '{{\"features\": [\"household_spend:spend_7d\"], \"entities\": {{\"household_id\": [{HOUSEHOLD}, 1]}}}}'"
        );
        println!("  curl {url}/v1/status");
        println!("  export FRESHET_URL={url}");
        println!("  freshet explain household_spend");
        println!("  freshet get recommender household_id={HOUSEHOLD} product_id={PRODUCT}");
        println!("  {url}/docs in a browser");
    }
}

/// Takes neither the environment nor a settings file: the servers they name hold what others applied.
fn config(data_dir: &Path, listen: &str) -> anyhow::Result<Config> {
    let settings = BTreeMap::from([
        ("data_dir".to_owned(), data_dir.display().to_string()),
        ("listen".to_owned(), listen.to_owned()),
        // Every lookup is logged, so that parity has all of them to compare.
        ("parity_sample".to_owned(), "1".to_owned()),
    ]);
    Config::resolve(&settings, |_| None, None).map_err(|mistakes| WrongUse(mistakes.join("\n")).into())
}

/// Removes what an earlier demo left, in a folder that has its mark.
fn make_room(folder: &Path) -> anyhow::Result<()> {
    let at = folder.display();
    fs::create_dir_all(folder).with_context(|| format!("cannot create {at}"))?;
    let mark = folder.join(MARK);
    if !mark.exists() {
        let mut entries = fs::read_dir(folder).with_context(|| format!("cannot read {at}"))?;
        if entries.next().is_some() {
            bail!("{at} is not empty, and nothing says that a demo made it: name another folder with `--data-dir`");
        }
        return fs::write(mark, "What is here is replaced by the next `freshet demo`.\n")
            .with_context(|| format!("cannot write to {at}"));
    }
    App::clear(&folder.join(DATA))
        .context("an earlier demo's data stays: stop that demo, or name another folder with `--data-dir`")?;
    for inside in ["labels.csv", "training.parquet"] {
        let path = folder.join(inside);
        if path.exists() {
            fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))?;
        }
    }
    Ok(())
}

fn bundled() -> ingest::Input {
    ingest::Input::Bundled(Bytes::from_static(EVENTS), EVENT_COUNT)
}

fn heading(title: &str, what: &str) {
    println!("\n{title}\n{what}");
}

/// A spine: keys, label time, and a label that passes through.
fn labels_csv(events: &[Value], shift: Micros) -> anyhow::Result<String> {
    let mut csv = "household_id,product_id,event_timestamp,bought\n".to_owned();
    for event in events {
        let at: EventTime = output::cell(&event["timestamp"]).parse().map_err(|error| anyhow::anyhow!("{error}"))?;
        csv.push_str(&format!("{},{},{},1\n", event["household_id"], event["product_id"], at + shift));
    }
    Ok(csv)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_of_an_earlier_demo_is_emptied_and_no_other_is_touched() {
        let folder = tempfile::tempdir().expect("a folder");
        let demo = folder.path().join("demo");
        make_room(&demo).expect("it is new");
        fs::write(demo.join("labels.csv"), "").expect("written");
        make_room(&demo).expect("it is a demo's");
        assert!(!demo.join("labels.csv").exists());
        let theirs = folder.path().join("labels.csv");
        fs::write(&theirs, "").expect("written");
        fs::create_dir_all(folder.path().join(DATA)).expect("made");
        let refused = make_room(folder.path()).expect_err("it is somebody else's");
        assert!(refused.to_string().ends_with("name another folder with `--data-dir`"), "{refused}");
        assert!(theirs.exists() && folder.path().join(DATA).exists());
    }

    #[test]
    fn data_that_no_service_kept_is_not_cleared() {
        let folder = tempfile::tempdir().expect("a folder");
        make_room(folder.path()).expect("it is empty");
        let theirs = folder.path().join(DATA).join("year.csv");
        fs::create_dir_all(theirs.parent().expect("it has one")).expect("made");
        fs::write(&theirs, "").expect("written");
        make_room(folder.path()).expect_err("it holds no log");
        assert!(theirs.exists() && !folder.path().join(DATA).join("log").exists());
    }
}
