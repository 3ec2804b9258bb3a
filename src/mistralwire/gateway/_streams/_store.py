"""Durable streams on a response log, right also if several gateways use it.

Each change of a stream is one append with its new state, fenced by the revision that it was made for. A
change of two streams, as a fork is, takes one step after the other: a crash between them leaves at most a
fork that its source only assumes, which is found out when the source is deleted.
"""

import asyncio
import contextlib
import dataclasses
import logging
import secrets
import time
import weakref
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine, Sequence
from typing import Any, NamedTuple, TypeVar

from mistralwire import _offload
from mistralwire.errors import MistralwireError, OverloadError, Reason, ResponseError, log_unexpected
from mistralwire.gateway._streams._requests import Creation, split_messages
from mistralwire.gateway._streams._stream import (
    JSON,
    Appending,
    Fork,
    ForkSource,
    Segment,
    StoredStream,
    StreamError,
    StreamState,
    media_type_of,
    offset_of,
    state_after,
)
from mistralwire.log import Append, End, Opening, Query, ResponseLog, append_and_wait, framed, split
from mistralwire.v1 import ResponseState

# Of the messages in one piece of a stream, unless one message is larger.
_PIECE_BYTES_MAX = 1024 * 1024
_CHANGE_ATTEMPTS_MAX = 16
# Framed in the event loop: a millisecond.
_LOOP_MESSAGES_MAX = 2000
_STREAMS_MAX = 100_000
_FORKS_MAX = 256
_SEGMENTS_MAX = 64
# A stream whose first messages were not stored by then was left behind by a crash.
_CREATION_S = 30.0
_USAGE_S = 5.0
_EXPIRY_SWEEP_S = 300.0
_DEFAULT_TYPE = "application/octet-stream"

_logger = logging.getLogger(__name__)

StepResult = TypeVar("StepResult")


class StreamPiece(NamedTuple):
    """Messages that follow each other, the number of the last one, and whether there will be no others."""

    contents: Sequence[bytes]
    last: int
    is_end: bool


@dataclasses.dataclass(slots=True)
class _Usage:
    """What a caller has in the log, as it was read last, and what was added since."""

    read_s: float
    stored_bytes: int


