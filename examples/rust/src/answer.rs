//! A streamed answer, accumulated from its chunks.

use crate::finish_reason::{Stopped, finish_reason};
use crate::v1::{ChatCompletionStreamResponse, delta_message::Content};

/// The answer so far. It has one choice.
#[derive(Default)]
pub struct Answer {
    /// Number of messages. Each has the chunks that were ready when it was sent.
    pub messages: usize,
    pub chunks: usize,
    pub text: String,
    /// One entry for each choice of each chunk: `None` while the model has not stopped.
    pub finish_reasons: Vec<Option<Stopped>>,
}

impl Answer {
    pub fn add(&mut self, message: &ChatCompletionStreamResponse) {
        self.messages += 1;
        self.chunks += message.chunks.len();
        for choice in message.chunks.iter().flat_map(|chunk| &chunk.choices) {
            let content = choice
                .delta
                .as_ref()
                .and_then(|delta| delta.content.as_ref());
            if let Some(Content::ContentString(piece)) = content {
                self.text.push_str(piece);
            }
            self.finish_reasons.push(finish_reason(
                choice.finish_reason,
                choice.json_extra.as_ref(),
            ));
        }
    }
}
