//! What an error of Redis means for the caller of the store, in plain words.

use redis::{ErrorKind, RedisError, ServerErrorKind};

use crate::online::Error;

/// What a user of the server has to be allowed.
pub const RIGHTS: &str = "+@read +@write +@scripting +@transaction +@connection +info +time +wait +cluster";

/// What the connection is worth after an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    Sound,
    /// Cut, silent for too long, or to a server that is no primary any more.
    Broken,
}

pub fn link_after(error: &RedisError) -> Link {
    match error.kind() {
        ErrorKind::Io | ErrorKind::Parse | ErrorKind::ClusterConnectionNotFound => Link::Broken,
        ErrorKind::Server(ServerErrorKind::ReadOnly | ServerErrorKind::MasterDown) => Link::Broken,
        _ => Link::Sound,
    }
}

/// Of a call on a connection that was made and checked. Most is worth trying again: servers start, fail over, move
/// slots and fill up, and none of that is for ever.
pub fn of_call(place: &str, error: &RedisError) -> Error {
    let detail = match error.kind() {
        _ if error.code() == Some("WRONGTYPE") => {
            let detail = "a key of this project holds something else: another program writes under its name".to_owned();
            return Error::Damaged { place: place.to_owned(), detail };
        }
        ErrorKind::Io if error.is_timeout() => "it did not answer in time".to_owned(),
        ErrorKind::Server(ServerErrorKind::BusyLoading) => "it is loading its data set".to_owned(),
        ErrorKind::Server(ServerErrorKind::ReadOnly) => "it has become a replica".to_owned(),
        ErrorKind::Server(ServerErrorKind::ClusterDown) => {
            "the cluster is down: not all of its slots are served".to_owned()
        }
        ErrorKind::Server(ServerErrorKind::TryAgain | ServerErrorKind::Ask | ServerErrorKind::Moved) => {
            "a slot is moving to another node".to_owned()
        }
        _ if error.code() == Some("OOM") => {
            "it has reached `maxmemory`: raise it, or drop views that are no longer read".to_owned()
        }
        _ => error.to_string(),
    };
    Error::Unavailable(format!("{place}: {detail}"))
}

/// What a script or a part of a transaction may not do is no error of its own kind.
pub fn is_forbidden(error: &RedisError) -> bool {
    let text = error.to_string();
    error.kind() == ErrorKind::Server(ServerErrorKind::NoPerm)
        || ["NoPerm", "can't run this command"].iter().any(|words| text.contains(words))
}

/// Of a new connection and its first calls: a mistake in the settings shows here.
pub fn of_connecting(place: &str, error: &RedisError) -> Error {
    let unusable = |detail: &str| Error::Unusable { place: place.to_owned(), detail: detail.to_owned() };
    let text = error.to_string();
    match (error.kind(), error.code()) {
        (ErrorKind::AuthenticationFailed, _) | (_, Some("WRONGPASS" | "NOAUTH")) => {
            unusable("user or password is refused: write them into the URL, as in `redis://user:password@host:port`")
        }
        _ if is_forbidden(error) => unusable(&format!(
            "the user may not do what a store needs ({text}): give it `{RIGHTS}`, and the keys `{{<project>*`"
        )),
        _ if text.contains("cluster support disabled") => {
            unusable("it is a single server: its URL begins with `redis://`")
        }
        (ErrorKind::InvalidClientConfig, _) => unusable(&text),
        _ => of_call(place, error),
    }
}
