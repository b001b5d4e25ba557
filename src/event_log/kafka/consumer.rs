//! The driver's handle on a member of a consumer group.

use std::sync::Arc;

use async_trait::async_trait;
use rdkafka::consumer::BaseConsumer;
use tokio::sync::oneshot;

use crate::event_log::kafka::handoff::{Command, Handoff};
use crate::event_log::kafka::lines::Lines;
use crate::event_log::kafka::member::{Member, Membership, subscribe};
use crate::event_log::kafka::settings::{Options, create};
use crate::event_log::{Consumer, Delivery, Error, TopicPartition};

pub(super) struct KafkaConsumer {
    handoff: Arc<Handoff>,
    /// A revocation was handed out: to be asked for more says that it was obeyed.
    releases: bool,
}

impl KafkaConsumer {
    /// Joins `group` on a thread of its own, which ends some time after the handle is gone.
    pub fn join(options: &Options, group: &str, topics: &[String]) -> Result<KafkaConsumer, Error> {
        let client: BaseConsumer<Lines> = create(&options.member(group, topics), "consumer")?;
        subscribe(&client, topics).map_err(|error| Error::Unavailable(error.to_string()))?;
        let name = match options.instance_id.as_str() {
            "" => format!("a member of group `{group}`"),
            instance => format!("member `{instance}` of group `{group}`"),
        };
        let is_named = !options.instance_id.is_empty();
        let membership = Membership { group: group.to_owned(), topics: topics.to_vec(), is_named };
        let handoff = Arc::new(Handoff::default());
        let thread = std::thread::Builder::new().name("kafka-consumer".to_owned());
        let shared = handoff.clone();
        let started = thread.spawn(move || {
            let _closes = Closes(shared.clone());
            Member::new(client, shared, name, membership).run();
        });
        started.map_err(|error| Error::Unavailable(format!("no thread for a consumer: {error}")))?;
        Ok(KafkaConsumer { handoff, releases: false })
    }

    fn release(&mut self) {
        if std::mem::take(&mut self.releases) {
            self.handoff.tell(Command::Released);
        }
    }
}

/// However the thread ends, nobody waits for it.
struct Closes(Arc<Handoff>);

impl Drop for Closes {
    fn drop(&mut self) {
        self.0.close();
    }
}

#[async_trait]
impl Consumer for KafkaConsumer {
    async fn next(&mut self) -> Result<Delivery, Error> {
        self.release();
        let delivery = self.handoff.next().await.unwrap_or_else(|| Err(closed()));
        self.releases = matches!(delivery, Ok(Delivery::Revoked(_)));
        delivery
    }

    fn seek(&mut self, partition: &TopicPartition, offset: u64) {
        self.handoff.seek(partition, offset);
    }

    fn pause(&mut self, partition: &TopicPartition) {
        self.handoff.pause(partition);
    }

    fn resume(&mut self, partition: &TopicPartition) {
        self.handoff.resume(partition);
    }

    async fn is_member(&mut self) -> Result<bool, Error> {
        let (answer, proof) = oneshot::channel();
        self.handoff.tell(Command::Prove(answer));
        proof.await.unwrap_or_else(|_| Err(closed()))
    }

    async fn leave(self: Box<Self>) {
        let (done, left) = oneshot::channel();
        self.handoff.tell(Command::Leave(done));
        // An answer or none: there is nothing more to wait for.
        let _ = left.await;
    }
}

impl Drop for KafkaConsumer {
    fn drop(&mut self) {
        self.handoff.abandon();
    }
}

fn closed() -> Error {
    Error::Unavailable("the consumer has ended".to_owned())
}
