//! Bytes of a stored row that nobody wrote, under a checksum that is right: a lookup answers values or an error, and a part
//! is loaded or refused. What folds and seals trusts the body behind its checksum (`codec`), and is not asked here.

use std::path::Path;

use bytes::Bytes;
use freshet::kernel::codec::{Image, encode_values};
use freshet::kernel::definition::{SourceText, parse};
use freshet::kernel::engine::{Part, Read};
use freshet::kernel::plan::{Fingerprint, ViewPlan, compile};
use freshet::kernel::time::EventTime;
use xxhash_rust::xxh3::xxh3_64;

use super::survives;

const CASES: u64 = 5_000;

/// Version and layout before the payload, the checksum after it.
const FRONT: usize = 5;
const CHECKSUM: usize = 4;

#[test]
fn bytes_under_a_right_checksum_that_are_no_row_are_refused_or_read() {
    for name in ["windows_and_ids", "every_aggregate"] {
        let golden = Golden::of(name);
        let read = |image: &Image| Read::all(&golden.view, golden.as_of).images([image]).map(|reading| reading.values);
        let whole = read(&golden.image).expect("it is whole");
        assert_eq!(encode_values(&whole), golden.values, "what is changed below is read to its end");
        for piece in [head, body] {
            golden.survives_in(piece, |image| drop(read(image)));
        }
        for piece in [head, ids] {
            golden.survives_in(piece, |image| drop(Part::decode(&golden.view, image)));
        }
    }
}

/// A row that was stored once.
struct Golden {
    view: ViewPlan,
    image: Image,
    as_of: EventTime,
    values: Vec<u8>,
}

impl Golden {
    fn of(name: &str) -> Golden {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/codec/v1").join(name);
        let text = |extension: &str| std::fs::read_to_string(path.with_extension(extension)).expect("it is there");
        let definitions = parse(&[SourceText { path: "golden".to_owned(), text: text("yaml") }]);
        let view = compile(&definitions.expect("it is right")).views[0].as_ref().clone();
        let golden = text("txt");
        let field = |name: &str| {
            let line = golden.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            line.expect("the row has all fields").trim()
        };
        let bytes = |name: &str| Bytes::from(unhex(field(name)));
        let fingerprint = Fingerprint(u64::from_str_radix(field("fingerprint"), 16).expect("sixteen hex digits"));
        Golden {
            view: ViewPlan { fingerprint, ..view },
            image: Image { head: bytes("head"), body: bytes("body"), ids: bytes("ids") },
            as_of: field("as_of").parse().expect("a time"),
            values: unhex(field("values")),
        }
    }

    /// Changes one piece of the row, and leaves the others whole.
    fn survives_in(&self, piece: fn(&mut Image) -> &mut Bytes, check: impl Fn(&Image)) {
        let whole = piece(&mut self.image.clone()).clone();
        if whole.is_empty() {
            return;
        }
        let payload = whole[FRONT..whole.len() - CHECKSUM].to_vec();
        survives(CASES, &[payload], |payload| {
            let mut framed = [&whole[..FRONT], payload].concat();
            framed.extend((xxh3_64(&framed) as u32).to_le_bytes());
            let mut image = self.image.clone();
            *piece(&mut image) = Bytes::from(framed);
            check(&image);
        });
    }
}

fn head(image: &mut Image) -> &mut Bytes {
    &mut image.head
}

fn body(image: &mut Image) -> &mut Bytes {
    &mut image.body
}

fn ids(image: &mut Image) -> &mut Bytes {
    &mut image.ids
}

fn unhex(text: &str) -> Vec<u8> {
    let digits = |at: usize| u8::from_str_radix(&text[at..at + 2], 16).expect("pairs of hex digits");
    (0..text.len()).step_by(2).map(digits).collect()
}
