//! One connection that is made again when it breaks, and the calls on it.
//!
//! Calls of all tasks go out together and are answered in order. Nothing is tried again here beyond what a cluster
//! redirects: a call that fails says so at once, and its outcome may be unknown. The first call after a break connects
//! anew while the others wait for it; when that fails, calls fail at once until a pause has passed, longer each time.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, RwLock};
use std::time::Duration;

use redis::{Cmd, ErrorKind, Pipeline, RedisResult, ServerErrorKind, Value, cmd};
use tokio::sync::{Mutex, Semaphore, SemaphorePermit};
use tokio::time::{Instant, timeout};

use super::address::{Connection, Redirections};
use super::failure::{self, Link};
use super::scripts::{Fill, Script};
use super::terms::Terms;
use crate::online::Error;

pub struct Lane {
    terms: Arc<Terms>,
    redirections: Redirections,
    live: RwLock<Option<Live>>,
    attempts: Mutex<Attempts>,
    calls: Semaphore,
}

/// Replicas that have to have a write before it counts, and how long they are waited for.
#[derive(Clone, Copy, Debug)]
pub struct Acknowledged {
    pub replicas: u32,
    pub limit: Duration,
}

#[derive(Clone)]
struct Live {
    connection: Connection,
    /// Tells it from the one that was made in its place.
    number: u64,
    /// Calls that were answered on it, however.
    answered: Arc<AtomicU64>,
}

/// A call that may go out.
struct Turn<'a> {
    _place: SemaphorePermit<'a>,
    live: Live,
    /// How many were answered before it.
    answered: u64,
}

/// Of connecting. Held while somebody tries.
#[derive(Default)]
struct Attempts {
    made: u64,
    failed: u32,
    /// Not before, and why.
    pause: Option<(Instant, String)>,
}

/// Calls under way at once. More wait for their turn.
const CALLS: usize = 512;

const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

impl Lane {
    pub fn new(terms: Arc<Terms>, redirections: Redirections) -> Lane {
        let (live, attempts) = (RwLock::default(), Mutex::default());
        Lane { terms, redirections, live, attempts, calls: Semaphore::new(CALLS) }
    }

    pub async fn command(&self, command: &Cmd) -> Result<Value, Error> {
        let mut turn = self.turn().await?;
        let answer = command.query_async(&mut turn.live.connection).await;
        self.judge(&turn, answer)
    }

    /// The commands of one transaction, their keys being of one shard.
    pub async fn at_once(&self, commands: &Pipeline) -> Result<Vec<Value>, Error> {
        let mut turn = self.turn().await?;
        let answer = commands.query_async(&mut turn.live.connection).await;
        self.judge(&turn, answer)
    }

    /// The same. `None`: the server refused them, whatever its reason.
    pub async fn at_once_or_refused(&self, commands: &Pipeline) -> Result<Option<Vec<Value>>, Error> {
        let mut turn = self.turn().await?;
        let answer: RedisResult<Vec<Value>> = commands.query_async(&mut turn.live.connection).await;
        let is_refused = answer.as_ref().is_err_and(|error| matches!(error.kind(), ErrorKind::Server(_)));
        let values = self.judge(&turn, answer);
        if is_refused { Ok(None) } else { values.map(Some) }
    }

    /// Runs a script, and waits until enough replicas have what it wrote; if too few have it in time, the outcome is
    /// unknown.
    pub async fn script(&self, script: &Script, fill: Fill<'_>, wait: Option<Acknowledged>) -> Result<Value, Error> {
        let mut turn = self.turn().await?;
        let mut answer = run(&mut turn.live.connection, script.by_hash(fill), wait).await;
        if answer.as_ref().is_err_and(|error| error.kind() == ErrorKind::Server(ServerErrorKind::NoScript)) {
            answer = run(&mut turn.live.connection, script.with_source(fill), wait).await;
        }
        let (value, replicas) = self.judge(&turn, answer)?;
        match (wait, replicas) {
            (Some(wait), Some(had)) if had < i64::from(wait.replicas) => Err(Error::Unavailable(format!(
                "{}: {had} replicas had a write after {:?}, and {} have to",
                self.terms.place(),
                wait.limit,
                wait.replicas
            ))),
            _ => Ok(value),
        }
    }

