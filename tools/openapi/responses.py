"""The gateway's routes of stored responses as OpenAPI path items, and the schemas of what they return."""

from mistralwire.gateway._responses import REASON_HEADER, SEQUENCE_HEADER, STATE_HEADER
from mistralwire.v1 import ChatCompletionResponse, CompletionChunk, FIMCompletionResponse
from tools.openapi.operations import (
    ERROR_BODY,
    EVENT_STREAM,
    KEY_OR_NONE,
    REQUEST_ID,
    Object,
    content,
    error_answers,
    path_parameter,
)
from tools.openapi.schema import Schema, record, reference

_SUMMARY, _PAGE, _DELETED, _TOKEN = "StoredCompletion", "CompletionPage", "DeletedCompletion", "ReadToken"
_ERRORS = ("401", "403", "404", "408", "413", "415", "429", "500", "503", "504")
_STREAM = (
    "Server-sent events, from the first one on. The first line is an `id:` with the position at which the "
    "stream begins. Each event has an id, `{response_id}.{number}`, counted from 1, and as its `data` one "
    "chunk; or a whole completion if the request was not for a stream. The data of the last one is `[DONE]`, "
    "or an error body if the response has failed or was cancelled. A stream may end without either of them: "
    "then ask for the rest. Comment lines are sent as heartbeats; ignore them."
)
_HELD = (
    "The response is still there for its caller if it was stored: the gateway was started with `--data` or "
    "`--log`, or its service was."
)

_RESPONSE_ID = path_parameter(
    "response_id", "Id of the response, or the id that its upstream gave it.", "resp_0123456789abcdef"
)


def response_paths() -> Object:
    """Return the paths of stored responses; some are those of completions, with other methods."""
    one = "/v1/chat/completions/{response_id}"
    return {
        "/v1/chat/completions": {"get": _list()},
        one: {"get": _get(), "delete": _delete()},
        f"{one}/cancel": {"post": _cancel()},
        f"{one}/events": {"get": _events()},
        f"{one}/token": {"post": _token()},
    }


def response_headers() -> Object:
    """Return the headers that describe a response, by their names among the components."""
    text: Schema = {"type": "string"}
    return {
        "ResponseId": {"description": "Id of the response, if it is stored.", "schema": text},
        "ResponseState": {
            "description": "How far the response is.",
            "schema": {"enum": ["running", "finished", "cancelled", "failed"]},
        },
        "LastSequence": {
            "description": "Number of the last event that is stored; 0 if there is none.",
            "schema": {"type": "integer", "minimum": 0},
        },
        "ResponseReason": {
            "description": "Reason why the response has failed, or has fewer events than were asked for.",
            "schema": text,
        },
    }


def response_schemas() -> dict[str, Schema]:
    """Return the schemas of what only these routes return."""
    text, integer = {"type": "string"}, {"type": "integer"}
    response_id = {**text, "description": "Id of the response."}
    summary = {
        "id": response_id,
        "object": {**text, "const": "chat.completion", "description": "Kind of the object."},
        "created": {**integer, "description": "Unix time in seconds at which it was opened."},
        "model": {**text, "description": "Model that the request named; empty if unknown."},
        "usage": {"type": "object", "description": "Empty, like the choices: the response has both."},
        "choices": {
            "type": "array",
            "items": {"type": "object"},
            "maxItems": 0,
            "description": "Empty: the content is in the response.",
        },
        "metadata": {
            "type": "object",
            "additionalProperties": text,
            "description": "state: running, finished, cancelled or failed; kind: chat, fim or agents; "
            "last_sequence: number of the last event; upstream_id: the upstream's own id, once known.",
        },
    }
    page = {
        "object": {**text, "const": "list", "description": "Kind of the object."},
        "data": {"type": "array", "items": reference(_SUMMARY), "description": "The responses."},
        "first_id": {"type": ["string", "null"], "description": "Id of the first of them."},
        "last_id": {
            "type": ["string", "null"],
            "description": "Id of the last one, after which the next page begins.",
        },
        "has_more": {"type": "boolean", "description": "Whether there are more behind it."},
    }
    deleted = {
        "object": {**text, "const": "chat.completion.deleted", "description": "Kind of the object."},
        "id": response_id,
        "deleted": {"type": "boolean", "const": True, "description": "Always true."},
    }
    token = {
        "object": {**text, "const": "chat.completion.token", "description": "Kind of the object."},
        "id": {**text, "description": "Id of the response, for the path of requests with the token."},
        "token": {**text, "description": "The token."},
        "expires_at": {**integer, "description": "Unix time in seconds at which it expires."},
    }
    return {
        _SUMMARY: record("A stored response without its content.", summary),
        _PAGE: record("A page of stored responses.", page),
        _DELETED: record("A response that was deleted.", deleted),
        _TOKEN: record("A token that reads one response.", token),
    }


