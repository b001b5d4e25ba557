//! On what terms a Redis is used: what a server has to be, checked whenever one is connected to, and what the store
//! was created with.

use std::time::Duration;

use redis::{Value, cmd, pipe};

use super::address::{Address, Connection, Redirections};
use super::failure;
use super::layout::FORMAT;
use crate::online::Error;

pub struct Terms {
    pub address: Address,
    /// The key of what the store was created with.
    pub store: String,
    pub shards: u16,
    /// How long an answer may take.
    pub patience: Duration,
}

/// Functions of scripts that we use came with it: PEXPIREAT with GT, TIME before writes.
const OLDEST: u32 = 7;

impl Terms {
    pub fn place(&self) -> &str {
        &self.address.place
    }

    /// Of one node of the cluster that these are for.
    pub fn of_node(&self, host: &str, port: u16) -> Terms {
        Terms { address: self.address.of_node(host, port), store: self.store.clone(), ..*self }
    }

    /// Connects, and checks what is connected to; one node of a cluster was, with the others.
    pub async fn connect(&self, redirections: Redirections) -> Result<Connection, Error> {
        let failed = |error| failure::of_connecting(self.place(), &error);
        let mut connection = self.address.connect(redirections, self.patience).await.map_err(failed)?;
        if self.address.is_node() {
            return Ok(connection);
        }
        for (node, answer) in connection.each_primary(cmd("INFO").arg("everything")).await.map_err(failed)? {
            let text: String = redis::from_redis_value(answer).map_err(|error| failed(error.into()))?;
            self.check(&node, &Info(&text))?;
        }
        // Refused outside of a transaction, unless the right to have one is lacking: then transactions fail in odd ways.
        let discarded = cmd("DISCARD").query_async::<Value>(&mut connection).await;
        if let Err(error) = discarded
            && failure::is_forbidden(&error)
        {
            return Err(failed(error));
        }
        self.settle(&mut connection).await?;
        // What scripts may do shows only when one runs.
        let script = cmd("EVAL").arg("return redis.call('TIME')").arg(0).to_owned();
        script.query_async::<Value>(&mut connection).await.map_err(failed)?;
        Ok(connection)
    }

    /// The nodes of a cluster are not checked again: that would take all of them, when those that are well are wanted.
    pub async fn connect_again(&self, redirections: Redirections) -> Result<Connection, Error> {
        if !self.address.is_cluster() {
            return self.connect(redirections).await;
        }
        let connected = self.address.connect(redirections, self.patience).await;
        connected.map_err(|error| failure::of_connecting(self.place(), &error))
    }

    fn check(&self, node: &str, info: &Info) -> Result<(), Error> {
        let version = info.field("redis_version").unwrap_or("unknown");
        let major = version.split('.').next().and_then(|major| major.parse().ok()).unwrap_or(0);
        if major < OLDEST {
            return Err(self.unusable(node, &format!("it is version {version}, and {OLDEST}.0 or later is needed")));
        }
        match (info.field("redis_mode"), self.address.is_cluster()) {
            (Some("cluster"), false) => {
                return Err(self.unusable(node, "it is a node of a cluster: its URL begins with `redis+cluster://`"));
            }
            (Some("sentinel"), _) => {
                return Err(self.unusable(node, "it is a sentinel: give the address of the primary"));
            }
            _ => {}
        }
        if info.field("role") == Some("slave") {
            let primary = info.field("master_host").zip(info.field("master_port"));
            let primary = primary.map(|(host, port)| format!(", which is {host}:{port} now")).unwrap_or_default();
            let detail = format!("it is a replica: give the address of the primary{primary}");
            // In the middle of a failover it may be one for a moment.
            return Err(Error::Unavailable(format!("{}: {detail}", self.place_of(node))));
        }
        match info.field("maxmemory_policy") {
            None | Some("noeviction") => Ok(()),
            Some(policy) => Err(self.unusable(
                node,
                &format!(
                    "its `maxmemory-policy` is `{policy}`, which drops rows when memory is short: \
                     run `CONFIG SET maxmemory-policy noeviction` and set it in redis.conf too"
                ),
            )),
        }
    }

