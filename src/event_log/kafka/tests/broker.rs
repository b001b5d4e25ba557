//! A broker of our own, to be killed: KRaft, alone, on free ports, in a folder that goes with it.

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

impl Broker {
    /// Starts it. That it answers is for the caller to find out.
    pub fn start() -> Broker {
        let libraries = std::env::var("KAFKA_LIB");
        let libraries = libraries.expect("KAFKA_LIB is not set: run ./test, or tests/servers cargo test ...");
        let folder = tempfile::tempdir().expect("a folder");
        let [port, controller] = free_ports();
        let mut broker = Broker { folder, libraries: format!("{libraries}/*"), port, running: None };
        std::fs::write(broker.properties(), broker.settings(controller)).expect("written");
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

    fn settings(&self, controller: u16) -> String {
        let (address, log) = (self.address(), self.folder.path().join("log"));
        format!(
            "process.roles=broker,controller\nnode.id=1\n\
             controller.quorum.voters=1@127.0.0.1:{controller}\n\
             listeners=PLAINTEXT://{address},CONTROLLER://127.0.0.1:{controller}\n\
             controller.listener.names=CONTROLLER\n\
             listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT\n\
             log.dirs={}\n\
             offsets.topic.replication.factor=1\noffsets.topic.num.partitions=1\n\
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

fn free_ports() -> [u16; 2] {
    let held = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").expect("a free port"));
    held.map(|listener| listener.local_addr().expect("it listens").port())
}
