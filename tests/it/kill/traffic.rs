//! What is sent, what was acknowledged, and what all of it has to add up to. Event number `n` is always the same
//! event, so what is expected is plain addition over numbers.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;

/// Events in one call.
const CHUNK: u64 = 40;

pub const USERS: u64 = 20;
pub const ITEMS: u64 = 7;

pub struct Event {
    pub user: String,
    pub item: String,
    pub units: i64,
    /// In quarters, so that adding doubles is exact here too.
    pub price: f64,
    number: u64,
}

impl Event {
    pub fn numbered(number: u64) -> Event {
        let mut random = fastrand::Rng::with_seed(number);
        Event {
            user: format!("u{}", random.u64(..USERS)),
            item: format!("i{}", random.u64(..ITEMS)),
            units: random.i64(-3..100),
            price: random.i32(-400..4_000).into(),
            number,
        }
        .with_quarters(random.u8(..4))
    }

    fn with_quarters(mut self, quarters: u8) -> Event {
        self.price += f64::from(quarters) / 4.0;
        self
    }

    /// Seventeen seconds apart: some thousands of events make several days, and so several files a commit.
    pub fn json(&self) -> String {
        let Event { user, item, units, price, number } = self;
        let at = 1_735_700_000_000 + number * 17_000;
        format!(r#"{{"id":{number},"at":{at},"user_id":"{user}","item_id":"{item}","units":{units},"price":{price}}}"#)
    }
}

/// Numbers that were never sent follow on `new`.
#[derive(Debug)]
pub struct Traffic {
    new: Range<u64>,
    /// Sent to a service that is no more, which did not answer: to be sent again.
    unanswered: VecDeque<Range<u64>>,
    in_flight: Vec<Range<u64>>,
    pub sent_again: usize,
}

impl Traffic {
    pub fn starting_at(number: u64) -> Traffic {
        Traffic { new: number..number, unanswered: VecDeque::new(), in_flight: Vec::new(), sent_again: 0 }
    }

    /// The next chunk to send: one that was not answered, or a new one.
    pub fn next(&mut self) -> Range<u64> {
        let chunk = self.unanswered.pop_front().inspect(|_| self.sent_again += 1).unwrap_or_else(|| {
            self.new = self.new.end..self.new.end + CHUNK;
            self.new.clone()
        });
        self.in_flight.push(chunk.clone());
        chunk
    }

    pub fn acknowledged(&mut self, chunk: &Range<u64>) {
        self.in_flight.retain(|sent| sent != chunk);
    }

    /// The service is gone: what it did not answer is open.
    pub fn service_died(&mut self) {
        self.unanswered.extend(self.in_flight.drain(..));
    }

    pub fn has_unanswered(&self) -> bool {
        !self.unanswered.is_empty()
    }

    /// All numbers from 0 up to here were sent.
    pub fn end(&self) -> u64 {
        self.new.end
    }
}

/// Events, units and price of one entity.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Totals {
    pub events: i64,
    pub units: i64,
    pub price: f64,
}

/// By user, and by item.
pub fn totals(numbers: Range<u64>) -> (BTreeMap<String, Totals>, BTreeMap<String, Totals>) {
    let (mut users, mut items) = (BTreeMap::new(), BTreeMap::new());
    for event in numbers.map(Event::numbered) {
        add(users.entry(event.user.clone()).or_default(), &event);
        add(items.entry(event.item.clone()).or_default(), &event);
    }
    (users, items)
}

fn add(totals: &mut Totals, event: &Event) {
    totals.events += 1;
    totals.units += event.units;
    totals.price += event.price;
}
