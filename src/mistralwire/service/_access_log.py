"""One line of the log for each call."""

import logging
from typing import Any

from mistralwire._metadata import upstream_id
from mistralwire.errors import MistralwireError, UpstreamError, name_in
from mistralwire.service._record import CallRecord, Chunks

# How calls end that nobody who runs the service has to look at: well, or by the caller's own doing.
_CALLERS_OWN = {
    "OK",
    "CANCELLED",
    "INVALID_ARGUMENT",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "UNAUTHENTICATED",
    "FAILED_PRECONDITION",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
}
# Whom the upstream turns away is this service, not its caller.
_UPSTREAM_REFUSALS = {"FAILED_PRECONDITION", "PERMISSION_DENIED", "UNAUTHENTICATED"}

_logger = logging.getLogger("mistralwire.access")


class AccessLog:
    """A CallObserver that logs each call when it is over, to the logger `mistralwire.access`.

    The level is WARNING if the service or its upstream failed, and INFO if the call ended well or by the
    caller's own doing. What is known of the call is in attributes of the log record: `request_id`, `method`,
    `code`, `reason`, `duration_ms`, `chunks`, `first_chunk_ms`, `model`, `agent_id`, `peer`, `http_status`,
    `upstream_code`, `upstream_type` and `upstream_request_id`. Nothing of the request, the answer, the
    metadata or the text of an error is among them, but for the names of model and agent and the upstream's
    code, type and id, and these only if they look like names.
    """

    def started(self, call: CallRecord) -> None:
        """Do nothing: a call is logged when it is over."""

    def chunks(self, call: CallRecord, chunks: Chunks) -> None:
        """Do nothing: chunks are counted in the record."""

    def ended(self, call: CallRecord) -> None:
        """Log the call."""
        level = logging.INFO if _is_callers_own(call) else logging.WARNING
        if _logger.isEnabledFor(level):
            _logger.log(level, "%s %s", call.method, call.code, extra=_attributes(call))


def _is_callers_own(call: CallRecord) -> bool:
    if isinstance(call.error, UpstreamError) and call.code in _UPSTREAM_REFUSALS:
        return False
    return call.code in _CALLERS_OWN


def _attributes(call: CallRecord) -> dict[str, Any]:
    error = call.error
    attributes = {
        "request_id": call.request_id,
        "method": call.method,
        "code": call.code,
        "reason": name_in(error.reason) if isinstance(error, MistralwireError) else None,
        "duration_ms": _milliseconds(call, call.ended_s),
        "chunks": call.chunks if call.method.endswith("Stream") else None,
        "first_chunk_ms": _milliseconds(call, call.first_chunk_s),
        "model": name_in(getattr(call.request, "model", None)),
        "agent_id": name_in(getattr(call.request, "agent_id", None)),
        "peer": call.peer,
        "http_status": error.status if isinstance(error, UpstreamError) else None,
        "upstream_code": name_in(error.upstream_code) if isinstance(error, UpstreamError) else None,
        "upstream_type": name_in(error.upstream_type) if isinstance(error, UpstreamError) else None,
        "upstream_request_id": name_in(upstream_id(call.upstream_headers)) if call.upstream_headers else None,
    }
    return {name: value for name, value in attributes.items() if value is not None}


def _milliseconds(call: CallRecord, until_s: float | None) -> float | None:
    return None if until_s is None else round((until_s - call.started_s) * 1000, 1)
