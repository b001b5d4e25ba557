//! Topics: whether they are there, what they hold, how they are kept, and how they are made.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions, ConfigResource, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use tokio::time::Instant;

use crate::event_log::Error;
use crate::event_log::blocking;
use crate::event_log::kafka::lines::Lines;
use crate::event_log::kafka::settings::{Options, create};

/// For one question to the cluster.
pub(super) const ANSWER: Duration = Duration::from_secs(10);
/// For the next of what a client has to say on its own, and for all of it: where nobody is, there is no end of it.
const NEWS: Duration = Duration::from_millis(100);
const ALL_NEWS: Duration = Duration::from_secs(1);

pub(super) struct Topics {
    /// Asks about topics; reads nothing, and is of no group.
    client: Arc<BaseConsumer<Lines>>,
    admin: Arc<AdminClient<Lines>>,
    create: bool,
    replication: u16,
    brokers: String,
    /// How topics are kept, as it was looked up: not at each call.
    checked: Mutex<BTreeMap<String, Keeping>>,
}

/// How a topic keeps its records.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Keeping {
    compacts: bool,
    /// The broker's clock stamps records, whatever the producer said.
    stamps_itself: bool,
    /// Deletes by stamp, after so many milliseconds.
    retention_ms: Option<i64>,
}

impl Topics {
    pub fn new(options: &Options) -> Result<Topics, Error> {
        Ok(Topics {
            client: Arc::new(create(&options.reader(), "metadata")?),
            admin: Arc::new(create(&options.admin(), "admin")?),
            create: options.create_topics,
            replication: options.replication,
            brokers: options.brokers.clone(),
            checked: Mutex::default(),
        })
    }

    /// Whether the cluster answers.
    pub async fn reach(&self) -> Result<(), Error> {
        let (client, brokers) = (self.client.clone(), self.brokers.clone());
        blocking(move || match client.fetch_metadata(None, ANSWER) {
            Ok(_) => Ok(()),
            Err(error) => Err(no_answer(&client, &brokers, &error)),
        })
        .await
    }

    pub async fn partitions(&self, topic: &str) -> Result<u32, Error> {
        let (client, topic) = (self.client.clone(), topic.to_owned());
        blocking(move || partitions(&client, &topic)).await
    }

    /// First offset and end of each partition.
    pub async fn bounds(&self, topic: &str) -> Result<Vec<Range<u64>>, Error> {
        let (client, topic) = (self.client.clone(), topic.to_owned());
        blocking(move || {
            let count = partitions(&client, &topic)?;
            let starts = offsets(&client, &topic, count, Offset::Beginning)?;
            let ends = offsets(&client, &topic, count, Offset::End)?;
            Ok(starts.into_iter().zip(ends).map(|(start, end)| start..end.max(start)).collect())
        })
        .await
    }

    /// Makes the topic, where that is allowed; one that is there has to keep what it is given.
    pub async fn create(&self, topic: &str, partitions: u32) -> Result<(), Error> {
        match self.partitions(topic).await {
            Ok(_) => self.check(topic).await,
            Err(Error::UnknownTopic(_)) if self.create => self.make(topic, partitions).await,
            Err(Error::UnknownTopic(_)) => Err(refused(
                topic,
                format!(
                    "it does not exist, and `create_topics` is off: set it, or run `kafka-topics.sh \
                     --bootstrap-server {} --create --topic {topic} --partitions {partitions} \
                     --replication-factor {}`",
                    self.brokers, self.replication
                ),
            )),
            Err(error) => Err(error),
        }
    }

    /// Refuses a compacted topic: it forgets records that an aggregate counts.
    pub async fn check(&self, topic: &str) -> Result<(), Error> {
        if self.keeping(topic).await?.compacts {
            let why = "it is compacted, and forgets events that were counted: its `cleanup.policy` has to be `delete`";
            return Err(refused(topic, why.to_owned()));
        }
        Ok(())
    }

    /// Refuses a topic that would stamp replayed history anew, or delete it for its age.
    pub async fn takes_replay(&self, topic: &str) -> Result<(), Error> {
        // Looked up anew: this is how people find out whether they have mended it.
        self.checked.lock().expect("nothing panics while it notes a topic").remove(topic);
        let keeping = self.keeping(topic).await?;
        let alter = |setting: &str| {
            format!(
                "run `kafka-configs.sh --bootstrap-server {} --alter --topic {topic} --add-config {setting}`",
                self.brokers
            )
        };
        if keeping.stamps_itself {
            let mend = alter("message.timestamp.type=CreateTime");
            let why =
                format!("its `message.timestamp.type` is `LogAppendTime`, so history would be stamped now: {mend}");
            return Err(refused(topic, why));
        }
        if let Some(retention_ms) = keeping.retention_ms {
            let mend = alter("retention.ms=-1");
            let why =
                format!("it deletes records stamped {retention_ms} ms ago and earlier, so history would go: {mend}");
            return Err(refused(topic, why));
        }
        Ok(())
    }

