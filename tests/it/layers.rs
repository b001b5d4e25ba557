//! The import directions that lib.rs draws, read from the `crate::` paths of the sources: the compiler does not
//! check them within one crate.

use std::fs;
use std::path::{Path, PathBuf};

/// Left may not use right. A row lists rooms of one layer; a room may use the rooms of the rows above its own.
const LAYERS: &[&[&str]] = &[
    &["kernel"],
    &["clock", "telemetry", "exclusive_folder"],
    &["event_log", "online", "offline", "registry"],
    &["batch"],
    &["stream", "archive", "backfill", "training", "parity", "serving"],
    &["config"],
    &["api"],
    &["app"],
    &["cli"],
];

/// The same within the kernel. `engine` and `codec` share a row and are one pair: rows are what the engine reads.
const KERNEL_LAYERS: &[&[&str]] = &[
    &["time", "name"],
    &["value"],
    &["key"],
    &["window", "expr"],
    &["aggregate"],
    &["definition"],
    &["plan"],
    &["event"],
    &["engine", "codec"],
];

const KERNEL_BANS: &[&str] = &[
    "tokio",
    "std::fs",
    "std::net",
    "std::process",
    "std::thread",
    "std::env",
    "SystemTime",
    "Instant",
    "getrandom",
    "thread_rng",
    "fjall",
    "rdkafka",
    "redis::",
    "sqlx",
    "reqwest",
    "object_store",
    "axum",
    "async fn",
    ".await",
];

/// Each client crate, and the only files that may name it; `*`: those of a folder.
const SDKS: &[(&str, &[&str])] = &[
    ("datafusion_physical_plan::", &["src/batch/*", "src/training/point_in_time/*", "src/training/job.rs"]),
    ("fjall::", &["src/online/embedded/database.rs", "src/event_log/embedded/store.rs"]),
    (
        "rdkafka::",
        &[
            "src/event_log/kafka/consumer.rs",
            "src/event_log/kafka/lines.rs",
            "src/event_log/kafka/member.rs",
            "src/event_log/kafka/member/assignment.rs",
            "src/event_log/kafka/member/ownership.rs",
            "src/event_log/kafka/native.rs",
            "src/event_log/kafka/producer.rs",
            "src/event_log/kafka/settings.rs",
            "src/event_log/kafka/tests.rs",
            "src/event_log/kafka/topics.rs",
        ],
    ),
    ("object_store::", &["src/offline/folder/remote.rs"]),
    ("opentelemetry", &["src/telemetry/traces/*"]),
    // The module has the crate's name.
    ("redis::", &["src/online/mod.rs", "src/online/redis.rs", "src/online/redis/*"]),
    ("sqlx::", &["src/registry/sqlite.rs", "src/registry/postgres.rs"]),
];

#[test]
fn rooms_use_only_rooms_above_them() {
    let sources = rust_files(Path::new("src"));
    assert!(sources.len() > 20, "run from the root of the project");
    let wrong: Vec<String> = sources.iter().flat_map(|file| wrong_uses(file, &read(file))).collect();
    assert!(wrong.is_empty(), "imports against the layers:\n{}", wrong.join("\n"));
}

#[test]
fn the_kernel_has_no_io_no_clock_no_chance_and_no_async() {
    let wrong: Vec<String> =
        rust_files(Path::new("src/kernel")).iter().flat_map(|file| bans(file, &read(file), KERNEL_BANS)).collect();
    assert!(wrong.is_empty(), "not allowed in the kernel:\n{}", wrong.join("\n"));
}

#[test]
fn a_client_crate_is_named_in_its_own_file_alone() {
    for (sdk, homes) in SDKS {
        let elsewhere = rust_files(Path::new("src"))
            .into_iter()
            .filter(|file| !homes.iter().any(|home| is_home(file, home)))
            .flat_map(|file| bans(&file, &read(&file), &[sdk]));
        let wrong: Vec<String> = elsewhere.collect();
        assert!(wrong.is_empty(), "{sdk} belongs in {homes:?}:\n{}", wrong.join("\n"));
    }
}

