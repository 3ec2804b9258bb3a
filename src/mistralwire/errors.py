"""Every exception that the package raises, as one tree.

    MistralwireError
    ├── CodecError                 JSON or protobuf that could not be converted
    │   ├── DecodeError            JSON that breaks the contract, or no JSON at all
    │   └── EncodeError            a message that has no JSON form
    ├── UpstreamError              the source of completions failed
    ├── OverloadError              the service takes no more calls for now
    ├── CallError                  a call of the service ended with a status other than OK
    └── BrokenStreamError          a streamed answer of the gateway broke off, for its ASGI server

A wrong argument of the caller's own (an unknown option, a message type without a JSON form) is a built-in
TypeError or ValueError, as everywhere in Python.
"""

import logging
import math
import re
import traceback
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import orjson

from mistralwire.v1 import Reason

__all__ = [
    "CONTRACT_REVISION_INFO",
    "HTTP_STATUS",
    "REQUEST_ID_PATTERN",
    "RETRY_AFTER_S_MAX",
    "SHOULD_RETRY",
    "UPSTREAM_CODE",
    "UPSTREAM_MEMBERS",
    "UPSTREAM_PARAM",
    "UPSTREAM_TYPE",
    "BrokenStreamError",
    "CallError",
    "CodecError",
    "DecodeError",
    "EncodeError",
    "MistralwireError",
    "OverloadError",
    "Reason",
    "UpstreamError",
    "UpstreamViolation",
    "Violation",
    "name_in",
]

RETRY_AFTER_S_MAX = 86_400.0
"""The longest time in seconds that an error asks to wait before a new try: a day."""

HTTP_STATUS, SHOULD_RETRY = "http_status", "should_retry"
UPSTREAM_CODE, UPSTREAM_TYPE, UPSTREAM_PARAM = "upstream_code", "upstream_type", "upstream_param"
UPSTREAM_MEMBERS = "upstream_members"
"""What the metadata of a status's ErrorInfo calls the attributes of an UpstreamError."""

CONTRACT_REVISION_INFO = "contract_revision"
"""What the metadata of a status's ErrorInfo calls the revision of the service's contract."""

REQUEST_ID_PATTERN = re.compile("[!-~]{1,128}")
"""What an id of a call is: printable ASCII, that can go into a log and into metadata as it is."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:/@+-]*")
_NAME_CHARACTERS_MAX = 128
_TOKEN = re.compile("[!-~]{1,64}")
_HTTP_STATUS = re.compile("[1-9][0-9]{2}")


def name_in(text: object) -> str | None:
    """Return a name as logs, spans and metrics show it: of a model, an agent or a code.

    Args:
        text: What somebody gave as the name; it may be anything, of any length.

    Returns:
        Its first 128 characters; None if they don't look like a name, but may be text.
    """
    start = text[:_NAME_CHARACTERS_MAX] if isinstance(text, str) else ""
    return start if _NAME.fullmatch(start) else None


def log_unexpected(logger: logging.Logger, event: str, error: BaseException) -> None:
    """Log an exception that only a bug raises: its type and stack, not its text, which may quote the request.

    Args:
        logger: The logger.
        event: What has happened, up to the exception, such as `call 1 ended with`.
        error: The exception.
    """
    stack = "".join(traceback.format_tb(error.__traceback__))
    logger.error("%s an unexpected %s\n%s", event, type(error).__name__, stack)


def _token(text: str | None) -> str | None:
    """Give a word that can go into a log and a metric as it is, or None."""
    return text if isinstance(text, str) and _TOKEN.fullmatch(text) else None


def _delay_s(delay_s: float | None) -> float | None:
    """Give a time to wait that makes sense, or None: what a peer says may be anything."""
    is_number = isinstance(delay_s, int | float) and not isinstance(delay_s, bool)
    if delay_s is None or not is_number or not 0 <= delay_s < math.inf:
        return None
    return float(min(delay_s, RETRY_AFTER_S_MAX))


class MistralwireError(Exception):
    """The root of all errors of this package.

    Attributes:
        code: Name of the gRPC status code that the error becomes, such as `INVALID_ARGUMENT`.
        reason: What happened, for programs: a `Reason`, or a word of another service, in UPPER_SNAKE_CASE.
        message: What was expected, what was found and what to do, for people.
        path: JSON path of the place, empty for the whole document.
    """

    code = "INTERNAL"
    reason: str = Reason.INTERNAL

    def __init__(
        self, message: str, *, path: str = "", code: str | None = None, reason: str | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.path = path
        self.code = code or type(self).code
        self.reason = reason or type(self).reason


class CodecError(MistralwireError):
    """JSON or protobuf that could not be converted."""


class Violation(NamedTuple):
    """One place in a document that breaks the contract."""

    path: str
    """JSON path, such as `choices[0].message.role`; empty for the whole document."""
    expected: str
    """What the contract asks for there."""
    found: str
    """What is there instead. Never more than a few words of the document's own text."""

    @property
    def description(self) -> str:
        """What is wrong with the place."""
        return f"expected {self.expected}, found {self.found}"

    def __str__(self) -> str:
        """Return the place and what is wrong with it, as one sentence."""
        return f"{self.path or 'document'}: {self.description}"


