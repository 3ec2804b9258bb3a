"""One response taken apart into the chunks of a stream."""

from typing import Any

from mistralwire.codec._accumulate import CHUNK_OBJECT, RESPONSE_OBJECT, Accumulator, complete_response
from mistralwire.codec._convert import to_document
from mistralwire.codec._limits import DEFAULT_LIMITS
from mistralwire.codec._plan import plan_for
from mistralwire.codec._read import read_document
from mistralwire.errors import EncodeError
from mistralwire.v1 import (
    ChatCompletionResponse,
    CompletionChunk,
    CompletionResponseStreamChoice,
    FIMCompletionResponse,
)


def explode(
    response: ChatCompletionResponse | FIMCompletionResponse, *, exact: bool = True
) -> list[CompletionChunk]:
    """Take a response apart into the chunks of a stream: the messages, then finish reasons and usage.

    Accumulating the chunks gives an equal response, with `object` and `usage` filled in where it has none.

    Args:
        response: The response.
        exact: Whether to refuse what no stream can carry. Otherwise the chunks say what chunks can say, for
            readers who asked for a stream and would rather have that than nothing.

    Returns:
        One or two chunks.

    Raises:
        EncodeError: If the response has no JSON form, or, if `exact`, has what no stream can carry: choices,
            tool calls or undocumented objects that `Accumulator` takes for pieces of one, such as two choices
            with the same index; tool calls that are not in the order of their indexes; a member `delta`
            beside the message; an `object` that says it is a chunk; a camelCase name that only the deltas of
            chunks know, such as `toolCallId`.
    """
    if not isinstance(response, ChatCompletionResponse | FIMCompletionResponse):
        raise TypeError(f"expected a response, not {type(response).__name__}")
    document = to_document(plan_for(type(response)), response.SerializeToString())
    first, last = _split(document)
    chunks = [_read(first)] if last is None else [_read(first), _read(last)]
    if exact:
        _check(type(response), document, chunks)
    return chunks


def _check(response_type: type[Any], document: dict[str, Any], chunks: list[CompletionChunk]) -> None:
    """Check that chunks add up to the response that they were made of."""
    accumulator: Accumulator[Any] = Accumulator(response_type)
    for chunk in chunks:
        accumulator.add(chunk)
    complete_response(document)
    if to_document(plan_for(response_type), accumulator.result().SerializeToString()) != document:
        message = "expected a response that a stream can carry, found one that its chunks would change"
        remedy = "number choices and tool calls in order, and remove `delta` and names that only chunks know"
        raise EncodeError(f"{message}; {remedy}")


def _read(document: dict[str, Any]) -> CompletionChunk:
    wire = read_document(plan_for(CompletionChunk), document, validate=False, limits=DEFAULT_LIMITS)
    return CompletionChunk.FromString(wire)


def _split(document: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any] | None]:
    head = dict(document)
    if head.get("object") == RESPONSE_OBJECT:
        head["object"] = CHUNK_OBJECT
    choices = head.get("choices")
    if type(choices) is not list or not choices or not all(type(choice) is dict for choice in choices):
        return head, None
    constant = {name: head[name] for name in ("id", "object", "created", "model") if name in head}
    # A usage that is no object has its place among the members without a field, and stays there.
    usage = {"usage": head.pop("usage")} if type(head.get("usage")) is dict else {}
    first = head | {"choices": [_first(choice) for choice in choices]}
    last = constant | {"choices": [_last(choice) for choice in choices]} | usage
    return first, last


def _first(choice: dict[str, Any]) -> dict[str, Any]:
    piece = {
        "delta" if name == "message" else name: value
        for name, value in choice.items()
        if name != "delta" or "message" not in choice
    }
    reason = piece.get("finish_reason")
    if isinstance(reason, str) and reason in _finish_reasons():
        piece["finish_reason"] = None
    return piece


def _last(choice: dict[str, Any]) -> dict[str, Any]:
    piece: dict[str, Any] = {name: choice[name] for name in ("index", "finish_reason") if name in choice}
    if type(choice.get("message")) is dict:
        piece["delta"] = {}
    return piece


def _finish_reasons() -> dict[str, int]:
    """Give the documented reasons; another one stays in its place among the members without a field."""
    return plan_for(CompletionResponseStreamChoice).by_name["finish_reason"].fields[0].enum_numbers