#[test]
fn the_checks_can_fail() {
    let wrong = |path: &str, code: &str| wrong_uses(Path::new(path), code).len();
    assert_eq!(wrong("src/kernel/time.rs", "use crate::online::Error;"), 1);
    assert_eq!(wrong("src/kernel/time.rs", "use crate::kernel::plan::Plan;"), 1);
    assert_eq!(wrong("src/stream/run.rs", "let it = crate::training::cut();"), 1);
    assert_eq!(wrong("src/online/memory.rs", "use crate::event_log::EventLog;"), 1);
    assert_eq!(wrong("src/online/memory.rs", "use crate::{kernel, event_log};"), 1);
    assert_eq!(wrong("src/api/mod.rs", "use crate::serving::lookup;"), 0);
    assert_eq!(bans(Path::new("src/kernel/x.rs"), "use std::fs;", KERNEL_BANS).len(), 1);
    assert_eq!(bans(Path::new("src/kernel/x.rs"), "/// unlike tokio, std::fs", KERNEL_BANS).len(), 0);
}

fn is_home(file: &Path, home: &str) -> bool {
    home.strip_suffix("/*").map_or(file.ends_with(home), |folder| file.ancestors().any(|it| it.ends_with(folder)))
}

fn wrong_uses(file: &Path, code: &str) -> Vec<String> {
    let room = room_of(file, "src");
    let mut wrong = Vec::new();
    for (number, line) in code_lines(code) {
        if line.contains("crate::{") || line.contains("crate::kernel::{") {
            wrong.push(format!("{}:{number}: name one room a `use`, so that this check can read it", file.display()));
        }
        for used in paths_after(line, "crate::") {
            if forbidden(LAYERS, &room, &used) {
                wrong.push(format!("{}:{number}: `{room}` uses `{used}`", file.display()));
            }
        }
        for used in paths_after(line, "crate::kernel::").filter(|_| room == "kernel") {
            let inner = room_of(file, "src/kernel");
            if forbidden(KERNEL_LAYERS, &inner, &used) {
                wrong.push(format!("{}:{number}: kernel `{inner}` uses `{used}`", file.display()));
            }
        }
    }
    wrong
}

/// Two different rooms of one row may not use each other either, but for the pair of engine and codec.
fn forbidden(layers: &[&[&str]], user: &str, used: &str) -> bool {
    let layer = |room: &str| layers.iter().position(|row| row.contains(&room));
    match (layer(user), layer(used)) {
        (Some(user_layer), Some(used_layer)) => {
            let pair = ["engine", "codec"];
            let paired = pair.contains(&user) && pair.contains(&used);
            let shared = ["clock", "telemetry"].contains(&used) && user != "kernel";
            user != used && used_layer >= user_layer && !paired && !shared
        }
        _ => false,
    }
}

fn bans(file: &Path, code: &str, banned: &[&str]) -> Vec<String> {
    code_lines(code)
        .filter_map(|(number, line)| {
            let found = banned.iter().find(|ban| line.contains(**ban))?;
            Some(format!("{}:{number}: `{found}` in `{}`", file.display(), line.trim()))
        })
        .collect()
}

/// Lines without comments, numbered from 1.
fn code_lines(code: &str) -> impl Iterator<Item = (usize, &str)> {
    code.lines()
        .enumerate()
        .filter(|(_, line)| !line.trim_start().starts_with("//"))
        .map(|(index, line)| (index + 1, line))
}

/// The first segment after each `prefix` in the line.
fn paths_after<'a>(line: &'a str, prefix: &'a str) -> impl Iterator<Item = String> + 'a {
    line.match_indices(prefix).map(move |(at, _)| {
        line[at + prefix.len()..].chars().take_while(|c| c.is_ascii_lowercase() || *c == '_').collect()
    })
}

fn room_of(file: &Path, root: &str) -> String {
    let inside = file.strip_prefix(root).ok().and_then(|rest| rest.components().next());
    let first = inside.map(|part| part.as_os_str().to_string_lossy().into_owned()).unwrap_or_default();
    first.trim_end_matches(".rs").to_owned()
}

pub fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).expect("the folder is there").map(|entry| entry.expect("readable").path()) {
        if entry.is_dir() {
            files.extend(rust_files(&entry));
        } else if entry.extension().is_some_and(|extension| extension == "rs") {
            files.push(entry);
        }
    }
    files
}

pub fn read(file: &Path) -> String {
    fs::read_to_string(file).expect("a source file is UTF-8")
}
