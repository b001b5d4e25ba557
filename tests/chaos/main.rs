//! `./chaos`: real processes under load, killed, frozen, cut off and filled up, and a check that nothing was lost or
//! doubled.
//!
//! ```text
//! traffic ──► proxy ─► Kafka ─► proxy ─► workers ─► proxy ─► Redis ─► proxy ─► 2 API servers ─► lookups
//!    └──────► HTTP ingest         └────► archive ─► a disk of its own     └──► PostgreSQL behind a proxy
//!                    ▲ faults, by a schedule from the seed: all of these
//!
//! then: the log read again from its start and folded by the oracle ─► compared with lookups of every entity
//! ```
//!
//! It exits with 1 where anything was lost, doubled or different, a lookup failed beside outages, or a fault never healed, with
//! the first entity and the command that repeats the run. `--plant double` and `--plant lose` make the check itself wrong: each has to end that way.

mod api;
mod arguments;
mod disk;
mod disturbance;
mod events;
mod faults;
mod fleet;
mod freshness;
mod journal;
mod oracle;
mod poison;
mod positions;
mod process;
mod proxy;
mod refusals;
mod servers;
mod supervisor;
mod table;
mod traffic;
mod verdict;
mod world;

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::pin::pin;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Parser;
use freshet::clock::Clock;
use futures::TryStreamExt;
use futures::stream::FuturesUnordered;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{Instant, sleep, sleep_until, timeout, timeout_at};

use arguments::Arguments;
use oracle::View;
use supervisor::Supervisor;
use traffic::Traffic;
use world::World;

/// How long what was begun may take after the last fault.
const PATIENCE: Duration = Duration::from_secs(300);

/// Between two lookups of random entities.
const LOOK_UP_EVERY: Duration = Duration::from_millis(100);

fn main() -> anyhow::Result<ExitCode> {
    let arguments = Arguments::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(run(&arguments))
}

/// All that was started ends with the future of the run, whatever ends that: each process by its id.
async fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    println!("{arguments}");
    let (root, logs) = (tempfile::tempdir()?, tempfile::Builder::new().prefix("freshet-chaos-").tempdir()?);
    // PostgreSQL may run as another user, and has to reach its folder.
    std::fs::set_permissions(root.path(), Permissions::from_mode(0o755))?;
    let outcome = tokio::select! {
        outcome = run_in(arguments, root.path(), logs.path()) => outcome,
        stopped = told_to_stop() => stopped,
    };
    if !matches!(outcome, Ok(ExitCode::SUCCESS)) {
        println!("logs: {}\nagain: {arguments}", logs.keep().display());
    }
    outcome
}

/// By Ctrl-C, or as a time limit ends a process.
async fn told_to_stop() -> anyhow::Result<ExitCode> {
    let mut terminated = signal(SignalKind::terminate())?;
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        _ = terminated.recv() => {}
    }
    bail!("interrupted")
}

async fn run_in(arguments: &Arguments, root: &Path, logs: &Path) -> anyhow::Result<ExitCode> {
    let workers = usize::try_from(arguments.workers)? + 1;
    let world = World::start(root, logs, workers, arguments.minutes).await?;
    world.start_fleet(positions::DEFINITIONS).await?;
    let traffic = Traffic::new(&world.brokers, arguments.seed, arguments.rate)?;
    let supervisor = Supervisor::default();
    {
        let mut sending = pin!(send(&world, &traffic));
        let mut watching = pin!(watch(&world, &supervisor));
        tokio::select! {
            injected = inject_all(&world, arguments) => injected?,
            sent = &mut sending => bail!("traffic ended: {sent:?}"),
            watched = &mut watching => bail!("a watcher ended: {watched:?}"),
        }
        traffic.stop();
        tokio::select! {
            sent = timeout(PATIENCE, sending) => sent??,
            watched = watching => bail!("a watcher ended: {watched:?}"),
        }
    }
    println!("{:>7.1} s  faults and traffic are over", world.began.elapsed().as_secs_f64());
    let verdict = verdict::judge(&world, &traffic, arguments.plant).await?;
    println!("\n{}\n\n{}", table::faults(&world), table::outcome(&world, &traffic, &verdict, &supervisor.ended()));
    if let Some(failure) = world.api.lookups.first_failure() {
        println!("the first lookup that failed: {failure}");
    }
    if let Some(difference) = &verdict.first_difference {
        println!("the first difference: {difference}");
    }
    Ok(if verdict.is_good(&world) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Until the traffic is stopped and all of it is acknowledged.
async fn send(world: &World, traffic: &Traffic) -> anyhow::Result<()> {
    tokio::try_join!(traffic.produce(), traffic.send_canaries(), traffic.post(&world.api))?;
    traffic.flush().await
}

/// Never ends well.
async fn watch(world: &World, supervisor: &Supervisor) -> anyhow::Result<()> {
    let refusals = async {
        world.refusals.watch(&world.api, &world.fleet.workers).await;
        Ok(())
    };
    tokio::try_join!(
        world.freshness.watch(&world.api, &world.disturbances),
        supervisor.watch(&world.fleet),
        look_up_at_random(world),
        refusals,
    )?;
    Ok(())
}

/// All entities come up, so parity has something to say of each.
async fn look_up_at_random(world: &World) -> anyhow::Result<()> {
    let mut random = fastrand::Rng::new();
    loop {
        let view = if random.bool() { View::User } else { View::Item };
        let all = verdict::entities(view);
        let some: Vec<String> = (0..5).filter_map(|_| random.choice(&all).cloned()).collect();
        // Its outcome is counted; its values are parity's concern.
        drop(world.api.look_up(view.name(), view.key(), &some, &world.disturbances).await);
        sleep(LOOK_UP_EVERY).await;
    }
}

/// Waits until lookups see every partition's newest events.
async fn warm_up(world: &World) -> anyhow::Result<()> {
    let (began, now) = (Instant::now(), Clock::System.now());
    let _starting = world.disturbances.begin(disturbance::Reach::Store);
    let fresh = world.freshness.recovers(&freshness::all_partitions(), now, began, PATIENCE).await;
    fresh
        .map(drop)
        .with_context(|| format!("lookups are not fresh before any fault: {:?}", world.api.lookups.first_failure()))
}

/// Begins every fault at its time, and waits for all of them to end.
async fn inject_all(world: &World, arguments: &Arguments) -> anyhow::Result<()> {
    warm_up(world).await?;
    println!("{:>7.1} s  lookups are fresh: faults begin", world.began.elapsed().as_secs_f64());
    let began = Instant::now();
    let end = began + arguments.duration();
    let under_way = FuturesUnordered::new();
    for (number, (at, fault)) in (0..).zip(faults::schedule(arguments)) {
        let random = fastrand::Rng::with_seed(arguments.seed ^ number);
        under_way.push(async move {
            sleep_until(began + at).await;
            fault.inject(world, random).await.with_context(|| fault.name())
        });
    }
    let all = under_way.try_collect::<()>();
    timeout_at(end + PATIENCE, all).await.context("faults are not over long after the last one")??;
    sleep_until(end).await;
    Ok(())
}
