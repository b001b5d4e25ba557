//! The floor under a lookup: axum with one route, which reads values with one command and answers some bytes.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::header;
use axum::response::IntoResponse;
use axum::routing::post;
use redis::Pipeline;
use redis::aio::MultiplexedConnection;
use tokio::net::TcpListener;

const KEY: &str = "floor:";
const WRITES_AT_ONCE: usize = 256;

/// The floor in a process of its own, as the service is.
pub struct Floor {
    pub address: String,
    process: Child,
}

impl Floor {
    /// Over `users` values of `bytes` each.
    pub async fn start(redis: &str, users: usize, bytes: usize) -> Floor {
        let mut connection = connect(redis).await;
        let numbers: Vec<usize> = (0..users).collect();
        for numbers in numbers.chunks(WRITES_AT_ONCE) {
            let mut writes = Pipeline::new();
            numbers.iter().for_each(|number| _ = writes.set(key(number), vec![b'x'; bytes]).ignore());
            writes.exec_async(&mut connection).await.expect("written");
        }
        let mut command = Command::new(std::env::current_exe().expect("this program has a file"));
        command.args(["--floor", redis]).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut process = command.spawn().expect("this program starts");
        let mut lines = BufReader::new(process.stdout.take().expect("it is piped")).lines();
        let address = lines.next().expect("it says where it serves").expect("a text");
        Floor { address, process }
    }
}

impl Drop for Floor {
    fn drop(&mut self) {
        // It may have ended before: then there is nothing to kill.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// For ever: whoever started it ends it.
pub async fn serve(redis: &str) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    println!("{}", listener.local_addr().expect("it is bound"));
    let router = Router::new().route("/{bytes}", post(read)).with_state(connect(redis).await);
    axum::serve(listener, router).await.expect("it serves");
}

/// The body names the users, by commas. Answers `bytes` bytes.
async fn read(
    State(mut redis): State<MultiplexedConnection>,
    Path(bytes): Path<usize>,
    body: Bytes,
) -> impl IntoResponse {
    let users: Vec<&str> = std::str::from_utf8(&body).expect("text").split(',').collect();
    let read: usize = match &users[..] {
        [user] => {
            let value: Vec<u8> = redis::cmd("GET").arg(key(user)).query_async(&mut redis).await.expect("read");
            value.len()
        }
        users => {
            let mut command = redis::cmd("MGET");
            users.iter().for_each(|user| _ = command.arg(key(user)));
            let values: Vec<Vec<u8>> = command.query_async(&mut redis).await.expect("read");
            values.iter().map(Vec::len).sum()
        }
    };
    assert!(read > 0, "the users have values");
    ([(header::CONTENT_TYPE, "application/json")], vec![b'x'; bytes])
}

fn key(user: impl std::fmt::Display) -> String {
    format!("{KEY}{user}")
}

async fn connect(redis: &str) -> MultiplexedConnection {
    let client = redis::Client::open(redis).expect("a URL");
    client.get_multiplexed_async_connection().await.expect("Redis answers")
}
