//! The concrete log, stores and registry that the settings name: the only file that chooses them.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::app::Error;
use crate::app::waiting::Waiting;
use crate::archive::Tiered;
use crate::config::Config;
use crate::event_log::EventLog;
use crate::event_log::embedded::EmbeddedLog;
use crate::event_log::kafka::{self, KafkaLog};
use crate::kernel::key::SHARDS;
use crate::offline::{Archive, Folder};
use crate::online::{self, OnlineStore};
use crate::registry::Registry;
use crate::registry::catalogue::Catalogues;
use crate::registry::postgres::PostgresRegistry;
use crate::registry::sqlite::SqliteRegistry;

pub(super) struct Backends {
    pub log: Arc<dyn EventLog>,
    pub online: Arc<dyn OnlineStore>,
    pub registry: Arc<dyn Registry>,
    pub folder: Folder,
}

impl Backends {
    /// `address` tells this process from others of its host.
    pub async fn open(config: &Config, address: SocketAddr, waiting: &Waiting) -> Result<Backends, Error> {
        create_data_dir(config)?;
        let log = waiting.until_there(async || log(config, address).await).await?;
        let registry = waiting.until_there(async || registry(config).await).await?;
        let shards = waiting.until_there(async || Ok(registry.shards(SHARDS).await?)).await?;
        let online = waiting.until_there(async || online(config, shards).await).await?;
        let folder = waiting.until_there(async || folder(config).await).await?;
        Ok(Backends { log, online, registry, folder })
    }

    /// The log, and the archive below where it begins.
    pub fn tiered_log(&self, catalogues: &Catalogues) -> Arc<Tiered> {
        let (archive, catalogues) = (Archive::new(self.folder.clone()), catalogues.clone());
        Arc::new(Tiered::new(self.log.clone(), archive, move || catalogues.current().plan.sources.clone()))
    }
}

fn create_data_dir(config: &Config) -> Result<(), Error> {
    let root = &config.data_dir;
    std::fs::create_dir_all(root).map_err(|source| Error::Folder { place: root.display().to_string(), source })
}

async fn log(config: &Config, address: SocketAddr) -> Result<Arc<dyn EventLog>, Error> {
    let Some(kafka) = &config.kafka else {
        return Ok(Arc::new(EmbeddedLog::open(&config.data_dir.join("log"))?));
    };
    let options = kafka::Options {
        brokers: kafka.brokers.clone(),
        options: kafka.options.clone(),
        create_topics: kafka.create_topics,
        replication: kafka.replication,
        instance_id: kafka.instance_id.clone().unwrap_or_else(|| instance_id(address)),
        session_timeout: kafka.session_timeout,
    };
    Ok(Arc::new(KafkaLog::connect(options).await?))
}

/// The same after a restart, and another for each process of a host.
fn instance_id(address: SocketAddr) -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname");
    let host = host.or_else(|_| std::env::var("HOSTNAME")).unwrap_or_else(|_| "localhost".to_owned());
    format!("{}-{address}", host.trim())
}

/// The registry alone: for what needs no other part.
pub async fn registry(config: &Config) -> Result<Arc<dyn Registry>, Error> {
    if let Some(url) = &config.registry {
        return Ok(Arc::new(PostgresRegistry::connect(url, &config.project).await?));
    }
    create_data_dir(config)?;
    Ok(Arc::new(SqliteRegistry::open(&config.data_dir.join("registry.sqlite"), &config.project).await?))
}

async fn online(config: &Config, shards: u16) -> Result<Arc<dyn OnlineStore>, Error> {
    if let Some(redis) = &config.redis {
        let options = online::RedisOptions { shards, wait: redis.wait, wait_limit: redis.wait_limit };
        return Ok(Arc::new(online::Redis::open(&redis.url, &config.project, options).await?));
    }
    let options = online::EmbeddedOptions { shards, cache_bytes: config.store_cache_bytes };
    let folder = config.data_dir.join("online").join(config.project.as_str());
    Ok(Arc::new(online::Embedded::open(&folder, options)?))
}

async fn folder(config: &Config) -> Result<Folder, Error> {
    let Some(url) = config.offline.clone() else {
        return Ok(Folder::on_disk(&config.data_dir.join("offline"), &config.project));
    };
    let project = config.project.clone();
    let opened = tokio::task::spawn_blocking(move || Folder::open(&url, &project)).await;
    Ok(opened.map_err(|_| Error::Died)??)
}
