//! Parsing and serializing: what a program does that passes messages on.

use std::error::Error;

use prost::{DecodeError, Message};

use crate::v1;

/// Parses the wire bytes of a type of the contract and serializes the message again.
///
/// Nothing is lost, whatever the document had: prost drops fields that it does not know, but what is not
/// documented travels in json_extra and unknown_json, which are fields like any other.
pub fn reencode(type_name: &str, data: &[u8]) -> Result<Vec<u8>, Box<dyn Error>> {
    Ok(match type_name {
        "ChatCompletionRequest" => again::<v1::ChatCompletionRequest>(data)?,
        "ChatCompletionStreamRequest" => again::<v1::ChatCompletionStreamRequest>(data)?,
        "ChatCompletionResponse" => again::<v1::ChatCompletionResponse>(data)?,
        "ChatCompletionStreamResponse" => again::<v1::ChatCompletionStreamResponse>(data)?,
        "CompletionChunk" => again::<v1::CompletionChunk>(data)?,
        _ => return Err(format!("no such type: {type_name}").into()),
    })
}

fn again<M: Message + Default>(data: &[u8]) -> Result<Vec<u8>, DecodeError> {
    Ok(M::decode(data)?.encode_to_vec())
}
