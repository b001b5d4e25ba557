//! What a user sees of each kind of broken event, and that a broken event harms no other.

use arrow::record_batch::RecordBatch;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use bytes::Bytes;
use expect_test::{Expect, expect};
use freshet::kernel::definition::{Compatibility, Source, SourceField, TimeFormat};
use freshet::kernel::event::{Decoded, RawRecord, admit, decode};
use freshet::kernel::key::Origin;
use freshet::kernel::time::{EventTime, Micros};

fn source() -> Source {
    let field = |name: &str, value_type: &str, required, unit| SourceField {
        name: name.parse().expect("a name"),
        value_type: value_type.parse().expect("a type"),
        required,
        unit,
    };
    Source {
        name: "shop_events".parse().expect("a name"),
        topic: "shop_events".into(),
        key: Some(1),
        event_time: 0,
        event_id: None,
        dedup_window: Micros::HOUR,
        allowed_lateness: None,
        max_future_skew: Micros::new(5 * Micros::MINUTE.get()),
        schema_version: 1,
        compatibility: Compatibility::Backward,
        fields: vec![
            field("at", "timestamp", true, TimeFormat::Millis),
            field("user_id", "string", true, TimeFormat::Millis),
            field("price", "float64", false, TimeFormat::Millis),
            field("quantity", "int64", false, TimeFormat::Millis),
            field("stock", "int32", false, TimeFormat::Millis),
            field("ratio", "float32", false, TimeFormat::Millis),
            field("signed_in", "bool", false, TimeFormat::Millis),
            field("amount", "decimal(7,2)", false, TimeFormat::Millis),
            field("seen", "timestamp", false, TimeFormat::Rfc3339),
            field("born", "date", false, TimeFormat::Millis),
            field("payload", "bytes", false, TimeFormat::Millis),
            field("items", "list<int32>", false, TimeFormat::Millis),
            field("tags", "list<string>", false, TimeFormat::Millis),
        ],
        history: Vec::new(),
        about: Default::default(),
    }
}

/// 2026-11-21T10:00:00.123Z.
const NOW: i64 = 1_795_255_200_123_000;

fn records(values: &[&[u8]]) -> Vec<RawRecord> {
    let ingestion_time = EventTime::from_micros(NOW).expect("a year with four digits");
    let record = |(offset, value): (usize, &&[u8])| RawRecord {
        partition: 3,
        offset: offset as u64,
        ingestion_time,
        value: Bytes::copy_from_slice(value),
    };
    values.iter().enumerate().map(record).collect()
}

/// One line for each event, its values and how it was placed; then one for each rejection.
fn told(decoded: &Decoded) -> String {
    let fields = &decoded.events.fields;
    assert_eq!(fields.num_rows(), decoded.events.events.len());
    let mut lines = rows(fields);
    for (line, envelope) in lines.iter_mut().zip(&decoded.events.events) {
        line.push_str(&format!(" @ {}{}", envelope.event_time, if envelope.clamped { " clamped" } else { "" }));
    }
    lines.extend(decoded.rejections.iter().map(|rejection| rejection.to_string()));
    lines.join("\n")
}

fn rows(fields: &RecordBatch) -> Vec<String> {
    let options = FormatOptions::default().with_null("null");
    let shown = |row| {
        let cell = |column| ArrayFormatter::try_new(column, &options).expect("displayable").value(row).to_string();
        fields.columns().iter().map(|column| cell(column.as_ref())).collect::<Vec<_>>().join(" | ")
    };
    (0..fields.num_rows()).map(shown).collect()
}

fn check_bytes(value: &[u8], expected: Expect) {
    expected.assert_eq(&told(&decode(&source(), &records(&[value]))));
}

/// `fields` follow a valid time and user.
fn check(fields: &str, expected: Expect) {
    check_bytes(format!("{{\"at\":1795255200000,\"user_id\":\"u1\",{fields}}}").as_bytes(), expected);
}

