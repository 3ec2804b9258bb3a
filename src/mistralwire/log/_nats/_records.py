"""Messages of the stream: a response in a header; its events, its status and its state as the payload.

JetStream refuses headers beyond 64 KiB, which the state of many producers or a detailed status may exceed.
Every message of a response has the whole description, so that the last one is enough to know the response.
"""

import hashlib
import json
from collections.abc import Iterator
from typing import NamedTuple

from mistralwire.log._framing import end_of_event
from mistralwire.log._nats._connection import NoAnswerError, Stored
from mistralwire.log._response_log import Batch, End, StoredResponse

HEADER = "Mistralwire-Response"
_LAYOUT = 1


class UnreadableError(NoAnswerError):
    """A message that this version did not write."""


class Record(NamedTuple):
    """What a message of a response says.

    Attributes:
        sequence: Its sequence in the stream.
        id: The response.
        token: Names the write that stored the message.
        response: The response as it is behind this message; None once it is deleted.
        batch: Events of the message.
    """

    sequence: int
    id: str
    token: str
    response: StoredResponse | None
    batch: Batch | None


def digest(*parts: str) -> str:
    """Return a token of a subject for any text."""
    return hashlib.blake2b("\0".join(parts).encode(), digest_size=16).hexdigest()


def encode(token: str, response: StoredResponse, batch: Batch | None) -> tuple[str, bytes]:
    """Return the header of a message, and its payload."""
    end = response.end
    status = b"" if end is None else end.status
    header = json.dumps(
        (
            _LAYOUT,
            token,
            response.id,
            response.owner,
            response.epoch,
            response.space,
            response.kind,
            response.is_published,
            response.model,
            response.node,
            response.last,
            response.size,
            None if end is None else (end.state, len(status)),
            response.created_s,
            response.ended_s,
            response.upstream_id,
            len(response.state),
            None if batch is None else (batch.first, batch.last, batch.epoch),
        ),
        separators=(",", ":"),
    )
    return header, b"".join((b"" if batch is None else batch.data, status, response.state))


def encode_deleted(token: str, id: str) -> str:
    """Return the header of the message that a deleted response leaves for a while."""
    return json.dumps((_LAYOUT, token, id))


def decode(stored: Stored, behind: int = 0) -> Record:
    """Read a message.

    Args:
        stored: The message.
        behind: How many messages before this one the last one of its response is.

    Raises:
        UnreadableError: If it has another layout.
    """
    try:
        return _decode(stored, behind)
    except (LookupError, TypeError, ValueError) as error:
        raise UnreadableError(f"the message {stored.sequence} can't be read: {error!r}") from error


def _decode(stored: Stored, behind: int) -> Record:
    layout, token, id, *rest = json.loads(stored.headers[HEADER])
    if layout != _LAYOUT:
        raise ValueError(f"expected the layout {_LAYOUT}, found {layout}; upgrade this process")
    if not rest:
        return Record(stored.sequence, id, token, None, None)
    owner, epoch, space, kind, is_published, model, node, last, size, end, *rest = rest
    created_s, ended_s, upstream_id, state_size, numbers = rest
    state_at = len(stored.data) - state_size
    status_at = state_at - (0 if end is None else end[1])
    data = stored.data[:status_at]
    batch = None if numbers is None else Batch(numbers[0], numbers[1], numbers[2], data)
    response = StoredResponse(
        id=id,
        owner=owner,
        epoch=epoch,
        space=space,
        kind=kind,
        is_published=is_published,
        model=model,
        node=node,
        last=last,
        size=size,
        end=None if end is None else End(end[0], stored.data[status_at:state_at]),
        created_s=created_s,
        ended_s=ended_s,
        upstream_id=upstream_id,
        state=stored.data[state_at:],
        revision=stored.sequence - behind,
    )
    return Record(stored.sequence, id, token, response, batch)


def parts(batch: Batch, bytes_max: int) -> Iterator[Batch]:
    """Yield a batch in parts that have at most so many bytes each, unless a single event has more."""
    data, first = batch.data, batch.first
    if len(data) <= bytes_max:
        yield batch
        return
    begin = at = count = 0
    while at < len(data):
        end = end_of_event(data, at)
        if count and end - begin > bytes_max:
            yield Batch(first, first + count - 1, batch.epoch, data[begin:at])
            first, begin, count = first + count, at, 0
        at, count = end, count + 1
    yield Batch(first, batch.last, batch.epoch, data[begin:])
