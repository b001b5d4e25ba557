//! The stream worker as text: each `>` line is a signal, the lines under it are the effects that it had.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::ops::Range;
use std::sync::Arc;

use expect_test::{Expect, expect};
use freshet::event_log::TopicPartition;
use freshet::kernel::codec::Image;
use freshet::kernel::definition::{SourceText, parse};
use freshet::kernel::event::RawRecord;
use freshet::kernel::key::Shard;
use freshet::kernel::plan::{Fingerprint, ViewPlan, compile};
use freshet::kernel::time::{EventTime, Micros};
use freshet::online::{Advance, Applied, Claim, Loaded, Nonce, PartKey, Position};
use freshet::stream::{Bounds, Effect, Settings, Signal, Ticket, Worker};

const DEFINITIONS: &str = r#"
kind: entity
name: user
keys: [{ name: user, type: string }]
---
kind: source
name: clicks
event_time: { field: at, unit: ms }
schema:
  version: 1
  fields:
    - { name: at, type: timestamp, required: true }
    - { name: user, type: string }
---
kind: feature_view
name: clicks_of
entity: user
source: clicks
features:
  - { name: clicks, aggregate: count }
---
kind: feature_view
name: recency
entity: user
source: clicks
features:
  - { name: idle, aggregate: seconds_since_last }
"#;

/// Runs `steps` against a worker of `shards` shards and compares what is written down.
fn check(shards: u16, settings: Settings, steps: &str, expected: Expect) {
    let mut script = Script::new(shards, settings);
    for step in steps.lines().map(str::trim).filter(|step| !step.is_empty()) {
        writeln!(script.written, "> {step}").expect("a string takes everything");
        script.step(step);
    }
    expected.assert_eq(&script.written);
}

/// Answers in the worker's own terms: offsets and nonces as a store would hold them.
struct Script {
    worker: Worker,
    views: Vec<Arc<ViewPlan>>,
    now: EventTime,
    passed: Micros,
    look: Option<Ticket>,
    nonces: u64,
    claims: Vec<(Ticket, Shard, Vec<Claim>)>,
    loads: Vec<(Ticket, Vec<PartKey>)>,
    seeks: BTreeMap<u32, Ticket>,
    flights: BTreeMap<Shard, Vec<Advance>>,
    stored: BTreeMap<(Shard, Fingerprint), Position>,
    shards: u16,
    written: String,
}

impl Script {
    fn new(shards: u16, settings: Settings) -> Script {
        let file = SourceText { path: "clicks.yaml".into(), text: DEFINITIONS.into() };
        let plan = compile(&parse(&[file]).expect("the definitions are right"));
        Script {
            worker: Worker::new(shards, settings),
            views: plan.views,
            now: at(0),
            passed: Micros::ZERO,
            look: None,
            nonces: 0,
            claims: Vec::new(),
            loads: Vec::new(),
            seeks: BTreeMap::new(),
            flights: BTreeMap::new(),
            stored: BTreeMap::new(),
            shards,
            written: String::new(),
        }
    }