class UpstreamViolation(NamedTuple):
    """One place in a request that an upstream finds wrong."""

    path: str
    """JSON path, such as `messages[0].role`; empty for the whole request."""
    description: str
    """What is wrong with it, in the upstream's words, without the value there."""
    type: str = ""
    """The upstream's word for the kind of violation, such as `missing`; empty if it has none."""

    def __str__(self) -> str:
        """Return the place and what is wrong with it, as one sentence."""
        return f"{self.path or 'document'}: {self.description}"


class DecodeError(CodecError):
    """JSON that breaks the contract, goes beyond a limit, or is no JSON at all.

    Attributes:
        violations: The places, in the order of the document, at most as many as the limit says.
        truncated: True if there are more places than `violations` lists.
    """

    code = "INVALID_ARGUMENT"
    reason: str = Reason.CONTRACT_VIOLATION

    def __init__(
        self,
        violations: Sequence[Violation],
        *,
        type_name: str = "",
        truncated: bool = False,
        reason: str | None = None,
    ) -> None:
        self.violations = list(violations)
        self.truncated = truncated
        self.type_name = type_name
        first = self.violations[0]
        if len(self.violations) == 1 and not truncated:
            message = str(first)
        else:
            count = len(self.violations)
            head = f"{count} violations in {type_name or 'the document'}:"
            if truncated:
                head = f"more than {count} violations in {type_name or 'the document'}, the first {count}:"
            message = "\n  ".join([head, *map(str, self.violations)])
        super().__init__(message, path=first.path, reason=reason)

    def __reduce__(self) -> tuple[object, ...]:
        """Rebuild from the violations, so that the error crosses process boundaries."""
        arguments = (type(self), self.violations, self.type_name, self.truncated)
        return _rebuild_decode_error, arguments, vars(self)


def _rebuild_decode_error(
    error_type: type[DecodeError], violations: list[Violation], type_name: str, truncated: bool
) -> DecodeError:
    return error_type(violations, type_name=type_name, truncated=truncated)


class EncodeError(CodecError):
    """A message that has no JSON form: text that is no JSON where JSON is due, NaN, an empty union."""

    reason: str = Reason.NO_JSON_FORM

    def __str__(self) -> str:
        """Name the place and say what is wrong with it."""
        return f"{self.path or 'document'}: {self.message}"


class UpstreamError(MistralwireError):
    """The source of completions failed, or answered with an error.

    Attributes:
        status: HTTP status of the upstream's answer; None if there was none.
        upstream_code: What the upstream's error body says as `code`, such as `1300`; None if it says nothing,
            or nothing that can go into logs and metrics: up to 64 printable ASCII characters without blanks.
        upstream_type: What it says as `type`, such as `rate_limited`, with the same bound.
        upstream_param: What it says as `param`, such as `model`, with the same bound.
        retry_after_s: After how many seconds a new try makes sense, from 0 to a day; None if the upstream did
            not say, or nothing that makes sense.
        violations: The places of the request that the upstream found wrong, without the values there.
        members: The members of the upstream's error body beside its texts, as they go to the caller: JSON
            values, `code`, `type` and `param` among them as the upstream has them.
        headers: Headers of the upstream's answer that go to the caller, by names in lower case: ids and rate
            limits.
        should_retry: False where another attempt is hopeless, or the service has made as many as it makes.
    """

    code = "UNAVAILABLE"
    reason: str = Reason.UPSTREAM_FAILED

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        code: str | None = None,
        reason: str | None = None,
        upstream_code: str | None = None,
        upstream_type: str | None = None,
        upstream_param: str | None = None,
        retry_after_s: float | None = None,
        violations: Sequence[UpstreamViolation] = (),
        members: Mapping[str, Any] = {},
        headers: Mapping[str, str] = {},
        should_retry: bool = True,
    ) -> None:
        super().__init__(message, code=code, reason=reason)
        self.status = status
        self.upstream_code = _token(upstream_code)
        self.upstream_type = _token(upstream_type)
        self.upstream_param = _token(upstream_param)
        self.retry_after_s = _delay_s(retry_after_s)
        self.violations = list(violations)
        self.members = dict(members)
        self.headers = dict(headers)
        self.should_retry = should_retry


