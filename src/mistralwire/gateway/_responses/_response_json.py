"""Stored responses as JSON and as headers, in the shapes of OpenAI's API for stored completions."""

from typing import Any

import orjson

from mistralwire._metadata import RESPONSE_ID
from mistralwire.client import response_failure
from mistralwire.codec import to_json
from mistralwire.errors import CallError, name_in
from mistralwire.gateway._errors import Headers
from mistralwire.v1 import (
    GetResponseResponse,
    ResponseEnd,
    ResponseInfo,
    ResponseKind,
    ResponseState,
)

STATE_HEADER, SEQUENCE_HEADER, REASON_HEADER = (
    "x-mistralwire-response-state",
    "x-mistralwire-last-sequence",
    "x-mistralwire-response-reason",
)
"""Headers with the state of a response, the number of its last event, and the reason why it failed."""

_OBJECT = "chat.completion"


def response_json(found: GetResponseResponse) -> bytes:
    """Return what there is of a response as JSON; without any event, it has no choices.

    Raises:
        CodecError: If it has no JSON form.
    """
    kind = found.WhichOneof("whole")
    return orjson.dumps(_empty(found.info)) if kind is None else to_json(getattr(found, kind))


def summary_of(info: ResponseInfo) -> dict[str, Any]:
    """Return a response without its content as a completion without choices; the metadata have the rest."""
    metadata = {"state": state_name(info.state), "kind": _short_name(ResponseKind, info.kind or 1)}
    metadata["last_sequence"] = str(info.last_sequence)
    if info.upstream_id:
        metadata["upstream_id"] = info.upstream_id
    return {**_empty(info), "metadata": metadata}


def end_headers(
    end: ResponseEnd | ResponseInfo, last_sequence: int, failure: CallError | None
) -> dict[str, str]:
    """Return the headers that say how far a response is, and why it failed if it did."""
    headers = {STATE_HEADER: state_name(end.state), SEQUENCE_HEADER: str(last_sequence)}
    if failure is not None and (reason := name_in(failure.reason)):
        headers[REASON_HEADER] = reason
    return headers


def info_headers(info: ResponseInfo) -> Headers:
    """Return the headers that say which response it is, and how far."""
    headers = {RESPONSE_ID: info.response_id, **end_headers(info, info.last_sequence, response_failure(info))}
    # It changes while the response runs, and belongs to one caller.
    headers["cache-control"] = "no-store"
    return [(name.encode(), value.encode()) for name, value in headers.items()]


def _empty(info: ResponseInfo) -> dict[str, Any]:
    """Return a response without content, with the members that Mistral's and OpenAI's SDKs require."""
    names = {"id": info.response_id, "object": _OBJECT, "model": info.model}
    return {**names, "usage": {}, "created": info.created, "choices": []}


def state_name(state: int) -> str:
    """Return the name of a state: running, finished, cancelled or failed."""
    return _short_name(ResponseState, state)


def _short_name(enum: Any, number: int) -> str:
    """Return the name of an enum's value without its prefix, in lower case; of a newer one, its number."""
    names = enum.DESCRIPTOR.values_by_number
    return names[number].name.rsplit("_", 1)[-1].lower() if number in names else str(number)
