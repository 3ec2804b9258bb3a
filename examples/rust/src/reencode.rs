//! Parsing and serializing, as in a program that forwards messages.

use std::error::Error;

use prost::{DecodeError, Message};

use crate::v1::*;

/// Parses the wire bytes of a type of the contract and serializes the message again.
///
/// prost drops unknown fields. Undocumented JSON is not lost by that: it is in `json_extra` and
/// `unknown_json`, which are ordinary fields.
pub fn reencode(type_name: &str, data: &[u8]) -> Result<Vec<u8>, Box<dyn Error>> {
    let Some((_, again)) = TYPES.iter().find(|(name, _)| is_type(name, type_name)) else {
        return Err(format!("no such type: {type_name}").into());
    };
    Ok(again(data)?)
}

/// Compares prost's name of a type with the contract's: `ImageUrl` stands for `ImageURL`.
fn is_type(name: &str, type_name: &str) -> bool {
    name.eq_ignore_ascii_case(type_name)
}

fn again<M: Message + Default>(data: &[u8]) -> Result<Vec<u8>, DecodeError> {
    Ok(M::decode(data)?.encode_to_vec())
}

type Again = fn(&[u8]) -> Result<Vec<u8>, DecodeError>;

macro_rules! types {
    ($($name:ident)*) => {
        const TYPES: &[(&str, Again)] = &[$((stringify!($name), again::<$name>)),*];
    };
}

types! {
    AgentsCompletionRequest AgentsCompletionStreamRequest ApiKeyAuth AssistantMessage AudioChunk
    ChatCompletionChoice ChatCompletionRequest ChatCompletionResponse
    ChatCompletionResponseChoiceLogprobs ChatCompletionResponseTokenLogprobs
    ChatCompletionResponseTokenLogprobsTopK ChatCompletionStreamRequest ChatCompletionStreamResponse
    ChatMessage ChatTool CodeInterpreterTool CompletionChunk CompletionEvent
    CompletionResponseStreamChoice ConnectorAuthorization ContentChunk ContentChunkList CustomConnector
    DeltaMessage DocumentLibraryTool DocumentUrlChunk ErrorResponse FileChunk FimCompletionRequest
    FimCompletionResponse FimCompletionStreamRequest FimCompletionStreamResponse Function FunctionCall
    FunctionName GuardrailConfig HttpValidationError ImageGenerationTool ImageUrl ImageUrlChunk
    InputAudio IntegerOrString JsonExtra JsonSchema ModerationLlmv1CategoryThresholds
    ModerationLlmv1Config ModerationLlmv2CategoryThresholds ModerationLlmv2Config OAuth2TokenAuth
    Prediction PromptTokensDetails ReferenceChunk ResourceChunk ResourceContent ResourceLinkChunk
    ResponseFormat StringList SystemContentChunk SystemContentChunkList SystemMessage TextChunk
    ThinkChunk ThinkContentChunk Tool ToolCall ToolChoice ToolConfiguration ToolMessage
    ToolReferenceChunk UsageInfo UserMessage ValidationError ValidationErrorList WebSearchPremiumTool
    WebSearchTool
}