    async fn make(&self, topic: &str, partitions: u32) -> Result<(), Error> {
        let count = i32::try_from(partitions).unwrap_or(i32::MAX);
        // A log that is the truth forgets nothing unless it is told to.
        let new = NewTopic::new(topic, count, TopicReplication::Fixed(i32::from(self.replication)))
            .set("cleanup.policy", "delete")
            .set("retention.ms", "-1")
            .set("message.timestamp.type", "CreateTime");
        self.find_controller().await?;
        let options = AdminOptions::new().operation_timeout(Some(ANSWER)).request_timeout(Some(ANSWER));
        let made = self.admin.create_topics([&new], &options).await.map_err(unavailable)?;
        match made.into_iter().next() {
            Some(Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists))) => self.wait_for(topic).await,
            Some(Err((_, code))) if is_passing(code) => Err(Error::Unavailable(format!("topic `{topic}`: {code}"))),
            Some(Err((_, code))) => Err(refused(topic, format!("it cannot be created: {code}"))),
            None => Err(Error::Unavailable(format!("topic `{topic}` was not answered for"))),
        }
    }

    /// Brokers hear of a new topic one after the other.
    async fn wait_for(&self, topic: &str) -> Result<(), Error> {
        for _ in 0..50 {
            match self.bounds(topic).await.and(self.check(topic).await) {
                Ok(()) => return Ok(()),
                Err(Error::UnknownTopic(_) | Error::Unavailable(_)) => {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
                Err(error) => return Err(error),
            }
        }
        Err(Error::Unavailable(format!("topic `{topic}` was created and has no leader yet")))
    }

    /// Who makes topics. The client would go on for minutes to ask the one that it heard of last, which may be dead.
    async fn find_controller(&self) -> Result<(), Error> {
        let admin = self.admin.clone();
        blocking(move || admin.inner().fetch_metadata(None, ANSWER).map(drop).map_err(unavailable)).await
    }

    /// A broker that answers, by the number that it has. The client that is to ask it further finds out itself: of one that
    /// was away for a while it knows nothing before it looks again. The topic exists, for asking this may create it.
    async fn answering_broker(&self, topic: &str) -> Result<Option<i32>, Error> {
        let (admin, topic) = (self.admin.clone(), topic.to_owned());
        let metadata =
            blocking(move || admin.inner().fetch_metadata(Some(&topic), ANSWER).map_err(unavailable)).await?;
        Ok(Some(metadata.orig_broker_id()).filter(|broker| *broker >= 0))
    }

    async fn keeping(&self, topic: &str) -> Result<Keeping, Error> {
        if let Some(known) = self.checked.lock().expect("nothing panics while it notes a topic").get(topic) {
            return Ok(known.clone());
        }
        // A broker that does not know the topic describes it all the same.
        self.partitions(topic).await?;
        // Unless it is told whom to ask, the client asks the controller that it heard of minutes ago, which may be dead.
        let broker = self.answering_broker(topic).await?;
        let options = AdminOptions::new().request_timeout(Some(ANSWER)).broker_id(broker);
        let described = self.admin.describe_configs([&ResourceSpecifier::Topic(topic)], &options).await;
        let described = described.map_err(unavailable)?.into_iter().next();
        let keeping = match described {
            Some(Ok(settings)) if !settings.entries.is_empty() => Keeping::of(&settings),
            Some(Err(RDKafkaErrorCode::TopicAuthorizationFailed)) => {
                tracing::warn!(
                    topic,
                    "we may not look up whether the topic keeps its records, and believe that it does"
                );
                Keeping::default()
            }
            Some(Err(code)) => return Err(Error::Unavailable(format!("topic `{topic}`: {code}"))),
            Some(Ok(_)) | None => {
                return Err(Error::Unavailable(format!("topic `{topic}` is not known everywhere yet")));
            }
        };
        self.checked.lock().expect("nothing panics while it notes a topic").insert(topic.to_owned(), keeping.clone());
        Ok(keeping)
    }
}

impl Keeping {
    fn of(settings: &ConfigResource) -> Keeping {
        let value = |name: &str| settings.get(name).and_then(|entry| entry.value.as_deref()).unwrap_or_default();
        Keeping::new(value("cleanup.policy"), value("message.timestamp.type"), value("retention.ms"))
    }

