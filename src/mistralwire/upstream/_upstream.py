"""What a source of completions has to do, and how its error bodies become errors."""

import dataclasses
import time
from collections.abc import AsyncIterator
from typing import Any, Protocol, TypeAlias

from mistralwire.codec import to_dict
from mistralwire.errors import UpstreamError
from mistralwire.v1 import (
    ChatCompletionRequest,
    ChatCompletionResponse,
    ChatCompletionStreamRequest,
    CompletionChunk,
    ErrorResponse,
    FIMCompletionRequest,
    FIMCompletionResponse,
    FIMCompletionStreamRequest,
)

CompletionRequest: TypeAlias = ChatCompletionRequest | FIMCompletionRequest
"""A request that is answered in one piece."""

CompletionResponse: TypeAlias = ChatCompletionResponse | FIMCompletionResponse
"""The answer to it, of the same kind."""

CompletionStreamRequest: TypeAlias = ChatCompletionStreamRequest | FIMCompletionStreamRequest
"""A request that is answered as a stream of chunks."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class CallContext:
    """What an upstream gets to know of a call beside its request.

    Attributes:
        request_id: Id of the call, for logs and for the upstream's own request; a token of printable ASCII.
        deadline_s: When the caller gives up, in seconds of `time.monotonic`; None if he never does. The call
            is cancelled then in any case.
    """

    request_id: str = ""
    deadline_s: float | None = None

    def remaining_s(self) -> float | None:
        """Give the time until the deadline in seconds, 0 or more; None if there is none."""
        return None if self.deadline_s is None else max(0.0, self.deadline_s - time.monotonic())


class Upstream(Protocol):
    """A source of completions, chat and fill-in-the-middle alike.

    Whoever calls it may cancel at any point: the task of `complete`, or the iteration of `stream`. What goes
    wrong is an UpstreamError. An answer that can't be read is one too, never a DecodeError: that one blames
    the request.
    """

    async def complete(self, request: CompletionRequest, context: CallContext) -> CompletionResponse:
        """Answer a request in one piece.

        Args:
            request: A request that keeps the contract.
            context: What else is known of the call.

        Returns:
            A ChatCompletionResponse to a ChatCompletionRequest, a FIMCompletionResponse to a
            FIMCompletionRequest.

        Raises:
            UpstreamError: If there is no answer.
        """
        ...

    def stream(
        self, request: CompletionStreamRequest, context: CallContext
    ) -> AsyncIterator[CompletionChunk]:
        """Answer a request as a stream, chunk by chunk as they are produced.

        Nothing happens before the first chunk is asked for. An async generator is closed when the stream is
        abandoned.

        Args:
            request: A request that keeps the contract.
            context: What else is known of the call.

        Returns:
            The chunks; the iteration raises UpstreamError where the stream breaks, after those before it.
        """
        ...


_ERROR_STATUSES = range(400, 600)
_TEXT_NAMES = ("message", "msg", "detail", "error")
# The request was at fault; waiting helps; the service itself is not in order. The rest is for a retry.
_CODES: dict[int | None, str] = {
    400: "INVALID_ARGUMENT",
    401: "FAILED_PRECONDITION",
    402: "FAILED_PRECONDITION",
    403: "FAILED_PRECONDITION",
    404: "NOT_FOUND",
    408: "DEADLINE_EXCEEDED",
    413: "INVALID_ARGUMENT",
    422: "INVALID_ARGUMENT",
    429: "RESOURCE_EXHAUSTED",
    504: "DEADLINE_EXCEEDED",
}


def error_from_body(body: ErrorResponse, *, status: int | None = None) -> UpstreamError:
    """Turn an error body into an error.

    Args:
        body: The body, of an error answer or of an error event in a stream, in any of the shapes that are in
            use.
        status: HTTP status of the answer; None to take what the body says.

    Returns:
        The error, UNAVAILABLE where the status does not say better.
    """
    document = to_dict(body)
    if status is None:
        status = _status_of(document)
    message = (
        _text_of(document) or "expected a completion from the upstream, found an error without a message"
    )
    return UpstreamError(message, status=status, code=_CODES.get(status, "UNAVAILABLE"))


def _status_of(document: dict[str, Any]) -> int | None:
    inner = document.get("error")
    for holder in (document, inner if isinstance(inner, dict) else {}):
        for name in ("raw_status_code", "status", "code"):
            value = holder.get(name)
            if type(value) is int and value in _ERROR_STATUSES:
                return value
    return None


def _text_of(value: Any) -> str:
    """Find the text for people, however deep it is."""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return "; ".join(filter(None, map(_text_of, value)))
    if isinstance(value, dict):
        return next(filter(None, (_text_of(value.get(name)) for name in _TEXT_NAMES)), "")
    return ""
