"""A request for a chat completion in OpenAI's format, and its answer."""

import time
from typing import Any

import orjson
from google.protobuf.message import Message

from mistralwire import _offload
from mistralwire._protobuf import MessageT, parsed
from mistralwire._response_stream import EventWriter
from mistralwire.codec import from_dict, from_json, to_dict, to_json
from mistralwire.errors import EncodeError, MistralwireError
from mistralwire.gateway._errors import Headers, HttpAnswer, HttpError, unencodable_answer
from mistralwire.gateway._exchanges import CompletionExchange
from mistralwire.gateway._openai._error import to_openai_error
from mistralwire.gateway._openai._request import from_openai_request
from mistralwire.gateway._openai._response import OpenAIStream, to_openai_response
from mistralwire.gateway._routes import (
    BODY_LIMITS,
    OPENAI_ROUTE,
    CompletionCall,
    CompletionKind,
    CompletionRoute,
)
from mistralwire.v1 import ChatCompletionRequest, ChatCompletionStreamResponse, CompletionChunk

IGNORED_MEMBERS = b"x-ignored-members"
"""Header with the members of a request that were dropped and may matter to the caller."""


class OpenAIExchange(CompletionExchange):
    """Answers a request for a chat completion in OpenAI's format; see CompletionExchange."""

    # Chunks are converted here, in Python.
    _is_bypassed = False
    _weight_max = _offload.PYTHON_WEIGHT_MAX
    _event_bytes_max = _offload.PYTHON_EVENT_BYTES_MAX

    def _read(self, body: bytes) -> None:
        self._convert(_read_request, body, self._read_converted, self._weight_max)

    def _read_converted(self, converted: tuple[bytes, bool, list[str]]) -> None:
        text, self._includes_usage, self._dropped = converted
        super()._read(text)

    def _start(self, call: CompletionCall) -> None:
        id_ = f"chatcmpl-{self._request_id}"
        self._defaults = {"id": id_, "created": int(time.time()), "model": call.model}
        self._stream = OpenAIStream(self._defaults, includes_usage=self._includes_usage)
        super()._start(call)

    def _to_json(self, kind: CompletionKind, wire: bytes) -> bytes:
        document = to_dict(_parsed_message(kind.response, wire))
        return _text_of(kind.response, to_openai_response(document, self._defaults))

    def _to_events(self, wire: bytes, first_id: int) -> bytes:  # noqa: ARG002 - OpenAI's events have no id
        self._events: list[bytes] = []
        for chunk in _parsed_message(ChatCompletionStreamResponse, wire).chunks:
            self._events += map(_event_of, self._stream.convert(to_dict(chunk)))
        return b"".join(self._events)

    def _last_events(self) -> bytes:
        return b"".join(map(_event_of, self._stream.end())) + super()._last_events()

    def _break(self, writer: EventWriter, wire: bytes) -> None:  # noqa: ARG002 - converted already
        if self._events:
            self._write(b"".join(self._events))
        self._fail(unencodable_answer())

    def _error_answer(self, error: MistralwireError) -> HttpAnswer:
        return to_openai_error(super()._error_answer(error))

    def _error_event(self, error: MistralwireError) -> bytes:
        return b"data: %b\n\n" % self._error_answer(error).body

    def _visible_headers(self) -> Headers:
        dropped = ", ".join(self._dropped).encode()
        return super()._visible_headers() + ([(IGNORED_MEMBERS, dropped)] if dropped else [])


def exchange_class(route: CompletionRoute) -> type[CompletionExchange]:
    """Return the class of the exchanges of a route."""
    return OpenAIExchange if route is OPENAI_ROUTE else CompletionExchange


def _read_request(body: bytes) -> tuple[bytes, bool, list[str]]:
    """Return a body in Mistral's form, and what else its OpenAIRequest has."""
    # Parsed as the other routes parse it: the same limits, and no number changes.
    message = from_json(ChatCompletionRequest, body, validate=False, limits=BODY_LIMITS)
    try:
        document, includes_usage, dropped = from_openai_request(to_dict(message))
    except EncodeError:
        # Decimal has no more.
        raise HttpError(400, "expected exponents of at most 18 digits, found one with more") from None
    return _text_of(ChatCompletionRequest, document), includes_usage, dropped


def _event_of(chunk: dict[str, Any]) -> bytes:
    return b"data: %b\n\n" % _text_of(CompletionChunk, chunk)


def _text_of(message_type: type[Message], document: dict[str, Any]) -> bytes:
    """Return a document that resembles a message as JSON text."""
    try:
        return orjson.dumps(document)
    except orjson.JSONEncodeError:
        # For numbers and strings that only the codec can write.
        return to_json(from_dict(message_type, document, validate=False))


def _parsed_message(message_type: type[MessageT], wire: bytes) -> MessageT:
    message = parsed(message_type, wire)
    if message is None:
        raise EncodeError("expected the wire bytes of a message, found others")
    return message
