//! One Kafka broker (KRaft), to be killed and started again in the same folder.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, ensure};
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;

use crate::process::Process;
use crate::servers::program;

pub struct Kafka {
    process: Process,
    port: u16,
    folder: PathBuf,
    log: PathBuf,
}

impl Kafka {
    /// Clients are told to come by `advertised`, the port of a proxy.
    pub async fn start(folder: &Path, log: &Path, ports: [u16; 2], advertised: u16) -> anyhow::Result<Kafka> {
        let [port, controller] = ports;
        std::fs::create_dir_all(folder)?;
        std::fs::write(folder.join("server.properties"), properties(folder, port, controller, advertised))?;
        let format = java("kafka.tools.StorageTool")?
            .args(["format", "-t", "AAAAAAAAQACAAAAAAAAAAQ", "-c"])
            .arg(folder.join("server.properties"))
            .output()?;
        ensure!(format.status.success(), "{}", String::from_utf8_lossy(&format.stderr));
        let process = Process::spawn(broker(folder)?, log)?;
        let mut kafka = Kafka { process, port, folder: folder.to_owned(), log: log.to_owned() };
        kafka.process.listens(port).await?;
        Ok(kafka)
    }

    pub fn kill(&mut self) -> anyhow::Result<()> {
        self.process.kill()
    }

    /// What it had acknowledged is in the page cache, which outlives the process.
    pub async fn start_again(&mut self) -> anyhow::Result<()> {
        self.process = Process::spawn(broker(&self.folder)?, &self.log)?;
        self.process.listens(self.port).await
    }

    pub async fn create_topic(brokers: &str, topic: &str, partitions: i32) -> anyhow::Result<()> {
        let admin: AdminClient<DefaultClientContext> =
            ClientConfig::new().set("bootstrap.servers", brokers).create()?;
        let topic = NewTopic::new(topic, partitions, TopicReplication::Fixed(1));
        let created = admin.create_topics([&topic], &AdminOptions::new()).await?;
        let outcome = created.into_iter().next().context("no answer about the topic")?;
        outcome.map_err(|(topic, error)| anyhow::anyhow!("{topic}: {error}"))?;
        Ok(())
    }
}

fn broker(folder: &Path) -> anyhow::Result<Command> {
    let mut command = java("kafka.Kafka")?;
    command.arg(folder.join("server.properties"));
    Ok(command)
}

fn java(class: &str) -> anyhow::Result<Command> {
    let mut command = Command::new("java");
    command.args(["-Xmx512m", "-XX:+UseSerialGC", "-cp", &format!("{}/*", program("KAFKA_LIB")?), class]);
    Ok(command)
}

fn properties(folder: &Path, port: u16, controller: u16, advertised: u16) -> String {
    format!(
        "process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{advertised},CONTROLLER://127.0.0.1:{controller}
controller.listener.names=CONTROLLER
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs={}
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
auto.create.topics.enable=false
",
        folder.join("log").display()
    )
}
