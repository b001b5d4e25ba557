//! The forms of an answer to a lookup: JSON, Arrow, and packed.

use std::io::Read;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{DataType, Float32Type, Float64Type, Int32Type, Int64Type, TimeUnit, TimestampMicrosecondType};
use arrow::ipc::reader::StreamReader;
use arrow::record_batch::RecordBatch;
use arrow::util::display::array_value_to_string;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use expect_test::expect;
use flate2::read::GzDecoder;
use freshet::kernel::time::EventTime;
use serde_json::{Value, json};

use super::{Service, problem};
use crate::http::Answer;

const LOOKUP: &str = "/v1/online-features";
const ARROW: &str = "application/vnd.apache.arrow.stream";

/// Every type that a feature can have.
const DEFINITIONS: &str = include_str!("../../feast/definitions.yaml");
const EVENTS: &str = include_str!("../../feast/events.ndjson");

const VIEWS: [&str; 4] = ["types", "lists", "popularity", "pairs"];
const CASES: u64 = 60;

async fn with_every_type() -> Service {
    let service = Service::empty().await;
    service.apply(DEFINITIONS).await.json();
    service.api.send("/v1/sources/readings/events?replay=true", "application/x-ndjson", EVENTS).await.json();
    service.settle().await;
    service
}

#[tokio::test]
async fn json_and_arrow_say_the_same() {
    let service = with_every_type().await;
    let arrow = service.api.with_header("accept", ARROW);
    for seed in 0..CASES {
        let body = request(&mut fastrand::Rng::with_seed(seed));
        let json = service.api.post(LOOKUP, &body).await.json();
        let answer = arrow.post(LOOKUP, &body).await;
        assert_eq!((answer.status, answer.content_type.as_str()), (200, ARROW), "seed {seed}: {answer}");
        let batch = batch(&answer);
        let as_of = batch.schema().metadata()["as_of"].clone();
        assert!(as_of.parse::<EventTime>().is_ok(), "{as_of}");
        assert_eq!(columns(&batch), json["columns"], "seed {seed}: {body}");
    }
    service.stop().await;
}

/// Some views for some entities, known and unknown.
fn request(random: &mut fastrand::Rng) -> Value {
    let mut views: Vec<&str> = VIEWS.into_iter().filter(|_| random.bool()).collect();
    // It needs both keys.
    views.push("pairs:times");
    random.shuffle(&mut views);
    let rows = random.usize(0..6);
    let users = [json!("u1"), json!("u2"), json!("u3"), json!("u4"), json!("u5"), json!("nobody"), Value::Null];
    let items = [json!(1), json!(2), json!(-1), json!(i64::MAX), json!(99), Value::Null];
    let mut pick = |from: &[Value]| (0..rows).map(|_| from[random.usize(..from.len())].clone()).collect::<Vec<_>>();
    let entities = json!({ "user_id": pick(&users), "item_id": pick(&items) });
    let include: Vec<&str> = ["statuses", "event_times"].into_iter().filter(|_| random.bool()).collect();
    json!({ "features": views, "entities": entities, "include": include })
}

fn batch(answer: &Answer) -> RecordBatch {
    let mut reader = StreamReader::try_new(answer.body.as_slice(), None).expect("a stream");
    let batch = reader.next().expect("a batch").expect("it reads");
    assert!(reader.next().is_none(), "one batch");
    batch
}

/// As the JSON has them: what is beside a feature's values, within its column.
fn columns(batch: &RecordBatch) -> Value {
    let mut columns: Vec<Value> = Vec::new();
    for (field, array) in batch.schema().fields().iter().zip(batch.columns()) {
        let cells: Vec<Value> = (0..array.len()).map(|row| cell(array, row)).collect();
        let owner = columns.last_mut().and_then(|column| {
            let name = field.name().strip_prefix(column["name"].as_str()?)?;
            Some((column, name.to_owned()))
        });
        match owner {
            Some((column, name)) if name == ":status" => column["statuses"] = cells.into(),
            Some((column, name)) if name == ":event_time" => column["event_times"] = cells.into(),
            _ => columns.push(json!({ "name": field.name(), "values": cells })),
        }
    }
    columns.into()
}

