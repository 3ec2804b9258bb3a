//! Tests the generated code with the conformance vectors, which are in the folder CONTRACT.

use std::path::PathBuf;
use std::{env, fs};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use crate::reencode::reencode;

#[test]
fn documents_come_back_byte_for_byte() {
    for case in cases_in("documents.json") {
        assert_is_kept(&case["name"], text(&case["type"]), &case["wire"]);
    }
}

#[test]
fn streams_come_back_byte_for_byte() {
    for case in cases_in("streams.json") {
        for event in case["events"].as_array().expect("the events") {
            match text(&event["kind"]) {
                "message" => assert_is_kept(&case["name"], text(&case["type"]), &event["wire"]),
                "error" => assert_is_kept(&case["name"], "ErrorResponse", &event["wire"]),
                kind => assert!(
                    ["done", "refused"].contains(&kind),
                    "{}: {kind}",
                    case["name"]
                ),
            }
        }
        let accumulated = &case["accumulated"]["wire"];
        assert_is_kept(&case["name"], text(&case["accumulated_type"]), accumulated);
    }
}

/// These may be encoded in any way and have fields of a newer contract, which prost drops.
#[test]
fn messages_of_programs_stay_the_same_after_the_first_time() {
    for case in cases_in("programs.json") {
        let type_name = text(&case["type"]);
        let once = reencode(type_name, &decoded(&case["wire"])).expect("a message");
        let twice = reencode(type_name, &once).expect("a message");
        assert_eq!(once, twice, "{}", case["name"]);
    }
}

fn assert_is_kept(name: &Value, type_name: &str, wire: &Value) {
    let wire = decoded(wire);
    let again = reencode(type_name, &wire).expect("a message");
    assert_eq!(again, wire, "{name}");
}

fn cases_in(file: &str) -> Vec<Value> {
    let contract = PathBuf::from(env::var("CONTRACT").expect("CONTRACT"));
    let data = fs::read(contract.join("vectors").join(file)).expect(file);
    let mut content: Value = serde_json::from_slice(&data).expect(file);
    let Value::Array(cases) = content["cases"].take() else {
        panic!("{file} has no cases");
    };
    assert!(!cases.is_empty(), "{file} has no cases");
    cases
}

fn decoded(wire: &Value) -> Vec<u8> {
    STANDARD.decode(text(wire)).expect("base64")
}

fn text(value: &Value) -> &str {
    value.as_str().expect("a string")
}
