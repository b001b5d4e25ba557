//! Lookups by HTTP: requests a second, and how long one takes at half of that rate, beside what bounds them and beside
//! Feast.
//!
//! ```text
//! tests/servers cargo bench --bench online                       about four minutes
//! tests/servers cargo bench --bench online -- --feast PYTHON     beside Feast's Python server: about five
//! ```
//!
//! 100,000 users of 60 events each in 30 days; 10 aggregates over 5 windows, so 50 features; asked for one user, and for
//! 100. Rows are folded and flushed as the stream's worker does it, and written into the store by its own contract,
//! before the service starts.
//!
//! The **floor** is an axum handler without anything around it that reads as many bytes from the same Redis with one GET,
//! or one MGET, and answers as many bytes as Freshet does. Everything (service or floor, Redis, load) shares the
//! machine's processors, and all are called by the same generator: a closed loop for the rate, an open one for the times,
//! which count from when a request was due.

#![expect(clippy::disallowed_methods, reason = "a benchmark reads the clock, and has threads of its own")]

mod lookup;
mod stand;

use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;
use freshet::kernel::key::SHARDS;
use freshet::kernel::name::Name;
use freshet::online::{Embedded, EmbeddedOptions, Redis, RedisOptions};
use serde_json::Value;

use lookup::feast::{self, Feast};
use lookup::floor::{self, Floor};
use lookup::rows::{self, Rows};
use stand::kafka::Topic;
use stand::load::{Done, Load};
use stand::redis::Server;
use stand::service::Service;

/// Entities of a request.
const SHAPES: [usize; 2] = [1, 100];
/// Requests that are made up before, to be sent in any order.
const REQUESTS: usize = 2_000;
/// Users of one request: a prime, so that they are others until all were asked for.
const APART: usize = 997;
const SEED: u64 = 3;

#[derive(Parser)]
struct Arguments {
    #[arg(long, default_value_t = 100_000)]
    users: usize,
    /// For each loop of each shape of request.
    #[arg(long, default_value_t = 8)]
    seconds: u64,
    /// Requests under way in the closed loop.
    #[arg(long, default_value_t = 16)]
    connections: usize,
    /// A Python that has `feast[redis]`.
    #[arg(long)]
    feast: Option<PathBuf>,
    /// Of `freshet serve`: name=value.
    #[arg(long)]
    set: Vec<String>,
    /// Serves as the floor, for the process that measures: its Redis.
    #[arg(long, hide = true)]
    floor: Option<String>,
    /// Cargo passes it along.
    #[arg(long, hide = true)]
    bench: bool,
}

/// What requests of one shape came to in the closed loop.
#[derive(Clone, Copy)]
struct Rate {
    entities: usize,
    per_second: f64,
    answer_bytes: u64,
}

#[tokio::main]
async fn main() {
    let arguments = Arguments::parse();
    if let Some(redis) = &arguments.floor {
        return floor::serve(redis).await;
    }
    let topic = Topic::create(&stand::random_name("bench"), 1).await;
    let definitions = lookup::definitions(&topic.name);
    let rows = rows::fold(&definitions, arguments.users);
    println!("{} users, {} features, {} bytes a row", arguments.users, lookup::FEATURES, rows.bytes());
    let mut redis = Server::start().await;
    println!("Redis {}", redis.version().await);
    let bench = Bench { arguments, definitions, rows };
    let ours = bench.on_redis(&redis.url).await;
    let floors = bench.on_floor(&redis.url, &ours).await;
    bench.on_embedded().await;
    for (ours, floor) in ours.iter().zip(&floors) {
        println!(
            "{:>4} by {}: {:.2} of the floor",
            ours.entities,
            lookup::FEATURES,
            ours.per_second / floor.per_second
        );
    }
    for (ours, feast) in ours.iter().zip(bench.on_feast(&redis.url)) {
        println!("{:>4} by {}: {:.0} times Feast", ours.entities, lookup::FEATURES, ours.per_second / feast.per_second);
    }
}

struct Bench {
    arguments: Arguments,
    definitions: String,
    rows: Rows,
}

impl Bench {
    async fn on_redis(&self, redis: &str) -> Vec<Rate> {
        let project = stand::random_name("bench");
        let building = Service::start(&project, redis, &self.settings(&[])).await;
        self.build(&building).await;
        drop(building);
        let name: Name = project.parse().expect("a name");
        let options = RedisOptions { shards: SHARDS, wait: 0, wait_limit: Duration::ZERO };
        self.rows.write(&Redis::open(redis, &name, options).await.expect("the service made it")).await;
        // Without the stream: nothing but lookups is measured.
        let service = Service::start(&project, redis, &self.settings(&[("roles", "api")])).await;
        self.lookups("Freshet, Redis", &service)
    }