#[test]
fn a_whole_event_has_every_field_in_its_type() {
    check(
        r#""price":1e2,"quantity":-9223372036854775808,"stock":2147483647,"ratio":0.1,"signed_in":true,
           "amount":12345.67,"seen":"2026-11-21T11:00:00.1234567+01:00","born":"1999-12-31","payload":"aGk=",
           "items":[1,null,3],"tags":["a","\u00e9"],"unknown":{"deep":[1,{"x":null}]}"#,
        expect![
            "2026-11-21T10:00:00Z | u1 | 100.0 | -9223372036854775808 | 2147483647 | 0.1 | true | 12345.67 | 2026-11-21T10:00:00.123456Z | 1999-12-31 | 6869 | [1, null, 3] | [a, é] @ 2026-11-21T10:00:00Z"
        ],
    );
    check(
        r#""price":"NaN","ratio":"-Infinity","amount":"-99999.99","tags":[],"items":null"#,
        expect![
            "2026-11-21T10:00:00Z | u1 | NaN | null | null | -inf | null | -99999.99 | null | null | null | null | [] @ 2026-11-21T10:00:00Z"
        ],
    );
    check(
        r#""price":-0.0,"quantity":-0,"amount":1e3,"user\u005fid2":1"#,
        expect![
            "2026-11-21T10:00:00Z | u1 | -0.0 | 0 | null | null | null | 1000.00 | null | null | null | null | null @ 2026-11-21T10:00:00Z"
        ],
    );
    check_bytes(
        br#" { "user\u005fid" : "u2" , "at" : 1795255200000.9999 } "#,
        expect![
            "2026-11-21T10:00:00.000999Z | u2 | null | null | null | null | null | null | null | null | null | null | null @ 2026-11-21T10:00:00.000999Z"
        ],
    );
    check_bytes(
        br#"{"at":-62135596800000,"user_id":""}"#,
        expect![
            "0001-01-01T00:00:00Z |  | null | null | null | null | null | null | null | null | null | null | null @ 0001-01-01T00:00:00Z"
        ],
    );
}

