//! Why a service does not start, or cannot go on.

use std::io;
use std::net::SocketAddr;

use crate::app::tls;
use crate::archive;
use crate::backfill;
use crate::event_log;
use crate::kernel::name::Name;
use crate::offline;
use crate::online;
use crate::registry;
use crate::stream;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot listen on {address}")]
    Listen { address: SocketAddr, source: io::Error },
    #[error(
        "whoever reaches {address} could do anything, for project `{project}` has no API keys: make one with \
         `freshet keys create NAME --scope admin --local` and these settings; or allow it with `--insecure` \
         (FRESHET_INSECURE=true); or listen on a loopback address"
    )]
    Open { address: SocketAddr, project: Name },
    #[error(transparent)]
    Tls(#[from] tls::Error),
    #[error("the operating system gives no random number")]
    Random(#[from] getrandom::Error),
    #[error("cannot create {place}")]
    Folder { place: String, source: io::Error },
    #[error("cannot remove {place}")]
    Remove { place: String, source: io::Error },
    #[error(transparent)]
    Log(#[from] event_log::Error),
    #[error(transparent)]
    Online(#[from] online::Error),
    #[error(transparent)]
    Registry(#[from] registry::Error),
    #[error(transparent)]
    Offline(#[from] offline::Error),
    #[error(transparent)]
    Backfill(#[from] backfill::Error),
    #[error("the stream worker stopped")]
    Stream(#[from] stream::Error),
    #[error("the archive stopped")]
    Archive(#[from] archive::Error),
    #[error("the server stopped")]
    Server(#[source] io::Error),
    #[error("a part of the service died of a mistake in Freshet itself; the lines above say where")]
    Died,
}

impl Error {
    /// Whether a server is away that may come back.
    pub(super) fn is_transient(&self) -> bool {
        match self {
            Error::Log(error) => error.is_transient(),
            Error::Online(error) => error.is_transient(),
            Error::Registry(error) => error.is_transient(),
            Error::Offline(error) => error.is_transient(),
            _ => false,
        }
    }
}
