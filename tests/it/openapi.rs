//! The description of the HTTP API: the file that clients are generated from is what the code says, and says enough.

use expect_test::expect_file;
use serde_json::{Map, Value, json};

/// Every operation as (method, path, what is said of it).
fn operations() -> Vec<(String, String, Value)> {
    let description = serde_json::to_value(freshet::api::openapi()).expect("a description is plain data");
    let paths: Map<String, Value> = description["paths"].as_object().expect("there are paths").clone();
    let of_path = |(path, item): (String, Value)| {
        let item = item.as_object().expect("a path has operations").clone();
        item.into_iter().map(move |(method, operation)| (method, path.clone(), operation))
    };
    paths.into_iter().flat_map(of_path).collect()
}

#[test]
fn the_file_is_what_the_code_generates() {
    let yaml = freshet::api::openapi().to_yaml().expect("a description is plain data");
    expect_file!["../../openapi.yaml"].assert_eq(&yaml);
}

/// What clients were promised. Parameters are named as they are in the paths.
const INTERFACE: &[&str] = &[
    "POST /v1/online-features",
    "GET /v1/online-features/{service}",
    "POST /v1/sources/{source}/events",
    "GET /v1/definitions",
    "GET /v1/definitions/{kind}/{name}",
    "POST /v1/definitions/plan",
    "POST /v1/definitions/apply",
    "POST /v1/training-sets",
    "GET /v1/training-sets",
    "GET /v1/training-sets/{id}",
    "GET /v1/training-sets/{id}/data",
    "DELETE /v1/training-sets/{id}",
    "POST /v1/backfills",
    "GET /v1/backfills",
    "GET /v1/backfills/{id}",
    "DELETE /v1/backfills/{id}",
    "GET /v1/explain/{name}",
    "GET /v1/status",
    "GET /healthz",
    "GET /readyz",
    "GET /metrics",
    "GET /openapi.json",
    "GET /docs/",
    "POST /get-online-features",
    "POST /push",
    "POST /write-to-online-store",
    "GET /health",
];

#[test]
fn every_call_of_the_interface_is_described() {
    let described = operations().into_iter().map(|(method, path, _)| format!("{} {path}", method.to_uppercase()));
    let described: Vec<String> = described.collect();
    let missing: Vec<_> = INTERFACE.iter().filter(|call| !described.contains(&(**call).to_owned())).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn every_operation_has_its_own_id_and_a_summary() {
    let operations = operations();
    let mut ids: Vec<&str> = Vec::new();
    for (method, path, operation) in &operations {
        let id = operation["operationId"].as_str().unwrap_or_default();
        assert!(!id.is_empty(), "{method} {path} has no operation id");
        assert!(!ids.contains(&id), "{method} {path} shares the operation id `{id}` with another");
        assert!(!operation["summary"].as_str().unwrap_or_default().is_empty(), "{method} {path} has no summary");
        ids.push(id);
    }
    assert!(ids.len() >= 20, "only {} operations were found", ids.len());
}

#[test]
fn every_response_says_when_it_comes_and_every_error_is_a_problem_or_feasts() {
    for (method, path, operation) in operations() {
        let responses = operation["responses"].as_object().expect("an operation has responses");
        assert!(responses.keys().any(|status| status.starts_with('2')), "{method} {path} never succeeds");
        for (status, response) in responses {
            let described = response["description"].as_str().is_some_and(|text| !text.is_empty());
            assert!(described, "{method} {path} does not say when it answers {status}");
            let of_feast = operation["tags"] == json!(["feast"]);
            let (content_type, schema) =
                if of_feast { ("application/json", "FeastFailure") } else { ("application/problem+json", "Problem") };
            let error = &response["content"][content_type]["schema"]["$ref"];
            assert!(
                // Feast's `/health` has no bodies.
                status.starts_with('2') || path == "/health" || *error == format!("#/components/schemas/{schema}"),
                "{method} {path} answers {status} with something else than a {schema}"
            );
        }
    }
}
