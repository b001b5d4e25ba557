//! Bytes of a stored row that nobody wrote, under a checksum that is right: the decoder behind it trusts nothing.

use std::path::Path;

use bytes::Bytes;
use freshet::kernel::codec::Image;
use freshet::kernel::definition::{SourceText, parse};
use freshet::kernel::engine::{Part, read};
use freshet::kernel::plan::{Fingerprint, ViewPlan, compile};
use freshet::kernel::time::EventTime;
use xxhash_rust::xxh3::xxh3_64;

use super::survives;

const CASES: u64 = 20_000;

/// Version and layout before the payload, the checksum after it.
const FRONT: usize = 5;
const CHECKSUM: usize = 4;

#[test]
fn bytes_under_a_right_checksum_that_are_no_row_are_refused_or_read() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/codec/v1/windows_and_ids");
    let text = |extension: &str| std::fs::read_to_string(path.with_extension(extension)).expect("it is there");
    let definitions = parse(&[SourceText { path: "golden".to_owned(), text: text("yaml") }]);
    let view = compile(&definitions.expect("it is right")).views[0].as_ref().clone();
    let golden = text("txt");
    let field = |name: &str| golden.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
    let fingerprint = field("fingerprint").and_then(|text| u64::from_str_radix(text, 16).ok());
    let view = ViewPlan { fingerprint: Fingerprint(fingerprint.expect("sixteen hex digits")), ..view };
    let pieces = ["head", "body", "ids"].map(|name| unhex(field(name).expect("the row has all three")));
    let front = pieces[0][..FRONT].to_vec();
    let payloads = pieces.map(|piece| piece[FRONT..piece.len() - CHECKSUM].to_vec());
    survives(CASES, &payloads, |payload| {
        let mut framed = [&front, payload].concat();
        framed.extend((xxh3_64(&framed) as u32).to_le_bytes());
        let (framed, none) = (Bytes::from(framed), Image::default());
        for image in [
            Image { head: framed.clone(), ..none.clone() },
            Image { body: framed.clone(), ..none.clone() },
            Image { ids: framed.clone(), ..none },
        ] {
            if let Ok(part) = Part::decode(&view, &image) {
                read(&view, &[&part], EventTime::from_micros(1_760_000_000_000_000).expect("a time"));
            }
        }
    });
}

fn unhex(text: &str) -> Vec<u8> {
    let digits = |at: usize| u8::from_str_radix(&text[at..at + 2], 16).expect("pairs of hex digits");
    (0..text.len()).step_by(2).map(digits).collect()
}
