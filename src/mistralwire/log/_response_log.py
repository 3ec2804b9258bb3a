"""What every response log offers, and the values that it takes and returns."""

import asyncio
import dataclasses
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from typing import Literal, NamedTuple, Protocol, TypeAlias

from mistralwire.errors import MistralwireError
from mistralwire.v1 import ResponseKind, ResponseState

Space: TypeAlias = Literal["response", "stream"]
"""What is stored: a response, or a stream that its callers name."""


class Batch(NamedTuple):
    """Events that were appended together.

    Attributes:
        first: Number of the first event, from 1.
        last: Number of the last one.
        epoch: Epoch of the producer that appended them.
        data: The events, each one length-delimited protobuf field: wire bytes of a ResponseEvents for a
            response.
    """

    first: int
    last: int
    epoch: int
    data: bytes


class End(NamedTuple):
    """The end of a response: its state, and the wire bytes of a google.rpc.Status if it failed."""

    state: ResponseState
    status: bytes = b""


class Delivery(NamedTuple):
    """Events that follow those of the delivery before, and the end after the last of them."""

    batches: Sequence[Batch]
    end: End | None


class KeyClaim(NamedTuple):
    """Who holds an idempotency key: the response with this id, for the request with this digest."""

    id: str
    digest: bytes
    is_new: bool


class Usage(NamedTuple):
    """What a caller has of one space: how many responses run, the bytes of all events, how many there are."""

    running: int
    stored_bytes: int
    total: int


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """What opens a response, or takes it over.

    Attributes:
        id: Its key in the log, 1 to 512 characters; no two owners share one.
        owner: Whom it belongs to; empty for nobody in particular.
        epoch: Epoch of the producer, 0 or more.
        space: What it is.
        kind: Kind of the completion.
        is_published: Whether its producer is elsewhere and may come back; otherwise it is a call of the node.
        model: Name of the model, if it is known.
        state: First value of `StoredResponse.state`.
        is_new: Whether it must not exist yet.
    """

    id: str
    owner: str = ""
    epoch: int = 0
    space: Space = "response"
    kind: ResponseKind = ResponseKind.RESPONSE_KIND_CHAT
    is_published: bool = False
    model: str = ""
    state: bytes = b""
    is_new: bool = False


class StoredResponse(NamedTuple):
    """A response without its events.

    Attributes:
        id: As in `Opening`, like `owner`, `space`, `kind`, `is_published` and `model`.
        epoch: Epoch of its producer.
        node: The node that opened it last: its holder.
        last: Number of its last event, 0 if there is none.
        size: Bytes of its events.
        end: Its end; None while it runs.
        created_s: When it was opened first, in seconds since 1970.
        ended_s: When it ended.
        upstream_id: The id that its upstream gave it, or an empty string.
        state: Bytes that belong to its producers, replaced with an append.
        revision: Grows with every change.
    """

    id: str
    owner: str
    epoch: int
    space: Space
    kind: ResponseKind
    is_published: bool
    model: str
    node: str
    last: int
    size: int
    end: End | None
    created_s: float
    ended_s: float | None
    upstream_id: str
    state: bytes
    revision: int

    @property
    def response_state(self) -> ResponseState:
        """How far it is."""
        return ResponseState.RESPONSE_STATE_RUNNING if self.end is None else self.end.state


@dataclasses.dataclass(slots=True, kw_only=True)
class Append:
    """One change of one response; all of it is stored in one transaction, or nothing.

    Events that are stored already are skipped, so an append may be repeated until it is acknowledged. An
    epoch above the stored one takes the response over, if `first` follows its last event.

    Attributes:
        id: The response.
        epoch: Epoch of the producer.
        first: Number of the first event, from 1; without events the number after the last one.
        count: Number of the events.
        data: The events, as in `Batch`; empty without events.
        end: The end after them.
        upstream_id: The id that the upstream gave the response, with its first events.
        model: The model that those events name; kept unless `Opening.model` is known.
        state: Replaces `StoredResponse.state`.
        revision: If given, the append fails with LOG_CONFLICT unless this is still the stored revision.
        on_done: Called in the event loop when the append is stored, with the number of the last event; or
            with that number as far as it is known, and the error. Never from within `append`.
    """

    id: str
    epoch: int
    first: int
    on_done: Callable[[int, MistralwireError | None], None] = lambda *_: None
    count: int = 0
    data: bytes = b""
    end: End | None = None
    upstream_id: str = ""
    model: str = ""
    state: bytes | None = None
    revision: int | None = None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """Which responses are listed, and in which order: that of `(created_s, id)`, the newest first.

    Attributes:
        owner: Whose; None for everybody's.
        space: What is listed.
        is_running: Whether only those that run, or that have ended; None for both.
        ended_before_s: Only those that ended before, in seconds since 1970.
        oldest_first: Whether the order is reversed.
        after: The position behind which the list begins; None for its beginning.
        limit: How many are listed at most.
        is_approximate: Whether what other nodes append to may be listed as it was half a minute ago.
    """

    owner: str | None = None
    space: Space = "response"
    is_running: bool | None = None
    ended_before_s: float | None = None
    oldest_first: bool = False
    after: tuple[float, str] | None = None
    limit: int = 100
    is_approximate: bool = False


