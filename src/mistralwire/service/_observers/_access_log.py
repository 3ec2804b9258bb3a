"""One log line for each call."""

import logging
from typing import Any

from mistralwire._metadata import upstream_id
from mistralwire.errors import UpstreamError, name_in
from mistralwire.service._observers._observer import CallRecord, Chunks

# Codes that an operator need not look at: the call ended well, or because of the caller.
_CODES_OF_CALLER = {
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
# With these the upstream rejects the service, not its caller.
_UPSTREAM_REFUSALS = {"FAILED_PRECONDITION", "PERMISSION_DENIED", "UNAUTHENTICATED"}

_logger = logging.getLogger("mistralwire.access")


class AccessLog:
    """A CallObserver that logs each call at its end, to the logger `mistralwire.access`.

    The level is WARNING if the service or its upstream failed, and INFO if the call ended well or because of
    the caller. The log record has the attributes `request_id`, `method`, `code`, `reason`, `duration_ms`,
    `chunks`, `first_chunk_ms`, `model`, `agent_id`, `peer`, `http_status`, `upstream_code`, `upstream_type`
    and `upstream_request_id`, if they are known. They hold nothing of the request, the response, the
    metadata or the text of an error, except for the names of model and agent and the upstream's code, type
    and id, and those only if they look like names.
    """

    def started(self, call: CallRecord) -> None:
        """Do nothing: a call is logged at its end."""

    def chunks(self, call: CallRecord, chunks: Chunks) -> None:
        """Do nothing: the record counts the chunks."""

    def ended(self, call: CallRecord) -> None:
        """Log the call."""
        is_refused = isinstance(call.error, UpstreamError) and call.code in _UPSTREAM_REFUSALS
        level = logging.INFO if call.code in _CODES_OF_CALLER and not is_refused else logging.WARNING
        if _logger.isEnabledFor(level):
            _logger.log(level, "%s %s", call.method, call.code, extra=_record_attributes(call))


def _record_attributes(call: CallRecord) -> dict[str, Any]:
    error = call.error if isinstance(call.error, UpstreamError) else None
    attributes = {
        "request_id": call.request_id,
        "method": call.method,
        "code": call.code,
        "reason": call.reason,
        "duration_ms": _elapsed_ms(call, call.ended_s),
        "chunks": call.chunks if call.method.endswith("Stream") else None,
        "first_chunk_ms": _elapsed_ms(call, call.first_chunk_s),
        "model": name_in(getattr(call.request, "model", None)),
        "agent_id": name_in(getattr(call.request, "agent_id", None)),
        "peer": call.peer,
        "http_status": None if error is None else error.status,
        "upstream_code": None if error is None else name_in(error.upstream_code),
        "upstream_type": None if error is None else name_in(error.upstream_type),
        "upstream_request_id": name_in(upstream_id(call.upstream_headers)) if call.upstream_headers else None,
    }
    return {name: value for name, value in attributes.items() if value is not None}


def _elapsed_ms(call: CallRecord, until_s: float | None) -> float | None:
    return None if until_s is None else round((until_s - call.started_s) * 1000, 1)
