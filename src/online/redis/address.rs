//! Where a Redis is, from its URL, and connections to it.
//!
//! ```text
//! redis://[user:password@]host[:port][/database]          rediss:// the same over TLS
//! redis+cluster://[user:password@]host:port,host:port     rediss+cluster://
//! ```

use std::time::Duration;

use redis::aio::ConnectionLike;
use redis::cluster::ClusterClientBuilder;
use redis::cluster_routing::{MultipleNodeRoutingInfo, RoutingInfo, SingleNodeRoutingInfo};
use redis::io::tcp::TcpSettings;
use redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionAddr, ConnectionInfo, IntoConnectionInfo, Pipeline, RedisFuture,
    RedisResult, Value,
};

use crate::online::Error;

pub struct Address {
    /// The URL without user and password, for messages.
    pub place: String,
    nodes: Nodes,
}

enum Nodes {
    One(Box<ConnectionInfo>),
    /// Some of a cluster; they know the others.
    Cluster(Vec<ConnectionInfo>),
    /// One of a cluster, and nothing but that.
    OneOfCluster(Box<ConnectionInfo>),
}

/// Who follows a cluster's redirections, and sends again what a node refused for now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Redirections {
    Followed,
    /// Each call reaches a server at most once: what a claim needs, for one that arrives twice would revive its nonce.
    Refused,
}

/// Shared by its clones: calls of all of them go out together, and are told apart by their order.
#[derive(Clone)]
pub enum Connection {
    One(redis::aio::MultiplexedConnection),
    Cluster(redis::cluster_async::ClusterConnection),
}

const CONNECT: Duration = Duration::from_secs(1);

/// A redirected call is sent again this often: a slot that moves is refused for longer than that is worth waiting for.
const RETRIES: u32 = 3;
const RETRY_WAIT_MS: u64 = 50;

/// Bytes that wait to be sent before a caller waits with them: whole flushes go out in few pieces.
const WRITE_BUFFER: usize = 256 << 10;
const WAITING_CALLS: usize = 1_024;

impl Address {
    pub fn parse(url: &str) -> Result<Address, Error> {
        let unknown = |detail: &str| Error::Unusable { place: without_login(url), detail: detail.to_owned() };
        let forms = "it is none of `redis://host:port`, `rediss://host:port` and `redis+cluster://host:port,host:port`";
        let (scheme, rest) = url.split_once("://").ok_or_else(|| unknown(forms))?;
        let (login, hosts) = rest.rsplit_once('@').map_or(("", rest), |(login, hosts)| (login, hosts));
        let (scheme, is_cluster) = match scheme {
            "redis" | "rediss" => (scheme, false),
            "redis+cluster" => ("redis", true),
            "rediss+cluster" => ("rediss", true),
            _ => return Err(unknown(forms)),
        };
        let at = if login.is_empty() { "" } else { "@" };
        let node = |host: &str| format!("{scheme}://{login}{at}{host}").into_connection_info();
        let nodes: RedisResult<Vec<ConnectionInfo>> = hosts.split(',').map(node).collect();
        // The reason may repeat the URL, and with it the password.
        let nodes = nodes.map_err(|_| unknown("a host, a port or the escaping of a password cannot be read"))?;
        let tcp = TcpSettings::default().set_nodelay(true);
        let mut nodes: Vec<_> = nodes.into_iter().map(|node| node.set_tcp_settings(tcp.clone())).collect();
        let nodes = match (is_cluster, nodes.len()) {
            (true, _) => Nodes::Cluster(nodes),
            (false, 1) => Nodes::One(Box::new(nodes.remove(0))),
            (false, _) => return Err(unknown("it names several hosts: those of a cluster follow `redis+cluster://`")),
        };
        Ok(Address { place: without_login(url), nodes })
    }

    pub fn is_cluster(&self) -> bool {
        matches!(self.nodes, Nodes::Cluster(_))
    }

    /// Whether it leads to one node of a cluster.
    pub fn is_node(&self) -> bool {
        matches!(self.nodes, Nodes::OneOfCluster(_))
    }

    /// Hosts and ports of the nodes that it names.
    pub fn nodes(&self) -> Vec<(String, u16)> {
        let nodes = match &self.nodes {
            Nodes::One(node) | Nodes::OneOfCluster(node) => std::slice::from_ref(&**node),
            Nodes::Cluster(nodes) => nodes,
        };
        nodes.iter().filter_map(|node| host_and_port(node.addr())).collect()
    }

    /// A node of this cluster, on the terms of the others.
    pub fn of_node(&self, host: &str, port: u16) -> Address {
        let Nodes::Cluster(nodes) = &self.nodes else { unreachable!("a single server has no nodes") };
        let other = &nodes[0];
        let address = match other.addr() {
            ConnectionAddr::TcpTls { insecure, tls_params, .. } => {
                let (host, insecure, tls_params) = (host.to_owned(), *insecure, tls_params.clone());
                ConnectionAddr::TcpTls { host, port, insecure, tls_params }
            }
            _ => ConnectionAddr::Tcp(host.to_owned(), port),
        };
        let place = format!("{} (node {host}:{port})", self.place);
        Address { place, nodes: Nodes::OneOfCluster(Box::new(other.clone().set_addr(address))) }
    }

