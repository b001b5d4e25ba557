//! What a folder promises, wherever it is: one suite, on disk and on an object store.

use std::io::{Read, Seek};
use std::path::Path as DiskPath;
use std::sync::Barrier;

use super::*;

pub fn project(root: &DiskPath) -> Folder {
    Folder::on_disk(root, &"default".parse().expect("a name"))
}

/// A bucket of its own on the test's object store, under another prefix with each call.
struct Bucket {
    name: String,
    settings: Vec<(String, String)>,
}

impl Bucket {
    fn create() -> Bucket {
        let endpoint = std::env::var("S3_ENDPOINT");
        let endpoint = endpoint.expect("S3_ENDPOINT is missing: run ./test, or tests/servers cargo test ...");
        let name = format!("freshet-test-{:016x}", RandomState::new().hash_one("bucket"));
        put_bucket(&endpoint, &name);
        let settings = [
            ("aws_endpoint", endpoint.as_str()),
            ("aws_allow_http", "true"),
            ("aws_access_key_id", "test"),
            ("aws_secret_access_key", "test"),
        ];
        Bucket { name, settings: settings.map(|(name, value)| (name.to_owned(), value.to_owned())).into() }
    }

    fn open(&self, prefix: &str) -> Result<Folder, Error> {
        let url = format!("s3://{}/{prefix}", self.name);
        Folder::open_with(&url, &"default".parse().expect("a name"), &self.settings)
    }
}