class ResponseLog(Protocol):
    """Stores responses: their events, their ends, and the keys of the requests that made them.

    What it has acknowledged is stored as the log promises, and in the order of the events. It belongs to one
    event loop. Several processes may use one log if it is on a server; each is a node with a name of its own.

    All methods raise a ResponseError: RESPONSE_NOT_FOUND if the response does not exist (anymore),
    LOG_UNAVAILABLE (UNAVAILABLE) if the log can't be used, LOG_FULL (RESOURCE_EXHAUSTED) if it has no room.

    Attributes:
        node: Name of this process among all that use the log, now or earlier: 1 to 64 letters, digits and -_.
    """

    node: str

    async def start(self) -> None:
        """Open the log.

        Raises:
            MistralwireError: With the code FAILED_PRECONDITION and the reason RESPONSE_LOG if it can't be
                opened, or can't promise what was asked for.
        """

    async def close(self) -> None:
        """Store what was appended, and close the log; followers end with LOG_UNAVAILABLE."""

    async def open(self, opening: Opening) -> StoredResponse:
        """Create a response, or take it over with the same epoch or a higher one; this node is its holder.

        One that has ended is returned as it is.

        Raises:
            ResponseError: STALE_EPOCH (ABORTED) for an epoch below the stored one; RESPONSE_EXISTS
                (ALREADY_EXISTS) if it must be new, or only one of both is published.
        """

    def append(self, appends: Sequence[Append]) -> None:
        """Append to responses, in this order; each append reports its end by `on_done`.

        The errors that it reports, beside those above: SEQUENCE_GAP (OUT_OF_RANGE) if events are missing
        before `first`, STALE_EPOCH (ABORTED) for an epoch below the stored one, RESPONSE_ENDED
        (FAILED_PRECONDITION) for new events, or another end, after the end, LOG_CONFLICT (ABORTED),
        EVENT_TOO_LARGE (INVALID_ARGUMENT) for an event that this log can't store, whatever room it has.
        """

    async def read(self, id: str, after: int = 0, bytes_max: int = 1024 * 1024) -> list[Batch]:
        """Return batches from the event behind `after` on, one or more unless there is none.

        The first may begin before `after`; together they have at most `bytes_max` bytes, unless a single one
        is larger.
        """

    def follow(self, id: str, after: int = 0) -> AsyncGenerator[Delivery, None]:
        """Yield the events behind `after` as they are stored, each once and in order; the end is last.

        Raises:
            ResponseError: RESPONSE_TRUNCATED (DATA_LOSS) if the response has ended before `after`.
        """

    def fail_followers(self, id: str, error: MistralwireError) -> None:
        """End the followers that a response has in this process with an error, which is not stored."""

    async def describe(self, id: str) -> StoredResponse | None:
        """Return a response; None if it does not exist."""

    async def list(self, query: Query) -> Sequence[StoredResponse]:
        """Return responses in their order."""

    async def find(self, owner: str, upstream_id: str) -> str | None:
        """Return the id of an owner's newest response with an upstream's id."""

    async def usage(self, owner: str, space: Space = "response") -> Usage:
        """Return what an owner has of a space in the log, with what is reserved.

        The bytes of responses that run on other nodes may be half a minute old.
        """

    def reserve(self, id: str, owner: str, space: Space = "response") -> None:
        """Count a response in `usage` before this node opens it; one that runs is counted already.

        It counts once: until `open` has stored it, or every `reserve` of it has its `unreserve`.
        """

    def unreserve(self, id: str, owner: str, space: Space = "response") -> None:
        """Undo a `reserve`; no effect once the response is open."""

    async def delete(self, id: str, *, revision: int | None = None) -> None:
        """Delete a response with its events and its keys; its followers end with RESPONSE_NOT_FOUND.

        With a revision, it fails with LOG_CONFLICT (ABORTED) unless this is still the stored revision.
        """

    async def claim_key(self, owner: str, key: str, digest: bytes, id: str) -> KeyClaim:
        """Claim an owner's key for a response, unless another one has it; return who holds it."""

    async def release_key(self, owner: str, key: str, id: str) -> None:
        """Release a key if this response holds it."""

    async def fold(self, id: str, batches: Sequence[Batch], *, revision: int | None = None) -> None:
        """Replace all batches of a response that has ended by fewer, with the same first and last event.

        With a revision, it fails with LOG_CONFLICT (ABORTED) unless this is still the stored revision.
        """

    async def is_alive(self, node: str) -> bool:
        """Check whether a node uses the log now."""

    def serve(self, handler: Callable[[bytes], Awaitable[bytes]]) -> None:
        """Answer what other nodes, or this one, `ask` of this node."""

    async def ask(self, node: str, request: bytes, timeout_s: float) -> bytes | None:
        """Ask a node; return its answer, or None if it does not answer in time."""


async def append_and_wait(log: ResponseLog, append: Append) -> int:
    """Append to a response, and wait until that is stored; return the number of its last event.

    Args:
        log: The log.
        append: The change; its `on_done` is set here.

    Raises:
        MistralwireError: What the log reports.
    """
    done: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    def report(last: int, error: MistralwireError | None) -> None:
        if done.done():  # the caller waits no longer
            return
        if error is None:
            done.set_result(last)
        else:
            done.set_exception(error)

    append.on_done = report
    log.append([append])
    return await done
