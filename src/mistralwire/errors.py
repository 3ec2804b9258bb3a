"""Every exception that the package raises, as one tree.

    MistralwireError
    ├── CodecError                 JSON or protobuf that could not be converted
    │   ├── DecodeError            JSON that breaks the contract, or no JSON at all
    │   └── EncodeError            a message that has no JSON form
    ├── UpstreamError              the source of completions failed
    ├── OverloadError              the service takes no more calls for now
    └── CallError                  a call of the service ended with a status other than OK

A wrong argument of the caller's own (an unknown option, a message type without a JSON form) is a built-in
TypeError or ValueError, as everywhere in Python.
"""

from collections.abc import Sequence
from typing import NamedTuple


class MistralwireError(Exception):
    """The root of all errors of this package.

    Attributes:
        code: Name of the gRPC status code that the error becomes, such as `INVALID_ARGUMENT`.
        reason: What happened, for programs, in UPPER_SNAKE_CASE.
        message: What was expected, what was found and what to do, for people.
        path: JSON path of the place, empty for the whole document.
    """

    code = "INTERNAL"
    reason = "INTERNAL"

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
    """One place in a document that breaks the contract.

    Attributes:
        path: JSON path, such as `choices[0].message.role`; empty for the whole document.
        expected: What the contract asks for there.
        found: What is there instead. Never more than a few words of the document's own text.
    """

    path: str
    expected: str
    found: str

    def __str__(self) -> str:
        """Say it in one sentence."""
        return f"{self.path or 'document'}: expected {self.expected}, found {self.found}"


class DecodeError(CodecError):
    """JSON that breaks the contract, goes beyond a limit, or is no JSON at all.

    Attributes:
        violations: The places, in the order of the document, at most as many as the limit says.
        truncated: True if there are more places than `violations` lists.
    """

    code = "INVALID_ARGUMENT"
    reason = "CONTRACT_VIOLATION"

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
        return _rebuild_decode_error, (self.violations, self.type_name, self.truncated, self.reason)


def _rebuild_decode_error(
    violations: list[Violation], type_name: str, truncated: bool, reason: str
) -> DecodeError:
    return DecodeError(violations, type_name=type_name, truncated=truncated, reason=reason)


class EncodeError(CodecError):
    """A message that has no JSON form: text that is no JSON where JSON is due, NaN, an empty union."""

    reason = "NO_JSON_FORM"

    def __str__(self) -> str:
        """Name the place and say what is wrong with it."""
        return f"{self.path or 'document'}: {self.message}"


class UpstreamError(MistralwireError):
    """The source of completions failed, or answered with an error.

    Attributes:
        status: HTTP status of the upstream's answer; None if there was none.
        upstream_code: What the upstream's error body says as `code`; None if it says nothing.
        upstream_type: What it says as `type`.
        retry_after_s: After how many seconds a new try makes sense; None if the upstream did not say.
    """

    code = "UNAVAILABLE"
    reason = "UPSTREAM_FAILED"

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        code: str | None = None,
        reason: str | None = None,
        upstream_code: str | None = None,
        upstream_type: str | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message, code=code, reason=reason)
        self.status = status
        self.upstream_code = upstream_code
        self.upstream_type = upstream_type
        self.retry_after_s = retry_after_s


class OverloadError(MistralwireError):
    """The service takes no more calls for now; the upstream has not heard of this one.

    Attributes:
        retry_after_s: After how many seconds a new try makes sense.
    """

    code = "RESOURCE_EXHAUSTED"
    reason = "OVERLOADED"

    def __init__(self, message: str, *, reason: str | None = None, retry_after_s: float = 1.0) -> None:
        super().__init__(message, reason=reason)
        self.retry_after_s = retry_after_s


class CallError(MistralwireError):
    """A call of the service ended with a status other than OK.

    Attributes:
        violations: The places of the request that break the contract, for `INVALID_ARGUMENT`.
        metadata: What the service's ErrorInfo said beside the reason.
    """

    def __init__(
        self,
        message: str,
        *,
        code: str = "UNKNOWN",
        reason: str = "UNKNOWN",
        violations: Sequence[Violation] = (),
        metadata: dict[str, str] | None = None,
    ) -> None:
        super().__init__(message, code=code, reason=reason, path=violations[0].path if violations else "")
        self.violations = list(violations)
        self.metadata = metadata or {}
