//! A TCP proxy in front of a server: it cuts connections, slows them down, and points to another server. That is also
//! how clients find the new primary after a failover here, as they would by a virtual address or a service name.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::sleep;

/// Nobody listens on port 0.
const NOWHERE: u16 = 0;

/// Dropping it cuts all connections and takes no new ones.
pub struct Proxy {
    port: u16,
    route: Arc<Route>,
    _accepting: JoinSet<()>,
}

struct Route {
    target: AtomicU16,
    delay_ms: AtomicU64,
    open: AtomicU64,
    /// Counts the cuts: connections end when it changes.
    cuts: watch::Sender<u64>,
}

impl Proxy {
    pub async fn start(port: u16, target: u16) -> anyhow::Result<Proxy> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
        let route = Arc::new(Route {
            target: AtomicU16::new(target),
            delay_ms: AtomicU64::new(0),
            open: AtomicU64::new(0),
            cuts: watch::Sender::new(0),
        });
        let mut accepting = JoinSet::new();
        accepting.spawn(accept(listener, route.clone()));
        Ok(Proxy { port, route, _accepting: accepting })
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn open_connections(&self) -> u64 {
        self.route.open.load(Ordering::SeqCst)
    }

    /// Ends every connection, and returns how many there were.
    pub fn cut(&self) -> u64 {
        let open = self.open_connections();
        self.route.cuts.send_modify(|cuts| *cuts += 1);
        open
    }

    /// Sends whoever connects from now on to another server, and ends the connections to the one before.
    pub fn point_to(&self, target: u16) {
        self.route.target.store(target, Ordering::SeqCst);
        self.cut();
    }

    /// Ends every connection, and every new one at once, until it points to a server again.
    pub fn refuse(&self) {
        self.point_to(NOWHERE);
    }

    /// Holds back everything that passes, both ways, from now on.
    pub fn delay(&self, by: Duration) {
        self.route.delay_ms.store(u64::try_from(by.as_millis()).expect("a short delay"), Ordering::SeqCst);
    }
}

async fn accept(listener: TcpListener, route: Arc<Route>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((client, _)) => drop(connections.spawn(connect(client, route.clone()))),
                // Out of descriptors, say: those that end make room.
                Err(_) => sleep(Duration::from_millis(100)).await,
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

/// A server that is away refuses, so the client's connection just ends.
async fn connect(client: TcpStream, route: Arc<Route>) {
    let mut cuts = route.cuts.subscribe();
    let target = SocketAddr::from((Ipv4Addr::LOCALHOST, route.target.load(Ordering::SeqCst)));
    let Ok(server) = TcpStream::connect(target).await else { return };
    // A proxy that gathers small packets would look like a slow server.
    if client.set_nodelay(true).is_err() || server.set_nodelay(true).is_err() {
        return;
    }
    let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), server.into_split());
    route.open.fetch_add(1, Ordering::SeqCst);
    tokio::select! {
        _ = cuts.changed() => {}
        () = copy(from_client, to_server, &route) => {}
        () = copy(from_server, to_client, &route) => {}
    }
    route.open.fetch_sub(1, Ordering::SeqCst);
}

/// Until either side ends.
async fn copy(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, route: &Route) {
    let mut buffer = vec![0; 64 << 10];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        let delay = route.delay_ms.load(Ordering::SeqCst);
        if delay > 0 {
            sleep(Duration::from_millis(delay)).await;
        }
        if to.write_all(&buffer[..length]).await.is_err() {
            return;
        }
    }
}
