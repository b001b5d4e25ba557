//! Rows that were stored once stay readable: `tests/golden/codec/v1/` holds rows as bytes, each beside the
//! definition that it was written for, and the values that they must read as. Files are added, never rewritten: a
//! definition without bytes gets them when the tests run with `FRESHET_WRITE_GOLDEN=1`.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use freshet::kernel::codec::{self, Image, encode_values};
use freshet::kernel::definition::{SourceText, parse};
use freshet::kernel::engine::{Counts, Part, prepare, read};
use freshet::kernel::event::{self, RawRecord};
use freshet::kernel::plan::{Fingerprint, ViewPlan, compile};
use freshet::kernel::time::EventTime;

/// A row as the file has it.
#[derive(Debug, PartialEq)]
struct Golden {
    fingerprint: Fingerprint,
    image: Image,
    as_of: EventTime,
    values: Vec<u8>,
}

#[test]
fn rows_of_the_first_version_read_as_they_did() {
    for path in definitions() {
        let (view, golden) = (view(&path), golden(&path));
        // What names a layout may change from release to release; stored bytes keep the name that they were given.
        let view = ViewPlan { fingerprint: golden.fingerprint, ..view };
        let part = Part::decode(&view, &golden.image).expect("golden bytes read");
        let values = encode_values(&read(&view, &[&part], golden.as_of).values);
        assert_eq!(hex(&values), hex(&golden.values), "{}", path.display());
    }
}

#[test]
fn the_same_events_are_written_as_the_same_bytes() {
    for path in definitions() {
        assert_eq!(written(&view(&path)), golden(&path), "{}", path.display());
    }
}

#[test]
fn a_row_that_was_cut_or_changed_anywhere_is_refused() {
    let pieces: [fn(&mut Image) -> &mut Bytes; 3] =
        [|image| &mut image.head, |image| &mut image.body, |image| &mut image.ids];
    let path = definitions().into_iter().find(|path| path.ends_with("windows_and_ids.yaml")).expect("it is there");
    let (view, image) = (view(&path), golden(&path).image);
    for piece in pieces {
        let whole = piece(&mut image.clone()).clone();
        assert!(!whole.is_empty(), "the row has all three pieces");
        let cut = (1..whole.len()).map(|length| whole.slice(..length));
        let changed = (0..whole.len()).flat_map(|at| [0x01, 0x80, 0xff].map(|mask| flipped(&whole, at, mask)));
        for damaged in cut.chain(changed) {
            let mut image = image.clone();
            *piece(&mut image) = damaged;
            assert!(Part::decode(&view, &image).is_err(), "{image:?}");
        }
    }
}

#[test]
fn a_row_of_another_layout_or_a_later_version_is_told_apart_from_damage() {
    let path = &definitions()[0];
    let (view, golden) = (view(path), golden(path));
    let other = ViewPlan { fingerprint: Fingerprint(1), ..view.clone() };
    assert_eq!(Part::decode(&other, &golden.image).err(), Some(codec::Error::Layout));
    let later = Image { head: flipped(&golden.image.head, 0, 3), ..golden.image };
    assert_eq!(Part::decode(&view, &later).err(), Some(codec::Error::Version { found: 2, newest: 1 }));
}

fn flipped(whole: &Bytes, at: usize, mask: u8) -> Bytes {
    let mut bytes = whole.to_vec();
    bytes[at] ^= mask;
    Bytes::from(bytes)
}

fn definitions() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/codec/v1");
    let files = std::fs::read_dir(folder).expect("the folder is part of the project");
    let paths = files.map(|file| file.expect("a file of the folder").path());
    let mut paths: Vec<PathBuf> = paths.filter(|path| path.extension().is_some_and(|it| it == "yaml")).collect();
    paths.sort();
    paths
}

fn view(path: &Path) -> ViewPlan {
    let text = std::fs::read_to_string(path).expect("a definition is text");
    let parsed = parse(&[SourceText { path: path.display().to_string(), text }]);
    compile(&parsed.unwrap_or_else(|found| panic!("{found:#?}"))).views[0].as_ref().clone()
}

/// Forty events, two minutes apart, some of them twice, flushed half way and at the end.
fn written(view: &ViewPlan) -> Golden {
    let records: Vec<RawRecord> = (0..40).flat_map(|n| vec![record(n); if n % 10 == 3 { 2 } else { 1 }]).collect();
    let (mut part, mut image) = (Part::new(view), Image::default());
    for half in records.chunks(records.len() / 2 + 1) {
        let prepared = prepare(view, &event::decode(&view.source, half).events);
        (0..prepared.entrants.len()).for_each(|it| part.fold(view, &prepared, it, &mut Counts::default()));
        let flushed = part.flush(view, time(0));
        image.head = flushed.head;
        image.body = flushed.body.unwrap_or(image.body);
        image.ids = flushed.ids.unwrap_or(image.ids);
    }
    let as_of = time(80 * 60);
    let values = encode_values(&read(view, &[&part], as_of).values);
    Golden { fingerprint: view.fingerprint, image, as_of, values }
}

fn record(n: i64) -> RawRecord {
    let value = format!(
        r#"{{"id": "e{n}", "at": {at}, "user_id": "u", "amount": {amount}, "quantity": {n}, "price": "{price}.07",
            "item": "item-{item}", "day": "2026-01-{day:02}", "fresh": {fresh}}}"#,
        at = time(n * 120).micros() + n,
        amount = [0.1, -2.5, 1e300, 7.0, 5e-324][n as usize % 5],
        price = n * 19 - 100,
        item = n * n % 7,
        day = n % 28 + 1,
        fresh = n % 3 == 0,
    );
    RawRecord { partition: 3, offset: n as u64, ingestion_time: time(n * 120 + 1), value: value.into() }
}

fn time(second: i64) -> EventTime {
    EventTime::from_micros(1_760_000_000_000_000 + second * 1_000_000).expect("a time of this century")
}

fn golden(path: &Path) -> Golden {
    let file = path.with_extension("txt");
    if !file.exists() && std::env::var_os("FRESHET_WRITE_GOLDEN").is_some() {
        std::fs::write(&file, to_text(&written(&view(path)))).expect("the folder can be written");
    }
    from_text(&std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display())))
}

fn to_text(golden: &Golden) -> String {
    let Golden { fingerprint, image, as_of, values } = golden;
    let (head, body, ids, values) = (hex(&image.head), hex(&image.body), hex(&image.ids), hex(values));
    format!("fingerprint: {fingerprint}\nhead: {head}\nbody: {body}\nids: {ids}\nas_of: {as_of}\nvalues: {values}\n")
}

fn from_text(text: &str) -> Golden {
    let field = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.unwrap_or_else(|| panic!("no `{name}:` in {text}")).trim()
    };
    Golden {
        fingerprint: Fingerprint(u64::from_str_radix(field("fingerprint"), 16).expect("sixteen hex digits")),
        image: Image {
            head: unhex(field("head")).into(),
            body: unhex(field("body")).into(),
            ids: unhex(field("ids")).into(),
        },
        as_of: field("as_of").parse().expect("a time"),
        values: unhex(field("values")),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a string takes all");
        text
    })
}

fn unhex(text: &str) -> Vec<u8> {
    let digits = |at: usize| u8::from_str_radix(&text[at..at + 2], 16).expect("pairs of hex digits");
    (0..text.len()).step_by(2).map(digits).collect()
}