class OverloadError(MistralwireError):
    """The service takes no more calls for now; the upstream has not heard of this one.

    Attributes:
        retry_after_s: After how many seconds a new try makes sense, from 0 to a day; None if that can't be
            said.
    """

    code = "RESOURCE_EXHAUSTED"
    reason: str = Reason.OVERLOADED

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        reason: str | None = None,
        retry_after_s: float | None = 1.0,
    ) -> None:
        super().__init__(message, code=code, reason=reason)
        self.retry_after_s = _delay_s(retry_after_s)


class CallError(MistralwireError):
    """A call of the service ended with a status other than OK.

    Without a reason of the service, the code is the reason.

    Attributes:
        violations: The places of the request that break the contract, for `INVALID_ARGUMENT`.
        upstream_violations: The places that the upstream finds wrong, for `UPSTREAM_INVALID_REQUEST`.
        metadata: What the service's ErrorInfo said beside the reason.
        request_id: Id of the call, to look for in the service's logs: up to 128 printable ASCII characters
            without blanks. Empty if it is not known, or is no such id.
        retry_after_s: After how many seconds a new try makes sense, from 0 to a day; None if the service did
            not say, or nothing that makes sense.
        should_retry: False where another attempt is hopeless, or the service or the client itself has made as
            many as it makes.
    """

    def __init__(
        self,
        message: str,
        *,
        code: str = "UNKNOWN",
        reason: str | None = None,
        violations: Sequence[Violation] = (),
        metadata: dict[str, str] | None = None,
        request_id: str = "",
        retry_after_s: float | None = None,
        should_retry: bool = True,
        upstream_violations: Sequence[UpstreamViolation] = (),
    ) -> None:
        super().__init__(
            message, code=code, reason=reason or code, path=violations[0].path if violations else ""
        )
        self.violations = list(violations)
        self.upstream_violations = list(upstream_violations)
        self.metadata = metadata or {}
        self.request_id = request_id if REQUEST_ID_PATTERN.fullmatch(request_id) else ""
        self.retry_after_s = _delay_s(retry_after_s)
        self.should_retry = should_retry

    @property
    def upstream_status(self) -> int | None:
        """HTTP status of the answer that the service had from its upstream; None if it had none."""
        text = self.metadata.get(HTTP_STATUS, "")
        return int(text) if _HTTP_STATUS.fullmatch(text) else None

    @property
    def upstream_code(self) -> str | None:
        """What the upstream's error body said as `code`, such as `1300`; None if nothing is known of it."""
        return _token(self.metadata.get(UPSTREAM_CODE))

    @property
    def upstream_type(self) -> str | None:
        """What the upstream's error body said as `type`, such as `rate_limited`; None as for the code."""
        return _token(self.metadata.get(UPSTREAM_TYPE))

    @property
    def upstream_param(self) -> str | None:
        """What the upstream's error body said as `param`, such as `model`; None as for the code."""
        return _token(self.metadata.get(UPSTREAM_PARAM))

    @property
    def upstream_members(self) -> dict[str, Any]:
        """The members of the upstream's error body beside its texts, as JSON values; none if unknown."""
        try:
            members = orjson.loads(self.metadata.get(UPSTREAM_MEMBERS, "{}"))
        except orjson.JSONDecodeError:
            return {}
        return members if isinstance(members, dict) else {}


class BrokenStreamError(MistralwireError):
    """A streamed answer of the gateway broke off behind its status.

    The gateway's ASGI application raises it behind the event with the error, so that the server ends the
    connection without the end of the body: clients that skip the event see a broken transfer.
    """

    code = "UNAVAILABLE"
    reason: str = Reason.STREAM_TRUNCATED