/// The client of the stores knows no buckets.
fn put_bucket(endpoint: &str, name: &str) {
    let address = endpoint.strip_prefix("http://").expect("the store of the tests has no TLS");
    let mut stream = std::net::TcpStream::connect(address).expect("the store answers");
    let request = format!("PUT /{name} HTTP/1.1\r\nHost: {address}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("asked");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("answered");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

/// `open` opens the same folder each time, and another for another name.
fn conforms(open: impl Fn(&str) -> Folder + Sync) {
    of_two_that_create_a_path_one_succeeds_and_the_file_is_its(&open("two"), &open("two"));
    of_many_that_create_a_path_at_once_one_succeeds(|| open("many"));
    what_does_not_exist_is_empty_and_not_an_error(&open("nothing"));
    a_listing_names_files_and_folders_in_order_and_nothing_hidden(&open("list"));
    a_listing_after_a_name_has_what_sorts_behind_it(&open("after"));
    several_files_are_read_in_the_order_they_are_asked_for(&open("several"));
    an_output_replaces_what_was_there_once_it_is_published(&open("output"));
    an_output_of_many_parts_arrives_whole(&open("large"));
    the_parts_of_a_file_are_the_whole_of_it(&open("parts"));
    a_kill_at_any_operation_leaves_the_whole_file_or_none(&open);
}

fn of_two_that_create_a_path_one_succeeds_and_the_file_is_its(one: &Folder, other: &Folder) {
    assert_eq!(one.create("a/b", b"one").expect("created"), Created::Done);
    assert_eq!(other.create("a/b", b"other").expect("refused"), Created::AlreadyExists);
    assert_eq!(one.create("a/b", b"one").expect("refused"), Created::AlreadyExists, "its own too");
    assert_eq!(other.get("a/b").expect("read").as_deref(), Some(&b"one"[..]));
}

fn a_listing_after_a_name_has_what_sorts_behind_it(folder: &Folder) {
    for name in ["b/1", "b/3", "b/5", "a/9", "c/2"] {
        folder.create(name, b"").expect("created");
    }
    let after = |name| folder.list_after("b", name).expect("listed");
    assert_eq!(after(None), ["1", "3", "5"]);
    assert_eq!(after(Some("1")), ["3", "5"]);
    assert_eq!(after(Some("2")), ["3", "5"]);
    assert_eq!(after(Some("5")), [""; 0]);
    assert_eq!(folder.list_after("none", Some("1")).expect("listed"), [""; 0]);
}

fn several_files_are_read_in_the_order_they_are_asked_for(folder: &Folder) {
    let paths: Vec<String> = (0..70).rev().map(|number| format!("several/{number}")).collect();
    for path in &paths {
        assert_eq!(folder.create(path, path.as_bytes()).expect("created"), Created::Done);
    }
    let read = folder.read_all(&paths).expect("read");
    assert!(read.iter().zip(&paths).all(|(file, path)| *file == *path.as_bytes()), "{read:?}");
    assert_eq!(read.len(), paths.len());
    let missing = folder.read_all(&["several/0".to_owned(), "several/x".to_owned()]).expect_err("one is gone");
    assert!(missing.to_string().contains("several/x"), "{missing}");
    assert!(folder.read_all(&[]).expect("read").is_empty());
}

fn of_many_that_create_a_path_at_once_one_succeeds(open: impl Fn() -> Folder + Sync) {
    for round in 0..10 {
        let start = Barrier::new(4);
        let race = |racer: u8| {
            let folder = open();
            start.wait();
            folder.create(&format!("race-{round}"), &[racer]).expect("answered")
        };
        let outcomes = std::thread::scope(|scope| {
            let racers: Vec<_> = (0..4).map(|racer| scope.spawn(move || race(racer))).collect();
            racers.into_iter().map(|racer| racer.join().expect("no panic")).collect::<Vec<_>>()
        });
        let won: Vec<u8> = (0..4).filter(|racer| outcomes[usize::from(*racer)] == Created::Done).collect();
        assert_eq!(won.len(), 1, "round {round}");
        assert_eq!(open().get(&format!("race-{round}")).expect("read").as_deref(), Some(&won[..]));
    }
}

fn what_does_not_exist_is_empty_and_not_an_error(folder: &Folder) {
    assert_eq!(folder.list("nothing").expect("listed"), Vec::<String>::new());
    assert_eq!(folder.get("nothing").expect("read"), None);
    folder.delete("nothing").expect("nothing to delete");
    assert!(matches!(folder.read("nothing"), Err(Error::Damaged { path, .. }) if path == "nothing"));
}

fn a_listing_names_files_and_folders_in_order_and_nothing_hidden(folder: &Folder) {
    for path in ["day/b", "day/.hidden", "day/a/x", "day/a/y", "dayless", "day/dt=2026-11-21/file.parquet"] {
        folder.create(path, b"x").expect("created");
    }
    assert_eq!(folder.list("day").expect("listed"), ["a", "b", "dt=2026-11-21"]);
    assert_eq!(folder.list("day/a").expect("listed"), ["x", "y"]);
    assert_eq!(folder.list("day/dt=2026-11-21").expect("listed"), ["file.parquet"]);
    folder.delete("day/a/x").expect("deleted");
    assert_eq!(folder.list("day/a").expect("listed"), ["y"]);
}

fn an_output_replaces_what_was_there_once_it_is_published(folder: &Folder) {
    folder.create("results/out", b"before").expect("created");
    let mut dropped = folder.output("results/out").expect("begun");
    dropped.write_all(b"never").expect("written");
    drop(dropped);
    let mut output = folder.output("results/out").expect("begun");
    output.write_all(b"af").expect("written");
    output.write_all(b"ter").expect("written");
    assert_eq!(folder.get("results/out").expect("read").as_deref(), Some(&b"before"[..]));
    output.publish().expect("published");
    assert_eq!(folder.get("results/out").expect("read").as_deref(), Some(&b"after"[..]));
    assert_eq!(folder.list("results").expect("listed"), ["out"]);
}

fn an_output_of_many_parts_arrives_whole(folder: &Folder) {
    let part = |number: u8| vec![number; 1 << 20];
    let mut output = folder.output("large").expect("begun");
    (0..12).for_each(|number| output.write_all(&part(number)).expect("written"));
    output.publish().expect("published");
    let whole = folder.read("large").expect("read");
    assert!(whole[..] == (0..12).flat_map(part).collect::<Vec<_>>(), "{} bytes", whole.len());
    let mut dropped = folder.output("dropped").expect("begun");
    (0..12).for_each(|number| dropped.write_all(&part(number)).expect("written"));
    drop(dropped);
    assert_eq!(folder.get("dropped").expect("read"), None);
}

fn the_parts_of_a_file_are_the_whole_of_it(folder: &Folder) {
    let bytes: Vec<u8> = (0..10_000_019_u32).map(|place| (place % 251) as u8).collect();
    for (path, bytes) in [("empty", &b""[..]), ("small", &b"whole"[..]), ("large", &bytes[..])] {
        folder.create(path, bytes).expect("created");
        let size = folder.size(path).expect("asked").expect("there is one");
        assert_eq!(size, bytes.len() as u64);
        let parts: Vec<Bytes> = Folder::parts(size).map(|part| folder.part(path, part).expect("read")).collect();
        assert_eq!(parts.len(), bytes.len().div_ceil(4 << 20), "{path}");
        assert!(parts.concat() == bytes, "{path} is another in parts");
        let mut read = Vec::new();
        let mut local = folder.local(path).expect("opened").expect("there is one");
        local.rewind().and_then(|()| local.read_to_end(&mut read)).expect("read");
        assert!(read == bytes, "{path} is another on this machine");
    }
    assert_eq!(folder.size("nothing").expect("asked"), None);
    assert!(folder.local("nothing").expect("asked").is_none());
    assert!(folder.part("nothing", 0..1).is_err());
}

fn a_kill_at_any_operation_leaves_the_whole_file_or_none(open: &impl Fn(&str) -> Folder) {
    for operations in 0.. {
        let name = format!("kill-{operations}");
        let dying = open(&name);
        dying.kill_after(operations);
        let outcome = dying.create("a/b/c", b"whole");
        let survivor = open(&name);
        let found = survivor.get("a/b/c").expect("read");
        assert!(found.is_none() || found.as_deref() == Some(b"whole"), "after {operations} operations: {found:?}");
        assert!(survivor.list("a/b").expect("listed").iter().all(|name| name == "c"));
        if outcome.is_ok() {
            assert!(operations > 0 && found.is_some());
            return;
        }
    }
}

#[test]
fn a_folder_on_disk_conforms() {
    let root = tempfile::tempdir().expect("a folder");
    conforms(|name| project(&root.path().join(name)));
}

#[test]
fn a_folder_on_s3_conforms() {
    let bucket = Bucket::create();
    conforms(|name| bucket.open(name).expect("opens"));
}

#[test]
fn a_folder_on_s3_is_used_from_tasks_too() {
    let bucket = Bucket::create();
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    runtime.block_on(async {
        let folder = bucket.open("").expect("opens");
        assert_eq!(folder.create("a", b"a").expect("created"), Created::Done);
        assert_eq!(folder.place_of("a"), format!("s3://{}/default/a", bucket.name));
    });
}

#[test]
fn a_folder_that_cannot_be_opened_says_what_to_mend() {
    let mut bucket = Bucket::create();
    bucket.name.push_str("-missing");
    let missing = bucket.open("prefix").expect_err("no such bucket");
    assert!(missing.to_string().contains("there is no such bucket") && !missing.is_transient(), "{missing}");
    let unknown = Folder::open("ftp://host/folder", &"default".parse().expect("a name")).expect_err("unknown");
    assert!(unknown.to_string().contains("neither a folder nor `file://…`"), "{unknown}");
}

#[cfg(not(feature = "gcs"))]
#[test]
fn a_store_that_the_build_leaves_out_names_the_feature() {
    let absent = Folder::open("gs://bucket/prefix", &"default".parse().expect("a name")).expect_err("left out");
    assert!(absent.to_string().contains("`--features gcs`"), "{absent}");
}
