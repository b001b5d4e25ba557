//! What librdkafka is told, for each of the clients that we keep: ours first, and what its user adds (SASL, TLS,
//! time-outs), as long as it leaves alone what correctness rests on.

use std::time::Duration;

use rdkafka::config::{ClientConfig, FromClientConfigAndContext, RDKafkaLogLevel};
use rdkafka::error::KafkaError;
use xxhash_rust::xxh3::xxh3_64;

use crate::event_log::Error;
use crate::event_log::kafka::lines::Lines;

/// How to reach a cluster, and as whom.
#[derive(Clone)]
pub struct Options {
    /// `host:port`, separated by commas.
    pub brokers: String,
    /// Passed to librdkafka as they are. They may hold secrets.
    pub options: Vec<(String, String)>,
    /// Whether a missing topic is created, rather than an error that says how.
    pub create_topics: bool,
    /// Of topics that are created.
    pub replication: u16,
    /// Names this process in its groups, so that it has the same partitions after a restart; empty: nameless.
    pub instance_id: String,
    /// How long a member may be silent before the others get its partitions.
    pub session_timeout: Duration,
}

/// Set here for a reason that an option must not override: `bootstrap.servers` and the like have settings of their
/// own, and the rest is what "nothing lost, nothing skipped" rests on.
const OURS: &[&str] = &[
    "acks",
    "allow.auto.create.topics",
    "auto.offset.reset",
    "bootstrap.servers",
    "enable.auto.commit",
    "enable.auto.offset.store",
    "enable.idempotence",
    "enable.partition.eof",
    "group.id",
    "group.instance.id",
    "group.protocol",
    "isolation.level",
    "metadata.broker.list",
    "partition.assignment.strategy",
    "partitioner",
    "request.required.acks",
    "session.timeout.ms",
    "transactional.id",
];

impl Options {
    /// Refuses what this build or this design cannot do, before librdkafka says so in its own words.
    pub fn check(&self) -> Result<(), Error> {
        for (name, value) in &self.options {
            if OURS.contains(&name.as_str()) {
                return Err(Error::Settings(format!("`kafka_options` must not set `{name}`: Freshet sets it")));
            }
            if !cfg!(feature = "kafka-tls") && needs_openssl(name, value) {
                let mend = "which this build does not have: build with `--features kafka-tls`";
                // The value may be a secret.
                return Err(Error::Settings(format!("`kafka_options`: `{name}` as it is needs OpenSSL, {mend}")));
            }
        }
        Ok(())
    }

    /// A member of `group`. It reads what is durable and committed alone, and never jumps.
    pub(super) fn member(&self, group: &str, topics: &[String]) -> ClientConfig {
        let mut config = self.reader();
        config
            .set("group.id", group)
            .set("partition.assignment.strategy", "cooperative-sticky")
            .set("session.timeout.ms", self.session_timeout.as_millis().to_string())
            .set("heartbeat.interval.ms", (self.session_timeout.as_millis() / 4).min(3_000).to_string())
            // A driver that waits for its store is not dead: it is the session that tells who is.
            .set("max.poll.interval.ms", "3600000")
            // Partitions that were added are found this soon.
            .set("topic.metadata.refresh.interval.ms", "3000")
            .set("fetch.message.max.bytes", "1048576")
            .set("fetch.max.bytes", "16777216")
            .set("fetch.wait.max.ms", "100")
            .set("queued.min.messages", "50000")
            .set("queued.max.messages.kbytes", "32768")
            // librdkafka's second is long enough to empty a full queue and wait.
            .set("fetch.queue.backoff.ms", "10");
        if !self.instance_id.is_empty() {
            config.set("group.instance.id", format!("{}-{group}-{:08x}", self.instance_id, digest(topics)));
        }
        self.complete(config)
    }

    /// Reads partitions that it is told to, of no group, and answers questions about topics.
    pub(super) fn reader(&self) -> ClientConfig {
        let mut config = self.client();
        config
            // Without one there is nothing to assign partitions to; nobody joins it.
            .set("group.id", "freshet-reader")
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("enable.partition.eof", "true")
            .set("auto.offset.reset", "error")
            .set("isolation.level", "read_committed")
            .set("allow.auto.create.topics", "false")
            .set("fetch.error.backoff.ms", "100")
            .set("queued.max.messages.kbytes", "8192");
        self.complete(config)
    }

