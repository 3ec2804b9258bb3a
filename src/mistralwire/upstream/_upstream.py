"""What a source of completions has to do, and how its error bodies become errors."""

import dataclasses
import math
import re
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Protocol, TypeAlias

from mistralwire._flow import EventWriter, Source
from mistralwire.codec import to_dict
from mistralwire.errors import EncodeError, Reason, UpstreamError
from mistralwire.upstream._error_members import members_of, violations_of
from mistralwire.upstream._error_text import is_secret, text_of
from mistralwire.upstream._statuses import ERROR_STATUSES, fault_of, is_hopeless
from mistralwire.v1 import (
    AgentsCompletionRequest,
    AgentsCompletionStreamRequest,
    ChatCompletionRequest,
    ChatCompletionResponse,
    ChatCompletionStreamRequest,
    CompletionChunk,
    ErrorResponse,
    FIMCompletionRequest,
    FIMCompletionResponse,
    FIMCompletionStreamRequest,
)

CompletionRequest: TypeAlias = ChatCompletionRequest | FIMCompletionRequest | AgentsCompletionRequest
"""A request that is answered in one piece."""

CompletionResponse: TypeAlias = ChatCompletionResponse | FIMCompletionResponse
"""The answer to it: of the same kind, or that of chat to a request for an agent."""

CompletionStreamRequest: TypeAlias = (
    ChatCompletionStreamRequest | FIMCompletionStreamRequest | AgentsCompletionStreamRequest
)
"""A request that is answered as a stream of chunks."""

RESPONSE_TYPES: dict[type, type[ChatCompletionResponse | FIMCompletionResponse]] = {
    ChatCompletionRequest: ChatCompletionResponse,
    FIMCompletionRequest: FIMCompletionResponse,
    AgentsCompletionRequest: ChatCompletionResponse,
}
"""The type of the answer by that of a request which is answered in one piece."""


# Frozen by agreement alone: enforcing it costs each call a function for each field.
@dataclasses.dataclass(slots=True, kw_only=True, unsafe_hash=True)
class CallContext:
    """What an upstream gets to know of a call beside its request; nobody changes it.

    Attributes:
        request_id: Id of the call, for logs and for the upstream's own request; a token of printable ASCII.
        deadline_s: When the caller gives up, in seconds of `time.monotonic`; None if they never do. The call
            is cancelled then in any case.
        has_alternative: Whether another upstream is asked if this one fails: then nothing is tried again.
        retry_by_s: By when a further attempt has to begin, in seconds of `time.monotonic`, since the caller
            wants to know the status of an error by then; None for the deadline.
        events: What the source may write chunks to instead, while it is open; None if there is no such thing.
    """

    request_id: str = ""
    deadline_s: float | None = None
    has_alternative: bool = False
    retry_by_s: float | None = None
    events: EventWriter | None = dataclasses.field(default=None, repr=False, compare=False)

    def remaining_s(self) -> float | None:
        """Give the time until the deadline in seconds, 0 or more; None if there is none."""
        return None if self.deadline_s is None else max(0.0, self.deadline_s - time.monotonic())

    def pause_s_max(self) -> float:
        """Return how long a pause before a further attempt may be at most, in seconds, 0 or more."""
        times_s = [time_s for time_s in (self.deadline_s, self.retry_by_s) if time_s is not None]
        return max(0.0, min(times_s, default=math.inf) - time.monotonic())


class Receiver(Protocol):
    """What takes the answer of an upstream that gives it by callbacks, as wire bytes.

    Batches of chunks and then `end`, or one `answer`; `headers` before either, if there are any; `failed` in
    the place of either. Then, or when the source was cancelled, comes `closed`, and nothing more.

    Attributes:
        is_watched: Whether it wants to know of usage and finish reasons.
    """

    is_watched: bool

    def headers(self, headers: Mapping[str, str]) -> None:
        """Take the headers of the upstream's answer that go to the caller: ids and rate limits.

        Args:
            headers: The headers, by names in lower case; one or more.
        """

    def batch(
        self,
        wire: bytes,
        count: int,
        usage: bytes | None = None,
        finish_reasons: Sequence[tuple[int, str]] = (),
    ) -> None:
        """Take chunks.

        Args:
            wire: Wire bytes of a stream response whose field `chunks` holds them.
            count: How many there are, 1 or more.
            usage: The last usage among them, as the wire bytes of a UsageInfo; None if none has one.
            finish_reasons: Why the model stopped, as index of the choice and the API's string.
        """

    def answer(self, wire: bytes) -> None:
        """Take an answer in one piece."""

    def end(self) -> None:
        """The stream is complete."""

    def failed(self, error: BaseException) -> None:
        """There is no answer, or the stream broke, after the chunks before."""

    def closed(self) -> None:
        """The upstream is busy with this no more: another request can take its place."""


