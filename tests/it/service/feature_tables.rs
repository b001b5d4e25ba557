//! DuckDB and pandas read what backfills write: `tests/tables/read.py` says what they find.

use std::collections::BTreeSet;
use std::process::Command;

use expect_test::{Expect, expect};
use serde_json::{Value, json};

use super::{Service, until};
use crate::servers::address;

/// Of every type that a feature can have.
const DEFINITIONS: &str = include_str!("../../feast/definitions.yaml");
const EVENTS: &str = include_str!("../../feast/events.ndjson");
const READ: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/tables/read.py");

/// Two instants after the last event.
const DAYS: [&str; 2] = ["2026-01-02", "2026-01-03"];

/// What a view's table is to its readers, who have to agree with each other, and with lookups, at every instant.
async fn check(view: &str, types: Expect) {
    let service = Service::empty().await;
    service.apply(DEFINITIONS).await.json();
    let events = service.api.send("/v1/sources/readings/events?replay=true", "application/x-ndjson", EVENTS).await;
    assert_eq!(events.json()["rejected"], json!([]));
    service.settle().await;
    let job = backfilled(&service, view).await;
    let found = found(&job);
    let mut told = String::new();
    for reader in ["duckdb", "pandas"] {
        let rows = found[reader]["rows"].as_array().expect("a list");
        assert_eq!(job["result"]["rows"], rows.len(), "{reader}");
        let users: BTreeSet<&str> = rows.iter().map(|row| row["user_id"].as_str().expect("a string")).collect();
        assert_eq!(rows.len(), DAYS.len() * users.len(), "{reader}: each of {users:?} is found on each day");
        for day in DAYS {
            let of_day: Vec<&Value> = rows.iter().filter(|row| row["dt"] == day).collect();
            let instant = format!("{day}T12:00:00Z");
            assert!(of_day.iter().all(|row| row["as_of"] == instant.as_str()), "{reader}: {of_day:?}");
            assert_eq!(columns(&of_day), looked_up(&service, view, &users).await, "{reader}, at {instant}");
        }
        told += &format!("{reader}:\n{:#}\n", found[reader]["types"]);
    }
    types.assert_eq(&told);
    service.stop().await;
}

async fn backfilled(service: &Service, view: &str) -> Value {
    let wanted =
        json!({ "view": view, "from": format!("{}T12:00:00Z", DAYS[0]), "to": "2026-01-04T00:00:00Z", "every": "1d" });
    let begun = service.api.post("/v1/backfills", &wanted).await.json();
    let path = format!("/v1/backfills/{}", begun["id"].as_str().expect("a job has an id"));
    until("it is done", async || Some(service.api.get(&path).await.json()).filter(|job| job["state"] == "done")).await
}

fn found(job: &Value) -> Value {
    let text = |value: &Value| value.as_str().expect("a string").to_owned();
    let mut read = Command::new(address("TABLES_PYTHON"));
    read.arg(READ).args([text(&job["result"]["folder"]), text(&job["id"])]);
    let read = read.output().expect("the program runs");
    assert!(read.status.success(), "{}", String::from_utf8_lossy(&read.stderr));
    serde_json::from_slice(&read.stdout).expect("it prints JSON")
}

/// Name and values of each feature, in the order of users.
fn columns(rows: &[&Value]) -> Vec<(String, Vec<Value>)> {
    let names = rows[0].as_object().expect("a row").keys();
    let features = names.filter(|name| !["user_id", "as_of", "dt"].contains(&name.as_str()));
    features.map(|name| (name.clone(), rows.iter().map(|row| row[name].clone()).collect())).collect()
}

async fn looked_up(service: &Service, view: &str, users: &BTreeSet<&str>) -> Vec<(String, Vec<Value>)> {
    let lookup = json!({ "features": [view], "entities": { "user_id": users } });
    let answer = service.api.post("/v1/online-features", &lookup).await.json();
    let column = |column: &Value| {
        let name = column["name"].as_str().expect("a name").rsplit(':').next().expect("a split has a part").to_owned();
        (name, column["values"].as_array().expect("a list").clone())
    };
    answer["columns"].as_array().expect("a list")[1..].iter().map(column).collect()
}

#[tokio::test]
async fn duckdb_and_pandas_read_values_of_every_type_as_lookups_answer_them() {
    check(
        "types",
        expect![[r#"
        duckdb:
        {
          "user_id": "VARCHAR",
          "as_of": "TIMESTAMP WITH TIME ZONE",
          "flag": "BOOLEAN",
          "small": "INTEGER",
          "big": "BIGINT",
          "ratio": "FLOAT",
          "price": "DOUBLE",
          "label": "VARCHAR",
          "blob": "BLOB",
          "seen": "TIMESTAMP WITH TIME ZONE",
          "day": "DATE",
          "amount": "DECIMAL(20,2)",
          "dt": "DATE"
        }
        pandas:
        {
          "user_id": "string[pyarrow]",
          "as_of": "timestamp[us, tz=UTC][pyarrow]",
          "flag": "bool[pyarrow]",
          "small": "int32[pyarrow]",
          "big": "int64[pyarrow]",
          "ratio": "float[pyarrow]",
          "price": "double[pyarrow]",
          "label": "string[pyarrow]",
          "blob": "binary[pyarrow]",
          "seen": "timestamp[us, tz=UTC][pyarrow]",
          "day": "date32[day][pyarrow]",
          "amount": "decimal128(20, 2)[pyarrow]",
          "dt": "dictionary<values=string, indices=int32, ordered=0>[pyarrow]"
        }
    "#]],
    )
    .await;
}

#[tokio::test]
async fn duckdb_and_pandas_read_lists_of_every_type_as_lookups_answer_them() {
    check(
        "lists",
        expect![[r#"
        duckdb:
        {
          "user_id": "VARCHAR",
          "as_of": "TIMESTAMP WITH TIME ZONE",
          "flags": "BOOLEAN[]",
          "smalls": "INTEGER[]",
          "bigs": "BIGINT[]",
          "ratios": "FLOAT[]",
          "prices": "DOUBLE[]",
          "labels": "VARCHAR[]",
          "blobs": "BLOB[]",
          "sightings": "TIMESTAMP WITH TIME ZONE[]",
          "days": "DATE[]",
          "amounts": "DECIMAL(20,2)[]",
          "dt": "DATE"
        }
        pandas:
        {
          "user_id": "string[pyarrow]",
          "as_of": "timestamp[us, tz=UTC][pyarrow]",
          "flags": "list<item: bool>[pyarrow]",
          "smalls": "list<item: int32>[pyarrow]",
          "bigs": "list<item: int64>[pyarrow]",
          "ratios": "list<item: float>[pyarrow]",
          "prices": "list<item: double>[pyarrow]",
          "labels": "list<item: string>[pyarrow]",
          "blobs": "list<item: binary>[pyarrow]",
          "sightings": "list<item: timestamp[us, tz=UTC]>[pyarrow]",
          "days": "list<item: date32[day]>[pyarrow]",
          "amounts": "list<item: decimal128(20, 2)>[pyarrow]",
          "dt": "dictionary<values=string, indices=int32, ordered=0>[pyarrow]"
        }
    "#]],
    )
    .await;
}
