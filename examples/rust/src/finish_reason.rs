//! Why the model stopped, if it has stopped, also for a reason that the contract does not list.

use std::collections::HashMap;

use serde_json::value::RawValue;

use crate::v1::{FinishReason, JsonExtra};

/// A finish reason, as the number of its enum value and as the API's string.
pub struct Stopped {
    pub number: i32,
    pub string: String,
}

/// Returns why the model stopped, from two fields of a choice; `None` if it has not stopped.
pub fn finish_reason(field: Option<i32>, json_extra: Option<&JsonExtra>) -> Option<Stopped> {
    let number = field?;
    let listed = FinishReason::try_from(number).ok().and_then(documented);
    let string = match listed {
        Some(string) => string.into(),
        None => json_extra
            .and_then(unlisted)
            .unwrap_or_else(|| "unrecognized".into()),
    };
    Some(Stopped { number, string })
}

/// Returns the documented string. UNLISTED has none.
fn documented(reason: FinishReason) -> Option<&'static str> {
    match reason {
        FinishReason::Stop => Some("stop"),
        FinishReason::Length => Some("length"),
        FinishReason::ModelLength => Some("model_length"),
        FinishReason::Error => Some("error"),
        FinishReason::ToolCalls => Some("tool_calls"),
        FinishReason::Unlisted | FinishReason::Unspecified => None,
    }
}

/// Returns the string in json_extra. The other members there may be any JSON, so they stay text.
fn unlisted(json_extra: &JsonExtra) -> Option<String> {
    let members: HashMap<String, &RawValue> = serde_json::from_str(json_extra.members()).ok()?;
    serde_json::from_str(members.get("finish_reason")?.get()).ok()
}
