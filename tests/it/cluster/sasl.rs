//! A broker that asks who one is.

use std::time::Duration;

use freshet::event_log::kafka::{KafkaLog, Options};

use super::{Cluster, ingest, ready, served, settle, wanted};
use crate::servers;

/// What operations.md advises, up to the password.
const AS_USER: &str = "security.protocol=SASL_PLAINTEXT;sasl.mechanism=PLAIN;sasl.username=freshet;sasl.password=";

/// The same, over TLS.
const AS_USER_OVER_TLS: &str =
    "security.protocol=SASL_SSL;sasl.mechanism=SCRAM-SHA-512;sasl.username=freshet;sasl.password=";

/// As `tests/servers` has it.
const PASSWORD: &str = "open-sesame";

#[test]
fn the_settings_that_are_tested_are_those_of_the_documentation() {
    let page = include_str!("../../../docs/operations.md");
    assert!(page.contains(AS_USER) && page.contains(AS_USER_OVER_TLS));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_that_says_who_it_is_writes_and_reads() {
    check(servers::address("KAFKA_SASL_BROKERS"), format!("{AS_USER}{PASSWORD}")).await;
}

#[cfg(feature = "kafka-tls")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn so_does_one_that_says_it_by_scram_over_tls() {
    let certificate = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/service/tls_files/cert.pem");
    let options = format!("{AS_USER_OVER_TLS}{PASSWORD};ssl.ca.location={certificate}");
    check(servers::address("KAFKA_TLS_BROKERS"), options).await;
}

async fn check(kafka: String, options: String) {
    let cluster = Cluster::on(vec![("kafka", kafka), ("kafka_options", options)]).await;
    let mut process = cluster.spawn("api,stream,archive", "s1");
    let api = ready(&mut process).await;
    api.send("/v1/definitions/apply", "application/yaml", cluster.definitions()).await.json();
    ingest(&api, 0..200).await;
    settle(&api).await;
    assert_eq!(served(&api).await, wanted(200));
    process.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_password_is_told_with_the_broker_and_the_settings_to_mend() {
    let brokers = servers::address("KAFKA_SASL_BROKERS");
    let given = format!("{AS_USER}hunter2");
    let options = given.split(';').map(|pair| pair.split_once('=').expect("a pair"));
    let options = Options {
        brokers: brokers.clone(),
        options: options.map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
        create_topics: false,
        replication: 1,
        instance_id: String::new(),
        session_timeout: Duration::from_secs(10),
    };
    let refused = KafkaLog::connect(options).await.err().expect("it is the wrong one");
    let told = refused.to_string();
    assert!(!refused.is_transient(), "to try again does not help: {told}");
    for part in [&*brokers, "`kafka_options`", "Authentication failed", "`sasl.password`"] {
        assert!(told.contains(part), "`{part}` is missing: {told}");
    }
    assert!(!told.contains("hunter2"), "{told}");
}
