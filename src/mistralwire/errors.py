"""Every exception that the package raises, as one tree.

    MistralwireError
    ├── CodecError                 JSON or protobuf that could not be converted
    │   ├── DecodeError            JSON that breaks the contract, or no JSON at all
    │   └── EncodeError            a message that has no JSON form
    ├── UpstreamError              the source of completions failed
    ├── OverloadError              the service accepts no more calls for now
    ├── CallError                  a call of the service ended with a status other than OK
    ├── ResponseError              a stored response that can't be read, written or found
    └── BrokenStreamError          a streamed answer of the gateway broke off, for its ASGI server

An invalid argument (an unknown option, a message type without a JSON form) raises a built-in TypeError or
ValueError, as everywhere in Python.
"""

import functools
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
    "ResponseError",
    "UpstreamError",
    "UpstreamViolation",
    "Violation",
    "name_in",
]

RETRY_AFTER_S_MAX = 86_400.0
"""The longest retry delay of an error, in seconds: a day."""

HTTP_STATUS, SHOULD_RETRY = "http_status", "should_retry"
UPSTREAM_CODE, UPSTREAM_TYPE, UPSTREAM_PARAM = "upstream_code", "upstream_type", "upstream_param"
UPSTREAM_MEMBERS = "upstream_members"
"""Keys of the attributes of an UpstreamError in the metadata of a status's ErrorInfo."""

ERROR_DOMAIN = "mistralwire"
"""Domain of the reasons in ErrorInfo."""

CONTRACT_REVISION_INFO = "contract_revision"
"""Key of the revision of the service's contract in the metadata of a status's ErrorInfo."""

REQUEST_ID_PATTERN = re.compile("[!-~]{1,128}")
"""The form of a request id: printable ASCII, which is safe in logs and metadata."""

_PLAIN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:/@+-]*")
_PLAIN_NAME_CHARS_MAX = 128
_UPSTREAM_WORD = re.compile("[!-~]{1,64}")
_HTTP_STATUS = re.compile("[1-9][0-9]{2}")


def name_in(text: object) -> str | None:
    """Return the name of a model, an agent or a code that a peer sent, as logs, spans and metrics show it.

    Its first 128 characters; None if they don't look like a name and may be private text.
    """
    start = text[:_PLAIN_NAME_CHARS_MAX] if isinstance(text, str) else ""
    return start if _PLAIN_NAME.fullmatch(start) else None


def log_unexpected(logger: logging.Logger, event: str, error: BaseException) -> None:
    """Log an exception that only a bug raises: its type and stack, not its text, which may quote the request.

    `event` says what has happened, up to the exception, such as `call 1 ended with`.
    """
    stack = "".join(traceback.format_tb(error.__traceback__))
    logger.error("%s an unexpected %s\n%s", event, type(error).__name__, stack)


def _upstream_word(text: str | None) -> str | None:
    """Return a word of an upstream if it is safe in logs and metrics, otherwise None."""
    return text if isinstance(text, str) and _UPSTREAM_WORD.fullmatch(text) else None


def _retry_delay_s(delay_s: float | None) -> float | None:
    """Return a retry delay that a peer sent, at most a day; None if it is invalid."""
    is_number = isinstance(delay_s, int | float) and not isinstance(delay_s, bool)
    if delay_s is None or not is_number or not 0 <= delay_s < math.inf:
        return None
    return float(min(delay_s, RETRY_AFTER_S_MAX))


class MistralwireError(Exception):
    """The root of all errors of this package.

    Attributes:
        code: Name of the gRPC status code for the error, such as `INVALID_ARGUMENT`.
        reason: What happened, for programs: a `Reason`, or that of another service, in UPPER_SNAKE_CASE.
        message: What was expected, what was found and what to do, for people.
        path: JSON path of the place; empty for the whole document.
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
    """What the contract requires there."""
    found: str
    """What is there instead, with at most a few words of the document's own text."""

    @property
    def description(self) -> str:
        """What is wrong with the place."""
        return f"expected {self.expected}, found {self.found}"

    def __str__(self) -> str:
        """Return the place and what is wrong with it, as one sentence."""
        return f"{self.path or 'document'}: {self.description}"


class UpstreamViolation(NamedTuple):
    """One place in a request that an upstream rejected."""

    path: str
    """JSON path, such as `messages[0].role`; empty for the whole request."""
    description: str
    """What is wrong with it, in the upstream's words, without the value there."""
    type: str = ""
    """The upstream's type of violation, such as `missing`; empty without one."""

    def __str__(self) -> str:
        return f"{self.path or 'document'}: {self.description}"


