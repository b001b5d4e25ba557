//! A bucket of its own for a test, on the object store that the tests are given.

use std::hash::{BuildHasher, RandomState};
use std::io::{Read, Write};
use std::net::TcpStream;

use freshet::offline::Folder;

pub struct Bucket {
    name: String,
    endpoint: String,
}

impl Bucket {
    pub fn create() -> Bucket {
        let endpoint = std::env::var("S3_ENDPOINT");
        let endpoint = endpoint.expect("S3_ENDPOINT is missing: run ./test, or tests/servers cargo test ...");
        let name = format!("freshet-it-{:016x}", RandomState::new().hash_one("bucket"));
        put(&endpoint, &name, b"");
        Bucket { name, endpoint }
    }

    pub fn url(&self) -> String {
        format!("s3://{}", self.name)
    }

    /// What a process needs to reach it.
    pub fn environment(&self) -> [(&'static str, &str); 4] {
        let endpoint = ("AWS_ENDPOINT", self.endpoint.as_str());
        [endpoint, ("AWS_ALLOW_HTTP", "true"), ("AWS_ACCESS_KEY_ID", "test"), ("AWS_SECRET_ACCESS_KEY", "test")]
    }

    /// As somebody else would put it there.
    pub fn put(&self, path: &str, bytes: &[u8]) {
        put(&self.endpoint, &format!("{}/{path}", self.name), bytes);
    }

    pub fn open(&self) -> Folder {
        let settings = [
            ("aws_endpoint", self.endpoint.as_str()),
            ("aws_allow_http", "true"),
            ("aws_access_key_id", "test"),
            ("aws_secret_access_key", "test"),
        ];
        let settings = settings.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let url = format!("s3://{}/offline", self.name);
        Folder::open_with(&url, &"default".parse().expect("a name"), &settings).expect("opens")
    }
}

fn put(endpoint: &str, path: &str, bytes: &[u8]) {
    let address = endpoint.strip_prefix("http://").expect("the store of the tests has no TLS");
    let mut stream = TcpStream::connect(address).expect("the store answers");
    let head = format!("PUT /{path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n");
    stream.write_all(format!("{head}Content-Length: {}\r\n\r\n", bytes.len()).as_bytes()).expect("asked");
    stream.write_all(bytes).expect("asked");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("answered");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}
