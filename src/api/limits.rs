//! What a request may use: bytes, events, time, and a place among those that are answered at once.
//!
//! Requests share five **lanes**, each with so many places. A request that finds none is refused at once, with 503 and
//! when to come again, rather than queued: under too much load those that are taken are still answered in time, and
//! ingest or jobs cannot take the places of lookups, nor anybody those of the calls that would end it, such as to revoke a
//! key. A place is held until the answer is on its way. Probes and metrics need none.

use std::sync::Arc;
use std::time::Duration;

use prometheus::{IntCounter, IntGauge};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::api::problem::Problem;
use crate::telemetry::metrics::Metrics;

#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub body_bytes: usize,
    /// Of a training set's spine, which is a whole table.
    pub spine_bytes: usize,
    /// Events in one ingest call.
    pub events: usize,
    /// Time for a lookup or an ingest call, its body included.
    pub request_time: Duration,
    /// Time for any other call: some wait for the archive, or take a table of [`Limits::spine_bytes`]. Its body has
    /// `request_time`, and more by its size.
    pub work_time: Duration,
    /// How long a client may pause within a body.
    pub body_pause: Duration,
    /// Lookups at once.
    pub lookups: usize,
    /// Ingest calls at once, each with a body of up to [`Limits::body_bytes`] in memory.
    pub ingests: usize,
    /// Calls about training sets at once, each with a table that comes or goes.
    pub tables: usize,
    /// Calls of the scope `admin` at once.
    pub admin: usize,
    /// Other calls at once.
    pub work: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            body_bytes: 16 << 20,
            spine_bytes: 256 << 20,
            events: 50_000,
            request_time: Duration::from_secs(10),
            work_time: Duration::from_secs(600),
            body_pause: Duration::from_secs(5),
            lookups: 512,
            ingests: 64,
            tables: 32,
            admin: 16,
            work: 32,
        }
    }
}

impl Limits {
    fn places(&self, lane: Lane) -> usize {
        match lane {
            Lane::Lookup => self.lookups,
            Lane::Ingest => self.ingests,
            Lane::Table => self.tables,
            Lane::Admin => self.admin,
            Lane::Work => self.work,
        }
    }
}

/// Which places a call takes one of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lane {
    Lookup,
    Ingest,
    Table,
    Admin,
    Work,
}

impl Lane {
    /// In the order of their numbers.
    const ALL: [Lane; 5] = [Lane::Lookup, Lane::Ingest, Lane::Table, Lane::Admin, Lane::Work];

    /// As metrics have it.
    pub fn as_str(self) -> &'static str {
        match self {
            Lane::Lookup => "lookup",
            Lane::Ingest => "ingest",
            Lane::Table => "table",
            Lane::Admin => "admin",
            Lane::Work => "work",
        }
    }
}

/// The places of all lanes. Clones share them.
#[derive(Clone)]
pub struct Lanes {
    lanes: Arc<[Places; Lane::ALL.len()]>,
    limits: Limits,
}

struct Places {
    free: Arc<Semaphore>,
    in_flight: IntGauge,
    shed: IntCounter,
    timed_out: IntCounter,
}

/// One place, until it is dropped.
pub(super) struct Place {
    _permit: OwnedSemaphorePermit,
    in_flight: IntGauge,
}

impl Lanes {
    pub fn new(limits: Limits, metrics: &Metrics) -> Lanes {
        let places = |lane: Lane| Places {
            free: Arc::new(Semaphore::new(limits.places(lane))),
            in_flight: metrics.requests_in_flight.with_label_values(&[lane.as_str()]),
            shed: metrics.requests_shed.with_label_values(&[lane.as_str()]),
            timed_out: metrics.requests_timed_out.with_label_values(&[lane.as_str()]),
        };
        Lanes { lanes: Arc::new(Lane::ALL.map(places)), limits }
    }

    pub(super) fn enter(&self, lane: Lane) -> Result<Place, Problem> {
        let Places { free, in_flight, shed, .. } = &self.lanes[lane as usize];
        let Ok(permit) = free.clone().try_acquire_owned() else {
            shed.inc();
            let detail = format!("as many {} calls are being answered as this process takes; try again", lane.as_str());
            return Err(Problem::unavailable("OVERLOADED", detail));
        };
        in_flight.inc();
        Ok(Place { _permit: permit, in_flight: in_flight.clone() })
    }

    pub(super) fn time(&self, lane: Lane) -> Duration {
        match lane {
            Lane::Lookup | Lane::Ingest => self.limits.request_time,
            Lane::Table | Lane::Admin | Lane::Work => self.limits.work_time,
        }
    }

    /// For a body of no size. Where the call has no more for all of it, the call is what ends.
    pub(super) fn body_time(&self, lane: Lane) -> Duration {
        match lane {
            Lane::Lookup | Lane::Ingest => self.limits.work_time,
            Lane::Table | Lane::Admin | Lane::Work => self.limits.request_time,
        }
    }

    /// Tells that a call of the lane took longer than its time.
    pub(super) fn timed_out(&self, lane: Lane) {
        self.lanes[lane as usize].timed_out.inc();
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.in_flight.dec();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_without_a_place_is_refused_and_a_place_is_given_back() {
        let metrics = Metrics::new();
        let lanes = Lanes::new(Limits { lookups: 2, ..Limits::default() }, &metrics);
        let in_flight = || metrics.requests_in_flight.with_label_values(&["lookup"]).get();
        let first = lanes.enter(Lane::Lookup).expect("a place");
        let _second = lanes.enter(Lane::Lookup).expect("a place");
        let refused = lanes.enter(Lane::Lookup).err().expect("no place is left");
        assert_eq!((refused.status, refused.code), (503, "OVERLOADED"));
        assert!(lanes.enter(Lane::Ingest).is_ok(), "another lane has its own");
        assert_eq!(in_flight(), 2);
        drop(first);
        assert_eq!(in_flight(), 1);
        assert!(lanes.enter(Lane::Lookup).is_ok());
        assert_eq!(metrics.requests_shed.with_label_values(&["lookup"]).get(), 1);
    }
}
