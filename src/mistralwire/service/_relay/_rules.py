"""What all producers of responses share: ids, limits, holders, and how a response ends."""

import re
from collections.abc import Callable
from typing import Protocol

from mistralwire._status import to_status
from mistralwire.errors import OverloadError, Reason, ResponseError
from mistralwire.log import Append, End, ResponseLog, StoredResponse, Usage, append_and_wait, not_found_error
from mistralwire.service._config import RelayConfig
from mistralwire.v1 import ResponseState

UNSTORED_BYTES_MAX = 1024 * 1024
"""Bytes of a response that the log has not acknowledged, at which its producer is paused."""

LOG_WAIT_S_MAX = 2.0
"""Seconds for which the log may hold up a call."""

LOG_FAILURES = (Reason.LOG_UNAVAILABLE, Reason.LOG_FULL)
"""Reasons of the errors of a log that can't store anything for now."""

OVERTAKEN = (Reason.RESPONSE_ENDED, Reason.STALE_EPOCH, Reason.RESPONSE_NOT_FOUND)
"""Reasons of the errors of a log that works, for a response that somebody else has ended or deleted."""

FINISHED = End(ResponseState.RESPONSE_STATE_FINISHED)
CANCELLED = End(ResponseState.RESPONSE_STATE_CANCELLED)

RESPONSE_ID_PATTERN = re.compile("[A-Za-z0-9_-]{1,128}")
"""What the id of a response is."""

UPSTREAM_ID_CHARS_MAX = 128
"""Characters of an upstream's id that are stored."""

MODEL_CHARS_MAX = 128
"""Characters of a model's name that are stored."""

# The changes of others that a canceller may run into before its own is stored.
_CONFLICTS_MAX = 10
_CONFLICTS = (Reason.LOG_CONFLICT, Reason.SEQUENCE_GAP, Reason.STALE_EPOCH, Reason.RESPONSE_ENDED)


class Holder(Protocol):
    """What produces a running response in this process."""

    def cancel_response(self) -> None:
        """Stop its producer, and append the end CANCELLED; no effect once it has ended."""

    @property
    def is_settled(self) -> bool:
        """Whether nothing of it is on its way into the log, in which it runs as far as this process knows."""

    @property
    def is_ending(self) -> bool:
        """Whether its end is on its way into the log."""

    @property
    def upstream_id(self) -> str:
        """The id that its upstream gave it; empty before its first event."""

    def overtaken(self, stored: StoredResponse | None) -> None:
        """Learn that somebody else has ended the response, or deleted it: stop its producer."""


class RelayCounts:
    """What happens in the relay of this process.

    Attributes:
        events: Events that were stored.
        not_stored: Responses that were stored no further, or not at all: the log failed, was too slow, or
            their caller had `caller_bytes_max` stored.
        followers: Consumers that follow a response now.
        delayed: Called with the seconds from an append to its acknowledgement.
        ended: Called with the id in the log of a response that has ended.
    """

    def __init__(self) -> None:
        self.events = self.not_stored = self.followers = 0
        self.delayed: list[Callable[[float], None]] = []
        self.ended: list[Callable[[str], None]] = []

    def stored(self, events: int, delay_s: float) -> None:
        """Count events that were stored together."""
        self.events += events
        for report in self.delayed:
            report(delay_s)

    def end(self, id: str) -> None:
        """Report that the end of a response is stored."""
        for report in self.ended:
            report(id)


def log_id(owner: str, response_id: str) -> str:
    """Return the id of an owner's response in the log."""
    return f"{owner}/{response_id}"


def response_id_of(id: str) -> str:
    """Return the id of a response as its owner knows it, from the one in the log."""
    return id.partition("/")[2]


async def reserve(log: ResponseLog, id: str, owner: str, config: RelayConfig) -> None:
    """Reserve the place of a response that is to be opened, until it is open or that is undone.

    Raises:
        OverloadError: If the caller has as much as they may; nothing is reserved then.
    """
    log.reserve(id, owner)
    try:
        _check_usage(await log.usage(owner), config)
    except BaseException:
        log.unreserve(id, owner)
        raise


def _check_usage(usage: Usage, config: RelayConfig) -> None:
    if usage.running > config.caller_responses_max:
        raise OverloadError(
            f"the caller has {config.caller_responses_max} running responses, the limit; wait for one to "
            "end, or cancel one",
            reason=Reason.TOO_MANY_RESPONSES,
        )
    if usage.stored_bytes >= config.caller_bytes_max:
        raise OverloadError(
            f"the responses of the caller have {config.caller_bytes_max} bytes, the limit; delete some",
            reason=Reason.TOO_MANY_STORED_BYTES,
            retry_after_s=None,
        )


def check_size(events: int, size: int, config: RelayConfig) -> None:
    """Raise an OverloadError if a response has more events, or more bytes, than it may."""
    if events > config.response_events_max:
        limit, reason = f"{config.response_events_max} events", Reason.TOO_MANY_EVENTS
    elif size > config.response_bytes_max:
        limit, reason = f"{config.response_bytes_max} bytes", Reason.RESPONSE_TOO_LARGE
    else:
        return
    raise OverloadError(f"the response has more than {limit}, the limit", reason=reason, retry_after_s=None)


def failure(error: BaseException, request_id: str = "") -> End:
    """Return the end of a response that fails with an error."""
    return End(ResponseState.RESPONSE_STATE_FAILED, to_status(error, request_id).SerializeToString())


def cancelled_error() -> ResponseError:
    """Return the error for the caller, or the producer, of a response that somebody has cancelled."""
    return ResponseError(
        "somebody has cancelled the response", code="CANCELLED", reason=Reason.RESPONSE_CANCELLED
    )


def lost_error() -> ResponseError:
    """Return the error that ends a response whose producer is gone."""
    return ResponseError(
        "the producer of the response stopped before its end", code="UNAVAILABLE", reason=Reason.PRODUCER_LOST
    )


async def append_end(
    log: ResponseLog,
    id: str,
    end: End,
    *,
    epoch: int,
    first: int,
    revision: int | None = None,
) -> None:
    """Append the end of a response, behind the event before `first`; raise the error that the log reports."""
    await append_and_wait(log, Append(id=id, epoch=epoch, first=first, end=end, revision=revision))


async def end_now(log: ResponseLog, stored: StoredResponse, end: End) -> None:
    """End a response in the place of its producer, at the next epoch, if it is still as it was read.

    Raises:
        ResponseError: LOG_CONFLICT if it has changed, or another error of the log.
    """
    epoch, first = stored.epoch + 1, stored.last + 1
    await append_end(log, stored.id, end, epoch=epoch, first=first, revision=stored.revision)


async def end_over(log: ResponseLog, stored: StoredResponse, end: End) -> StoredResponse:
    """End a response in the place of its producer, however fast it grows; return it as it is then.

    Raises:
        ResponseError: RESPONSE_NOT_FOUND, LOG_CONFLICT, or another error of the log.
    """
    for attempt in range(1, _CONFLICTS_MAX + 1):
        if stored.end is not None:
            break
        try:
            await end_now(log, stored, end)
        except ResponseError as error:
            if error.reason not in _CONFLICTS or attempt == _CONFLICTS_MAX:
                raise
        found = await log.describe(stored.id)
        if found is None:
            raise not_found_error()
        stored = found
    return stored