    fn step(&mut self, step: &str) {
        let words: Vec<&str> = step.split_whitespace().collect();
        match words[..] {
            ["write", ref views @ ..] => {
                let wanted = |view: &&Arc<ViewPlan>| views.contains(&view.name.as_str());
                let versions = self.views.iter().filter(wanted).cloned().collect();
                self.hear(Signal::Versions { versions, bounds: vec![bounds(0, 0..9)] });
            }
            ["seed", view, to] => {
                let seeded = BTreeMap::from([(0, parsed(to))]);
                let plan = self.views.iter_mut().find(|plan| plan.name == *view).expect("a view");
                *plan = Arc::new(ViewPlan::clone(plan).seeded(&seeded));
            }
            ["assign", number, start, end] => {
                self.hear(Signal::Assigned(vec![bounds(parsed(number) as u32, parsed(start)..parsed(end))]));
            }
            ["revoke", number] => self.hear(Signal::Revoked(vec![partition(parsed(number) as u32)])),
            ["claimed", ref offsets @ ..] => self.claimed(offsets),
            ["records", number, ref records @ ..] => {
                let ticket = self.seeks[&(parsed(number) as u32)];
                self.records(ticket, parsed(number) as u32, records);
            }
            ["stale", number, ref records @ ..] => self.records(Ticket(0), parsed(number) as u32, records),
            ["loaded"] => self.loaded(0, Image::default, true),
            ["loaded", "behind"] => self.loaded(1, Image::default, true),
            ["loaded", "damaged"] => self.loaded(0, || Image { head: vec![255; 9].into(), ..Image::default() }, false),
            ["loaded", "broken"] => {
                for (ticket, keys) in std::mem::take(&mut self.loads) {
                    let loaded = keys.iter().map(|_| Err("it is no row".into())).collect();
                    self.hear(Signal::Loaded { ticket, loaded });
                }
            }
            ["done", shard] => self.done(shard_of(shard)),
            ["refused", shard, "offset", offset] => {
                let offset = parsed(offset);
                self.refused(shard_of(shard), |advance| Some(Position { nonce: advance.nonce, offset }));
            }
            ["refused", shard, "nonce"] => {
                self.refused(shard_of(shard), |_| Some(Position { nonce: Nonce(999), offset: 0 }));
            }
            ["refused", shard, "emptied"] => self.refused(shard_of(shard), |_| None),
            ["member", "yes"] => self.hear(Signal::Membership(Some(Vec::new()))),
            ["member", "yes", start, end] => {
                self.hear(Signal::Membership(Some(vec![bounds(0, parsed(start)..parsed(end))])));
            }
            ["member", "no"] => self.hear(Signal::Membership(None)),
            ["looked", end] => {
                let ticket = self.look.take().expect("it was asked");
                self.hear(Signal::Looked { ticket, held: 0..parsed(end) });
            }
            ["unreadable", number] => {
                let reason = "offset 3 is gone".into();
                self.hear(Signal::Unreadable { partition: partition(parsed(number) as u32), reason });
            }
            ["tick", millis] => {
                let millis = Micros::from_millis(parsed(millis) as i64);
                (self.now, self.passed) = (self.now + millis, self.passed + millis);
                self.hear(Signal::Tick { now: self.now, passed: self.passed });
            }
            ["clock", "back"] => self.now = self.now - Micros::HOUR,
            ["release"] => self.hear(Signal::ReleaseAll),
            ["progress"] => self.note_progress(),
            _ => panic!("`{step}` is not a step"),
        }
    }

    fn hear(&mut self, signal: Signal) {
        for effect in self.worker.handle(signal) {
            let line = self.note(effect);
            writeln!(self.written, "  {line}").expect("a string takes everything");
        }
    }

    /// Writes an effect down and remembers what it takes to answer it.
    fn note(&mut self, effect: Effect) -> String {
        match effect {
            Effect::Claim { ticket, shard, claims } => {
                let listed = claims.iter().map(|claim| format!("{}/{}", self.name(claim.version), claim.partition));
                let mut line = format!("claim s{} {}", shard.0, listed.collect::<Vec<_>>().join(" "));
                if let Some(initial) = claims.iter().map(|claim| claim.initial).find(|initial| *initial > 0) {
                    line += &format!(" from {initial}");
                }
                self.claims.push((ticket, shard, claims));
                line
            }
            Effect::Seek { ticket, partition, offset } => {
                self.seeks.insert(partition.partition, ticket);
                format!("seek {} to {offset}", partition.partition)
            }
            Effect::Load { ticket, keys } => {
                let line = format!("load {}", keys.iter().map(entity).collect::<Vec<_>>().join(" "));
                self.loads.push((ticket, keys));
                line
            }
            Effect::Apply { shard, advances, rows } => {
                let step = |advance: &Advance| {
                    format!("{}/{} {}..{}", self.name(advance.version), advance.partition, advance.from, advance.to)
                };
                let mut line =
                    format!("apply s{} {}", shard.0, advances.iter().map(step).collect::<Vec<_>>().join(" "));
                rows.iter().for_each(|row| line += &format!(" +{}", entity(&row.key)));
                self.flights.insert(shard, advances);
                line
            }
            Effect::Pause(partition) => format!("pause {}", partition.partition),
            Effect::Resume(partition) => format!("resume {}", partition.partition),
            Effect::ProveMembership => "prove membership".into(),
            Effect::Look { ticket, partition } => {
                self.look = Some(ticket);
                format!("look at {}", partition.partition)
            }
            Effect::Released(partition) => format!("released {}", partition.partition),
            Effect::Stopped { partition, reason } => format!("stopped {}: {reason}", partition.partition),
        }
    }

