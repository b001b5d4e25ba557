use std::cell::Cell;
use std::sync::Arc;

use bytes::Bytes;
use expect_test::expect;
use freshet::kernel::codec::{decode_values, encode_values};
use freshet::kernel::engine::{Counts, Part, prepare, read};
use freshet::kernel::event::{self, RawRecord};
use freshet::kernel::key::{EntityKey, KeyPart};
use freshet::kernel::plan::{Fingerprint, ViewPlan};
use freshet::kernel::time::EventTime;
use freshet::kernel::value::Value;
use freshet::offline::LoggedLookup;
use freshet::parity::{self, Report, Tally, Unchecked};
use freshet::telemetry::Watch;

use super::{Record, Shop, click, time, unwatched};

fn view(shop: &Shop) -> Arc<ViewPlan> {
    shop.plan.view("user_activity").expect("it is defined").clone()
}

/// What a lookup of u1 answers and logs when the stream has folded the first `folded` of the records, all of
/// partition 0.
fn lookup(shop: &Shop, records: &[Record], folded: u64, as_of: &str) -> LoggedLookup {
    let view = view(shop);
    let raw = |(offset, record): (usize, &Record)| RawRecord {
        partition: 0,
        offset: offset as u64,
        ingestion_time: time(record.ingested),
        value: Bytes::from(record.json.clone()),
    };
    let records: Vec<RawRecord> = records.iter().enumerate().map(raw).take(folded as usize).collect();
    let prepared = prepare(&view, &event::decode(&view.source, &records).events);
    let (mut part, mut counts) = (Part::new(&view), Counts::default());
    (0..prepared.entrants.len()).for_each(|entrant| part.fold(&view, &prepared, entrant, &mut counts));
    LoggedLookup {
        as_of: time(as_of),
        view: view.name.clone(),
        version: view.fingerprint,
        answers: view.answers(),
        decoding: Some(event::decoding_mark(&view.source)),
        entity: EntityKey::encode(&[KeyPart::Text("u1".into())]),
        values: Bytes::from(encode_values(&read(&view, &[&part], time(as_of)).values)),
        offsets: vec![(0, folded)],
    }
}

fn records() -> Vec<Record> {
    vec![
        click(0, "u1", "10:00:00", "10:00:00", "pen", 0.1),
        click(0, "u1", "10:10:00", "10:10:00", "ink", 0.2),
        // A copy, a late one, and one that is ahead of the reader's clock.
        click(0, "u1", "10:10:00", "10:11:00", "ink", 0.2),
        click(0, "u1", "09:30:00", "10:12:00", "old", 8.0),
        click(0, "u1", "10:20:30", "10:20:30", "cap", 0.4),
    ]
}

fn check(shop: &Shop) -> Report {
    check_holding(shop, parity::HELD)
}

fn check_holding(shop: &Shop, held: usize) -> Report {
    parity::check(&shop.archive, &shop.lookups, EventTime::MIN, &[view(shop)], held, unwatched()).expect("checked")
}

#[test]
fn passes_over_some_of_the_entities_find_what_one_over_all_does() {
    let shop = Shop::new();
    shop.archive(&records());
    let of = |user: &str, lookup: LoggedLookup| LoggedLookup {
        entity: EntityKey::encode(&[KeyPart::Text(user.into())]),
        ..lookup
    };
    let right = lookup(&shop, &records(), 5, "10:30:00");
    // Others than `u1` have no events: what was served of them is wrong.
    let mut lookups: Vec<LoggedLookup> = (0..20).map(|user| of(&format!("u{user}"), right.clone())).collect();
    lookups.push(LoggedLookup { version: Fingerprint(1), ..right });
    shop.lookups.append(&lookups[..9]).expect("appended");
    shop.lookups.append(&lookups[9..]).expect("appended");
    let whole = check(&shop);
    assert_eq!((whole.lookups, whole.values), (21, Tally { compared: 60, different: 57, unchecked: 3 }));
    for held in [1, 5, 20] {
        let passes = check_holding(&shop, held);
        let counts =
            |report: &Report| (report.lookups, report.values, report.features.clone(), report.unchecked.clone());
        assert_eq!(counts(&passes), counts(&whole), "{held} at once");
    }
}

#[test]
fn a_check_ends_at_whichever_step_it_hears_that_nobody_waits_any_more() {
    let shop = Shop::new();
    shop.archive(&records());
    let lookups = [(3, "10:15:00"), (5, "10:30:00")].map(|(folded, at)| lookup(&shop, &records(), folded, at));
    shop.lookups.append(&lookups).expect("appended");
    let check = |patience: usize| {
        let steps = Cell::new(0);
        let is_gone = || {
            steps.set(steps.get() + 1);
            steps.get() > patience
        };
        let watch = Watch::new(&|_| {}, &is_gone);
        let found = parity::check(&shop.archive, &shop.lookups, EventTime::MIN, &[view(&shop)], parity::HELD, watch);
        (found, steps.get())
    };
    let (whole, steps) = check(usize::MAX);
    assert_eq!(whole.expect("checked").lookups, 2);
    assert!(steps >= 6, "two passes over a file, a commit, two lookups and the end: {steps}");
    for patience in 0..steps {
        let (found, asked) = check(patience);
        assert!(matches!(found, Err(parity::Error::Cancelled(_))), "{patience}: {found:?}");
        assert_eq!(asked, patience + 1);
    }
}

