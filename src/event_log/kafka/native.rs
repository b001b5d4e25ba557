//! The events of a consumer, read from librdkafka itself, and the only unsafe code of Freshet.
//!
//! The safe `poll` of `rdkafka` does not do: it reports the end of a partition without saying of which topic, and
//! allocates for every record. What is here hands out borrowed views that live as long as their event.

use std::ffi::{CStr, CString, c_char, c_void};
use std::ptr::{NonNull, null, null_mut};

use rdkafka::ClientContext;
use rdkafka::bindings as c;
use rdkafka::client::Client;
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::types::RDKafkaRespErr;

use crate::event_log::TopicPartition;

/// The queue on which a consumer hears everything. Dropped before its consumer.
pub(super) struct Events(NonNull<c::rd_kafka_queue_t>);

// SAFETY: librdkafka's queues may be used by any thread.
unsafe impl Send for Events {}

/// One event, which lives until it is dropped.
pub(super) struct Event(NonNull<c::rd_kafka_event_t>);

/// What an event says.
pub(super) enum Happening<'a> {
    Record(Record<'a>),
    Assigned(Vec<TopicPartition>),
    Revoked(Vec<TopicPartition>),
    /// Something about one partition: its end, most often.
    Partition {
        place: TopicPartition,
        offset: i64,
        code: RDKafkaErrorCode,
        detail: String,
    },
    Failed {
        code: RDKafkaErrorCode,
        detail: String,
    },
    Line {
        level: i32,
        facility: String,
        text: String,
    },
    /// An answer to a commit, or something that nobody asked for.
    Other,
}

/// A record as it stands in librdkafka's memory.
pub(super) struct Record<'a> {
    message: &'a c::rd_kafka_message_t,
}

/// Tells runs of records of one partition apart from each other without comparing names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Origin(*const c_void, i32);

impl Events {
    pub fn of(client: &Client<impl ClientContext>) -> Events {
        // SAFETY: the client is alive, and a consumer with a group has this queue for as long as it lives.
        let queue = unsafe { c::rd_kafka_queue_get_consumer(client.native_ptr()) };
        Events(NonNull::new(queue).expect("a consumer with a group has a queue"))
    }

    /// The next event, if there is one now.
    pub fn next(&self) -> Option<Event> {
        // SAFETY: the queue is alive until `self` is dropped; the event is ours to destroy.
        NonNull::new(unsafe { c::rd_kafka_queue_poll(self.0.as_ptr(), 0) }).map(Event)
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        // SAFETY: it came from `rd_kafka_queue_get_consumer`, and nothing uses it after this.
        unsafe { c::rd_kafka_queue_destroy(self.0.as_ptr()) }
    }
}

impl Event {
    pub fn read(&self) -> Happening<'_> {
        // SAFETY: the event is alive for as long as `self` is, and so is what is borrowed from it.
        match unsafe { c::rd_kafka_event_type(self.0.as_ptr()) } {
            c::RD_KAFKA_EVENT_FETCH => self.record().map_or(Happening::Other, Happening::Record),
            c::RD_KAFKA_EVENT_REBALANCE => self.rebalance(),
            c::RD_KAFKA_EVENT_ERROR => self.error(),
            c::RD_KAFKA_EVENT_LOG => self.line(),
            _ => Happening::Other,
        }
    }

    fn record(&self) -> Option<Record<'_>> {
        // SAFETY: a fetch event holds one message, which lives as long as the event.
        let message = unsafe { c::rd_kafka_event_message_next(self.0.as_ptr()).as_ref() }?;
        let is_record = message.err == RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR;
        is_record.then_some(Record { message })
    }

    fn rebalance(&self) -> Happening<'_> {
        // SAFETY: the list belongs to the event, and its elements are valid up to `cnt`.
        let places = unsafe {
            let list = c::rd_kafka_event_topic_partition_list(self.0.as_ptr()).as_ref();
            list.map_or(Vec::new(), |list| (0..list.cnt as usize).map(|index| place(&*list.elems.add(index))).collect())
        };
        match self.code() {
            RDKafkaErrorCode::AssignPartitions => Happening::Assigned(places),
            RDKafkaErrorCode::RevokePartitions => Happening::Revoked(places),
            code => Happening::Failed { code, detail: self.detail() },
        }
    }

    fn error(&self) -> Happening<'_> {
        let (code, detail) = (self.code(), self.detail());
        // SAFETY: the partition is a copy that is ours to destroy; null where the error is about none.
        let found = unsafe {
            let found = c::rd_kafka_event_topic_partition(self.0.as_ptr());
            let copy = found.as_ref().map(|found| (place(found), found.offset));
            if !found.is_null() {
                c::rd_kafka_topic_partition_destroy(found);
            }
            copy
        };
        match found {
            Some((place, offset)) => Happening::Partition { place, offset, code, detail },
            None => Happening::Failed { code, detail },
        }
    }

    fn line(&self) -> Happening<'_> {
        let (mut facility, mut text, mut level) = (null(), null(), 0);
        // SAFETY: the strings belong to the event, and are set where the call says that it did (by 0).
        let told = unsafe { c::rd_kafka_event_log(self.0.as_ptr(), &mut facility, &mut text, &mut level) };
        if told != 0 {
            return Happening::Other;
        }
        Happening::Line { level, facility: owned(facility), text: owned(text) }
    }

    fn code(&self) -> RDKafkaErrorCode {
        // SAFETY: the event is alive.
        unsafe { c::rd_kafka_event_error(self.0.as_ptr()) }.into()
    }

    fn detail(&self) -> String {
        // SAFETY: the string belongs to the event.
        owned(unsafe { c::rd_kafka_event_error_string(self.0.as_ptr()) })
    }
}