    fn name(&self, version: Fingerprint) -> String {
        let view = self.views.iter().find(|view| view.fingerprint == version).expect("the worker knows our views only");
        view.name.to_string()
    }

    fn note_progress(&mut self) {
        let progress = self.worker.progress();
        let flushed: Vec<u64> = progress.partitions.values().map(|partition| partition.flushed).collect();
        writeln!(self.written, "  {:?}, flushed to {flushed:?}", progress.standing).expect("a string takes everything");
    }

    /// The offset of each shard; the last one is that of all further ones.
    fn claimed(&mut self, offsets: &[&str]) {
        for (ticket, shard, claims) in std::mem::take(&mut self.claims) {
            self.nonces += 1;
            let offset = parsed(offsets[usize::from(shard.0).min(offsets.len() - 1)]);
            let nonce = Nonce(self.nonces);
            for claim in &claims {
                self.stored.insert((shard, claim.version), Position { nonce, offset });
            }
            self.hear(Signal::Claimed { ticket, nonce, offsets: vec![offset; claims.len()] });
        }
    }

    fn records(&mut self, ticket: Ticket, number: u32, records: &[&str]) {
        let record = |text: &&str| {
            let (offset, user) = text.split_once(':').expect("offset:user");
            let value = format!(r#"{{"at": 1000, "user": "{user}"}}"#);
            RawRecord { partition: number, offset: parsed(offset), ingestion_time: at(1), value: value.into() }
        };
        let records: Vec<RawRecord> = records.iter().map(record).collect();
        let log_end = records.last().map_or(0, |record| record.offset + 1);
        self.hear(Signal::Records { ticket, partition: partition(number), records, next: log_end, log_end });
    }

    fn loaded(&mut self, behind: u64, image: impl Fn() -> Image, absent: bool) {
        for (ticket, keys) in std::mem::take(&mut self.loads) {
            let answer = |key: &PartKey| {
                let position = self.stored[&(key.entity.shard(self.shards), key.version)];
                let position = Position { offset: position.offset.saturating_sub(behind), ..position };
                Ok(Loaded { image: (!absent).then(&image), position: Some(position) })
            };
            let loaded = keys.iter().map(answer).collect();
            self.hear(Signal::Loaded { ticket, loaded });
        }
    }

    fn done(&mut self, shard: Shard) {
        for advance in &self.flights.remove(&shard).expect("a flush is under way") {
            self.stored.insert((shard, advance.version), Position { nonce: advance.nonce, offset: advance.to });
        }
        self.hear(Signal::Applied { shard, outcome: Applied::Done });
    }

    fn refused(&mut self, shard: Shard, stored: impl Fn(&Advance) -> Option<Position>) {
        let advances = self.flights.remove(&shard).expect("a flush is under way");
        self.hear(Signal::Applied { shard, outcome: Applied::Refused(advances.iter().map(stored).collect()) });
    }
}

#[test]
fn what_was_seeded_is_folded_from_its_cut() {
    check(
        1,
        Settings::default(),
        "seed clicks_of 5
         write clicks_of
         assign 0 3 9
         claimed 5",
        expect![[r#"
            > seed clicks_of 5
            > write clicks_of
            > assign 0 3 9
              claim s0 clicks_of/0
            > claimed 5
              seek 0 to 5
        "#]],
    );
}

#[test]
fn nothing_is_folded_on_what_is_left_of_a_seeding_and_other_views_go_on() {
    check(
        1,
        Settings::default(),
        "seed clicks_of 5
         write clicks_of recency
         assign 0 0 9
         claimed 4
         records 0 4:a
         loaded
         tick 100",
        expect![[r#"
            > seed clicks_of 5
            > write clicks_of recency
            > assign 0 0 9
              claim s0 clicks_of/0 recency/0
            > claimed 4
              seek 0 to 4
            > records 0 4:a
              load a
              pause 0
            > loaded
              resume 0
            > tick 100
              apply s0 clicks_of/0 4..4 recency/0 4..5 +a
        "#]],
    );
}

#[test]
fn a_shard_that_lost_what_was_seeded_stands_still_and_the_others_of_the_view_go_on() {
    check(
        2,
        Settings::default(),
        "seed clicks_of 5
         write clicks_of
         assign 0 0 9
         claimed 4 5
         records 0 5:a 6:i 7:b 8:i
         loaded
         tick 100
         done s0
         done s1
         progress
         revoke 0",
        expect![[r#"
            > seed clicks_of 5
            > write clicks_of
            > assign 0 0 9
              claim s0 clicks_of/0
              claim s1 clicks_of/0
            > claimed 4 5
              seek 0 to 5
            > records 0 5:a 6:i 7:b 8:i
              load i
              pause 0
            > loaded
              resume 0
            > tick 100
              apply s1 clicks_of/0 5..9 +i
              apply s0 clicks_of/0 4..4
            > done s0
            > done s1
            > progress
              Reading, flushed to [9]
            > revoke 0
              pause 0
              released 0
        "#]],
    );
}

#[test]
fn a_shard_that_has_all_of_its_seeding_again_is_folded_on() {
    check(
        2,
        Settings::default(),
        "seed clicks_of 5
         write clicks_of
         assign 0 0 9
         claimed 4 7
         tick 100
         refused s0 nonce
         done s1
         progress
         member yes
         claimed 5
         progress",
        expect![[r#"
            > seed clicks_of 5
            > write clicks_of
            > assign 0 0 9
              claim s0 clicks_of/0
              claim s1 clicks_of/0
            > claimed 4 7
              seek 0 to 7
            > tick 100
              apply s0 clicks_of/0 4..4
              apply s1 clicks_of/0 7..7
            > refused s0 nonce
              pause 0
              prove membership
            > done s1
            > progress
              Claiming, flushed to [4]
            > member yes
              claim s0 clicks_of/0
            > claimed 5
              seek 0 to 5
              resume 0
            > progress
              Reading, flushed to [5]
        "#]],
    );
}

#[test]
fn a_partition_of_which_every_shard_lost_what_was_seeded_is_not_read_and_holds_nobody_up() {
    check(
        1,
        Settings::default(),
        "seed clicks_of 5
         write clicks_of
         assign 0 0 9
         claimed 0
         progress
         tick 100
         done s0
         write clicks_of recency
         claimed 0
         revoke 0",
        expect![[r#"
            > seed clicks_of 5
            > write clicks_of
            > assign 0 0 9
              claim s0 clicks_of/0
            > claimed 0
            > progress
              Reading, flushed to [0]
            > tick 100
              apply s0 clicks_of/0 0..0
            > done s0
            > write clicks_of recency
              pause 0
              claim s0 recency/0
            > claimed 0
              seek 0 to 0
              resume 0
            > revoke 0
              pause 0
              released 0
        "#]],
    );
}

fn at(seconds: i64) -> EventTime {
    EventTime::from_micros(seconds * 1_000_000).expect("the first hours of 1970")
}

fn partition(number: u32) -> TopicPartition {
    TopicPartition { topic: "clicks".into(), partition: number }
}

fn bounds(number: u32, held: Range<u64>) -> Bounds {
    Bounds { partition: partition(number), held }
}

fn parsed(text: &str) -> u64 {
    text.parse().expect("a number")
}

fn shard_of(text: &str) -> Shard {
    Shard(parsed(text.trim_start_matches('s')) as u16)
}

fn entity(key: &PartKey) -> String {
    format!("{:?}", key.entity).trim_start_matches('.').into()
}

/// Shows the steps of one shard from claim to flush, and nothing that another test is about.
const READING: &str = "
    tick 0
    write clicks_of
    assign 0 0 9
    claimed 0
";

#[test]
fn a_partition_is_claimed_shard_by_shard_then_sought_then_flushed_with_its_offsets() {
    check(
        1,
        Settings::default(),
        &format!(
            "{READING} records 0 0:a 1:b 2:a
        loaded
        tick 9
        tick 10
        done s0"
        ),
        expect![[r#"
            > tick 0
            > write clicks_of
            > assign 0 0 9
              claim s0 clicks_of/0
            > claimed 0
              seek 0 to 0
            > records 0 0:a 1:b 2:a
              load a b
              pause 0
            > loaded
              resume 0
            > tick 9
            > tick 10
              apply s0 clicks_of/0 0..3 +a +b
            > done s0
        "#]],
    );
}

#[test]
fn reading_starts_once_every_shard_is_claimed() {
    check(
        2,
        Settings::default(),
        READING,
        expect![[r#"
        > tick 0
        > write clicks_of
        > assign 0 0 9
          claim s0 clicks_of/0
          claim s1 clicks_of/0
        > claimed 0
          seek 0 to 0
    "#]],
    );
}

#[test]
fn parts_in_memory_are_not_loaded_again_and_what_is_missing_is_loaded_at_once() {
    check(
        1,
        Settings::default(),
        &format!(
            "{READING} records 0 0:a
        loaded
        records 0 1:a
        records 0 2:c 3:b 4:a 5:b"
        ),
        expect![[r#"
            > tick 0
            > write clicks_of
            > assign 0 0 9
              claim s0 clicks_of/0
            > claimed 0
              seek 0 to 0
            > records 0 0:a
              load a
              pause 0
            > loaded
              resume 0
            > records 0 1:a
            > records 0 2:c 3:b 4:a 5:b
              load b c
              pause 0
        "#]],
    );
}

#[test]
fn folding_goes_on_while_a_flush_is_under_way_and_the_next_waits_for_its_answer() {
    check(
        1,
        Settings::default(),
        &format!(
            "{READING} records 0 0:a
        loaded
        tick 20
        records 0 1:a
        tick 40
        done s0
        tick 1"
        ),
        expect![[r#"
            > tick 0
            > write clicks_of
            > assign 0 0 9
              claim s0 clicks_of/0
            > claimed 0
              seek 0 to 0
            > records 0 0:a
              load a
              pause 0
            > loaded
              resume 0
            > tick 20
              apply s0 clicks_of/0 0..1 +a
            > records 0 1:a
            > tick 40
            > done s0
              apply s0 clicks_of/0 1..2 +a
            > tick 1
        "#]],
    );
}

#[test]
fn a_store_that_went_back_is_noticed_and_the_lane_is_claimed_and_read_again() {
    check(
        1,
        Settings::default(),
        &format!(
            "{READING} records 0 0:a 1:b
        loaded
        tick 20
        done s0
        records 0 2:a
        tick 20
        refused s0 offset 1
        member yes
        claimed 1
        records 0 1:b 2:a
        loaded
        tick 20"
        ),
        expect![[r#"
            > tick 0
            > write clicks_of
            > assign 0 0 9
              claim s0 clicks_of/0
            > claimed 0
              seek 0 to 0
            > records 0 0:a 1:b
              load a b
              pause 0
            > loaded
              resume 0
            > tick 20
              apply s0 clicks_of/0 0..2 +a +b
            > done s0
            > records 0 2:a
            > tick 20
              apply s0 clicks_of/0 2..3 +a
            > refused s0 offset 1
              pause 0
              prove membership
            > member yes
              claim s0 clicks_of/0
            > claimed 1
              seek 0 to 1
              resume 0
            > records 0 1:b 2:a
              load a b
              pause 0
            > loaded
              resume 0
            > tick 20
              apply s0 clicks_of/0 1..3 +b +a
        "#]],
    );
}

#[test]
fn who_cannot_prove_membership_lets_go_of_everything() {
    check(
        1,
        Settings::default(),
        &format!(
            "{READING} records 0 0:a
        loaded
        tick 20
        refused s0 nonce
        tick 9000
        member no
        tick 9000"
        ),
        expect![[r#"
            > tick 0
            > write clicks_of
            > assign 0 0 9
              claim s0 clicks_of/0
            > claimed 0
              seek 0 to 0
            > records 0 0:a
              load a
              pause 0
            > loaded
              resume 0
            > tick 20
              apply s0 clicks_of/0 0..1 +a
            > refused s0 nonce
              pause 0
              prove membership
            > tick 9000
            > member no
              released 0
            > tick 9000
        "#]],
    );
}

#[test]
fn a_lane_that_the_store_forgot_begins_where_the_log_begins_by_now() {
    check(
        1,
        Settings::default(),
        &format!(
            "{READING} records 0 0:a
        loaded
        tick 20
        refused s0 emptied
        member yes 3 9
        claimed 3"
        ),
        expect![[r#"
            > tick 0
            > write clicks_of
            > assign 0 0 9
              claim s0 clicks_of/0
            > claimed 0
              seek 0 to 0
            > records 0 0:a
              load a
              pause 0
            > loaded
              resume 0
            > tick 20
              apply s0 clicks_of/0 0..1 +a
            > refused s0 emptied
              pause 0
              prove membership
            > member yes 3 9
              claim s0 clicks_of/0 from 3
            > claimed 3
              seek 0 to 3
              resume 0
        "#]],
    );
}

#[test]
fn a_part_read_at_another_offset_than_ours_is_not_folded_into() {
    check(
        1,
        Settings::default(),
        &format!(
            "{READING} records 0 0:a 1:b
        loaded
        tick 20
        done s0
        records 0 2:c
        loaded behind
        member yes"
        ),
        expect![[r#"
            > tick 0
            > write clicks_of
            > assign 0 0 9
              claim s0 clicks_of/0
            > claimed 0
              seek 0 to 0
            > records 0 0:a 1:b
              load a b
              pause 0
            > loaded
              resume 0
            > tick 20
              apply s0 clicks_of/0 0..2 +a +b
            > done s0
            > records 0 2:c
              load c
              pause 0
            > loaded behind
              prove membership
            > member yes
              claim s0 clicks_of/0
        "#]],
    );
}

#[test]
fn a_damaged_stored_row_stops_the_partition() {
    check(
        1,
        Settings::default(),
        &format!(
            "{READING} records 0 0:a
        loaded damaged
        records 0 1:b
        tick 9000"
        ),
        expect![[r#"
            > tick 0
            > write clicks_of
            > assign 0 0 9
              claim s0 clicks_of/0
            > claimed 0
              seek 0 to 0
            > records 0 0:a
              load a
              pause 0
            > loaded damaged
              stopped 0: entity `....a` of view version 512c6dd85528ed2b: stored bytes have codec version 255, and this build reads up to 1: run a newer build
            > records 0 1:b
            > tick 9000
              apply s0 clicks_of/0 0..0
        "#]],
    );
}

#[test]
fn what_the_store_holds_instead_of_a_row_stops_the_partition() {
    check(
        1,
        Settings::default(),
        &format!(
            "{READING} records 0 0:a
        loaded broken"
        ),
        expect![[r#"
            > tick 0
            > write clicks_of
            > assign 0 0 9
              claim s0 clicks_of/0
            > claimed 0
              seek 0 to 0
            > records 0 0:a
              load a
              pause 0
            > loaded broken
              stopped 0: entity `....a` of view version 512c6dd85528ed2b: it is no row
        "#]],
    );
}

#[test]
fn what_the_log_cannot_deliver_stops_the_partition() {
    check(
        1,
        Settings::default(),
        &format!(
            "{READING} unreadable 0
        revoke 0"
        ),
        expect![[r#"
            > tick 0
            > write clicks_of
            > assign 0 0 9
              claim s0 clicks_of/0
            > claimed 0
              seek 0 to 0
            > unreadable 0
              pause 0
              stopped 0: offset 3 is gone
            > revoke 0
              released 0
        "#]],
    );
}

#[test]
fn a_log_that_ends_before_what_was_folded_of_it_is_not_read() {
    check(
        1,
        Settings::default(),
        "tick 0
        write clicks_of
        assign 0 0 9
        claimed 12
        looked 9
        tick 9000",
        expect![[r#"
            > tick 0
            > write clicks_of
            > assign 0 0 9
              claim s0 clicks_of/0
            > claimed 12
              look at 0
            > looked 9
              pause 0
              stopped 0: offset 12 was reached before, and the log ends at 9: the log went back: `freshet rebuild` builds the rows anew from what it holds now
            > tick 9000
              apply s0 clicks_of/0 12..12
        "#]],
    );
}

#[test]
fn a_log_that_has_grown_since_it_was_asked_is_read() {
    check(
        1,
        Settings::default(),
        "tick 0
        write clicks_of
        assign 0 0 9
        claimed 12
        looked 12",
        expect![[r#"
            > tick 0
            > write clicks_of
            > assign 0 0 9
              claim s0 clicks_of/0
            > claimed 12
              look at 0
            > looked 12
              seek 0 to 12
        "#]],
    );
}

#[test]
fn a_lane_that_was_refused_while_its_partition_was_stopped_is_claimed_again_for_rows_that_are_new() {
    check(
        1,
        Settings::default(),
        &format!(
            "{READING} unreadable 0
        tick 5000
        refused s0 emptied
        write clicks_of recency
        claimed 0
        member yes
        claimed 0"
        ),
        expect![[r#"
            > tick 0
            > write clicks_of
            > assign 0 0 9
              claim s0 clicks_of/0
            > claimed 0
              seek 0 to 0
            > unreadable 0
              pause 0
              stopped 0: offset 3 is gone
            > tick 5000
              apply s0 clicks_of/0 0..0
            > refused s0 emptied
            > write clicks_of recency
              claim s0 recency/0
              prove membership
            > claimed 0
            > member yes
              claim s0 clicks_of/0
            > claimed 0
              seek 0 to 0
              resume 0
        "#]],
    );
}

#[test]
fn a_stopped_partition_is_taken_up_again_for_rows_that_are_new() {
    check(
        1,
        Settings::default(),
        &format!(
            "{READING} unreadable 0
        write clicks_of
        write clicks_of recency
        claimed 0"
        ),
        expect![[r#"
            > tick 0
            > write clicks_of
            > assign 0 0 9
              claim s0 clicks_of/0
            > claimed 0
              seek 0 to 0
            > unreadable 0
              pause 0
              stopped 0: offset 3 is gone
            > write clicks_of
            > write clicks_of recency
              claim s0 recency/0
            > claimed 0
              seek 0 to 0
              resume 0
        "#]],
    );
}

#[test]
fn deliveries_of_an_earlier_seek_are_ignored() {
    check(
        1,
        Settings::default(),
        &format!("{READING} stale 0 7:a"),
        expect![[r#"
        > tick 0
        > write clicks_of
        > assign 0 0 9
          claim s0 clicks_of/0
        > claimed 0
          seek 0 to 0
        > stale 0 7:a
    "#]],
    );
}

#[test]
fn a_delivery_while_a_batch_waits_is_read_again_later() {
    check(
        1,
        Settings::default(),
        &format!(
            "{READING} records 0 0:a
        records 0 1:b
        loaded"
        ),
        expect![[r#"
            > tick 0
            > write clicks_of
            > assign 0 0 9
              claim s0 clicks_of/0
            > claimed 0
              seek 0 to 0
            > records 0 0:a
              load a
              pause 0
            > records 0 1:b
              seek 0 to 0
              resume 0
            > loaded
        "#]],
    );
}

#[test]
fn a_revoked_partition_is_flushed_before_it_is_released() {
    check(
        2,
        Settings::default(),
        &format!(
            "{READING} records 0 0:a 1:b
        loaded
        revoke 0
        done s0
        done s1
        revoke 0"
        ),
        expect![[r#"
            > tick 0
            > write clicks_of
            > assign 0 0 9
              claim s0 clicks_of/0
              claim s1 clicks_of/0
            > claimed 0
              seek 0 to 0
            > records 0 0:a 1:b
              load a b
              pause 0
            > loaded
              resume 0
            > revoke 0
              pause 0
              apply s0 clicks_of/0 0..2 +a +b
              apply s1 clicks_of/0 0..2
            > done s0
            > done s1
              released 0
            > revoke 0
              released 0
        "#]],
    );
}

#[test]
fn offsets_of_shards_without_rows_advance_every_five_seconds() {
    check(
        2,
        Settings::default(),
        &format!(
            "{READING} records 0 0:a
        loaded
        tick 20
        done s0
        tick 4000
        tick 980"
        ),
        expect![[r#"
            > tick 0
            > write clicks_of
            > assign 0 0 9
              claim s0 clicks_of/0
              claim s1 clicks_of/0
            > claimed 0
              seek 0 to 0
            > records 0 0:a
              load a
              pause 0
            > loaded
              resume 0
            > tick 20
              apply s0 clicks_of/0 0..1 +a
            > done s0
            > tick 4000
            > tick 980
              apply s1 clicks_of/0 0..1
        "#]],
    );
}

#[test]
fn a_clock_that_is_set_back_delays_no_flush() {
    check(
        2,
        Settings::default(),
        &format!(
            "{READING} records 0 0:a
        loaded
        tick 5
        clock back
        tick 5
        done s0
        tick 5000"
        ),
        expect![[r#"
            > tick 0
            > write clicks_of
            > assign 0 0 9
              claim s0 clicks_of/0
              claim s1 clicks_of/0
            > claimed 0
              seek 0 to 0
            > records 0 0:a
              load a
              pause 0
            > loaded
              resume 0
            > tick 5
            > clock back
            > tick 5
              apply s0 clicks_of/0 0..1 +a
            > done s0
            > tick 5000
              apply s0 clicks_of/0 1..1
              apply s1 clicks_of/0 0..1
        "#]],
    );
}

#[test]
fn a_new_version_is_claimed_and_the_partition_read_again_from_its_start() {
    check(
        1,
        Settings::default(),
        &format!(
            "{READING} records 0 0:a 1:b
        loaded
        tick 20
        done s0
        write clicks_of recency
        claimed 0
        records 0 0:a 1:b 2:a
        loaded
        tick 20"
        ),
        expect![[r#"
            > tick 0
            > write clicks_of
            > assign 0 0 9
              claim s0 clicks_of/0
            > claimed 0
              seek 0 to 0
            > records 0 0:a 1:b
              load a b
              pause 0
            > loaded
              resume 0
            > tick 20
              apply s0 clicks_of/0 0..2 +a +b
            > done s0
            > write clicks_of recency
              pause 0
              claim s0 recency/0
            > claimed 0
              seek 0 to 0
              resume 0
            > records 0 0:a 1:b 2:a
              load a b
              pause 0
            > loaded
              resume 0
            > tick 20
              apply s0 clicks_of/0 2..3 recency/0 0..3 +a +a +b
        "#]],
    );
}

#[test]
fn a_version_that_is_no_longer_written_is_forgotten() {
    check(
        1,
        Settings::default(),
        &format!(
            "{READING} records 0 0:a
        loaded
        write recency
        claimed 0
        tick 9000"
        ),
        expect![[r#"
            > tick 0
            > write clicks_of
            > assign 0 0 9
              claim s0 clicks_of/0
            > claimed 0
              seek 0 to 0
            > records 0 0:a
              load a
              pause 0
            > loaded
              resume 0
            > write recency
              pause 0
              claim s0 recency/0
            > claimed 0
              seek 0 to 0
              resume 0
            > tick 9000
              apply s0 recency/0 0..0
        "#]],
    );
}

#[test]
fn who_is_behind_the_log_flushes_the_shards_in_turns() {
    let behind = Settings { behind_records: 2, ..Settings::default() };
    check(
        2,
        behind,
        &format!(
            "{READING} records 0 0:a 1:e 2:i 3:u
        loaded
        tick 20
        tick 430
        tick 440
        tick 20"
        ),
        expect![[r#"
            > tick 0
            > write clicks_of
            > assign 0 0 9
              claim s0 clicks_of/0
              claim s1 clicks_of/0
            > claimed 0
              seek 0 to 0
            > records 0 0:a 1:e 2:i 3:u
              load a e i u
              pause 0
            > loaded
              resume 0
            > tick 20
            > tick 430
              apply s1 clicks_of/0 0..4 +i
            > tick 440
            > tick 20
              apply s0 clicks_of/0 0..4 +a +e +u
        "#]],
    );
}

#[test]
fn a_full_shard_is_flushed_at_once_and_a_full_worker_waits_for_the_store() {
    let shard = Settings { flush_bytes: 1, ..Settings::default() };
    check(
        1,
        shard,
        &format!(
            "{READING} records 0 0:a 1:a 2:a
        loaded
        done s0
        done s0"
        ),
        expect![[r#"
            > tick 0
            > write clicks_of
            > assign 0 0 9
              claim s0 clicks_of/0
            > claimed 0
              seek 0 to 0
            > records 0 0:a 1:a 2:a
              load a
              pause 0
            > loaded
              apply s0 clicks_of/0 0..1 +a
            > done s0
              apply s0 clicks_of/0 1..2 +a
              resume 0
            > done s0
        "#]],
    );
    let worker = Settings { unflushed_bytes: 1, ..Settings::default() };
    check(
        2,
        worker,
        &format!(
            "{READING} records 0 0:a 1:b
        loaded
        done s0"
        ),
        expect![[r#"
            > tick 0
            > write clicks_of
            > assign 0 0 9
              claim s0 clicks_of/0
              claim s1 clicks_of/0
            > claimed 0
              seek 0 to 0
            > records 0 0:a 1:b
              load a b
              pause 0
            > loaded
              apply s0 clicks_of/0 0..1 +a
            > done s0
              resume 0
        "#]],
    );
}

#[test]
fn release_without_a_partition_is_immediate() {
    check(
        1,
        Settings::default(),
        "release
        revoke 3",
        expect![[r#"
            > release
            > revoke 3
              released 3
        "#]],
    );
}
