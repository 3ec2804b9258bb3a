//! The calls: in one piece, as a stream, with a deadline, cancelled.

use std::time::{Duration, Instant};

use prost::Message;
use tonic::metadata::{AsciiMetadataValue, MetadataMap};
use tonic::transport::{Channel, Endpoint, Error};
use tonic::{Code, Request, Response, Status};

use crate::answer::Answer;
use crate::v1::chat_completion_service_client::ChatCompletionServiceClient;
use crate::v1::{
    ChatCompletionRequest, ChatCompletionResponse, ChatCompletionStreamRequest, ChatMessage,
    ToolMessage, UserMessage, chat_message, user_message,
};

pub type Client = ChatCompletionServiceClient<Channel>;

/// An answer can be larger than tonic's default of 4 MiB.
const MESSAGE_BYTES_MAX: usize = 64 << 20;

/// Connects in plaintext. A service on another machine needs `https` and tonic's feature for TLS.
pub async fn connect(address: &str) -> Result<Client, Error> {
    let endpoint = Endpoint::from_shared(format!("http://{address}"))?;
    let client = ChatCompletionServiceClient::new(endpoint.connect().await?);
    Ok(client.max_decoding_message_size(MESSAGE_BYTES_MAX))
}

/// Requests a completion in one piece. The id is in the service's log and comes back too.
pub async fn unary(
    client: &mut Client,
    request_id: AsciiMetadataValue,
) -> Result<Response<ChatCompletionResponse>, Status> {
    let mut request = Request::new(greeting());
    request.metadata_mut().insert("x-request-id", request_id);
    client.chat_completion(request).await
}

/// Requests a completion as a stream of chunks, and returns the trailing metadata.
///
/// If the stream breaks, the answer has the chunks that came before.
pub async fn stream(
    client: &mut Client,
    request_id: AsciiMetadataValue,
    answer: &mut Answer,
) -> Result<MetadataMap, Status> {
    let mut request = Request::new(as_stream(&greeting()));
    request.metadata_mut().insert("x-request-id", request_id);
    let mut messages = client.chat_completion_stream(request).await?.into_inner();
    while let Some(message) = messages.message().await? {
        answer.add(&message);
    }
    Ok(messages.trailers().await?.unwrap_or_default())
}

/// Reads at least `chunks_max` chunks of a stream, then cancels the call.
pub async fn cancel(
    client: &mut Client,
    chunks_max: usize,
    answer: &mut Answer,
) -> Result<MetadataMap, Status> {
    let mut messages = client
        .chat_completion_stream(as_stream(&greeting()))
        .await?
        .into_inner();
    while let Some(message) = messages.message().await? {
        answer.add(&message);
        if answer.chunks >= chunks_max {
            // Dropping a stream cancels its call. tonic returns no status then, so this creates one.
            drop(messages);
            return Err(Status::cancelled("cancelled by the caller"));
        }
    }
    Ok(messages.trailers().await?.unwrap_or_default())
}

/// Requests a completion with a deadline.
pub async fn deadline(
    client: &mut Client,
    timeout: Duration,
) -> Result<Response<ChatCompletionResponse>, Status> {
    let deadline = Instant::now() + timeout;
    let mut request = Request::new(greeting());
    request.set_timeout(timeout);
    client.chat_completion(request).await.map_err(|status| {
        // Where tonic's own timer expires first, its status is CANCELLED.
        if status.code() == Code::Cancelled && Instant::now() >= deadline {
            return Status::deadline_exceeded(status.message());
        }
        status
    })
}

/// Sends a request that breaks the contract: no model, and a tool message without content.
pub async fn broken(client: &mut Client) -> Result<Response<ChatCompletionResponse>, Status> {
    let request = ChatCompletionRequest {
        messages: vec![
            user("hello"),
            chat_message::Kind::Tool(ToolMessage::default()).into(),
        ],
        ..Default::default()
    };
    client.chat_completion(request).await
}

/// Forwards a request unchanged, json_extra included.
pub async fn relay(
    client: &mut Client,
    request: ChatCompletionRequest,
) -> Result<Response<ChatCompletionResponse>, Status> {
    client.chat_completion(request).await
}

fn greeting() -> ChatCompletionRequest {
    ChatCompletionRequest {
        model: Some("mistral-small-latest".into()),
        messages: vec![user("Grüezi 👋")],
        temperature: Some(0.0),
        random_seed: Some(9_007_199_254_740_993),
        ..Default::default()
    }
}

fn user(text: &str) -> ChatMessage {
    let content = user_message::Content::ContentString(text.into());
    chat_message::Kind::User(UserMessage {
        content: Some(content),
        ..Default::default()
    })
    .into()
}

impl From<chat_message::Kind> for ChatMessage {
    fn from(kind: chat_message::Kind) -> Self {
        ChatMessage { kind: Some(kind) }
    }
}

/// Returns a request's stream form: the two have the same bytes.
fn as_stream(request: &ChatCompletionRequest) -> ChatCompletionStreamRequest {
    let data = request.encode_to_vec();
    ChatCompletionStreamRequest::decode(&data[..]).expect("the bytes of a request")
}
