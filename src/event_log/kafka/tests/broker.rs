//! A broker of our own, to be killed: KRaft, alone or one of several, on free ports, in a folder that goes with it.

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

pub struct Broker {
    folder: TempDir,
    libraries: String,
    port: u16,
    running: Option<Child>,
}

/// Of one broker: for clients, and for what brokers say to each other.
#[derive(Clone, Copy)]
pub struct Ports {
    clients: u16,
    controller: u16,
}

impl Broker {
    /// Starts number `id` of as many as there are ports, from 1 on. That it answers is for the caller to find out.
    pub fn start(id: usize, all: &[Ports]) -> Broker {
        let libraries = std::env::var("KAFKA_LIB");
        let libraries = libraries.expect("KAFKA_LIB is not set: run ./test, or tests/servers cargo test ...");
        let folder = tempfile::tempdir().expect("a folder");
        let port = all[id - 1].clients;
        let mut broker = Broker { folder, libraries: format!("{libraries}/*"), port, running: None };
        std::fs::write(broker.properties(), broker.settings(id, all)).expect("written");
        let format = ["kafka.tools.StorageTool", "format", "-t", "AAAAAAAAQACAAAAAAAAAAQ", "-c"];
        let formatted = broker.java(&format).status().expect("there is a Java");
        assert!(formatted.success(), "the broker's folder could not be formatted: {formatted}");
        broker.restart();
        broker
    }

    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// SIGKILL: nothing of it runs any more when this returns.
    pub fn kill(&mut self) {
        if let Some(mut running) = self.running.take() {
            running.kill().expect("it can be killed");
            running.wait().expect("it was started here");
        }
    }

    pub fn restart(&mut self) {
        self.kill();
        self.running = Some(self.java(&["kafka.Kafka"]).spawn().expect("there is a Java"));
    }

    fn java(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("java");
        command.args(["-Xmx384m", "-XX:+UseSerialGC", "-cp", &self.libraries]).args(arguments).arg(self.properties());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command
    }

    fn properties(&self) -> PathBuf {
        self.folder.path().join("server.properties")
    }

    /// What is acknowledged has most of the brokers; one that is silent for six seconds leads nothing any more,
    /// which is as long as one that waits for a processor may be.
    fn settings(&self, id: usize, all: &[Ports]) -> String {
        let (address, log) = (self.address(), self.folder.path().join("log"));
        let voter = |(id, ports): (usize, &Ports)| format!("{id}@127.0.0.1:{}", ports.controller);
        let voters: Vec<String> = (1..).zip(all).map(voter).collect();
        let (voters, count, most) = (voters.join(","), all.len(), all.len().div_ceil(2));
        let controller = all[id - 1].controller;
        format!(
            "process.roles=broker,controller\nnode.id={id}\n\
             controller.quorum.voters={voters}\n\
             listeners=PLAINTEXT://{address},CONTROLLER://127.0.0.1:{controller}\n\
             controller.listener.names=CONTROLLER\n\
             listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT\n\
             log.dirs={}\n\
             min.insync.replicas={most}\n\
             broker.session.timeout.ms=6000\nbroker.heartbeat.interval.ms=500\n\
             offsets.topic.replication.factor={count}\noffsets.topic.num.partitions=1\n\
             group.initial.rebalance.delay.ms=0\ngroup.min.session.timeout.ms=1000\n",
            log.display()
        )
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Held all at once, so that no two are the same.
pub fn free_ports(brokers: usize) -> Vec<Ports> {
    let held: Vec<[TcpListener; 2]> =
        (0..brokers).map(|_| [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").expect("a free port"))).collect();
    let port = |listener: &TcpListener| listener.local_addr().expect("it listens").port();
    held.iter().map(|[clients, controller]| Ports { clients: port(clients), controller: port(controller) }).collect()
}