impl Drop for Event {
    fn drop(&mut self) {
        // SAFETY: it came from `rd_kafka_queue_poll`, and nothing borrows from it any more.
        unsafe { c::rd_kafka_event_destroy(self.0.as_ptr()) }
    }
}

impl<'a> Record<'a> {
    pub fn origin(&self) -> Origin {
        Origin(self.message.rkt.cast(), self.message.partition)
    }

    pub fn place(&self) -> TopicPartition {
        // SAFETY: the topic lives as long as its messages.
        let topic = owned(unsafe { c::rd_kafka_topic_name(self.message.rkt) });
        TopicPartition { topic, partition: self.message.partition as u32 }
    }

    pub fn offset(&self) -> u64 {
        self.message.offset as u64
    }

    /// Milliseconds since 1970; -1 for records from before Kafka had stamps.
    pub fn timestamp_ms(&self) -> i64 {
        // SAFETY: the message lives as long as its event; the kind of stamp may be left out.
        unsafe { c::rd_kafka_message_timestamp(self.message, null_mut()) }
    }

    /// Empty for a record without a value.
    pub fn value(&self) -> &'a [u8] {
        if self.message.payload.is_null() {
            return &[];
        }
        // SAFETY: the payload is `len` bytes that live as long as the event.
        unsafe { std::slice::from_raw_parts(self.message.payload.cast(), self.message.len) }
    }
}

/// The log's end as the last fetch of the partition told it; `None` before the first.
pub(super) fn known_end(client: &Client<impl ClientContext>, place: &TopicPartition) -> Option<u64> {
    let topic = CString::new(place.topic.as_str()).ok()?;
    let (mut low, mut high) = (-1, -1);
    // SAFETY: the client is alive, the name ends with a zero byte, and both offsets may be written.
    let code = unsafe {
        c::rd_kafka_get_watermark_offsets(
            client.native_ptr(),
            topic.as_ptr(),
            place.partition as i32,
            &mut low,
            &mut high,
        )
    };
    (code == RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR).then(|| u64::try_from(high).ok()).flatten()
}

/// Whether the consumer is in its group, or on its way in.
pub(super) fn is_in_group(client: &Client<impl ClientContext>) -> bool {
    // SAFETY: the client is alive; the name is a copy that is ours to free, or null.
    unsafe {
        let name = c::rd_kafka_memberid(client.native_ptr());
        let is_named = !name.is_null() && *name != 0;
        if !name.is_null() {
            c::rd_kafka_mem_free(client.native_ptr(), name.cast());
        }
        is_named
    }
}

fn place(found: &c::rd_kafka_topic_partition_t) -> TopicPartition {
    TopicPartition { topic: owned(found.topic), partition: found.partition as u32 }
}

/// `text` is null, or ends with a zero byte and is alive: what librdkafka hands out is.
fn owned(text: *const c_char) -> String {
    if text.is_null() {
        return String::new();
    }
    // SAFETY: see above.
    unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned()
}