def _list() -> Object:
    parameters = [
        _query("after", "The `last_id` of the page before."),
        _query("limit", "How many a page has at most, 1 to 100; 20 by default."),
        _query("order", "`asc`, the oldest first and the default, or `desc`."),
        _query("model", "Only those whose request named this model."),
    ]
    page = _described(content("A page.", reference(_PAGE)), "RequestId")
    return _operation("listCompletions", "List stored responses", page, parameters, ("400",))


def _get() -> Object:
    types = (ChatCompletionResponse, FIMCompletionResponse)
    schema: Schema = {"anyOf": [reference(each.DESCRIPTOR.name) for each in types]}
    answer = _described(content("What there is so far.", schema))
    parameters = [_RESPONSE_ID, _read_token()]
    operation = _operation("getCompletion", "Get a stored response", answer, parameters)
    operation["description"] = (
        f"{_HELD} While it runs, its `finish_reason` is null; before its first chunk it has no choices. The "
        "header `x-mistralwire-last-sequence` is the position to go on from as a stream."
    )
    return operation


def _delete() -> Object:
    answer = _described(content("The response is gone.", reference(_DELETED)))
    parameters = [_RESPONSE_ID]
    return _operation("deleteCompletion", "Delete a stored response", answer, parameters, ("409",))


def _cancel() -> Object:
    answer = _described(content("The response with its end.", reference(_SUMMARY)))
    parameters = [_RESPONSE_ID]
    operation = _operation("cancelCompletion", "Cancel a stored response", answer, parameters)
    operation["description"] = "Stops the response, and its upstream. It has no effect on one that has ended."
    return operation


def _events() -> Object:
    schema = {
        "description": _STREAM,
        "anyOf": [
            reference(each)
            for each in (
                *(CompletionChunk.DESCRIPTOR.name, ChatCompletionResponse.DESCRIPTOR.name),
                *(FIMCompletionResponse.DESCRIPTOR.name, ERROR_BODY),
            )
        ],
    }
    answer = _described(content("The events.", schema, EVENT_STREAM), "ResponseId", "RequestId")
    parameters = [
        _RESPONSE_ID,
        {**_query("last-event-id", "Id of the last event that the caller has seen."), "in": "header"},
        _query("starting_after", "The same, or its number, for those who can't send the header."),
        _read_token(),
    ]
    operation = _operation("followCompletion", "Follow a stored response", answer, parameters, ("400",))
    operation["description"] = "For EventSource, and for any client that reads server-sent events."
    nothing = {
        "description": "The response has ended, and the caller has seen its last event, or more. If more, "
        "the reason is `RESPONSE_TRUNCATED`: those events were never stored."
    }
    operation["responses"]["204"] = _described(nothing)
    return operation


def _token() -> Object:
    answer = _described(content("A token for ten minutes.", reference(_TOKEN)))
    parameters = [_RESPONSE_ID]
    operation = _operation("createReadToken", "Create a token for a stored response", answer, parameters)
    operation["description"] = (
        "It reads and follows this response without a key, in the query: for EventSource, which sends no "
        "headers."
    )
    return operation


def _operation(
    name: str, summary: str, answer: Object, parameters: list[Object], more_errors: tuple[str, ...] = ()
) -> Object:
    return {
        "operationId": name,
        "tags": ["responses"],
        "summary": summary,
        "security": KEY_OR_NONE,
        "parameters": [*parameters, REQUEST_ID],
        "responses": {"200": answer, **error_answers(sorted({*_ERRORS, *more_errors}))},
    }


def _described(answer: Object, *names: str) -> Object:
    """Add the headers with these names among the components, by default all of them."""
    headers = {
        "RequestId": "x-request-id",
        "ResponseId": "x-mistralwire-response-id",
        "ResponseState": STATE_HEADER,
        "LastSequence": SEQUENCE_HEADER,
        "ResponseReason": REASON_HEADER,
    }
    shown = {headers[name]: {"$ref": f"#/components/headers/{name}"} for name in names or headers}
    return {**answer, "headers": shown}


def _read_token() -> Object:
    return _query("token", "A token for this response, in place of a key.")


def _query(name: str, description: str) -> Object:
    return {"name": name, "in": "query", "description": description, "schema": {"type": "string"}}
