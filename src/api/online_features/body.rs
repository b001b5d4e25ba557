//! The answer to a lookup as JSON, written straight from the values into one buffer.

use std::io::Write;

use serde::Serialize;

use crate::api::json::Rendered;
use crate::api::online_features::Include;
use crate::api::unavailable::UnavailableView;
use crate::kernel::key::KeyPart;
use crate::serving::{Answer, Column, Request};

/// What a column takes beside its values, and what a value takes, for the first allocation: rather too much.
const COLUMN_BYTES: usize = 64;
const VALUE_BYTES: usize = 12;

/// With `errors` where an answer in part was asked for.
pub(super) fn json(
    request: &Request,
    answer: &Answer,
    include: &[Include],
    errors: Option<&[UnavailableView]>,
) -> Vec<u8> {
    let columns = request.entities.len() + answer.columns().len();
    let rows = request.entities.first().map_or(0, |(_, rows)| rows.len());
    let mut out = Vec::with_capacity(columns * (COLUMN_BYTES + rows * VALUE_BYTES * (1 + include.len())));
    // Writing to memory does not fail.
    let _ = write!(out, r#"{{"as_of":"{}","#, answer.as_of);
    if let Some(errors) = errors {
        out.extend(br#""errors":"#);
        push(&mut out, errors);
        out.push(b',');
    }
    out.extend(br#""columns":["#);
    for (name, rows) in &request.entities {
        begin_column(&mut out, |out| push(out, name));
        push_list(&mut out, rows.iter(), push_key);
        if include.contains(&Include::Statuses) {
            out.extend(br#","statuses":"#);
            push_list(&mut out, rows.iter(), |out, _| out.extend(br#""PRESENT""#));
        }
        out.push(b'}');
    }
    answer.columns().for_each(|column| push_feature(&mut out, column, include));
    out.extend(b"]}");
    out
}

fn push_feature(out: &mut Vec<u8>, column: Column<'_>, include: &[Include]) {
    begin_column(out, |out| {
        let (view, feature) = (column.view().as_str(), column.name().as_str());
        [b"\"", view.as_bytes(), b":", feature.as_bytes(), b"\""].into_iter().for_each(|piece| out.extend(piece));
    });
    push_list(out, column.values(), |out, value| push(out, &Rendered(column.value_type(), value)));
    if include.contains(&Include::Statuses) {
        out.extend(br#","statuses":"#);
        push_list(out, column.statuses(), |out, status| push(out, status.as_str()));
    }
    if include.contains(&Include::EventTimes) {
        out.extend(br#","event_times":"#);
        push_list(out, column.event_times(), |out, instant| match instant {
            Some(instant) => _ = write!(out, "\"{instant}\""),
            None => out.extend(b"null"),
        });
    }
    out.push(b'}');
}

/// Up to its values.
fn begin_column(out: &mut Vec<u8>, push_name: impl FnOnce(&mut Vec<u8>)) {
    if out.last() == Some(&b'}') {
        out.push(b',');
    }
    out.extend(br#"{"name":"#);
    push_name(out);
    out.extend(br#","values":"#);
}

fn push_key(out: &mut Vec<u8>, part: &Option<KeyPart>) {
    match part {
        None => out.extend(b"null"),
        Some(KeyPart::Text(text)) => push(out, text),
        Some(KeyPart::Int(int)) => push(out, int),
    }
}

fn push_list<T>(out: &mut Vec<u8>, items: impl Iterator<Item = T>, push: impl Fn(&mut Vec<u8>, T)) {
    out.push(b'[');
    for (index, item) in items.enumerate() {
        if index > 0 {
            out.push(b',');
        }
        push(out, item);
    }
    out.push(b']');
}

fn push<T: Serialize + ?Sized>(out: &mut Vec<u8>, value: &T) {
    serde_json::to_writer(out, value).expect("writing to memory does not fail");
}