class DecodeError(CodecError):
    """JSON that breaks the contract or exceeds a limit, or text that is not JSON at all.

    Attributes:
        violations: The violations in the order of the document, up to the limit on their number.
        truncated: True if there are more than `violations` lists.
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
        """Pickle the violations instead of the message, so that the error crosses process boundaries."""
        make = functools.partial(type(self), type_name=self.type_name, truncated=self.truncated)
        return make, (self.violations,), vars(self)


class EncodeError(CodecError):
    """A message without a JSON form: text that is not JSON where JSON is expected, NaN, an empty union."""

    reason: str = Reason.NO_JSON_FORM

    def __str__(self) -> str:
        return f"{self.path or 'document'}: {self.message}"


class UpstreamError(MistralwireError):
    """The source of completions failed, or answered with an error.

    Attributes:
        status: HTTP status of the upstream's answer; None without an answer.
        upstream_code: The `code` of the upstream's error body, such as `1300`; None without one that is safe
            in logs and metrics: up to 64 printable ASCII characters without blanks.
        upstream_type: Its `type`, such as `rate_limited`, with the same bound.
        upstream_param: Its `param`, such as `model`, with the same bound.
        retry_after_s: Seconds until a retry makes sense, from 0 to a day; None if the upstream sent no valid
            delay.
        violations: The places of the request that the upstream rejected, without the values there.
        members: The members of the upstream's error body except its texts, as forwarded to the caller: JSON
            values, including the upstream's `code`, `type` and `param`.
        headers: Headers of the upstream's answer that are forwarded, with names in lower case: ids and rate
            limits.
        should_retry: False if a retry is pointless, or the service has used all of its attempts.
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
        self.upstream_code = _upstream_word(upstream_code)
        self.upstream_type = _upstream_word(upstream_type)
        self.upstream_param = _upstream_word(upstream_param)
        self.retry_after_s = _retry_delay_s(retry_after_s)
        self.violations = list(violations)
        self.members = dict(members)
        self.headers = dict(headers)
        self.should_retry = should_retry


class OverloadError(MistralwireError):
    """The service accepts no more calls for now; this one was not sent upstream.

    Attributes:
        retry_after_s: Seconds until a retry makes sense, from 0 to a day; None if unknown.
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
        self.retry_after_s = _retry_delay_s(retry_after_s)


class CallError(MistralwireError):
    """A call of the service ended with a status other than OK.

    If the service sent no reason, the code is the reason.

    Attributes:
        violations: The places of the request that break the contract, for `INVALID_ARGUMENT`.
        upstream_violations: The places that the upstream rejected, for `UPSTREAM_INVALID_REQUEST`.
        metadata: The metadata of the service's ErrorInfo.
        request_id: Id of the call in the service's logs: up to 128 printable ASCII characters without blanks.
            Empty if it is unknown or invalid.
        retry_after_s: Seconds until a retry makes sense, from 0 to a day; None if the service sent no valid
            delay.
        should_retry: False if a retry is pointless, or the service or the client has used all of its
            attempts.
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
        self.retry_after_s = _retry_delay_s(retry_after_s)
        self.should_retry = should_retry

    @property
    def upstream_status(self) -> int | None:
        """HTTP status of the upstream's answer to the service; None without an answer."""
        text = self.metadata.get(HTTP_STATUS, "")
        return int(text) if _HTTP_STATUS.fullmatch(text) else None

    @property
    def upstream_code(self) -> str | None:
        """The `code` of the upstream's error body, such as `1300`; None if unknown."""
        return _upstream_word(self.metadata.get(UPSTREAM_CODE))

    @property
    def upstream_type(self) -> str | None:
        """The `type` of the upstream's error body, such as `rate_limited`; None if unknown."""
        return _upstream_word(self.metadata.get(UPSTREAM_TYPE))

    @property
    def upstream_param(self) -> str | None:
        """The `param` of the upstream's error body, such as `model`; None if unknown."""
        return _upstream_word(self.metadata.get(UPSTREAM_PARAM))

    @property
    def upstream_members(self) -> dict[str, Any]:
        """The members of the upstream's error body except its texts, as JSON values; empty if unknown."""
        try:
            members = orjson.loads(self.metadata.get(UPSTREAM_MEMBERS, "{}"))
        except orjson.JSONDecodeError:
            return {}
        return members if isinstance(members, dict) else {}


class ResponseError(MistralwireError):
    """A stored response that can't be read, written or found.

    Attributes:
        metadata: What a program needs to go on, for ErrorInfo: `epoch` (the current one) with STALE_EPOCH,
            `expected_sequence` with SEQUENCE_GAP, `last_sequence` with RESPONSE_TRUNCATED. Numbers are
            decimal.
    """

    code = "NOT_FOUND"
    reason = Reason.RESPONSE_NOT_FOUND

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        reason: str | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message, code=code, reason=reason)
        self.metadata = dict(metadata or {})


class BrokenStreamError(MistralwireError):
    """A streamed answer of the gateway broke off after its status was sent.

    The gateway's ASGI application raises it after the event with the error, so that the server closes the
    connection without ending the body: clients that skip the event see a broken transfer.
    """

    code = "UNAVAILABLE"
    reason: str = Reason.STREAM_TRUNCATED


def missing_text(purpose: str, package: str, extra: str) -> str:
    """Return a message that names a missing package of an extra, and a command that installs the extra.

    The purpose is the subject of a sentence; several packages are named as `the packages a and b`.
    """
    what = package if " " in package else f"the package {package}"
    return f"{purpose} needs {what}, found none; in a checkout of mistralwire run pip install '.[{extra}]'"


def missing_error(purpose: str, package: str, extra: str) -> MistralwireError:
    """Return an error with the message of `missing_text` and the reason EXTRA_MISSING."""
    return MistralwireError(
        missing_text(purpose, package, extra), code="FAILED_PRECONDITION", reason=Reason.EXTRA_MISSING
    )


def missing_import(purpose: str, error: ModuleNotFoundError, extra: str) -> ModuleNotFoundError:
    """Return the error for a module of this package whose imports failed; see `missing_text`.

    An error about a missing module of this package is returned unchanged.
    """
    package = (error.name or "").partition(".")[0]
    if package in ("", "mistralwire"):
        return error
    return ModuleNotFoundError(missing_text(purpose, package, extra), name=package)
