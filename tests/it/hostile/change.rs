//! Changes to bytes: flips, cuts, repetitions, pieces of another document, and words that have broken parsers before.

use fastrand::Rng;

/// Of all formats together: what is harmless in one is a delimiter in another.
const WORDS: [&str; 26] = [
    "\0",
    "\u{feff}",
    "\r\n",
    "\t",
    "---\n",
    "&a ",
    "*a",
    "!!binary ",
    "{",
    "}",
    "[",
    "]",
    "\"",
    "'",
    "\\u0000",
    "\\ud800",
    "null",
    "-0",
    "1e999",
    "9223372036854775808",
    "0x7f",
    "NaN",
    "9999-12-31T23:59:60Z",
    "𝒳é",
    "%00",
    "; select 1",
];

/// Nested so deeply that a parser which calls itself runs out of stack.
const NESTED: [&str; 5] = ["(", "[", "{\"a\":", "- ", "not "];

const DEEPEST: usize = 50_000;

pub fn changed(rng: &mut Rng, corpus: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = rng.choice(corpus).expect("the corpus is not empty").clone();
    for _ in 0..rng.u32(1..8) {
        change(rng, &mut bytes, corpus);
    }
    bytes
}

fn change(rng: &mut Rng, bytes: &mut Vec<u8>, corpus: &[Vec<u8>]) {
    let at = rng.usize(..=bytes.len());
    let end = rng.usize(at..=bytes.len().min(at + 64));
    match rng.u32(..100) {
        0..30 if at < bytes.len() => bytes[at] ^= 1 << rng.u32(..8),
        30..45 => drop(bytes.drain(at..end)),
        45..60 => {
            let again = bytes[at..end].to_vec();
            insert(bytes, at, &again);
        }
        60..75 => {
            let other = rng.choice(corpus).expect("the corpus is not empty");
            let from = rng.usize(..=other.len());
            let to = rng.usize(from..=other.len().min(from + 256));
            insert(bytes, at, &other[from..to]);
        }
        75..98 => insert(bytes, at, rng.choice(WORDS).expect("there are words").as_bytes()),
        98 => {
            let nested = rng.choice(NESTED).expect("there are words").repeat(rng.usize(1..DEEPEST));
            insert(bytes, at, nested.as_bytes());
        }
        _ => bytes.truncate(at),
    }
}

fn insert(bytes: &mut Vec<u8>, at: usize, what: &[u8]) {
    bytes.splice(at..at, what.iter().copied());
}