#[test]
fn what_was_served_at_any_offset_is_recomputed_to_the_bit() {
    let shop = Shop::new();
    shop.archive(&records());
    let times = ["10:00:00", "10:10:00.000001", "10:20:29", "10:20:30", "11:30:00", "14:00:00"];
    let lookups: Vec<LoggedLookup> =
        (0..=5).flat_map(|folded| times.map(|as_of| lookup(&shop, &records(), folded, as_of))).collect();
    let answers = lookups.iter().map(|it| it.values.clone()).collect::<std::collections::BTreeSet<_>>();
    assert!(answers.len() > 3, "the lookups must differ for the check to mean something");
    shop.lookups.append(&lookups).expect("appended");
    let report = check(&shop);
    assert_eq!((report.lookups, &report.examples, &report.unchecked), (36, &vec![], &Default::default()));
    assert_eq!(report.values, Tally { compared: 36 * 3, different: 0, unchecked: 0 });
}

#[test]
fn one_wrong_bit_is_found_and_told_in_words() {
    let shop = Shop::new();
    shop.archive(&records());
    let right = lookup(&shop, &records(), 5, "10:30:00");
    let mut values = decode_values(&right.values).expect("values");
    let Some(Value::Float(spend)) = &mut values[1] else { panic!("a sum") };
    *spend = f64::from_bits(spend.to_bits() ^ 1);
    let wrong = LoggedLookup { values: Bytes::from(encode_values(&values)), ..right.clone() };
    shop.lookups.append(&[right, wrong]).expect("appended");
    let report = check(&shop);
    assert_eq!(report.values, Tally { compared: 6, different: 1, unchecked: 0 });
    let examples: Vec<String> = report.examples.iter().map(ToString::to_string).collect();
    expect!["user_activity:spend_1h of user_id=u1 at 2026-11-21T10:30:00Z: served 0.7, recomputed 0.7000000000000001"]
        .assert_eq(&examples.join("\n"));
    let of_spend = report.features.iter().find(|(feature, _)| feature.feature == *"spend_1h").expect("tallied").1;
    assert_eq!(*of_spend, Tally { compared: 2, different: 1, unchecked: 0 });
}

#[test]
fn a_lost_event_is_found() {
    let shop = Shop::new();
    shop.archive(&records());
    // The store says that it is past the first two, and had lost the second.
    let served = LoggedLookup { offsets: vec![(0, 2)], ..lookup(&shop, &records(), 1, "10:30:00") };
    shop.lookups.append(&[served]).expect("appended");
    assert_eq!(check(&shop).values, Tally { compared: 3, different: 3, unchecked: 0 });
}

#[test]
fn a_difference_under_another_decoding_is_unchecked_and_an_equal_value_is_compared() {
    let shop = Shop::new();
    shop.archive(&records());
    let lost = LoggedLookup { offsets: vec![(0, 2)], ..lookup(&shop, &records(), 1, "10:30:00") };
    let right = LoggedLookup { decoding: Some(Fingerprint(1)), ..lookup(&shop, &records(), 2, "10:30:00") };
    let not_noted = LoggedLookup { decoding: None, ..lost.clone() };
    shop.lookups
        .append(&[LoggedLookup { decoding: Some(Fingerprint(1)), ..lost }, not_noted, right])
        .expect("appended");
    let report = check(&shop);
    assert_eq!(report.values, Tally { compared: 3, different: 0, unchecked: 2 * 3 });
    let reasons: Vec<_> = report.unchecked.iter().map(|((_, reason), count)| (*reason, *count)).collect();
    assert_eq!(reasons, [(Unchecked::OtherDecoding, 2)]);
}

#[test]
fn what_cannot_be_compared_is_unchecked_with_its_reason() {
    let shop = Shop::new();
    shop.archive(&records()[..1]);
    let good = lookup(&shop, &records(), 1, "10:30:00");
    let lookups = [
        LoggedLookup { offsets: vec![(0, 2)], ..good.clone() },
        LoggedLookup { offsets: vec![(0, 1), (7, 1)], ..good.clone() },
        LoggedLookup { version: Fingerprint(1), ..good.clone() },
        LoggedLookup { answers: Fingerprint(1), ..good.clone() },
        LoggedLookup { values: Bytes::from_static(&[1, 0]), ..good.clone() },
        good,
    ];
    shop.lookups.append(&lookups).expect("appended");
    let report = check(&shop);
    let reasons: Vec<(Unchecked, usize)> =
        report.unchecked.iter().map(|((_, reason), count)| (*reason, *count)).collect();
    let expected = [
        (Unchecked::NotArchived, 2),
        (Unchecked::Dropped, 1),
        (Unchecked::OtherAnswers, 1),
        (Unchecked::Unreadable, 1),
    ];
    assert_eq!(reasons, expected);
    assert_eq!(report.values, Tally { compared: 3, different: 0, unchecked: 5 * 3 });
}
