//! An event that nobody meant is rejected or taken, and its neighbours are taken all the same.

use bytes::Bytes;
use freshet::kernel::definition::{SourceText, parse};
use freshet::kernel::event::{RawRecord, decode};
use freshet::kernel::plan::compile;
use freshet::kernel::time::EventTime;

use super::survives;

const CASES: u64 = 50_000;

const SHOP: &str = include_str!("../service/shop.yaml");

pub fn corpus() -> Vec<Vec<u8>> {
    let events = [
        r#"{"id":"c1","at":"2026-01-01T10:00:00Z","user_id":"u1","item_id":7,"price":2.5}"#,
        r#"{"id":"c2","at":"2026-01-01T11:00:00.123456Z","user_id":"é\u00e9\n","item_id":-9223372036854775808}"#,
        r#"{"id":"","at":"0001-01-01T00:00:00Z","user_id":"u","item_id":null,"price":1e308,"more":{"a":[1,{}]}}"#,
    ];
    events.map(|event| event.as_bytes().to_vec()).to_vec()
}

#[test]
fn an_event_that_nobody_meant_harms_no_other() {
    let definitions = parse(&[SourceText { path: "shop.yaml".to_owned(), text: SHOP.to_owned() }]);
    let source = compile(&definitions.expect("it is right")).sources[0].clone();
    let ingestion_time = EventTime::from_micros(1_795_255_200_000_000).expect("a year with four digits");
    let record = |offset: u64, value: &[u8]| RawRecord {
        partition: 0,
        offset,
        ingestion_time,
        value: Bytes::copy_from_slice(value),
    };
    let right = &corpus()[0];
    survives(CASES, &corpus(), |bytes| {
        let records = [record(0, right), record(1, bytes), record(2, right)];
        let decoded = decode(&source, &records);
        assert_eq!(decoded.events.events.len() + decoded.rejections.len(), 3);
        assert!(decoded.rejections.iter().all(|rejection| rejection.index == 1), "{:?}", decoded.rejections);
    });
}