    async fn on_embedded(&self) {
        let folder = tempfile::tempdir().expect("a folder");
        let building = Service::embedded(folder.path(), &self.settings(&[("partitions", "1")]));
        self.build(&building).await;
        drop(building);
        let store = Embedded::open(&folder.path().join("online/default"), EmbeddedOptions::default());
        self.rows.write(&store.expect("the service made it")).await;
        let service = Service::embedded(folder.path(), &self.settings(&[]));
        self.lookups("Freshet, embedded", &service);
    }

    async fn on_floor(&self, redis: &str, ours: &[Rate]) -> Vec<Rate> {
        let floor = Floor::start(redis, self.arguments.users, self.rows.bytes()).await;
        let of = |ours: &Rate| {
            let body = |users: &[usize]| users.iter().map(usize::to_string).collect::<Vec<_>>().join(",");
            let bodies = requests(self.arguments.users, ours.entities).map(|users| body(&users));
            let load = Load::post(&floor.address, &format!("/{}", ours.answer_bytes), bodies);
            self.measure("the floor", ours.entities, &load)
        };
        ours.iter().map(of).collect()
    }

    /// In the closed loop alone.
    fn on_feast(&self, redis: &str) -> Vec<Rate> {
        let Some(python) = &self.arguments.feast else { return Vec::new() };
        let feast = Feast::start(python, redis);
        let of = |entities| {
            let bodies = requests(feast::USERS, entities).map(|users| lookup_body("feature_service", &users));
            let load = Load::post(&feast.address, "/get-online-features", bodies);
            let done = load.closed(self.arguments.connections, self.seconds());
            let rate = Rate::of(entities, &done, self.seconds());
            println!("{:<20}{entities:>4} users {:>10.0} requests/s", "Feast", rate.per_second);
            rate
        };
        SHAPES.map(of).to_vec()
    }

    /// Applies the definitions, and waits until they are served: as of an empty log.
    async fn build(&self, service: &Service) {
        service.apply(&self.definitions).await;
        let is_live = |status: &Value| {
            let views = status["views"].as_array().expect("a list");
            !views.is_empty() && views.iter().all(|view| view["state"] == "live")
        };
        service.until(is_live).await;
    }

    fn lookups(&self, name: &str, service: &Service) -> Vec<Rate> {
        let address = service.url.strip_prefix("http://").expect("an address");
        let of = |entities| {
            let bodies = requests(self.arguments.users, entities).map(|users| lookup_body("service", &users));
            self.measure(name, entities, &Load::post(address, "/v1/online-features", bodies))
        };
        SHAPES.map(of).to_vec()
    }

    fn measure(&self, name: &str, entities: usize, load: &Load) -> Rate {
        // Until what is compiled, connected and cached on the way is there.
        load.closed(self.arguments.connections, Duration::from_secs(2));
        let rate = Rate::of(entities, &load.closed(self.arguments.connections, self.seconds()), self.seconds());
        let at_half = load.open(rate.per_second / 2.0, self.seconds());
        let at = |quantile| at_half.took.value_at_quantile(quantile) as f64 / 1e3;
        println!(
            "{name:<20}{entities:>4} users {:>10.0} requests/s; at half of that p50 {:.2} ms, p99 {:.2} ms, p99.9 {:.2} ms; \
             answers of {} bytes",
            rate.per_second,
            at(0.5),
            at(0.99),
            at(0.999),
            rate.answer_bytes
        );
        rate
    }

    fn settings<'a>(&'a self, own: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
        stand::settings(&self.arguments.set).into_iter().chain(own.iter().copied()).collect()
    }

    fn seconds(&self) -> Duration {
        Duration::from_secs(self.arguments.seconds)
    }
}

impl Rate {
    fn of(entities: usize, done: &Done, time: Duration) -> Rate {
        let per_second = done.answers as f64 / time.as_secs_f64();
        Rate { entities, per_second, answer_bytes: done.answer_bytes / done.answers }
    }
}

/// Users of each request, none twice in one.
fn requests(users: usize, entities: usize) -> impl Iterator<Item = Vec<usize>> {
    let mut random = fastrand::Rng::with_seed(SEED);
    (0..REQUESTS).map(move |_| {
        let first = random.usize(..users);
        (0..entities).map(|number| (first + number * APART) % users).collect()
    })
}

fn lookup_body(service: &str, users: &[usize]) -> String {
    let users: Vec<String> = users.iter().map(|user| format!("{:?}", rows::user(*user))).collect();
    format!(r#"{{"{service}":"activity","entities":{{"user_id":[{}]}}}}"#, users.join(","))
}