    pub async fn connect(&self, redirections: Redirections, patience: Duration) -> RedisResult<Connection> {
        match &self.nodes {
            Nodes::One(node) | Nodes::OneOfCluster(node) => {
                let config = AsyncConnectionConfig::new()
                    .set_connection_timeout(Some(CONNECT))
                    .set_response_timeout(Some(patience))
                    .set_pipeline_buffer_size(WAITING_CALLS)
                    .set_write_backpressure_boundary(WRITE_BUFFER);
                let client = Client::open((**node).clone())?;
                Ok(Connection::One(client.get_multiplexed_async_connection_with_config(&config).await?))
            }
            Nodes::Cluster(nodes) => {
                let retries = if redirections == Redirections::Followed { RETRIES } else { 0 };
                let client = ClusterClientBuilder::new(nodes.iter().cloned())
                    .retries(retries)
                    .max_retry_wait(RETRY_WAIT_MS)
                    .min_retry_wait(RETRY_WAIT_MS / 5)
                    .connection_timeout(CONNECT)
                    .response_timeout(patience)
                    .tcp_settings(TcpSettings::default().set_nodelay(true))
                    .write_backpressure_boundary(WRITE_BUFFER)
                    .build()?;
                Ok(Connection::Cluster(client.get_async_connection().await?))
            }
        }
    }
}

impl Connection {
    /// Asks each primary; of a single server the address is empty.
    pub async fn each_primary(&mut self, cmd: &Cmd) -> RedisResult<Vec<(String, Value)>> {
        let Connection::Cluster(cluster) = self else {
            return Ok(vec![(String::new(), cmd.query_async(self).await?)]);
        };
        let everywhere = RoutingInfo::MultiNode((MultipleNodeRoutingInfo::AllMasters, None));
        let answers = cluster.route_command(cmd.clone(), everywhere).await?;
        redis::from_redis_value(answers).map_err(Into::into)
    }

    /// Asks one of the addresses that [`Connection::each_primary`] told.
    pub async fn at(&mut self, address: &str, cmd: &Cmd) -> RedisResult<Value> {
        let Connection::Cluster(cluster) = self else { return cmd.query_async(self).await };
        let (host, port) = address.rsplit_once(':').unwrap_or((address, ""));
        let node = SingleNodeRoutingInfo::ByAddress { host: host.to_owned(), port: port.parse().unwrap_or(0) };
        cluster.route_command(cmd.clone(), RoutingInfo::SingleNode(node)).await?.extract_error()
    }
}

impl ConnectionLike for Connection {
    fn req_packed_command<'a>(&'a mut self, cmd: &'a Cmd) -> RedisFuture<'a, Value> {
        match self {
            Connection::One(connection) => connection.req_packed_command(cmd),
            Connection::Cluster(connection) => connection.req_packed_command(cmd),
        }
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        pipeline: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        match self {
            Connection::One(connection) => connection.req_packed_commands(pipeline, offset, count),
            Connection::Cluster(connection) => connection.req_packed_commands(pipeline, offset, count),
        }
    }

    fn get_db(&self) -> i64 {
        match self {
            Connection::One(connection) => connection.get_db(),
            Connection::Cluster(connection) => connection.get_db(),
        }
    }
}

fn host_and_port(address: &ConnectionAddr) -> Option<(String, u16)> {
    match address {
        ConnectionAddr::Tcp(host, port) | ConnectionAddr::TcpTls { host, port, .. } => Some((host.clone(), *port)),
        _ => None,
    }
}

fn without_login(url: &str) -> String {
    match (url.split_once("://"), url.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, hosts))) => format!("{scheme}://{hosts}"),
        _ => url.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(url: &str) -> Result<(String, usize), String> {
        let address = Address::parse(url).map_err(|error| error.to_string())?;
        let count = match &address.nodes {
            Nodes::One(_) | Nodes::OneOfCluster(_) => 1,
            Nodes::Cluster(nodes) => nodes.len(),
        };
        Ok((address.place, count))
    }

    #[test]
    fn urls_of_one_server_and_of_clusters_are_read_and_logins_are_kept_out_of_places() {
        assert_eq!(place("redis://r1:7000/3"), Ok(("redis://r1:7000/3".into(), 1)));
        assert_eq!(place("rediss://me:s%40cret@r1"), Ok(("rediss://r1".into(), 1)));
        assert_eq!(place("redis+cluster://a:1,b:2"), Ok(("redis+cluster://a:1,b:2".into(), 2)));
        assert_eq!(place("rediss+cluster://:s@a:1,b:2,c:3"), Ok(("rediss+cluster://a:1,b:2,c:3".into(), 3)));
        let address = Address::parse("redis://me:s%40cret@r1").expect("a URL");
        let Nodes::One(node) = address.nodes else { panic!("one server") };
        assert_eq!((node.redis_settings().username(), node.redis_settings().password()), (Some("me"), Some("s@cret")));
    }

    #[test]
    fn other_urls_are_refused_without_telling_the_password() {
        for url in ["http://:s3cret@r1", "redis+cluster", "redis://:s3cret@a:1,b:2", "redis://:s3cret@r1:port"] {
            let refusal = place(url).expect_err(url);
            assert!(!refusal.contains("s3cret"), "{refusal}");
        }
        assert!(place("redis://a:1,b:2").expect_err("several hosts").contains("redis+cluster://"));
    }
}
