"""The gateway's routes of durable streams as OpenAPI path items."""

from mistralwire.gateway._streams import STREAM_PATH
from tools.openapi.operations import (
    ERROR_BODY,
    ERRORS,
    EVENT_STREAM,
    KEY_OR_NONE,
    REQUEST_ID,
    Object,
    content,
    error_answers,
    path_parameter,
)
from tools.openapi.schema import Schema, reference

_ERRORS = ("400", "401", "403", "404", "408", "413", "415", "429", "500", "503", "504")
_TEXT: Schema = {"type": "string"}
_HEADERS = {
    "etag": "Changes with what the answer has, for `if-none-match`.",
    "location": "URL of the stream.",
    "producer-epoch": "Epoch of the producer, as far as the stream knows it.",
    "producer-expected-seq": "Number of the producer's next request.",
    "producer-received-seq": "Number of this request.",
    "producer-seq": "Number of the producer's last request.",
    "stream-closed": "`true` if there will be no others.",
    "stream-cursor": "The `cursor` of the next request, of a live read.",
    "stream-expires-at": "When the stream expires, by RFC 3339.",
    "stream-next-offset": "Where the stream continues: the `offset` of the next request.",
    "stream-sse-data-encoding": "`base64` if the messages of a stream of events are encoded.",
    "stream-ttl": "Seconds without a read or a write after which the stream expires.",
    "stream-up-to-date": "`true` if these are all messages so far.",
}
_GONE = "The stream was deleted, and is kept for its forks."
_READ_ONLY = "The stream is a response, which is only read."
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
            "head": _describe(),
            "put": _create(),
            "post": _append(),
            "delete": _delete(),
        }
    }


def _read() -> Object:
    events = "With `live=sse`: events `data` with messages, and `control` with the offset behind them."
    position = ("stream-next-offset", "stream-up-to-date", "stream-closed")
    answer = {
        "description": "Messages: of JSON as one array.",
        **_headers(*position, "stream-cursor", "etag", "stream-sse-data-encoding"),
        "content": {**_CONTENT, EVENT_STREAM: {"schema": {"description": events}}},
    }
    nothing = "With `live=long-poll`: there was no message in time, or there will be none."
    answers = {
        "200": answer,
        "204": {"description": nothing, **_headers(*position, "stream-cursor")},
        "304": {"description": "The caller has this answer.", **_headers(*position, "etag")},
        "400": _error(f"{ERRORS['400']} Or the offset is beyond the end.", "stream-next-offset"),
        "410": _error(_GONE),
    }
    operation = _operation("readStream", "Read or follow a stream", answers)
    operation["parameters"] += [
        _parameter(
            "offset", "Where to begin: an offset, `-1` for the beginning, `now` for the end.", "query"
        ),
        _parameter("live", "`long-poll` or `sse` to wait for further messages.", "query"),
        _parameter("cursor", "The `stream-cursor` of the answer before, for caches.", "query"),
        _parameter("if-none-match", "The `etag` of the answer that the caller has."),
    ]
    return operation


def _describe() -> Object:
    names = ("stream-next-offset", "stream-closed", "stream-ttl", "stream-expires-at")
    answer = {"description": "There is this stream.", **_headers(*names)}
    answers = {"200": answer, "410": {"description": _GONE}}
    return _operation("describeStream", "Describe a stream without its messages", answers)


def _create() -> Object:
    names = ("stream-next-offset", "stream-closed")
    answers = {
        "200": {"description": "There is this stream already.", **_headers(*names)},
        "201": {"description": "The stream is new.", **_headers(*names, "location")},
        "405": _error(_READ_ONLY),
        "409": _error("There is another stream, or the source was deleted or has another type."),
    }
    operation = _operation("createStream", "Create or fork a stream", answers)
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
    names = ("stream-next-offset", "stream-closed", "producer-epoch", "producer-seq")
    conflict = ("stream-next-offset", "stream-closed", "producer-expected-seq", "producer-received-seq")
    answers = {
        "200": {"description": "The messages of a producer are stored.", **_headers(*names)},
        "204": {"description": "The messages are stored, or were before.", **_headers(*names)},
        "403": _error(f"{ERRORS['403']} Or the producer's epoch is over.", "producer-epoch"),
        "405": _error(_READ_ONLY),
        "409": _error(
            "The stream is closed, or has another type; or the request is not the next one by its number.",
            *conflict,
        ),
        "410": _error(_GONE),
    }
    operation = _operation("appendToStream", "Append to a stream", answers)
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


def _delete() -> Object:
    answers = {
        "204": {"description": "The stream is gone.", **_headers()},
        "405": _error(_READ_ONLY),
        "410": _error(_GONE),
    }
    return _operation("deleteStream", "Delete a stream", answers)


def _operation(name: str, summary: str, answers: Object) -> Object:
    return {
        "operationId": name,
        "tags": ["streams"],
        "summary": summary,
        "security": KEY_OR_NONE,
        "parameters": [REQUEST_ID],
        "responses": dict(sorted({**error_answers(_ERRORS), **answers}.items())),
    }


def _error(description: str, *names: str) -> Object:
    return {**content(description, reference(ERROR_BODY)), **_headers(*names)}


def _headers(*names: str) -> Object:
    own = {name: {"description": _HEADERS[name], "schema": _TEXT} for name in names}
    return {"headers": {"x-request-id": {"$ref": "#/components/headers/RequestId"}, **own}}


def _parameter(name: str, description: str, place: str = "header") -> Object:
    return {"name": name, "in": place, "description": description, "schema": _TEXT}
