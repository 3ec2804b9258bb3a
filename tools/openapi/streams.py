"""The gateway's routes of durable streams as OpenAPI path items."""

from mistralwire.gateway._streams import STREAM_PATH
from tools.openapi.operations import (
    EVENT_STREAM,
    KEY_OR_NONE,
    REQUEST_ID,
    Object,
    error_answers,
    path_parameter,
)
from tools.openapi.schema import Schema

_ERRORS = ("400", "401", "403", "404", "429", "500", "503")
_TEXT: Schema = {"type": "string"}
_OFFSET = "Where the stream goes on behind what was sent: the `offset` of the next request."
_CONTENT: Object = {"*/*": {"schema": {"description": "Messages of the stream, in its own type."}}}
_BODY: Object = {
    "application/json": {
        "schema": {"description": "Messages of a stream of JSON."},
        "examples": {"messages": {"value": [{"role": "user", "content": "Hello"}]}},
    },
    **_CONTENT,
}


def stream_paths() -> Object:
    """Return the path of durable streams."""
    return {
        f"{STREAM_PATH}/{{path}}": {
            "parameters": [
                path_parameter(
                    "path",
                    "Name of the stream, which may contain slashes. `responses/` with the id of a stored "
                    "response is that response, read only: a JSON message for each event.",
                    "my-stream",
                )
            ],
            "get": _read(),
            "put": _create(),
            "post": _append(),
            "delete": _operation(
                "deleteStream", "Delete a stream", {"204": {"description": "The stream is gone."}}
            ),
        }
    }


def _read() -> Object:
    events = "With `live=sse`: events `data` with messages, and `control` with the offset behind them."
    answer = {
        "description": "Messages: of JSON as one array.",
        "headers": {
            "stream-next-offset": _header(_OFFSET),
            "stream-up-to-date": _header("`true` if these are all messages so far."),
            "stream-closed": _header("`true` if there will be no others."),
        },
        "content": {**_CONTENT, EVENT_STREAM: {"schema": {"description": events}}},
    }
    nothing = {"description": "With `live=long-poll`: there was no message in time, or there will be none."}
    operation = _operation("readStream", "Read or follow a stream", {"200": answer, "204": nothing})
    operation["parameters"] += [
        _parameter(
            "offset", "Where to begin: an offset, `-1` for the beginning, `now` for the end.", "query"
        ),
        _parameter("live", "`long-poll` or `sse` to wait for further messages.", "query"),
        _parameter("cursor", "The `stream-cursor` of the answer before, for caches.", "query"),
    ]
    return operation


def _create() -> Object:
    headers = {"stream-next-offset": _header(_OFFSET)}
    answers = {
        "200": {"description": "There is this stream already.", "headers": headers},
        "201": {"description": "The stream is new.", "headers": headers},
    }
    operation = _operation("createStream", "Create or fork a stream", answers, ("409", "413", "415"))
    operation["description"] = "The body, if there is one, has the first messages; of JSON, an array or one."
    operation["requestBody"] = {"content": _BODY}
    operation["parameters"] += [
        _parameter("stream-ttl", "Seconds without a read or a write after which the stream expires."),
        _parameter("stream-expires-at", "When the stream expires, by RFC 3339."),
        _parameter("stream-closed", "`true` if the body is the whole stream."),
        _parameter("stream-forked-from", "Path of a stream whose messages this one begins with."),
        _parameter("stream-fork-offset", "The offset up to which it has them; the end by default."),
        _parameter("stream-fork-sub-offset", "How many messages of JSON, or bytes, it has behind that."),
    ]
    return operation


def _append() -> Object:
    headers = {"stream-next-offset": _header(_OFFSET)}
    answers = {
        "200": {"description": "The messages of a producer are stored.", "headers": headers},
        "204": {"description": "The messages are stored, or were before.", "headers": headers},
    }
    operation = _operation("appendToStream", "Append to a stream", answers, ("409", "413", "415"))
    operation["description"] = (
        "The body has messages; of JSON, an array or one. With the three headers of a producer, what is sent "
        "again is stored once."
    )
    operation["requestBody"] = {"content": _BODY}
    operation["parameters"] += [
        _parameter("stream-closed", "`true` if there will be no further messages."),
        _parameter("stream-seq", "Above that of the append before, in the order of bytes; or it is refused."),
        _parameter("producer-id", "Name of the producer, which it keeps when it restarts."),
        _parameter("producer-epoch", "Raised by the producer when it restarts; others are refused then."),
        _parameter("producer-seq", "Number of this request in the epoch, from 0."),
    ]
    return operation


def _operation(name: str, summary: str, answers: Object, more_errors: tuple[str, ...] = ()) -> Object:
    return {
        "operationId": name,
        "tags": ["streams"],
        "summary": summary,
        "security": KEY_OR_NONE,
        "parameters": [REQUEST_ID],
        "responses": {**answers, **error_answers(sorted({*_ERRORS, *more_errors}))},
    }


def _parameter(name: str, description: str, place: str = "header") -> Object:
    return {"name": name, "in": place, "description": description, "schema": _TEXT}


def _header(description: str) -> Object:
    return {"description": description, "schema": _TEXT}
