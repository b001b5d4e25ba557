//! What performs effects: the consumer, and the calls to store and log that are under way.

use std::collections::{BTreeMap, BTreeSet};
use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, StreamExt};
use tokio::time::{Instant, sleep_until};

use crate::event_log::{self, Consumer, Delivery, EventLog, Replaced, TopicPartition};
use crate::kernel::plan::ViewPlan;
use crate::online::OnlineStore;
use crate::stream::blocked::Blocked;
use crate::stream::calls;
use crate::stream::retry::{Backoff, Failures};
use crate::stream::run::{Error, Options};
use crate::stream::worker::WENT_BACK;
use crate::stream::{Bounds, Effect, Progress, Signal, Standing, Ticket, Worker};

/// How long the consumer rests after it failed for now.
const REST: Duration = Duration::from_millis(500);

pub(super) struct Shell {
    log: Arc<dyn EventLog>,
    online: Arc<dyn OnlineStore>,
    worker: Worker,
    group: String,
    versions: Vec<Arc<ViewPlan>>,
    stage: Stage,
    consumer: Option<Box<dyn Consumer>>,
    /// Whether the group has told what is ours, be it nothing.
    is_told: bool,
    replaced: Replaced,
    /// The consumer is not asked before.
    rest_until: Instant,
    /// The last seek of each partition.
    tickets: BTreeMap<TopicPartition, Ticket>,
    /// Revoked and not released yet: until then the consumer is not asked for more.
    releasing: BTreeSet<TopicPartition>,
    /// The group is being joined. Given up where the topics change: one of them may be missing for good.
    joining: Option<BoxFuture<'static, Result<Box<dyn Consumer>, Error>>>,
    /// An assignment or new versions wait for bounds, and nothing else is heard of the log until then. Given up on the
    /// way out: they are of partitions that may be somebody else's by the time that it is joined anew.
    question: Option<BoxFuture<'static, Result<Signal, Error>>>,
    /// Whether the versions have changed since the question was asked.
    is_outdated: bool,
    /// The log is asked what it holds, for those who want to know how far behind it the worker is.
    looking: Option<BoxFuture<'static, Result<Signal, Error>>>,
    answers: FuturesUnordered<BoxFuture<'static, Result<Signal, Error>>>,
    /// The member that we were steps down.
    stepping_down: Option<BoxFuture<'static, ()>>,
    blocked: Blocked,
    backoff_seed: u64,
    failures: Failures,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Lets go of everything, to join the group anew.
    Leaving,
    Joining,
    Joined,
    /// Lets go of everything for good.
    Closing,
}

/// What the shell waited for.
pub(super) enum Event {
    Answer(Result<Signal, Error>),
    SteppedDown,
    Joined(Result<Box<dyn Consumer>, Error>),
    Bounds(Result<Signal, Error>),
    Delivery(Result<Delivery, event_log::Error>),
}

impl Shell {
    pub fn new(
        log: Arc<dyn EventLog>,
        online: Arc<dyn OnlineStore>,
        options: Options,
        versions: Vec<Arc<ViewPlan>>,
    ) -> Result<Shell, Error> {
        let mut shell = Shell {
            log,
            worker: Worker::new(online.shards(), options.worker),
            online,
            group: options.group,
            versions,
            stage: Stage::Leaving,
            consumer: None,
            is_told: false,
            replaced: Replaced::default(),
            rest_until: Instant::now(),
            tickets: BTreeMap::new(),
            releasing: BTreeSet::new(),
            joining: None,
            question: None,
            is_outdated: false,
            looking: None,
            answers: FuturesUnordered::new(),
            stepping_down: None,
            blocked: Blocked::default(),
            backoff_seed: getrandom::u64()?,
            failures: Failures::default(),
        };
        shell.join();
        Ok(shell)
    }

    /// A change of topics takes nobody out of the group for those who ask: it is joined anew at once.
    pub fn progress(&self) -> Progress {
        let mut progress = self.worker.progress();
        progress.blocked = self.blocked.reason();
        let is_alone = self.stage == Stage::Joined && self.consumer.is_none();
        if self.stage == Stage::Closing || !(self.is_told || is_alone) {
            progress.standing = Standing::Joining;
        } else if self.question.is_some() {
            progress.standing = Standing::Claiming;
        }
        progress
    }

    /// Says what is tried again, if anything was since it was last said.
    pub fn tell_failures(&self) {
        self.failures.tell();
    }

    /// Hands the partitions over to the other members; what is flushed of them is flushed.
    pub async fn leave(&mut self) {
        if let Some(consumer) = self.consumer.take() {
            consumer.leave().await;
        }
    }

    pub fn is_closed(&self) -> bool {
        self.stage == Stage::Closing && self.worker.is_idle()
    }

    pub fn takes_versions(&self) -> bool {
        self.stage != Stage::Closing
    }