    pub async fn each_primary(&self, command: &Cmd) -> Result<Vec<(String, Value)>, Error> {
        let mut turn = self.turn().await?;
        let answers = turn.live.connection.each_primary(command).await;
        self.judge(&turn, answers)
    }

    pub async fn at(&self, address: &str, command: &Cmd) -> Result<Value, Error> {
        let mut turn = self.turn().await?;
        let answer = turn.live.connection.at(address, command).await;
        self.judge(&turn, answer)
    }

    async fn turn(&self) -> Result<Turn<'_>, Error> {
        let place = timeout(self.terms.patience, self.calls.acquire()).await;
        let place = place.map_err(|_| self.unavailable("too many calls are under way"))?;
        let place = place.expect("nobody closes the semaphore");
        // A setting that was right when the store was opened may be mended again.
        let live = self.live().await.map_err(|error| match error {
            Error::Unusable { detail, .. } => self.unavailable(&detail),
            other => other,
        })?;
        let answered = live.answered.load(Ordering::Relaxed);
        Ok(Turn { _place: place, live, answered })
    }

    async fn live(&self) -> Result<Live, Error> {
        if let Some(live) = self.current() {
            return Ok(live);
        }
        let mut attempts = self.attempts.lock().await;
        if let Some(live) = self.current() {
            return Ok(live);
        }
        if let Some((until, reason)) = &attempts.pause
            && *until > Instant::now()
        {
            return Err(Error::Unavailable(reason.clone()));
        }
        let connected = match attempts.made {
            0 => self.terms.connect(self.redirections).await,
            _ => self.terms.connect_again(self.redirections).await,
        };
        let connection = connected.inspect_err(|error| attempts.failed(error))?;
        *attempts = Attempts { made: attempts.made + 1, ..Attempts::default() };
        let live = Live { connection, number: attempts.made, answered: Arc::default() };
        *self.live.write().expect("no holder panics") = Some(live.clone());
        Ok(live)
    }

    fn current(&self) -> Option<Live> {
        self.live.read().expect("no holder panics").clone()
    }

    fn judge<T>(&self, turn: &Turn<'_>, answer: RedisResult<T>) -> Result<T, Error> {
        let link = answer.as_ref().err().map_or(Link::Sound, failure::link_after);
        match link {
            Link::Sound => drop(turn.live.answered.fetch_add(1, Ordering::Relaxed)),
            Link::Broken => self.let_go_if_dead(turn),
        }
        answer.map_err(|error| failure::of_call(self.terms.place(), &error))
    }

    /// A connection to a cluster mends itself, node by node, and to let go of it would cut off the nodes that are well.
    /// But sometimes it waits for ever for a node that it lost, and answers nobody meanwhile: so it goes once nothing was
    /// answered for as long as a call waits.
    fn let_go_if_dead(&self, turn: &Turn<'_>) {
        let live = &turn.live;
        let is_alive = live.answered.load(Ordering::Relaxed) > turn.answered;
        if is_alive && matches!(live.connection, Connection::Cluster(_)) {
            return;
        }
        let mut current = self.live.write().expect("no holder panics");
        if current.as_ref().is_some_and(|current| current.number == live.number) {
            *current = None;
        }
    }

    fn unavailable(&self, detail: &str) -> Error {
        Error::Unavailable(format!("{}: {detail}", self.terms.place()))
    }
}

impl Attempts {
    fn failed(&mut self, error: &Error) {
        let pause = FIRST_PAUSE.saturating_mul(1 << self.failed.min(16)).min(LONGEST_PAUSE);
        self.failed += 1;
        self.pause = Some((Instant::now() + pause, error.to_string()));
    }
}

/// The answer, and how many replicas have the write if anybody asked.
async fn run(
    connection: &mut Connection,
    command: Cmd,
    wait: Option<Acknowledged>,
) -> RedisResult<(Value, Option<i64>)> {
    let Some(wait) = wait else {
        return Ok((command.query_async(connection).await?, None));
    };
    let mut wait_command = cmd("WAIT");
    // To WAIT, 0 would be for ever.
    wait_command.arg(wait.replicas).arg(wait.limit.as_millis().max(1) as u64);
    let mut both = Pipeline::new();
    both.add_command(command).add_command(wait_command);
    let (value, replicas) = both.query_async(connection).await?;
    Ok((value, Some(replicas)))
}