class Upstream(Protocol):
    """A source of completions: chat, fill-in-the-middle and agents alike.

    Whoever calls it may cancel at any point: the task of `complete`, or the iteration of `stream`. What goes
    wrong is an UpstreamError, with the code UNIMPLEMENTED for a kind of request that is not supported. An
    answer that can't be read is one too, never a DecodeError: that one blames the request.

    The service checks requests, and what an upstream answers, and logs what SDKs may refuse. One that passes
    on what an API answered has an attribute `relays_answers` that is True: nothing of it is looked at. One
    that also judges requests itself, as an API does, has an attribute `judges_requests` that is True: they
    come as they were sent.
    """

    async def complete(self, request: CompletionRequest, context: CallContext) -> CompletionResponse:
        """Answer a request in one piece.

        Args:
            request: A request that keeps the contract.
            context: What else is known of the call.

        Returns:
            A FIMCompletionResponse to a FIMCompletionRequest, a ChatCompletionResponse to any other.

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


class CallbackUpstream(Upstream, Protocol):
    """An upstream that can give its answers by callbacks, as wire bytes: without a message and a task each.

    Attributes:
        judges_requests: Whether it refuses what breaks the contract itself: then requests come as they were
            sent, and whatever is beyond the contract goes on.
    """

    judges_requests: bool

    def start(
        self, request: Any, wire: bytes, context: CallContext, receiver: Receiver, *, contract_revision: int
    ) -> Source:
        """Ask for an answer.

        Args:
            request: The request; its type says whether the answer is a stream.
            wire: Its wire bytes.
            context: What else is known of the call.
            receiver: What takes the answer; perhaps before this method returns.
            contract_revision: Revision of the oldest contract among the readers of the answer.

        Returns:
            What the answer comes from.
        """
        ...


_STATUS_TEXT = re.compile("[45][0-9]{2}")
_STATUS_NAMES = ("raw_status_code", "status_code", "statusCode", "status", "code")
_CODE_MAX = 10**64


def error_from_body(
    body: ErrorResponse, *, status: int | None = None, retry_after_s: float | None = None
) -> UpstreamError:
    """Turn an error body into an error.

    The HTTP status decides what the error means, that of the answer before one in the body; without either
    the body's own `code` and `type` do.

    Args:
        body: The body, of an error answer or of an error event in a stream, in any of the shapes that are in
            use; an empty one for an answer that is no JSON.
        status: HTTP status of the answer; None to take what the body says.
        retry_after_s: After how many seconds a new try makes sense, as the answer's Retry-After says.

    Returns:
        The error, UNAVAILABLE where nothing says better. Its message is the upstream's own text, in one line
        of at most 1,000 characters, without anything that looks like a credential, and without the values
        that the violations quote. If the upstream refused the service itself, it is a text of ours: that of
        the upstream may quote the key. The other members of the body and its violations are kept within
        bounds.
    """
    try:
        document = to_dict(body)
    except EncodeError:
        # Not from JSON, but made by a program, and with text in it that is no JSON.
        document = {}
    inner = document.get("error")
    holders = [inner, document] if isinstance(inner, dict) else [document]
    if status not in ERROR_STATUSES:
        status = _status_of(holders) or status
    upstream_code, upstream_type = _word_of(holders, ("code",)), _word_of(holders, ("type", "status"))
    violations = violations_of(document)
    # A list of violations, as in the documented HTTPValidationError, is an answer 422, said or not.
    shape = "unprocessable_entity" if violations else None
    words = [word for word in (upstream_code, upstream_type, shape) if word]
    code, fault = fault_of(status, words)
    return UpstreamError(
        (text_of(document) if fault.is_quoted else "") or fault.text,
        status=status,
        code=code,
        reason=fault.reason,
        upstream_code=upstream_code,
        upstream_type=upstream_type,
        upstream_param=_word_of(holders, ("param",)),
        retry_after_s=retry_after_s,
        violations=violations if fault.reason == Reason.UPSTREAM_INVALID_REQUEST else (),
        members=members_of(holders, is_quoted=fault.is_quoted),
        should_retry=not is_hopeless(code, words),
    )


def _status_of(holders: list[dict[str, Any]]) -> int | None:
    for holder in reversed(holders):
        for value in map(holder.get, _STATUS_NAMES):
            if isinstance(value, str) and _STATUS_TEXT.fullmatch(value):
                return int(value)
            if type(value) is int and value in ERROR_STATUSES:
                return value
    return None


def _word_of(holders: list[dict[str, Any]], names: tuple[str, ...]) -> str | None:
    """Give the first of these members that is a word for programs, and no key."""
    for holder in holders:
        for name in names:
            value = holder.get(name)
            # A number in `status` is the HTTP status once more, and no type.
            if name == "code" and type(value) is int and abs(value) < _CODE_MAX:
                return str(value)
            if isinstance(value, str) and value and not is_secret(value):
                return value
    return None