    pub async fn close(&mut self) -> Result<(), Error> {
        (self.stage, self.joining) = (Stage::Closing, None);
        self.step(Signal::ReleaseAll).await
    }

    /// Versions of other topics need another consumer, so everything is let go first.
    pub async fn write_versions(&mut self, versions: Vec<Arc<ViewPlan>>) -> Result<(), Error> {
        let before = calls::topics(&self.versions);
        let topics = calls::topics(&versions);
        self.versions = versions;
        match self.stage {
            Stage::Joined if topics != before => {
                self.stage = Stage::Leaving;
                self.step(Signal::ReleaseAll).await?;
            }
            Stage::Joined if self.question.is_some() => self.is_outdated = true,
            Stage::Joined => self.ask_for_versions(),
            Stage::Joining => self.join_for_versions(topics != before),
            Stage::Leaving | Stage::Closing => {}
        }
        Ok(())
    }

    /// New ones begin where the log does.
    fn ask_for_versions(&mut self) {
        let (versions, backoff) = (self.versions.clone(), self.backoff());
        self.question = Some(Box::pin(calls::versions(self.log.clone(), versions, backoff)));
    }

    fn join_for_versions(&mut self, are_of_other_topics: bool) {
        self.tell_versions();
        if are_of_other_topics && self.joining.is_some() {
            self.attempt();
        }
    }

    /// Asks the log what it holds, unless that is asked already.
    pub fn look(&mut self) {
        if self.stage == Stage::Joined && self.looking.is_none() {
            let (topics, backoff) = (calls::topics(&self.versions), self.backoff());
            self.looking = Some(Box::pin(calls::look(self.log.clone(), topics, backoff)));
        }
    }

    /// Waits for an answer or a delivery. Cancel safe.
    pub async fn next(&mut self) -> Event {
        let listens = self.stage == Stage::Joined && self.releasing.is_empty() && self.question.is_none();
        let Shell { answers, consumer, stepping_down, joining, question, looking, rest_until, .. } = self;
        let delivery = async {
            match consumer {
                Some(consumer) if listens => {
                    sleep_until(*rest_until).await;
                    consumer.next().await
                }
                _ => pending().await,
            }
        };
        tokio::select! {
            Some(answer) = answers.next(), if !answers.is_empty() => Event::Answer(answer),
            signal = ended(looking) => Event::Answer(signal),
            () = ended(stepping_down) => Event::SteppedDown,
            joined = ended(joining) => Event::Joined(joined),
            signal = ended(question) => Event::Bounds(signal),
            delivery = delivery => Event::Delivery(delivery),
        }
    }

    pub async fn take(&mut self, event: Event) -> Result<(), Error> {
        match event {
            Event::Answer(signal) => self.step(signal?).await,
            Event::SteppedDown => {
                self.attempt();
                Ok(())
            }
            Event::Joined(consumer) => {
                self.consumer = Some(consumer?);
                self.stage = Stage::Joined;
                Ok(())
            }
            Event::Bounds(signal) => {
                self.step(signal?).await?;
                if std::mem::take(&mut self.is_outdated) && self.stage == Stage::Joined {
                    self.ask_for_versions();
                }
                Ok(())
            }
            Event::Delivery(Ok(delivery)) => self.delivered(delivery).await,
            Event::Delivery(Err(error)) => self.not_delivered(error).await,
        }
    }

    /// Lets the worker take a step, and does what it wants done.
    pub async fn step(&mut self, signal: Signal) -> Result<(), Error> {
        for effect in self.worker.handle(signal) {
            self.perform(effect).await?;
        }
        self.join_once_left();
        Ok(())
    }

    fn join_once_left(&mut self) {
        if self.stage != Stage::Joined {
            (self.question, self.is_outdated) = (None, false);
        }
        if self.stage == Stage::Leaving && self.worker.is_idle() {
            self.join();
        }
    }

    async fn delivered(&mut self, delivery: Delivery) -> Result<(), Error> {
        match delivery {
            Delivery::Assigned(assigned) => {
                self.is_told = true;
                let backoff = self.backoff();
                self.question = Some(Box::pin(calls::assigned(self.log.clone(), assigned, backoff)));
                Ok(())
            }
            Delivery::Revoked(revoked) => {
                self.releasing.extend(revoked.iter().cloned());
                self.step(Signal::Revoked(revoked)).await
            }
            Delivery::Records { partition, records, next, log_end } => {
                let ticket = *self.tickets.get(&partition).expect("a log delivers nothing that was not sought");
                self.step(Signal::Records { ticket, partition, records, next, log_end }).await
            }
        }
    }