fn cell(array: &ArrayRef, row: usize) -> Value {
    if array.is_null(row) {
        return Value::Null;
    }
    match array.data_type() {
        DataType::Boolean => array.as_boolean().value(row).into(),
        DataType::Int32 => array.as_primitive::<Int32Type>().value(row).into(),
        DataType::Int64 => array.as_primitive::<Int64Type>().value(row).into(),
        // In its own shortest form, which is not that of the double that it is.
        DataType::Float32 => {
            let text = serde_json::to_string(&array.as_primitive::<Float32Type>().value(row)).expect("a number");
            serde_json::from_str(&text).expect("a number")
        }
        DataType::Float64 => array.as_primitive::<Float64Type>().value(row).into(),
        DataType::Binary => BASE64_STANDARD.encode(array.as_binary::<i32>().value(row)).into(),
        DataType::Timestamp(TimeUnit::Microsecond, _) => {
            let micros = array.as_primitive::<TimestampMicrosecondType>().value(row);
            EventTime::from_micros(micros).expect("in range").to_string().into()
        }
        DataType::List(_) => {
            let items = array.as_list::<i32>().value(row);
            (0..items.len()).map(|item| cell(&items, item)).collect()
        }
        _ => array_value_to_string(array, row).expect("it has a form").into(),
    }
}

#[tokio::test]
async fn a_client_that_accepts_neither_form_is_told_which_there_are() {
    let shop = Service::shop().await;
    let body = json!({ "service": "recommender", "entities": { "user_id": ["u1"] } });
    for liked in ["*/*", "application/json", "text/html, application/*;q=0.5"] {
        assert_eq!(shop.api.with_header("accept", liked).post(LOOKUP, &body).await.content_type, "application/json");
    }
    let only_csv = shop.api.with_header("accept", "text/csv");
    let mut problems = problem(&only_csv.post(LOOKUP, &body).await);
    problems += &problem(&only_csv.get("/v1/online-features/recommender?user_id=u1").await);
    expect![[r#"
        406 NOT_ACCEPTABLE: a lookup is answered as application/json or application/vnd.apache.arrow.stream, and `text/csv` accepts neither
        406 NOT_ACCEPTABLE: a lookup is answered as application/json or application/vnd.apache.arrow.stream, and `text/csv` accepts neither
    "#]]
    .assert_eq(&problems);
    shop.stop().await;
}

#[tokio::test]
async fn a_large_answer_is_packed_on_request_and_is_the_same() {
    let shop = Service::busy_shop().await;
    let rows: Vec<String> = (0..200).map(|row| format!("u{}", row % 4)).collect();
    let many = json!({ "service": "recommender", "entities": { "user_id": rows } });
    let one = json!({ "service": "recommender", "entities": { "user_id": ["u1"] } });
    let gzip = shop.api.with_header("accept-encoding", "gzip");
    assert_eq!(shop.api.post(LOOKUP, &many).await.header("content-encoding"), "", "nobody asked");
    assert_eq!(gzip.post(LOOKUP, &one).await.header("content-encoding"), "", "it is small");
    for path in [LOOKUP, "/get-online-features"] {
        let body = match path {
            LOOKUP => many.clone(),
            _ => json!({ "feature_service": "recommender", "entities": many["entities"], "full_feature_names": true }),
        };
        let packed = gzip.post(path, &body).await;
        assert_eq!((packed.header("content-encoding"), packed.header("vary")), ("gzip", "accept-encoding"));
        let mut text = String::new();
        GzDecoder::new(packed.body.as_slice()).read_to_string(&mut text).expect("it unpacks");
        let mut unpacked: Value = serde_json::from_str(&text).expect("it is JSON");
        let mut plain = shop.api.post(path, &body).await.json();
        assert!(packed.body.len() * 4 < text.len(), "{} of {}", packed.body.len(), text.len());
        // Each call has its own.
        for answer in [&mut unpacked, &mut plain] {
            answer.as_object_mut().expect("an object").remove("as_of");
        }
        assert_eq!(unpacked, plain);
    }
    shop.stop().await;
}