class StreamStore:
    """The streams that callers name.

    Args:
        log: Where they are stored.
        caller_bytes_max: Bytes of the messages of all streams of a caller; None for no bound.
    """

    def __init__(self, log: ResponseLog, caller_bytes_max: int | None) -> None:
        self._log = log
        self._caller_bytes_max = caller_bytes_max
        # In this process changes wait for each other; against other processes the fence of each append helps.
        self._locks: weakref.WeakValueDictionary[str, asyncio.Lock] = weakref.WeakValueDictionary()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._usages: dict[str, _Usage] = {}
        self._swept_s = time.monotonic()

    async def find(self, owner: str, name: str) -> StoredStream:
        """Return a stream.

        Raises:
            StreamError: If there is none (404), or it was deleted and is kept for its forks (410).
        """
        return _existing(await self._load(_id_of(owner, name)))

    async def create(
        self, owner: str, name: str, creation: Creation, body: bytes
    ) -> tuple[StoredStream, bool]:
        """Create a stream, unless there is one as it is asked for; return also whether it is new.

        Raises:
            StreamError: If there is another one (409), or the body or the position of the fork is invalid
                (400); if there is no such source (404), or it was deleted (409).
            OverloadError: If the caller has too much.
        """
        return await self._to_its_end(self._create(owner, _id_of(owner, name), creation, body))

    async def append(self, owner: str, name: str, request: Appending) -> tuple[StoredStream, bool]:
        """Append to a stream; return it, and whether it had the messages before.

        Raises:
            StreamError: What `find` and `state_after` raise.
            OverloadError: If the caller has too much.
        """
        id_ = _id_of(owner, name)
        end = End(ResponseState.RESPONSE_STATE_FINISHED) if request.is_closing else None
        async with self._lock(id_):
            for attempt in range(_CHANGE_ATTEMPTS_MAX):
                found = _existing(await self._load(id_))
                state = state_after(found, request, time.time())
                if state is None:
                    return found, True
                if not attempt:
                    await self._check_room(owner, request.contents)
                if changed := await self._change(found, state, request.contents, end):
                    return changed, False
        raise _busy()

    async def delete(self, owner: str, name: str) -> None:
        """Delete a stream; with forks it is kept for them.

        Raises:
            StreamError: What `find` raises.
        """
        await self._to_its_end(self._delete(_id_of(owner, name)))

    async def renew(self, found: StoredStream) -> None:
        """Store that a stream was read, if its time to live depends on it and it was not stored just now."""
        now_s = time.time()
        if found.state.wants_renewal(now_s):
            # Whoever was faster has stored it.
            await self._change(found, dataclasses.replace(found.state, used_s=now_s))

    async def read(self, found: StoredStream, after: int) -> StreamPiece:
        """Read the messages behind a position, as many as one piece takes."""
        contents: list[bytes] = []
        size = 0
        for segment in found.segments():
            while after < segment.last and size < _PIECE_BYTES_MAX:
                batches = await self._log.read(segment.id, after - segment.base, _PIECE_BYTES_MAX - size)
                if not batches:
                    raise _not_found()
                for batch in batches:
                    known = after - segment.base - batch.first + 1
                    events = await _offload.in_thread_if_heavy(batch.data, split, batch.data)
                    new = events[known : segment.last - segment.base - batch.first + 1]
                    contents += new
                    after += len(new)
                    size += len(batch.data)
        return StreamPiece(contents, after, found.is_closed and after >= found.tail)

    async def follow(self, found: StoredStream, after: int) -> AsyncGenerator[StreamPiece, None]:
        """Yield the messages behind a position of the stream's own as they are stored.

        The generator ends behind a piece that is the end, or when the stream is deleted.
        """
        base = found.state.base
        async with contextlib.aclosing(self._log.follow(found.record.id, after - base)) as deliveries:
            async for batches, end in deliveries:
                contents: list[bytes] = []
                for batch in batches:
                    contents += await _offload.in_thread_if_heavy(batch.data, split, batch.data)
                after = base + batches[-1].last if batches else after
                is_closed = end is not None and end.state == ResponseState.RESPONSE_STATE_FINISHED
                if contents or is_closed:
                    yield StreamPiece(contents, after, is_closed)

    # Changes.

    async def _create(
        self, owner: str, id_: str, creation: Creation, body: bytes
    ) -> tuple[StoredStream, bool]:
        if (found := await self._load(id_)) is not None:
            return _expect_same(found, creation, owner), False
        if creation.source is None:
            content_type = creation.content_type or _DEFAULT_TYPE
            now_s = time.time()
            state = StreamState(
                content_type=content_type,
                token=secrets.token_hex(8),
                used_s=now_s,
                ttl_s=creation.ttl_s,
                expires_at=creation.expires_at,
                deadline_s=creation.deadline_s,
            )
            contents = await _offload.in_thread_if_heavy(body, split_messages, content_type, body)
            return await self._open(owner, id_, creation, state, contents)
        source_id = _id_of(owner, creation.source)
        state, inherited = await self._reserve_fork(source_id, id_, creation)
        try:
            contents = await _offload.in_thread_if_heavy(body, split_messages, state.content_type, body)
            return await self._open(owner, id_, creation, state, [*inherited, *contents])
        finally:
            # Unless it exists.
            await self._release_fork(source_id, id_, state.token)

    async def _open(
        self, owner: str, id_: str, creation: Creation, state: StreamState, contents: list[bytes]
    ) -> tuple[StoredStream, bool]:
        """Store a new stream: first its state, then its first messages, with which it is ready."""
        self._log.reserve(id_, owner, "stream")
        try:
            if (await self._log.usage(owner, "stream")).total > _STREAMS_MAX:
                message = f"the caller is at the limit of {_STREAMS_MAX} streams"
                raise _too_much(message, Reason.TOO_MANY_RESPONSES)
            await self._check_room(owner, contents)
            return await self._open_reserved(owner, id_, creation, state, contents)
        finally:
            self._log.unreserve(id_, owner, "stream")

    async def _open_reserved(
        self, owner: str, id_: str, creation: Creation, state: StreamState, contents: list[bytes]
    ) -> tuple[StoredStream, bool]:
        end = End(ResponseState.RESPONSE_STATE_FINISHED) if creation.is_closed else None
        first = dataclasses.replace(state, is_ready=not contents and end is None)
        opening = Opening(id=id_, owner=owner, space="stream", state=first.encode(), is_new=True)
        async with self._lock(id_):
            for _ in range(_CHANGE_ATTEMPTS_MAX):
                try:
                    record = await self._log.open(opening)
                except ResponseError as error:
                    if error.reason != Reason.RESPONSE_EXISTS:
                        raise
                    if (found := await self._load(id_)) is not None:
                        return _expect_same(found, creation, owner), False
                    continue
                found = StoredStream(record, first)
                if first.is_ready:
                    return found, True
                try:
                    changed = await self._change(found, state, contents, end)
                except ResponseError as error:
                    if error.reason == Reason.EVENT_TOO_LARGE:
                        # It will never be ready; the path is free for another one.
                        await self._log.delete(id_)
                    raise
                if changed:
                    return changed, True
        raise _busy()

    async def _delete(self, id_: str) -> None:
        async with self._lock(id_):
            for _ in range(_CHANGE_ATTEMPTS_MAX):
                if await self._drop(_existing(await self._load(id_))):
                    return
        raise _busy()

    async def _change(
        self,
        found: StoredStream,
        state: StreamState,
        contents: Sequence[bytes] = (),
        end: End | None = None,
    ) -> StoredStream | None:
        """Store a new state, with messages and an end; return None if the stream has changed meanwhile."""
        record = found.record
        is_heavy = len(contents) > _LOOP_MESSAGES_MAX
        append = Append(
            id=record.id,
            epoch=record.epoch,
            first=record.last + 1,
            count=len(contents),
            data=await _offload.in_thread(_framed, contents) if is_heavy else _framed(contents),
            end=end,
            state=state.encode(),
            revision=record.revision,
        )
        try:
            last = await append_and_wait(self._log, append)
        except ResponseError as error:
            if error.reason in (Reason.LOG_CONFLICT, Reason.RESPONSE_NOT_FOUND):
                return None
            raise
        return StoredStream(record._replace(last=last, end=end or record.end), state)

    # What is there.

    async def _load(self, id_: str) -> StoredStream | None:
        """Return a stream; None if there is none, or none anymore."""
        for _ in range(_CHANGE_ATTEMPTS_MAX):
            record = await self._log.describe(id_)
            if record is None:
                return None
            found = StoredStream(record, StreamState.decode(record.state))
            now_s = time.time()
            if not found.state.is_ready:
                if now_s < record.created_s + _CREATION_S:
                    return None
                await self._remove(found)
            elif found.state.is_gone:
                if found.state.forks:
                    return found
                await self._remove(found)
            elif found.state.is_expired(now_s):
                await self._drop(found)
            else:
                return found
        raise _busy()

    async def _drop(self, found: StoredStream) -> bool:
        """Delete a stream, or keep it for its forks; return False if it has changed meanwhile."""
        forks = await self._existing_forks(found)
        state = dataclasses.replace(found.state, is_gone=True, forks=forks)
        # Its followers end with it. From now on it gets no further fork.
        end = None if found.record.end else End(ResponseState.RESPONSE_STATE_CANCELLED)
        if not await self._change(found, state, (), end):
            return False
        if not forks:
            await self._remove(StoredStream(found.record, state))
        return True

    async def _remove(self, found: StoredStream) -> None:
        try:
            await self._log.delete(found.record.id)
        except ResponseError as error:
            if error.reason != Reason.RESPONSE_NOT_FOUND:
                raise
        self._usages.pop(found.record.owner, None)
        if (source := found.state.source) is not None:
            await self._release_fork(source.id, found.record.id, found.state.token)

    # Forks.

    async def _reserve_fork(
        self, source_id: str, id_: str, creation: Creation
    ) -> tuple[StreamState, list[bytes]]:
        """Note a fork at its source; return its state, and the part of a message that it has of its own."""
        async with self._lock(source_id):
            for _ in range(_CHANGE_ATTEMPTS_MAX):
                found = await self._load(source_id)
                if found is None:
                    raise _not_found("no stream at the path in Stream-Forked-From")
                if found.state.is_gone:
                    raise StreamError(409, "expected a source that exists, found one that was deleted")
                state, contents = await self._fork_of(found, creation)
                if len(found.state.forks) >= _FORKS_MAX:
                    raise StreamError(429, f"expected at most {_FORKS_MAX} forks of a stream, found more")
                forks = (*found.state.forks, Fork(id_, state.token, int(state.used_s)))
                if await self._change(found, dataclasses.replace(found.state, forks=forks)):
                    return state, contents
        raise _busy()

    async def _fork_of(self, found: StoredStream, creation: Creation) -> tuple[StreamState, list[bytes]]:
        content_type, source = creation.content_type, found.state
        if content_type and media_type_of(content_type) != media_type_of(source.content_type):
            message = f"expected the type of the source, {media_type_of(source.content_type)}, found another"
            raise StreamError(409, message)
        offset = found.tail if creation.offset is None else creation.offset
        last, contents = offset, []
        if offset > found.tail:
            message = f"expected a Stream-Fork-Offset up to {offset_of(found.tail)}, found one beyond it"
            raise StreamError(400, message)
        if media_type_of(source.content_type) == JSON:
            last += creation.sub_offset
            if last > found.tail:
                raise _sub_offset_error(f"{found.tail - offset} messages")
        elif creation.sub_offset:
            piece = (
                await self.read(found, offset) if offset < found.tail else StreamPiece((b"",), offset, False)
            )
            contents = [piece.contents[0][: creation.sub_offset]]
            if len(contents[0]) < creation.sub_offset:
                raise _sub_offset_error(f"{len(contents[0])} bytes")
        segments = tuple(
            Segment(each.id, each.base, min(each.last, last))
            for each in found.segments()
            if each.base < min(each.last, last)
        )
        if len(segments) > _SEGMENTS_MAX:
            raise StreamError(400, f"expected at most {_SEGMENTS_MAX} forks of forks, found more")
        own = creation if (creation.ttl_s, creation.expires_at) != (None, None) else source
        return StreamState(
            content_type=content_type or source.content_type,
            token=secrets.token_hex(8),
            used_s=time.time(),
            ttl_s=own.ttl_s,
            expires_at=own.expires_at,
            deadline_s=own.deadline_s,
            source=ForkSource(found.record.id, offset, creation.sub_offset),
            segments=segments,
        ), contents

    async def _release_fork(self, source_id: str, id_: str, token: str) -> None:
        """Forget a fork unless it exists; a deleted source goes with its last fork."""
        async with self._lock(source_id):
            for _ in range(_CHANGE_ATTEMPTS_MAX):
                record = await self._log.describe(source_id)
                if record is None or await self._exists(id_, token):
                    return
                found = StoredStream(record, StreamState.decode(record.state))
                forks = tuple(fork for fork in found.state.forks if fork.token != token)
                if await self._forget(found, forks):
                    return
        raise _busy()

    async def _forget(self, found: StoredStream, forks: tuple[Fork, ...]) -> bool:
        """Keep only some forks of a stream; return False if it has changed meanwhile."""
        state = dataclasses.replace(found.state, forks=forks)
        if forks != found.state.forks and not await self._change(found, state):
            return False
        if state.is_gone and not forks:
            await self._remove(StoredStream(found.record, state))
        return True

    async def _existing_forks(self, found: StoredStream) -> tuple[Fork, ...]:
        """Return the forks of a stream that exist, or that somebody may be creating now."""
        recent_s = time.time() - _CREATION_S
        return tuple(
            [
                fork
                for fork in found.state.forks
                if fork.began_s > recent_s or await self._exists(fork.id, fork.token)
            ]
        )

    async def _exists(self, id_: str, token: str) -> bool:
        record = await self._log.describe(id_)
        return record is not None and StreamState.decode(record.state).token == token

    # Limits, locks and tasks.

    async def _check_room(self, owner: str, contents: Sequence[bytes]) -> None:
        now_s = time.monotonic()
        self._sweep_if_due(now_s)
        usage = self._usages.get(owner)
        if usage is None or now_s > usage.read_s + _USAGE_S:
            stored = await self._log.usage(owner, "stream")
            usage = self._usages[owner] = _Usage(now_s, stored.stored_bytes)
        size = sum(map(len, contents))
        most = self._caller_bytes_max
        if most is not None and usage.stored_bytes + size > most:
            message = f"the streams of the caller are at their limit of {most} bytes"
            raise _too_much(message, Reason.TOO_MANY_STORED_BYTES)
        usage.stored_bytes += size

    def _sweep_if_due(self, now_s: float) -> None:
        if now_s > self._swept_s + _EXPIRY_SWEEP_S:
            self._swept_s = now_s
            self._spawn(self._sweep())

    async def _sweep(self) -> None:
        """Remove all streams that have expired, or were left behind; they need room until then."""
        after: tuple[float, str] | None = None
        try:
            while page := await self._log.list(Query(space="stream", oldest_first=True, after=after)):
                for record in page:
                    found = await self._load(record.id)
                    if found is not None and found.state.is_gone:
                        await self._forget(found, await self._existing_forks(found))
                after = page[-1].created_s, page[-1].id
        except MistralwireError as error:
            log_unexpected(_logger, "streams that have expired were not removed:", error)

    @contextlib.asynccontextmanager
    async def _lock(self, id_: str) -> AsyncIterator[None]:
        """Hold the lock of a stream; who holds one waits for those of its sources only: never in a circle."""
        lock = self._locks.get(id_)
        if lock is None:
            lock = self._locks[id_] = asyncio.Lock()
        async with lock:
            yield

    async def _to_its_end(self, work: Coroutine[Any, Any, StepResult]) -> StepResult:
        """Run a change of several steps to its end, even if its caller hangs up."""
        return await asyncio.shield(self._spawn(work))

    def _spawn(self, work: Coroutine[Any, Any, StepResult]) -> "asyncio.Task[StepResult]":
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


