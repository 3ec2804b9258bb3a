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

/// Answers may be larger than tonic's bound of 4 MiB.
const MESSAGE_BYTES_MAX: usize = 64 << 20;

/// Connects in plain text. A service on another machine needs `https` and tonic's feature for TLS.
pub async fn connect(address: &str) -> Result<Client, Error> {
    let endpoint = Endpoint::from_shared(format!("http://{address}"))?;
    let client = ChatCompletionServiceClient::new(endpoint.connect().await?);
    Ok(client.max_decoding_message_size(MESSAGE_BYTES_MAX))
}

/// Asks for a completion in one piece, under an id that appears in the service's logs and answers.
pub async fn unary(
    client: &mut Client,
    request_id: AsciiMetadataValue,
) -> Result<Response<ChatCompletionResponse>, Status> {
    let mut request = Request::new(greeting());
    request.metadata_mut().insert("x-request-id", request_id);
    client.chat_completion(request).await
}

/// Asks for a completion as a stream of chunks, and returns the trailing metadata.
///
/// A stream that breaks has delivered the chunks before: they are in the answer whatever the result.
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

/// Reads a stream until it has so many chunks, then cancels the call, and with it the work upstream.
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
            // To drop a stream is to cancel its call. No status comes for that, so this one is ours.
            drop(messages);
            return Err(Status::cancelled("cancelled by the caller"));
        }
    }
    Ok(messages.trailers().await?.unwrap_or_default())
}

/// Asks for a completion that has to come within a time.
pub async fn deadline(
    client: &mut Client,
    timeout: Duration,
) -> Result<Response<ChatCompletionResponse>, Status> {
    let deadline = Instant::now() + timeout;
    let mut request = Request::new(greeting());
    request.set_timeout(timeout);
    client.chat_completion(request).await.map_err(|status| {
        // tonic's own timer ends the call as CANCELLED; gRPC's status for that is another.
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

/// Passes a request on as it is, with all that its json_extra has.
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

/// Turns a request into its form for streams: the two have the same bytes.
fn as_stream(request: &ChatCompletionRequest) -> ChatCompletionStreamRequest {
    let data = request.encode_to_vec();
    ChatCompletionStreamRequest::decode(&data[..]).expect("the bytes of a request")
}