    async fn not_delivered(&mut self, error: event_log::Error) -> Result<(), Error> {
        if let event_log::Error::OutOfRange { topic, partition, offset, held } = &error {
            let at = TopicPartition { topic: topic.clone(), partition: *partition };
            let mend = match *offset < held.start {
                // It may have grown again since.
                false => WENT_BACK,
                true => {
                    "the archive has no commit of it either: restore the commits, or give them up by moving the archive \
                     of the source away and then `freshet rebuild`"
                }
            };
            return self.step(Signal::Unreadable { partition: at, reason: format!("{error}; {mend}") }).await;
        }
        if self.replaced.joins_anew(&error, Instant::now()) {
            tracing::warn!("joining the group anew: {error}");
            self.leave_group();
            return self.step(Signal::ReleaseAll).await;
        }
        if !error.is_transient() {
            return Err(error.into());
        }
        tracing::warn!("reading on in {REST:?}: {error}");
        self.rest_until = Instant::now() + REST;
        Ok(())
    }

    async fn perform(&mut self, effect: Effect) -> Result<(), Error> {
        match effect {
            Effect::Claim { ticket, shard, claims } => {
                let backoff = self.backoff();
                self.call(calls::claim(self.online.clone(), ticket, shard, claims, backoff));
            }
            Effect::Load { ticket, keys } => {
                let backoff = self.backoff();
                self.call(calls::load(self.online.clone(), ticket, keys, backoff));
            }
            Effect::Apply { shard, advances, rows } => {
                let backoff = self.backoff();
                self.call(calls::apply(self.online.clone(), shard, advances, rows, self.blocked.clone(), backoff));
            }
            Effect::Seek { ticket, partition, offset } => {
                self.consumer().seek(&partition, offset);
                self.tickets.insert(partition, ticket);
            }
            Effect::Pause(partition) => self.consumer().pause(&partition),
            Effect::Resume(partition) => self.consumer().resume(&partition),
            Effect::ProveMembership => self.prove_membership().await,
            Effect::Look { ticket, partition } => {
                let backoff = self.backoff();
                self.call(calls::looked(self.log.clone(), ticket, partition, backoff));
            }
            Effect::Released(partition) => {
                self.releasing.remove(&partition);
            }
            Effect::Stopped { partition, reason } => {
                tracing::error!("stopped reading {}[{}]: {reason}", partition.topic, partition.partition);
            }
        }
        Ok(())
    }

    fn call(&mut self, call: impl Future<Output = Result<Signal, Error>> + Send + 'static) {
        self.answers.push(Box::pin(call));
    }

    /// What cannot be proven is not so: the group is joined anew, and says what is ours.
    async fn prove_membership(&mut self) {
        let proven = self.ask_membership().await.unwrap_or_else(|error| {
            tracing::warn!("membership could not be proven: {error}");
            None
        });
        if proven.is_none() && self.stage == Stage::Joined {
            self.leave_group();
        }
        self.call(std::future::ready(Ok(Signal::Membership(proven))));
    }

    /// The bounds come first: whatever else was asked after the proof might take longer than the proof holds.
    async fn ask_membership(&mut self) -> Result<Option<Vec<Bounds>>, event_log::Error> {
        let mut bounds = Vec::new();
        for topic in calls::topics(&self.versions) {
            bounds.extend(calls::bounds_of(&*self.log, &topic).await?);
        }
        Ok(self.consumer().is_member().await?.then_some(bounds))
    }

    /// To join it anew once everything is let go.
    fn leave_group(&mut self) {
        self.stage = Stage::Leaving;
        self.is_told = false;
    }

    fn join(&mut self) {
        self.tickets.clear();
        self.releasing.clear();
        self.looking = None;
        self.tell_versions();
        self.stage = Stage::Joining;
        match self.consumer.take() {
            // Partitions of other topics would be kept for it otherwise.
            Some(member) => self.stepping_down = Some(Box::pin(member.leave())),
            None => self.attempt(),
        }
    }

    fn attempt(&mut self) {
        if self.stage != Stage::Joining {
            return;
        }
        let topics = calls::topics(&self.versions);
        if topics.is_empty() {
            (self.stage, self.joining) = (Stage::Joined, None);
            return;
        }
        let (group, backoff) = (self.group.clone(), self.backoff());
        self.joining = Some(Box::pin(calls::join(self.log.clone(), group, topics, backoff)));
    }

    /// To a worker that has no partitions.
    fn tell_versions(&mut self) {
        let effects = self.worker.handle(Signal::Versions { versions: self.versions.clone(), bounds: Vec::new() });
        assert!(effects.is_empty(), "a worker without partitions wants nothing done");
    }

    fn consumer(&mut self) -> &mut dyn Consumer {
        self.consumer.as_deref_mut().expect("a partition is assigned by a consumer, which stays until it is released")
    }

    fn backoff(&mut self) -> Backoff {
        self.backoff_seed = self.backoff_seed.wrapping_add(1);
        Backoff::new(self.backoff_seed, self.failures.clone())
    }
}

/// Waits for what is under way, if anything is, and forgets it then. Cancel safe.
async fn ended<T>(under_way: &mut Option<BoxFuture<'static, T>>) -> T {
    let Some(future) = under_way else { return pending().await };
    let outcome = future.await;
    *under_way = None;
    outcome
}