    /// Reads what the store was created with, creating it where it is not: one that was emptied begins anew.
    async fn settle(&self, connection: &mut Connection) -> Result<(), Error> {
        let mut create = pipe();
        create.atomic();
        create.hset_nx(&self.store, "format", FORMAT).hset_nx(&self.store, "shards", self.shards);
        create.hget(&self.store, "format").hget(&self.store, "shards");
        let created: Result<(Value, Value, u16, u16), _> = create.query_async(connection).await;
        let (_, _, format, shards) = created.map_err(|error| failure::of_connecting(self.place(), &error))?;
        if format != FORMAT {
            let detail = format!("it was written in format {format}, and this build knows {FORMAT}");
            return Err(self.unusable("", &detail));
        }
        if shards != self.shards {
            let detail = format!("it was created with {shards} shards, not {}: they cannot change", self.shards);
            return Err(self.unusable("", &detail));
        }
        Ok(())
    }

    /// Says what a restart of a server without persistence means.
    pub async fn warn_of_loss(&self, connection: &mut Connection) {
        let Ok(nodes) = connection.each_primary(cmd("INFO").arg("persistence")).await else { return };
        let snapshots = connection.each_primary(cmd("CONFIG").arg("GET").arg("save")).await.unwrap_or_default();
        let saves = |(_, answer): &(String, Value)| {
            redis::from_redis_value(answer.clone()).is_ok_and(|(_, points): (String, String)| !points.is_empty())
        };
        let appends = |(_, answer): &(String, Value)| {
            redis::from_redis_value(answer.clone())
                .is_ok_and(|text: String| Info(&text).field("aof_enabled") != Some("0"))
        };
        if !nodes.iter().all(appends) && !snapshots.iter().all(saves) {
            tracing::warn!(
                "{}: neither `appendonly` nor `save` is set, so a restart empties it: lookups then answer REBUILDING \
                 until every view has been folded from the log again",
                self.place()
            );
        }
    }

    fn unusable(&self, node: &str, detail: &str) -> Error {
        Error::Unusable { place: self.place_of(node), detail: detail.to_owned() }
    }

    fn place_of(&self, node: &str) -> String {
        if node.is_empty() { self.place().to_owned() } else { format!("{} ({node})", self.place()) }
    }
}

/// The answer to INFO: lines of `name:value`.
struct Info<'a>(&'a str);

impl Info<'_> {
    fn field(&self, name: &str) -> Option<&str> {
        self.0.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim_end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(url: &str, info: &str) -> Option<String> {
        let address = Address::parse(url).expect("a URL");
        let terms = Terms { address, store: "{shop:}".into(), shards: 4, patience: Duration::from_secs(1) };
        terms.check("", &Info(info)).err().map(|error| error.to_string())
    }

    #[test]
    fn a_server_has_to_be_a_new_enough_primary_that_evicts_nothing() {
        let fine = "redis_version:7.0.15\r\nredis_mode:standalone\r\nrole:master\r\nmaxmemory_policy:noeviction\r\n";
        assert_eq!(refusal("redis://r1", fine), None);
        for (old, new, said) in [
            ("7.0.15", "6.2.7", "6.2.7"),
            ("standalone", "cluster", "redis+cluster://"),
            ("standalone", "sentinel", "primary"),
            ("role:master", "role:slave\r\nmaster_host:r2\r\nmaster_port:7001", "r2:7001"),
            ("noeviction", "allkeys-lru", "maxmemory-policy noeviction"),
            ("noeviction", "volatile-ttl", "volatile-ttl"),
        ] {
            let refusal = refusal("redis://r1", &fine.replace(old, new)).unwrap_or_else(|| panic!("{new} is refused"));
            assert!(refusal.contains(said) && refusal.contains("redis://r1"), "{refusal}");
        }
        assert_eq!(refusal("redis+cluster://r1", &fine.replace("standalone", "cluster")), None);
    }
}
