"""What holds for any input: the properties that the targets check."""

import decimal
import json
import sys
from collections.abc import Callable, Iterator
from typing import Any, Never
from unittest import mock

from google.protobuf.message import Message

from mistralwire.codec import (
    SseBatchDecoder,
    SseDecoder,
    SseDone,
    SseError,
    SseEvent,
    batch_to_sse,
    binary_to_json,
    encode_sse,
    from_dict,
    from_json,
    json_to_binary,
    to_dict,
    to_json,
)
from mistralwire.codec._native import NoEngine
from mistralwire.codec._sse import _framer
from mistralwire.errors import DecodeError, EncodeError
from mistralwire.v1 import ChatCompletionStreamResponse, CompletionChunk
from tests.codec.engines import python_from_json, python_to_json


def check_convert(message_type: type[Message], mode: int, data: bytes) -> None:
    """Check that both engines read a JSON text alike, and that nothing is lost without validation.

    Args:
        message_type: The type to read the text as.
        mode: Its lowest bit asks for validation.
        data: The text, which need not be JSON.
    """
    validate = bool(mode & 1)
    expected = python_from_json(message_type, data, validate=validate)
    found = _read(message_type, data, validate=validate)
    assert found == expected if isinstance(expected, bytes) else _error(found) == _error(expected)
    if validate and isinstance(expected, bytes):
        # Validation changes nothing of what it accepts.
        assert expected == python_from_json(message_type, data, validate=False)
    elif isinstance(expected, bytes):
        _check_round_trip(message_type, data, expected)


def _read(message_type: type[Message], data: bytes, *, validate: bool) -> bytes | DecodeError:
    try:
        return json_to_binary(message_type, data, validate=validate)
    except DecodeError as error:
        return error


def _check_round_trip(message_type: type[Message], data: bytes, wire: bytes) -> None:
    written = binary_to_json(message_type, wire)
    json.loads(written, parse_constant=_refuse_word)
    original = _parse(data)
    if not _may_be_respelt(original):
        assert _parse(written) == original, written
    message = from_json(message_type, data, validate=False)
    again = from_json(message_type, to_json(message, names="camel", indent=1), validate=False)
    assert _parse(to_json(again)) == _parse(written)
    try:
        values = to_dict(message)
    except EncodeError:
        return  # a number that no Decimal holds
    assert _parse(to_json(from_dict(message_type, values, validate=False))) == _parse(written)


def _refuse_word(word: str) -> Never:
    raise AssertionError(f"{word} in what was written")


def check_wire(message_type: type[Message], mode: int, data: bytes) -> None:
    """Check that both engines write wire bytes alike, and that the text reads as the same JSON.

    Args:
        message_type: The type to read the bytes as.
        mode: Its lowest bit asks for camelCase names.
        data: The bytes, which need not be a message.
    """
    camel = bool(mode & 1)
    expected = python_to_json(message_type, data, camel=camel)
    found = _written(message_type, data, camel=camel)
    assert found == expected if isinstance(expected, bytes) else found is None, (found, expected)
    if isinstance(expected, bytes):
        text = to_json(from_json(message_type, expected, validate=False))
        assert to_json(from_json(message_type, text, validate=False)) == text
        if not camel and not _may_be_respelt(_parse(expected)):
            assert _parse(text) == _parse(expected), text


def _written(message_type: type[Message], wire: bytes, *, camel: bool) -> bytes | None:
    try:
        return binary_to_json(message_type, wire, names="camel" if camel else "snake")
    except (DecodeError, EncodeError):
        return None


def check_sse(message_type: type[Message], mode: int, data: bytes) -> None:
    """Check that a stream gives the same, with either engine and however it is cut.

    Args:
        message_type: What the data of the events is.
        mode: Its lowest bit asks for validation, the others say where the stream is cut.
        data: The stream.
    """
    validate, size = bool(mode & 1), (mode >> 1) + 1
    at = mode * 7 % (len(data) + 1)
    cuts = [
        [data],
        [data[at : at + size] for at in range(0, len(data), size)],
        [data[:at], b"", data[at:]],
    ]
    with mock.patch.object(_framer, "engine", NoEngine()):
        events = _events(message_type, [data], validate=validate)
        batch = _batch([data], validate=validate)
    for pieces in cuts:
        assert _events(message_type, pieces, validate=validate) == events
        assert _batch(pieces, validate=validate) == batch
    chunks = ChatCompletionStreamResponse.FromString(batch[0]).chunks
    assert b"".join(map(encode_sse, chunks)) == batch_to_sse(batch[0])


def _events(message_type: type[Message], pieces: list[bytes], *, validate: bool) -> list[Any]:
    decoder = SseDecoder(message_type, validate=validate)
    events: list[Any] = []
    for piece in pieces:
        _drain(decoder.feed(piece), events)
    try:
        _drain(decoder.close(), events)
    except DecodeError as error:
        events.append(_error(error))
    _drain(decoder, events)
    return [*events, decoder.done, decoder.last_event_id, decoder.line, decoder.retry_ms]


def _drain(decoder: Iterator[SseEvent[Message]], events: list[Any]) -> None:
    while True:
        try:
            events.append(_comparable(next(decoder)))
        except StopIteration:
            return
        except DecodeError as error:
            events.append(_error(error))


def _comparable(event: SseEvent[Message]) -> Any:
    # A message with a NaN does not equal itself.
    if isinstance(event, SseDone):
        return event
    message = event.error if isinstance(event, SseError) else event.message
    return type(event), message.SerializeToString(), event.id, event.event


def _error(error: Any) -> Any:
    assert isinstance(error, DecodeError), error
    return str(error), error.reason, error.violations, getattr(error, "__notes__", None)


def _batch(pieces: list[bytes], *, validate: bool) -> tuple[Any, ...]:
    decoder = SseBatchDecoder(CompletionChunk, validate=validate)
    batches = [*map(decoder.feed, pieces), decoder.close()]
    last = batches[-1].failure
    return (
        b"".join(batch.wire for batch in batches),
        sum(batch.count for batch in batches),
        [batch.usage for batch in batches if batch.usage is not None][-1:],
        [reason for batch in batches for reason in batch.finish_reasons],
        batches[-1].is_done,
        _error(last) if isinstance(last, DecodeError) else last and _comparable(last),
    )


CHECKS: dict[str, Callable[[type[Message], int, bytes], None]] = {
    "convert": check_convert,
    "wire": check_wire,
    "sse": check_sse,
}
"""The targets in Python, by name."""


def _exact(text: str) -> tuple[str, decimal.Decimal | str]:
    """Return a number so that it equals only the same number, and no boolean."""
    try:
        return "number", decimal.Decimal(text)
    except decimal.InvalidOperation:
        return "number", text.lower()


# What is written for each word that JSON does not have.
_CONSTANTS = {
    "NaN": None,
    "Infinity": _exact(repr(sys.float_info.max)),
    "-Infinity": _exact(repr(-sys.float_info.max)),
}


def _parse(text: bytes) -> Any:
    return json.loads(text, parse_int=_exact, parse_float=_exact, parse_constant=_CONSTANTS.__getitem__)


def _may_be_respelt(value: Any) -> bool:
    """Return whether a name may be a member's camelCase spelling, which is written in snake_case."""
    if isinstance(value, list):
        return any(map(_may_be_respelt, value))
    if not isinstance(value, dict):
        return False
    return any("_" not in name and name != name.lower() for name in value) or any(
        map(_may_be_respelt, value.values())
    )
