//! Outcomes of calls, as JSON.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use prost::Message;
use serde_json::{Value, json};
use tonic::metadata::MetadataMap;
use tonic::{Code, Response, Status};
use tonic_types::StatusExt;

use crate::answer::Answer;
use crate::finish_reason::{Stopped, finish_reason};
use crate::v1::ChatCompletionResponse;
use crate::v1::assistant_message::Content;

pub fn unary(outcome: Result<Response<ChatCompletionResponse>, Status>) -> Value {
    let response = match outcome {
        Ok(response) => response,
        Err(status) => return failure(&status),
    };
    let ChatCompletionResponse {
        id, choices, usage, ..
    } = response.get_ref();
    let [choice, ..] = &choices[..] else {
        return json!({"code": name_of(Code::Ok), "id": id});
    };
    let text = match choice
        .message
        .as_ref()
        .and_then(|message| message.content.as_ref())
    {
        Some(Content::ContentString(text)) => Some(text),
        _ => None,
    };
    json!({
        "code": name_of(Code::Ok),
        "request_id": request_id_in(response.metadata()),
        "id": id,
        "text": text,
        "finish_reason": stopped(&finish_reason(choice.finish_reason, choice.json_extra.as_ref())),
        "total_tokens": usage.as_ref().and_then(|usage| usage.total_tokens),
    })
}

pub fn stream(answer: &Answer, outcome: Result<MetadataMap, Status>) -> Value {
    let mut report = match outcome {
        Ok(trailers) => json!({"code": name_of(Code::Ok), "request_id": request_id_in(&trailers)}),
        Err(status) => failure(&status),
    };
    report["messages"] = json!(answer.messages);
    report["chunks"] = json!(answer.chunks);
    report["text"] = json!(answer.text);
    report["finish_reasons"] = answer.finish_reasons.iter().map(stopped).collect();
    report
}

pub fn relay(outcome: Result<Response<ChatCompletionResponse>, Status>) -> Value {
    match outcome {
        Ok(response) => {
            json!({"code": name_of(Code::Ok), "bytes": base64(&response.get_ref().encode_to_vec())})
        }
        Err(status) => failure(&status),
    }
}

/// Describes a status with its details, which tonic-types decodes from `grpc-status-details-bin`.
fn failure(status: &Status) -> Value {
    let details = status.get_error_details();
    let violations: Value = match details.bad_request() {
        Some(bad_request) => bad_request
            .field_violations
            .iter()
            .map(
                |violation| json!({"field": violation.field, "description": violation.description}),
            )
            .collect(),
        None => json!([]),
    };
    let retry_delay = details.retry_info().and_then(|info| info.retry_delay);
    json!({
        "code": name_of(status.code()),
        "message": status.message(),
        "request_id": request_id_in(status.metadata()),
        "reason": details.error_info().map(|info| &info.reason),
        "domain": details.error_info().map(|info| &info.domain),
        "violations": violations,
        "retry_after_s": retry_delay.map(|delay| delay.as_secs_f64()),
    })
}

fn stopped(reason: &Option<Stopped>) -> Value {
    match reason {
        Some(Stopped { number, string }) => json!({"number": number, "string": string}),
        None => Value::Null,
    }
}

fn request_id_in(metadata: &MetadataMap) -> Option<&str> {
    metadata
        .get("x-request-id")
        .and_then(|value| value.to_str().ok())
}

/// Returns gRPC's name of a code: INVALID_ARGUMENT for `Code::InvalidArgument`.
fn name_of(code: Code) -> String {
    let mut name = String::new();
    for letter in format!("{code:?}").chars() {
        if letter.is_uppercase() && !name.is_empty() {
            name.push('_');
        }
        name.push(letter.to_ascii_uppercase());
    }
    name
}

pub fn base64(data: &[u8]) -> String {
    STANDARD.encode(data)
}