    fn new(policy: &str, stamps: &str, retention_ms: &str) -> Keeping {
        let deletes = policy.split(',').any(|it| it.trim() == "delete");
        Keeping {
            compacts: policy.split(',').any(|it| it.trim() == "compact"),
            stamps_itself: stamps == "LogAppendTime",
            retention_ms: retention_ms.parse().ok().filter(|ms| deletes && *ms >= 0),
        }
    }
}

/// A call ends with a time-out also where brokers answer, and refuse who asks: they say so in an event beside it, after
/// some lines for the log.
fn no_answer(client: &BaseConsumer<Lines>, brokers: &str, error: &KafkaError) -> Error {
    let until = Instant::now() + ALL_NEWS;
    while client.context().refusal().is_none() && Instant::now() < until && client.poll(NEWS).is_some() {}
    match client.context().refusal() {
        Some(why) => Error::Settings(format!(
            "Kafka at {brokers} refuses the user of `kafka_options` ({why}): `sasl.mechanism`, `sasl.username` and \
             `sasl.password` have to be what its listener knows"
        )),
        None => Error::Unavailable(format!("no answer from Kafka at {brokers}: {error}")),
    }
}

fn partitions(client: &BaseConsumer<Lines>, topic: &str) -> Result<u32, Error> {
    let metadata = client.fetch_metadata(Some(topic), ANSWER).map_err(unavailable)?;
    let found = metadata.topics().iter().find(|found| found.name() == topic);
    let found = found.ok_or_else(|| Error::UnknownTopic(topic.to_owned()))?;
    match found.error().map(RDKafkaErrorCode::from) {
        None if !found.partitions().is_empty() => Ok(found.partitions().len() as u32),
        None | Some(RDKafkaErrorCode::UnknownTopicOrPartition) => Err(Error::UnknownTopic(topic.to_owned())),
        Some(code) if is_passing(code) => Err(Error::Unavailable(format!("topic `{topic}`: {code}"))),
        Some(code) => Err(refused(topic, code.to_string())),
    }
}

/// Of all partitions at once, from their leaders.
fn offsets(client: &BaseConsumer<Lines>, topic: &str, partitions: u32, which: Offset) -> Result<Vec<u64>, Error> {
    let mut asked = TopicPartitionList::new();
    for partition in 0..partitions {
        let added = asked.add_partition_offset(topic, partition as i32, which);
        added.expect("the start and the end are offsets");
    }
    let answers = client.offsets_for_times(asked, ANSWER).map_err(unavailable)?;
    let mut found = vec![0; partitions as usize];
    for answer in answers.elements() {
        answer.error().map_err(unavailable)?;
        let Offset::Offset(offset) = answer.offset() else {
            let place = format!("{topic}[{}]", answer.partition());
            return Err(Error::Unavailable(format!("{place} did not say what it holds: {:?}", answer.offset())));
        };
        found[answer.partition() as usize] = u64::try_from(offset).unwrap_or(0);
    }
    Ok(found)
}

/// What mends itself: a leader that moves, a broker that starts.
pub(super) fn is_passing(code: RDKafkaErrorCode) -> bool {
    use RDKafkaErrorCode as Code;
    matches!(
        code,
        Code::LeaderNotAvailable
            | Code::NotLeaderForPartition
            | Code::RequestTimedOut
            | Code::BrokerNotAvailable
            | Code::ReplicaNotAvailable
            | Code::NetworkException
            | Code::NotController
            | Code::NotEnoughReplicas
            | Code::NotEnoughReplicasAfterAppend
            | Code::OperationTimedOut
            | Code::MessageTimedOut
            | Code::BrokerTransportFailure
            | Code::AllBrokersDown
            | Code::KafkaStorageError
    )
}

pub(super) fn unavailable(error: KafkaError) -> Error {
    Error::Unavailable(error.to_string())
}

pub(super) fn refused(topic: &str, why: String) -> Error {
    Error::Refused { topic: topic.to_owned(), why }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_topic_keeps_is_read_from_its_settings() {
        let of = |policy, retention| Keeping::new(policy, "CreateTime", retention);
        assert_eq!(of("delete", "604800000").retention_ms, Some(604_800_000));
        assert_eq!(of("delete", "-1").retention_ms, None);
        assert_eq!(of("compact", "604800000").retention_ms, None, "only `delete` deletes by time");
        assert!(of("delete, compact", "-1").compacts && !of("delete", "-1").compacts);
        assert!(Keeping::new("delete", "LogAppendTime", "-1").stamps_itself && !of("delete", "-1").stamps_itself);
    }
}
