"""The rules of appending, which are the same in every log."""

import uuid
from collections.abc import Sequence
from typing import Any

from mistralwire.errors import MistralwireError, Reason, ResponseError
from mistralwire.log._framing import skip
from mistralwire.log._response_log import Append, Batch, Opening, StoredResponse


def new_node() -> str:
    """Return a name for this process as a node."""
    return uuid.uuid4().hex


def check_epoch(stored: int, found: int) -> None:
    """Raise STALE_EPOCH for an epoch below the stored one."""
    if found < stored:
        raise stale_error(stored)


def check_revision(found: StoredResponse, revision: int | None) -> None:
    """Raise LOG_CONFLICT if a response must have a revision, and has another one."""
    if revision is not None and revision != found.revision:
        raise ResponseError(
            "the response has changed since it was read; read it again",
            code="ABORTED",
            reason=Reason.LOG_CONFLICT,
        )


def opened(opening: Opening, found: StoredResponse | None, node: str, now_s: float) -> StoredResponse:
    """Return a response as it is once it is opened, new or taken over.

    Raises:
        ResponseError: STALE_EPOCH, RESPONSE_EXISTS.
    """
    if found is None:
        return StoredResponse(
            id=opening.id,
            owner=opening.owner,
            epoch=opening.epoch,
            space=opening.space,
            kind=opening.kind,
            is_published=opening.is_published,
            model=opening.model,
            node=node,
            last=0,
            size=0,
            end=None,
            created_s=now_s,
            ended_s=None,
            upstream_id="",
            state=opening.state,
            revision=1,
        )
    # A producer never takes over what a call answers with, nor the other way round.
    if opening.is_new or opening.is_published != found.is_published:
        raise exists_error()
    if found.end is not None:
        return found
    check_epoch(found.epoch, opening.epoch)
    return replace(found, epoch=opening.epoch, node=node, revision=found.revision + 1)


def appended(append: Append, found: StoredResponse, now_s: float) -> tuple[StoredResponse, Batch | None]:
    """Return a response as it is after an append, and the batch that is new; the same one for a repetition.

    Raises:
        ResponseError: What `ResponseLog.append` reports.
    """
    check_revision(found, append.revision)
    check_epoch(found.epoch, append.epoch)
    last = append.first + append.count - 1
    expected = found.last + 1
    if append.first > expected or (append.epoch > found.epoch and append.first != expected):
        raise ResponseError(
            f"expected the event {expected} next, found {append.first}",
            code="OUT_OF_RANGE",
            reason=Reason.SEQUENCE_GAP,
            metadata={"expected_sequence": str(expected)},
        )
    is_end_new = append.end is not None and append.end != found.end
    if found.end is not None and (last > found.last or is_end_new):
        raise ended_error()
    batch = None
    if last > found.last:
        known = expected - append.first
        data = skip(append.data, known) if known else append.data
        batch = Batch(expected, last, append.epoch, data)
    elif not is_end_new and append.state is None and append.epoch == found.epoch:
        return found, None
    return (
        replace(
            found,
            epoch=append.epoch,
            last=max(last, found.last),
            size=found.size + (len(batch.data) if batch else 0),
            end=append.end or found.end,
            ended_s=now_s if is_end_new else found.ended_s,
            upstream_id=found.upstream_id or append.upstream_id,
            model=found.model or append.model,
            state=found.state if append.state is None else append.state,
            revision=found.revision + 1,
        ),
        batch,
    )


def folded(response: StoredResponse, batches: Sequence[Batch], revision: int | None) -> StoredResponse:
    """Return a response as it is once its batches are replaced, or raise LOG_CONFLICT."""
    check_revision(response, revision)
    size = sum(len(batch.data) for batch in batches)
    return replace(response, size=size, revision=response.revision + 1)


def not_found_error() -> ResponseError:
    """Return the error for a response that the caller does not have."""
    return ResponseError("the caller has no such response; check its id, and the token of the call")


def exists_error() -> ResponseError:
    """Return the error for an id that the caller has used already."""
    return ResponseError(
        "the caller has a response with this id; choose another id, or send its idempotency-key to join it",
        code="ALREADY_EXISTS",
        reason=Reason.RESPONSE_EXISTS,
    )


def ended_error(reason: str = "") -> ResponseError:
    """Return the error for the producer of a response that has ended, or failed with a reason."""
    ended = f"has failed with {reason}" if reason else "has ended"
    return ResponseError(
        f"the response {ended}, and takes no further events; publish them as another response",
        code="FAILED_PRECONDITION",
        reason=Reason.RESPONSE_ENDED,
    )


def stale_error(epoch: int) -> ResponseError:
    """Return the error for the producer of a response that another one has taken over, with this epoch."""
    return ResponseError(
        f"a producer with the epoch {epoch} has taken over",
        code="ABORTED",
        reason=Reason.STALE_EPOCH,
        metadata={"epoch": str(epoch)},
    )


def unavailable(cause: str) -> ResponseError:
    """Return the error for a log that can't be used now."""
    return ResponseError(
        f"the response log can't be used: {cause}", code="UNAVAILABLE", reason=Reason.LOG_UNAVAILABLE
    )


def truncated(last: int, after: int) -> ResponseError:
    """Return the error for a position beyond the last event of a response that has ended."""
    return ResponseError(
        f"expected a position up to {last}, the last event that is stored, found {after}",
        code="DATA_LOSS",
        reason=Reason.RESPONSE_TRUNCATED,
        metadata={"last_sequence": str(last)},
    )


def not_opened(cause: str) -> MistralwireError:
    """Return the error for a log that can't be opened, or can't promise what was asked for."""
    return MistralwireError(cause, code="FAILED_PRECONDITION", reason=Reason.RESPONSE_LOG)


def replace(response: StoredResponse, **changes: Any) -> StoredResponse:
    """Return a response with some attributes changed."""
    return response._replace(**changes)