    pub(super) fn producer(&self) -> ClientConfig {
        let mut config = self.client();
        config
            .set("enable.idempotence", "true")
            .set("acks", "all")
            // Java's: an entity stays in its partition whoever produces. Without a key: any.
            .set("partitioner", "murmur2_random")
            .set("sticky.partitioning.linger.ms", "0")
            .set("queue.buffering.max.ms", "2")
            .set("compression.type", "lz4")
            // Whether a record is too large is for the topic to say.
            .set("message.max.bytes", "67108864")
            .set("message.timeout.ms", "30000")
            .set("topic.metadata.propagation.max.ms", "5000");
        self.complete(config)
    }

    pub(super) fn admin(&self) -> ClientConfig {
        self.complete(self.client())
    }

    fn client(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", &self.brokers)
            .set("client.id", "freshet")
            .set("reconnect.backoff.max.ms", "1000")
            .set_log_level(RDKafkaLogLevel::Info);
        config
    }

    fn complete(&self, mut config: ClientConfig) -> ClientConfig {
        for (name, value) in &self.options {
            config.set(name, value);
        }
        config
    }
}

/// Part of a member's name: a group does not look at what a named member that comes back is subscribed to, and would
/// give it what it had before. With other topics it is another member.
fn digest(topics: &[String]) -> u32 {
    let mut topics: Vec<&str> = topics.iter().map(String::as_str).collect();
    topics.sort_unstable();
    xxh3_64(topics.join("\n").as_bytes()) as u32
}

pub(super) fn create<T: FromClientConfigAndContext<Lines>>(
    config: &ClientConfig,
    role: &'static str,
) -> Result<T, Error> {
    config.create_with_context(Lines::of(role)).map_err(refused)
}

/// Without the value, which may be a secret.
pub(super) fn refused(error: KafkaError) -> Error {
    match error {
        KafkaError::ClientConfig(_, why, name, _) => Error::Settings(format!("`kafka_options`: `{name}`: {why}")),
        error => Error::Settings(format!("`kafka_options`: {error}")),
    }
}

fn needs_openssl(name: &str, value: &str) -> bool {
    let value = value.to_ascii_lowercase();
    match name {
        "security.protocol" => value.ends_with("ssl"),
        "sasl.mechanism" | "sasl.mechanisms" => value.starts_with("scram-") || value == "oauthbearer",
        _ => name.starts_with("ssl."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(options: &[(&str, &str)]) -> Result<(), String> {
        let options = options.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let options = Options {
            brokers: "localhost:9092".to_owned(),
            options,
            create_topics: false,
            replication: 1,
            instance_id: String::new(),
            session_timeout: Duration::from_secs(10),
        };
        options.check().map_err(|error| error.to_string())?;
        create::<rdkafka::consumer::BaseConsumer<Lines>>(&options.member("g", &[]), "test")
            .map_err(|error| error.to_string())?;
        Ok(())
    }

    #[test]
    fn what_correctness_rests_on_cannot_be_overridden() {
        assert_eq!(check(&[("client.rack", "a")]), Ok(()));
        let plain = [("sasl.mechanism", "PLAIN"), ("sasl.username", "u"), ("sasl.password", "p")];
        assert_eq!(check(&[&plain[..], &[("security.protocol", "sasl_plaintext")]].concat()), Ok(()));
        for name in OURS {
            let refused = check(&[(name, "1")]).expect_err(name);
            assert!(refused.contains(name), "{refused}");
        }
    }

    #[test]
    fn an_unknown_option_is_named_and_a_value_is_not_told() {
        let refused = check(&[("sasl.pasword", "hunter2")]).expect_err("a typo");
        assert!(refused.contains("sasl.pasword") && !refused.contains("hunter2"), "{refused}");
    }

    #[cfg(not(feature = "kafka-tls"))]
    #[test]
    fn what_needs_openssl_says_how_to_get_it() {
        for (name, value) in
            [("security.protocol", "SASL_SSL"), ("sasl.mechanism", "SCRAM-SHA-512"), ("ssl.ca.location", "ca")]
        {
            let refused = check(&[(name, value)]).expect_err(name);
            assert!(refused.contains("kafka-tls"), "{refused}");
        }
    }
}