#[test]
fn what_is_no_json_object_is_undecodable() {
    check_bytes(b"", expect!["undecodable: not JSON: expected an object at byte 0"]);
    check_bytes(b"not json", expect!["undecodable: not JSON: expected an object at byte 0"]);
    check_bytes(b"[1, 2]", expect!["undecodable: not JSON: expected an object at byte 0"]);
    check_bytes(
        br#"{"at":1795255200000,"user_id":"u1""#,
        expect!["undecodable: not JSON: expected `,` or `}` at byte 34"],
    );
    check_bytes(
        br#"{"at":1795255200000,"user_id":"u1",}"#,
        expect!["undecodable: not JSON: expected a field name in double quotes at byte 35"],
    );
    check_bytes(
        br#"{"at":1795255200000,"user_id":"u1"} {}"#,
        expect!["undecodable: not JSON: expected nothing more at byte 36"],
    );
    check_bytes(
        br#"{"at":01,"user_id":"u1"}"#,
        expect!["undecodable: not JSON: a number starts with one zero at most at byte 7"],
    );
    check_bytes(b"{\"at\":1795255200000,\"user_id\":\"\xff\"}", expect!["undecodable: not UTF-8 at byte 31"]);
    check_bytes(b"\xef\xbb\xbf{}", expect!["undecodable: not JSON: expected an object at byte 0"]);
    check(r#""user_id":"u2""#, expect!["undecodable: user_id: the field stands twice in the record"]);
    check(r#""colour":1,"colour":2"#, expect!["undecodable: colour: the field stands twice in the record"]);
    check(r#""price":NaN"#, expect!["undecodable: not JSON: expected a value at byte 43"]);
    check(
        r#""tags":["\ud800"]"#,
        expect![[r#"undecodable: tags[0]: "\ud800" holds half of a surrogate pair, which is no character"#]],
    );
    check(r#"'price':1"#, expect!["undecodable: not JSON: expected a field name in double quotes at byte 35"]);
    check(&format!("\"x\":{}", "[".repeat(200)), expect!["undecodable: not JSON: nested too deeply at byte 165"]);
}

#[test]
fn a_required_field_must_be_there() {
    check_bytes(b"{}", expect!["missing_field: at: the field is required (timestamp) and is not there"]);
    check_bytes(
        br#"{"at":1795255200000}"#,
        expect!["missing_field: user_id: the field is required (string) and is not there"],
    );
    check_bytes(
        br#"{"at":1795255200000,"user_id":null}"#,
        expect!["missing_field: user_id: the field is required (string) and is null"],
    );
}

#[test]
fn a_value_of_another_kind_is_refused_with_what_stood_there() {
    check(r#""price":"12,50""#, expect![[r#"wrong_type: price: expected a number (float64), found "12,50""#]]);
    check(r#""quantity":1.0"#, expect!["wrong_type: quantity: expected a whole number (int64), found 1.0"]);
    check(r#""quantity":"3""#, expect![[r#"wrong_type: quantity: expected a whole number (int64), found "3""#]]);
    check(r#""signed_in":1"#, expect!["wrong_type: signed_in: expected true or false, found 1"]);
    check_bytes(br#"{"at":1795255200000,"user_id":17}"#, expect!["wrong_type: user_id: expected a string, found 17"]);
    check_bytes(
        br#"{"at":"2026-11-21T10:00:00Z","user_id":"u1"}"#,
        expect![[r#"wrong_type: at: expected a number of `ms` since 1970 (timestamp), found "2026-11-21T10:00:00Z""#]],
    );
    check(
        r#""seen":1795255200000"#,
        expect![[r#"wrong_type: seen: expected a time such as "2026-11-21T10:00:00Z" (rfc3339), found 1795255200000"#]],
    );
    check(
        r#""seen":"2026-11-21 10:00""#,
        expect![[
            r#"wrong_type: seen: expected a time such as "2026-11-21T10:00:00Z" (rfc3339), found "2026-11-21 10:00""#
        ]],
    );
    check(
        r#""born":"21.11.2026""#,
        expect![[r#"wrong_type: born: expected a date such as "2026-11-21", found "21.11.2026""#]],
    );
    check(
        r#""born":"2026-02-30""#,
        expect![[r#"wrong_type: born: expected a date such as "2026-11-21", found "2026-02-30""#]],
    );
    check(
        r#""payload":"not base64!""#,
        expect![[r#"wrong_type: payload: expected a base64 string (bytes), found "not base64!""#]],
    );
    check(r#""items":{"0":1}"#, expect![[r#"wrong_type: items: expected an array (list<int32>), found {"0":1}"#]]);
    check(
        r#""items":[1,2,"three"]"#,
        expect![[r#"wrong_type: items[2]: expected a whole number (int32), found "three""#]],
    );
    check(
        r#""amount":" 1""#,
        expect![[r#"wrong_type: amount: expected a number, or a string of its digits (decimal(7,2)), found " 1""#]],
    );
    check(
        r#""price":["a long array that nobody wants to read in a message"]"#,
        expect![[r#"wrong_type: price: expected a number (float64), found ["a long array that nobody wants to read…"#]],
    );
}

#[test]
fn a_value_beyond_its_type_is_out_of_range() {
    check(
        r#""stock":2147483648"#,
        expect!["out_of_range: stock: 2147483648 does not fit int32: -2147483648 to 2147483647"],
    );
    check(
        r#""quantity":9223372036854775808"#,
        expect![
            "out_of_range: quantity: 9223372036854775808 does not fit int64: -9223372036854775808 to 9223372036854775807"
        ],
    );
    check(
        r#""items":[1,-2147483649]"#,
        expect!["out_of_range: items[1]: -2147483649 does not fit int32: -2147483648 to 2147483647"],
    );
    check(
        r#""price":1e309"#,
        expect![[r#"out_of_range: price: 1e309 is beyond float64; infinity is written "Infinity""#]],
    );
    check(
        r#""ratio":1e39"#,
        expect![[r#"out_of_range: ratio: 1e39 is beyond float32; infinity is written "Infinity""#]],
    );
    check(
        r#""amount":100000"#,
        expect!["out_of_range: amount: 100000 does not fit decimal(7,2): at most 5 digits before the point"],
    );
    check(
        r#""amount":"0.001""#,
        expect!["out_of_range: amount: 0.001 does not fit decimal(7,2): at most 2 digits after the point"],
    );
    check(
        r#""amount":1e999999"#,
        expect!["out_of_range: amount: 1e999999 does not fit decimal(7,2): at most 5 digits before the point"],
    );
}

#[test]
fn times_lie_within_four_digit_years_and_not_far_ahead() {
    check_bytes(
        br#"{"at":1795255200000000,"user_id":"u1"}"#,
        expect!["time_out_of_range: at: 1795255200000000 is outside the years 0001 to 9999; the unit is `ms`"],
    );
    check_bytes(
        br#"{"at":-62135596800000.001,"user_id":"u1"}"#,
        expect!["time_out_of_range: at: -62135596800000.001 is outside the years 0001 to 9999; the unit is `ms`"],
    );
    check(
        r#""seen":"0000-12-31T23:59:59Z""#,
        expect![[
            r#"time_out_of_range: seen: "0000-12-31T23:59:59Z" is outside the years 0001 to 9999; the unit is `rfc3339`"#
        ]],
    );
    check(
        r#""born":"0000-01-01""#,
        expect![[r#"time_out_of_range: born: "0000-01-01" is outside the years 0001 to 9999"#]],
    );
    check_bytes(
        br#"{"at":1795258800123,"user_id":"u1"}"#,
        expect![
            "too_far_in_future: at: 2026-11-21T11:00:00.123Z is ahead of its ingestion at 2026-11-21T10:00:00.123Z by more than `max_future_skew` (5m)"
        ],
    );
    check_bytes(
        br#"{"at":1795255500123.001,"user_id":"u1"}"#,
        expect![
            "too_far_in_future: at: 2026-11-21T10:05:00.123001Z is ahead of its ingestion at 2026-11-21T10:00:00.123Z by more than `max_future_skew` (5m)"
        ],
    );
}

#[test]
fn an_early_event_counts_as_the_last_microsecond_of_its_ingestion_millisecond() {
    check_bytes(
        br#"{"at":1795255500123,"user_id":"at the skew"}"#,
        expect![
            "2026-11-21T10:05:00.123Z | at the skew | null | null | null | null | null | null | null | null | null | null | null @ 2026-11-21T10:00:00.123999Z clamped"
        ],
    );
    check_bytes(
        br#"{"at":1795255200124,"user_id":"next millisecond"}"#,
        expect![
            "2026-11-21T10:00:00.124Z | next millisecond | null | null | null | null | null | null | null | null | null | null | null @ 2026-11-21T10:00:00.123999Z clamped"
        ],
    );
    check_bytes(
        br#"{"at":1795255200123.999,"user_id":"same millisecond"}"#,
        expect![
            "2026-11-21T10:00:00.123999Z | same millisecond | null | null | null | null | null | null | null | null | null | null | null @ 2026-11-21T10:00:00.123999Z"
        ],
    );
}

const GOOD: [&str; 4] = [
    r#"{"at":1795255200000,"user_id":"u1","price":2.5,"items":[1,2],"tags":["x",null]}"#,
    r#"{"user_id":"u2","at":1795255201000,"amount":"1.10","payload":"AAEC"}"#,
    r#"{"at":1795255199000,"user_id":"u3","quantity":7,"born":"2000-02-29","items":[]}"#,
    r#"{"at":1795255200000,"user_id":"u4"}"#,
];

const BAD: [&str; 6] = [
    r#"{"at":1795255200000,"user_id":"lost","price":1,"items":[1,2,"x"]}"#,
    r#"{"at":1795255200000,"user_id":"lost","tags":["kept","not"],"price":"x"}"#,
    r#"{"at":1795255200000,"user_id":"lost","payload":"AAEC","amount":"#,
    r#"{"at":1795999999999,"user_id":"lost","quantity":1}"#,
    r#"{"user_id":"lost","quantity":1}"#,
    "\u{0}",
];

#[test]
fn good_events_decode_the_same_whatever_broken_ones_stand_among_them() {
    let source = source();
    let mut random = fastrand::Rng::with_seed(11);
    for case in 0..500 {
        let mixed: Vec<&str> = (0..random.usize(0..12))
            .map(|_| if random.bool() { GOOD[random.usize(0..GOOD.len())] } else { BAD[random.usize(0..BAD.len())] })
            .collect();
        let all = decode(&source, &records(&mixed.iter().map(|text| text.as_bytes()).collect::<Vec<_>>()));
        let good: Vec<&[u8]> = mixed.iter().filter(|text| GOOD.contains(text)).map(|text| text.as_bytes()).collect();
        let alone = decode(&source, &records(&good));
        assert_eq!(all.events.fields, alone.events.fields, "case {case}: {mixed:?}");
        assert!(alone.rejections.is_empty());
        let bad: Vec<usize> = (0..mixed.len()).filter(|index| BAD.contains(&mixed[*index])).collect();
        assert_eq!(all.rejections.iter().map(|rejection| rejection.index).collect::<Vec<_>>(), bad);
        for (envelope, index) in all.events.events.iter().zip((0..mixed.len()).filter(|index| !bad.contains(index))) {
            assert_eq!(envelope.origin, Origin::Log { partition: 3, offset: index as u64 });
        }
    }
}

#[test]
fn the_archive_admits_what_the_stream_decoded_and_refuses_what_it_would() {
    let texts = [GOOD[0], r#"{"at":1795255200999,"user_id":"early"}"#, GOOD[2]];
    let raw = records(&texts.map(str::as_bytes));
    let decoded = decode(&source(), &raw);
    let at = |ingestion_time| {
        move |record: &RawRecord| (Origin::Log { partition: 3, offset: record.offset }, ingestion_time)
    };
    let now: Vec<_> = raw.iter().map(at(raw[0].ingestion_time)).collect();
    let again = admit(&source(), decoded.events.fields.clone(), &now);
    assert_eq!(again.events.fields, decoded.events.fields);
    assert_eq!(again.events.events, decoded.events.events);
    assert!(again.rejections.is_empty() && decoded.events.events[1].clamped);

    let hour_before: Vec<_> = raw.iter().map(at(raw[0].ingestion_time - Micros::HOUR)).collect();
    let refused = admit(&source(), decoded.events.fields, &hour_before);
    expect![[r#"
        too_far_in_future: at: 2026-11-21T10:00:00Z is ahead of its ingestion at 2026-11-21T09:00:00.123Z by more than `max_future_skew` (5m)
        too_far_in_future: at: 2026-11-21T10:00:00.999Z is ahead of its ingestion at 2026-11-21T09:00:00.123Z by more than `max_future_skew` (5m)
        too_far_in_future: at: 2026-11-21T09:59:59Z is ahead of its ingestion at 2026-11-21T09:00:00.123Z by more than `max_future_skew` (5m)"#]].assert_eq(&told(&refused));
}
