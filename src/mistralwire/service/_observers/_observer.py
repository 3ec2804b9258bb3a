"""What observers are told of a call; an exception of theirs never reaches it. And the access log."""

import dataclasses
import logging
import re
import time
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from google.protobuf.message import Message

from mistralwire._metadata import upstream_id
from mistralwire.errors import MistralwireError, Reason, UpstreamError, log_unexpected, name_in

OTHER = "_OTHER"
"""Stands for a value that logs and metrics do not show, as in the semantic conventions."""

_REASON_PATTERN = re.compile(r"[A-Z][A-Z0-9_]{0,63}")

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

_logger = logging.getLogger(__name__)
_access_logger = logging.getLogger("mistralwire.access")


@dataclasses.dataclass(frozen=True, slots=True)
class Chunks:
    """Chunks that arrived from the upstream together.

    Attributes:
        wire: Wire bytes of a ChatCompletionStreamResponse that holds them.
        count: How many there are, 1 or more.
        usage: The last usage among them, as the wire bytes of a UsageInfo; None if there is none.
        finish_reasons: The finish reasons, as index of the choice and the API's string.
    """

    wire: bytes
    count: int
    usage: bytes | None = None
    finish_reasons: Sequence[tuple[int, str]] = ()


@dataclasses.dataclass(slots=True, kw_only=True)
class CallRecord:
    """One call of the service; it is filled in while the call runs.

    Attributes:
        method: Name of the method, such as `ChatCompletionStream`.
        request_id: Id of the call: the caller's own, or a new one. Printable ASCII without spaces.
        metadata: The call's metadata, as pairs of key and value. May hold secrets.
        peer: The caller's address as gRPC formats it, such as `ipv4:127.0.0.1:41234`.
        started_s: When the call began, in seconds of `time.perf_counter`.
        first_chunk_s: When its first chunk arrived from the upstream; None if there was none.
        ended_s: When it ended; None while it runs.
        request: The request, once it was parsed and checked.
        response: The response of a unary call.
        chunks: How many chunks arrived from the upstream.
        code: Name of its gRPC status code.
        error: The exception that ended it; None if it ended well, was cancelled, or exceeded its deadline.
        upstream_headers: Headers of the upstream's response that the caller gets, by lower-case names: ids
            and rate limits.
        response_id: Id of the response if it is stored, or joins a stored one; otherwise an empty string.
    """

    method: str
    request_id: str
    metadata: tuple[tuple[str, str | bytes], ...] = ()
    peer: str = ""
    started_s: float = dataclasses.field(default_factory=time.perf_counter)
    first_chunk_s: float | None = None
    ended_s: float | None = None
    request: Any = None
    response: Message | None = None
    chunks: int = 0
    code: str = "OK"
    error: BaseException | None = None
    upstream_headers: Mapping[str, str] = dataclasses.field(default_factory=dict)
    response_id: str = ""

    @property
    def reason(self) -> str | None:
        """Why the call failed; None if it ended well or was cancelled.

        It is the error's reason, `_OTHER` if that is not a word in UPPER_SNAKE_CASE, or the name of the code
        if there is no error. Never any text of the error.
        """
        if self.error is None:
            return None if self.code in ("OK", "CANCELLED") else self.code
        if not isinstance(self.error, MistralwireError):
            return Reason.INTERNAL
        # An error of a program's own upstream may have anything there.
        reason = self.error.reason
        return reason if isinstance(reason, str) and _REASON_PATTERN.fullmatch(reason) else OTHER


class CallObserver(Protocol):
    """Watches calls. Its methods run in the event loop, so they must not block.

    An exception is logged without its text, and the call goes on; of that call, the observer is told only
    the end.
    """

    def started(self, call: CallRecord) -> None:
        """A request was read and is about to go to the upstream; runs in the context of the call.

        Context variables that are set here are visible to the upstream and in the other methods. A call whose
        request is rejected has no start, only an end.
        """

    def chunks(self, call: CallRecord, chunks: Chunks) -> None:
        """Chunks arrived from the upstream; on the hot path, in the context of the call."""

    def ended(self, call: CallRecord) -> None:
        """The call is over, however it ended; runs in the context of the call."""


class Notifier:
    """Notifies the observers of one call; an observer's exception never reaches the call or the others."""

    __slots__ = ("_active", "_call", "_observers")

    def __init__(self, call: CallRecord, observers: Sequence[CallObserver]) -> None:
        self._call = call
        self._observers = observers
        # Without those that have raised.
        self._active = observers

    def started(self) -> None:
        for observer in self._active:
            try:
                observer.started(self._call)
            except Exception as error:  # noqa: BLE001 - it must not end the call
                self._drop(observer, error)

    def chunks(self, chunks: Chunks) -> None:
        for observer in self._active:
            try:
                observer.chunks(self._call, chunks)
            except Exception as error:  # noqa: BLE001 - it must not end the call
                self._drop(observer, error)

    def ended(self) -> None:
        for observer in self._observers:
            try:
                observer.ended(self._call)
            except Exception as error:  # noqa: BLE001 - it must not end the call
                self._drop(observer, error)

    def _drop(self, observer: CallObserver, error: Exception) -> None:
        # A new list: the old one is being iterated over.
        self._active = [other for other in self._active if other is not observer]
        name = type(observer).__name__
        log_unexpected(_logger, f"call {self._call.request_id}: the observer {name} raised", error)


class AccessLog:
    """A CallObserver that logs each call at its end, to the logger `mistralwire.access`.

    The level is WARNING if the service or its upstream failed, and INFO if the call ended well or because of
    the caller. The log record has the attributes `request_id`, `method`, `code`, `reason`, `duration_ms`,
    `chunks`, `first_chunk_ms`, `model`, `agent_id`, `peer`, `http_status`, `upstream_code`, `upstream_type`,
    `upstream_request_id` and `response_id`, if they are known. They hold nothing of the request, the
    response, the metadata or the text of an error, except for the names of model and agent and the upstream's
    code, type and id, and those only if they look like names.
    """

    def started(self, call: CallRecord) -> None:
        """Do nothing: a call is logged at its end."""

    def chunks(self, call: CallRecord, chunks: Chunks) -> None:
        """Do nothing: the record counts the chunks."""

    def ended(self, call: CallRecord) -> None:
        is_refused = isinstance(call.error, UpstreamError) and call.code in _UPSTREAM_REFUSALS
        level = logging.INFO if call.code in _CODES_OF_CALLER and not is_refused else logging.WARNING
        if _access_logger.isEnabledFor(level):
            _access_logger.log(level, "%s %s", call.method, call.code, extra=_record_attributes(call))


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
        "response_id": call.response_id or None,
    }
    return {name: value for name, value in attributes.items() if value is not None}


def _elapsed_ms(call: CallRecord, until_s: float | None) -> float | None:
    return None if until_s is None else round((until_s - call.started_s) * 1000, 1)
