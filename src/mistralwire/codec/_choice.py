"""The text and the tool calls of one choice, whatever the shape of the response or the chunk."""

from collections.abc import Iterator
from typing import TypeAlias

from mistralwire.v1 import (
    AssistantMessage,
    ChatCompletionResponse,
    CompletionChunk,
    CompletionResponseStreamChoice,
    DeltaMessage,
    FIMCompletionResponse,
    ToolCall,
)

Answer: TypeAlias = ChatCompletionResponse | FIMCompletionResponse | CompletionChunk


def text_of(answer: Answer, *, index: int = 0) -> str:
    """Return the text of the choice with an index, without the model's thinking.

    Content may be a string or a list of parts; in one message, in several where built-in tools took part, or
    in the delta of a chunk. Its texts are joined unchanged.

    It is empty if the content is null or absent, if no part is text (thinking, references, images and parts
    of an unknown type are not), and if there is no such choice, as in a chunk that adds nothing to it.
    """
    return "".join(
        message.content_string
        + "".join(part.text.text for part in message.content_array.items if part.HasField("text"))
        for message in _messages(answer, index)
    )


def tool_calls_of(answer: Answer, *, index: int = 0) -> list[ToolCall]:
    """Return the tool calls of the choice with an index, in order.

    Each has its arguments as JSON text in `function.arguments_string`, also where the model sent an object:
    such a call is a copy, and all others are the answer's own messages. A chunk may hold pieces of calls:
    `accumulate` joins the chunks of a stream.
    """
    return [_with_text(call) for message in _messages(answer, index) for call in message.tool_calls]


def _messages(answer: Answer, index: int) -> Iterator[AssistantMessage | DeltaMessage]:
    """Yield the messages of a choice that are the model's own, not the result of a tool."""
    for choice in answer.choices:
        if choice.index == index:
            if isinstance(choice, CompletionResponseStreamChoice):
                messages: list[AssistantMessage | DeltaMessage] = [choice.delta]
            else:
                messages = [choice.message, *choice.messages]
            yield from (message for message in messages if message.role != "tool")


def _with_text(call: ToolCall) -> ToolCall:
    if not call.function.HasField("arguments_object"):
        return call
    copy = ToolCall()
    copy.CopyFrom(call)
    copy.function.arguments_string = call.function.arguments_object
    return copy