def _framed(contents: Sequence[bytes]) -> bytes:
    return b"".join(map(framed, contents))


def _id_of(owner: str, name: str) -> str:
    return f"{owner}//{name}"


def _existing(found: StoredStream | None) -> StoredStream:
    if found is None:
        raise _not_found()
    if found.state.is_gone:
        message = "expected a stream that exists, found one that was deleted and is kept for its forks"
        raise StreamError(410, message, reason=Reason.RESPONSE_NOT_FOUND)
    return found


def _expect_same(found: StoredStream, creation: Creation, owner: str) -> StoredStream:
    """Return a stream that is as another request would have made it; otherwise it is a conflict."""
    state, source = found.state, found.state.source
    differs = None
    if state.is_gone:
        differs = "that was deleted and is kept for its forks"
    elif found.is_closed != creation.is_closed:
        differs = "that is closed" if found.is_closed else "that is open"
    elif (creation.source is None) != (source is None):
        differs = "that is a fork" if source else "that is no fork"
    elif source is not None and creation.source is not None:
        same = (_id_of(owner, creation.source), creation.sub_offset) == (source.id, source.sub_offset)
        if not same or creation.offset not in (None, source.offset):
            differs = "with another source"
    media_type = media_type_of(creation.content_type)
    has_lifetime = (creation.ttl_s, creation.expires_at) != (None, None)
    if differs is None and (media_type or source is None):
        differs = (
            "of another type" if media_type_of(state.content_type) != (media_type or _DEFAULT_TYPE) else None
        )
    if differs is None and (has_lifetime or source is None):
        is_same = (creation.ttl_s, creation.expires_at) == (state.ttl_s, state.expires_at)
        differs = None if is_same else "with another lifetime"
    if differs is not None:
        message = f"expected no stream at this path, or one as it was asked for, found one {differs}"
        raise StreamError(409, message, reason=Reason.RESPONSE_EXISTS)
    return found


def _not_found(found: str = "none") -> StreamError:
    message = f"expected the path of a stream of this caller, found {found}; create it by PUT"
    return StreamError(404, message, reason=Reason.RESPONSE_NOT_FOUND)


def _sub_offset_error(most: str) -> StreamError:
    return StreamError(400, f"expected a Stream-Fork-Sub-Offset of at most {most}, found more")


def _busy() -> OverloadError:
    message = "the stream is changed by too many writers at once; retry"
    return OverloadError(message, code="UNAVAILABLE", reason=Reason.LOG_CONFLICT)


def _too_much(message: str, reason: str) -> OverloadError:
    return OverloadError(f"{message}; delete some", reason=reason, retry_after_s=None)
