"""The log: writers, readers and followers of one node, and its place among the others."""

import asyncio
import contextlib
import dataclasses
import itertools
import logging
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

from mistralwire.errors import MistralwireError, Reason, ResponseError
from mistralwire.log._feeds import Feeds
from mistralwire.log._local import IndexedLog
from mistralwire.log._nats._connection import Connection, NoAnswerError, RefusedError, Stored, full_error
from mistralwire.log._nats._durability import Durability, DurabilityProof
from mistralwire.log._nats._index import Index
from mistralwire.log._nats._keys import Keys
from mistralwire.log._nats._nodes import Nodes
from mistralwire.log._nats._reader import Reader
from mistralwire.log._nats._records import HEADER, Record, decode, digest, encode_deleted
from mistralwire.log._nats._stream import check_permissions, open_stream
from mistralwire.log._nats._writer import Change, Changed, Writer
from mistralwire.log._response_log import (
    Append,
    Batch,
    Delivery,
    KeyClaim,
    Opening,
    Query,
    StoredResponse,
)
from mistralwire.log._rules import (
    appended,
    check_revision,
    folded,
    new_node,
    not_found_error,
    not_opened,
    opened,
    unavailable,
)

if TYPE_CHECKING:
    from nats.aio.msg import Msg

_logger = logging.getLogger(__name__)

# How often what is followed is looked at, should a message be lost without a sign of it.
_CHECK_INTERVAL_S = 30.0
# How often servers that are away are looked for, which have to prove something once they are back.
_AWAY_INTERVAL_S = 5.0
_RETRY_S = 1.0
# How long a caller's response at another node may take to have an upstream's id.
_FIND_PAUSES_S = (0.0, 0.02, 0.1, 0.4)
_REQUESTS_MAX = 32
_INDEX_MESSAGES_MAX = 1000
# A server returns the last messages of up to 1,024 subjects.
_SUBJECTS_MAX = 500


@dataclasses.dataclass(slots=True)
class _Live:
    """The subscription to one response, and how many followers it has here."""

    subscribing: asyncio.Future[int]
    followers: int = 0


class NatsLog(IndexedLog):
    """Keeps responses in a stream of NATS JetStream; see `ResponseLog`.

    Args:
        url: Addresses of servers, separated by commas: `nats://` or `tls://`, with a user and a password, or
            a token, if they need one.
        durability: What an acknowledged event survives. `synced`: a power loss of all servers, which must
            have `sync_interval: always`; `replicated`: the loss of one server of three.
        replicas: Servers that have each event: 1 or 3.
        monitor_urls: Where the servers' monitoring is, which proves how they store events; port 8222 of the
            servers in `url` by default.
        stream: Name of the stream, and first token of its subjects.
        lease_s: Seconds without a heartbeat after which a node is not alive.
        away_s: Seconds for which calls wait for servers that are away. Electing a leader may take 10 s.
    """

    def __init__(
        self,
        url: str,
        *,
        durability: Durability = "synced",
        replicas: int = 1,
        monitor_urls: Sequence[str] = (),
        stream: str = "mistralwire",
        lease_s: float = 5.0,
        away_s: float = 20.0,
    ) -> None:
        self.node = new_node()
        self._replicas = replicas
        self._stream = stream
        self._away_s = away_s
        self._is_behind = asyncio.Event()
        self._connection = Connection(url, stream, away_s, self._on_recovered, self._is_behind.set)
        self._proof = DurabilityProof(self._connection, durability, replicas, monitor_urls)
        self._index: Index = Index()
        self._writer = Writer(
            self._connection,
            stream=stream,
            node=self.node,
            away_s=away_s,
            index=self._index,
            on_stored=self._on_stored,
            on_full=self._is_behind.set,
        )
        self._reader = Reader(self._connection, self._writer)
        self._feeds = Feeds(self.describe, self.read)
        self._keys = Keys(self._connection, stream)
        self._nodes = Nodes(self._connection, stream, self.node, lease_s)
        self._live: dict[str, _Live] = {}
        # Responses that were deleted while the index is being loaded; None otherwise.
        self._deleted: set[str] | None = None
        self._catching_up: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Connect, create the stream if there is none, and check what it promises; see `ResponseLog`."""
        try:
            await self._connection.open()
            await open_stream(self._connection, self._stream, self._replicas)
            await self._proof.start()
            await self._connection.subscribe(f"{self._stream}-live.i.*", self._on_marker)
            elected = f"$JS.EVENT.ADVISORY.STREAM.LEADER_ELECTED.{self._stream}"
            await self._connection.subscribe(elected, self._on_leader_elected)
            await self._nodes.start()
            await check_permissions(self._connection, self._stream, self.node)
            await self._load_index()
        except (NoAnswerError, RefusedError) as error:
            await self._connection.close()
            raise not_opened(f"expected to read the stream {self._stream}, found: {error}") from error
        except BaseException:
            await self._connection.close()
            raise
        self._writer.start()
        self._catching_up = asyncio.create_task(self._catch_up())

    async def close(self) -> None:
        """Store what was appended, end the followers, and leave the other nodes."""
        if self._writer.is_closed:
            return
        await self._writer.close()
        if self._catching_up is not None:
            self._catching_up.cancel()
            await asyncio.gather(self._catching_up, return_exceptions=True)
        self._feeds.fail_all(unavailable("it is closed"))
        await self._nodes.close()
        await self._connection.close()

    async def open(self, opening: Opening) -> StoredResponse:
        """Create a response, or take it over; see `ResponseLog`."""
        response = await self._change(opening.id, partial(_opened, opening, self.node))
        if response is None:
            raise not_found_error()
        return response

    def append(self, appends: Sequence[Append]) -> None:
        """Append to responses; see `ResponseLog`."""
        for append in appends:
            # What depends on a revision is stored alone: it has none while others are in flight.
            is_append = append.revision is None
            done = partial(_done, append)
            self._writer.add(Change(append.id, partial(_appended, append), done, is_append))

    async def read(self, id: str, after: int = 0, bytes_max: int = 1024 * 1024) -> list[Batch]:
        """Return batches behind a position; see `ResponseLog`."""
        return await self._reader.read(id, after, bytes_max)

    async def follow(self, id: str, after: int = 0) -> AsyncGenerator[Delivery, None]:
        """Yield events as they are stored; see `ResponseLog`."""
        live = self._listen(id)
        try:
            # Before anything is read, so that nothing is missed.
            await asyncio.shield(live.subscribing)
            async with contextlib.aclosing(self._feeds.follow(id, after)) as deliveries:
                async for delivery in deliveries:
                    yield delivery
        finally:
            await self._listen_no_more(id, live)

    def fail_followers(self, id: str, error: MistralwireError) -> None:
        """End the followers of a response in this process; see `ResponseLog`."""
        self._feeds.fail(id, error)

    async def describe(self, id: str) -> StoredResponse | None:
        """Return a response; None if it does not exist."""
        record = await self._connection.persist(partial(self._writer.load, id))
        return None if record is None else record.response

    async def list(self, query: Query) -> Sequence[StoredResponse]:
        """Return responses in their order."""
        found = self._index.list(query)
        if query.is_approximate:
            return found
        # Of those that run elsewhere, this node knows only that they run.
        unknown = [each for each in found if each.end is None and each.node != self.node]
        await self._connection.persist(partial(self._refresh, unknown))
        return self._index.list(query)

    async def find(self, owner: str, upstream_id: str) -> str | None:
        """Return the id of an owner's newest response with an upstream's id."""
        for pause_s in _FIND_PAUSES_S:
            found = self._index.find(owner, upstream_id)
            # Other nodes tell it at the end alone, and their caller may have it before it is stored.
            running = self._index.running_elsewhere(self.node)
            unknown = [each for each in running if each.owner == owner and _may_get_upstream_id(each)]
            if found is not None or not unknown:
                return found
            await asyncio.sleep(pause_s)
            await self._connection.persist(partial(self._refresh, unknown))
        return self._index.find(owner, upstream_id)

    async def delete(self, id: str, *, revision: int | None = None) -> None:
        """Delete a response; see `ResponseLog`."""
        _deleted(revision, await self.describe(id))
        await self._keys.release_all(id)
        try:
            await self._change(id, partial(_deleted, revision))
        except ResponseError as error:
            if error.reason != Reason.LOG_FULL:
                raise
            await self._purge(id)

    async def _purge(self, id: str) -> None:
        """Delete a response where no message can be stored, and tell other nodes by messages that are not."""
        name = digest(id)
        # Its events and its place in lists, by one request: neither is ever left without the other.
        await self._connection.persist(partial(self._connection.purge, f"{self._stream}.*.{name}"))
        self._index.remove(id)
        self._on_stored(id, None, ())
        headers = {HEADER: encode_deleted("", id), "Nats-Sequence": "0"}
        for kind in "ir":
            subject = f"{self._stream}-live.{kind}.{name}"
            await self._connection.persist(partial(self._connection.publish, subject, headers=headers))

    async def claim_key(self, owner: str, key: str, digest: bytes, id: str) -> KeyClaim:
        """Claim a key; see `ResponseLog`."""
        return await self._keys.claim(owner, key, digest, id)

    async def release_key(self, owner: str, key: str, id: str) -> None:
        """Release a key; see `ResponseLog`."""
        await self._keys.release(owner, key, id)

    async def fold(self, id: str, batches: Sequence[Batch], *, revision: int | None = None) -> None:
        """Replace the batches of a response that has ended, at once for all readers."""
        await self._change(id, partial(_folded, batches, revision), is_fold=True)

    async def is_alive(self, node: str) -> bool:
        """Check whether a node was heard within the lease, or answers now."""
        return await self._nodes.is_alive(node)

    def serve(self, handler: Callable[[bytes], Awaitable[bytes]]) -> None:
        """Answer what nodes ask this one."""
        self._nodes.serve(handler)

    async def ask(self, node: str, request: bytes, timeout_s: float) -> bytes | None:
        """Ask a node; None if it does not answer in time."""
        return await self._nodes.ask(node, request, timeout_s)

    async def _change(
        self,
        id: str,
        apply: Callable[[StoredResponse | None], Changed],
        *,
        is_fold: bool = False,
    ) -> StoredResponse | None:
        stored: asyncio.Future[StoredResponse | None] = asyncio.get_running_loop().create_future()

        def done(response: StoredResponse | None, error: MistralwireError | None) -> None:
            if stored.done():
                return
            if error is None:
                stored.set_result(response)
            else:
                stored.set_exception(error)

        self._writer.add(Change(id, apply, done, is_fold=is_fold))
        return await stored

    def _on_stored(self, id: str, response: StoredResponse | None, batches: Sequence[Batch]) -> None:
        if response is None:
            self._feeds.fail(id, not_found_error())
        else:
            self._feeds.add(id, batches, response.end, response.last)

    def _listen(self, id: str) -> "_Live":
        """Have what any node appends to a response passed to its followers."""
        live = self._live.get(id)
        if live is None:
            subject = f"{self._stream}-live.r.{digest(id)}"
            subscribing = asyncio.ensure_future(self._connection.subscribe(subject, self._on_live))
            live = self._live[id] = _Live(subscribing)
        live.followers += 1
        return live

    async def _listen_no_more(self, id: str, live: "_Live") -> None:
        live.followers -= 1
        if not live.followers:
            del self._live[id]
            await self._connection.unsubscribe(await live.subscribing)

    async def _on_live(self, message: "Msg") -> None:
        """Pass on a message of a response that is followed."""
        self._pass_on(_record(message))

    def _pass_on(self, record: Record) -> None:
        self._on_stored(record.id, record.response, () if record.batch is None else (record.batch,))

    async def _on_marker(self, message: "Msg") -> None:
        """Note what another node has opened, taken over, ended or deleted."""
        record = _record(message, behind=1)
        if record.response is not None:
            self._index.put(record.response)
        else:
            self._index.remove(record.id)
            if self._deleted is not None:
                self._deleted.add(record.id)

    async def _load_index(self) -> None:
        """Read all responses; those that were deleted while there was no connection are forgotten."""
        deleted = self._deleted = set()
        try:
            await self._read_index(deleted)
        finally:
            self._deleted = None
        await self._refresh(self._index.running_elsewhere(self.node))

    async def _read_index(self, deleted: set[str]) -> None:
        missing = set(self._index)
        sequence = 1
        while True:
            stored, left = await self._connection.batch(
                {"seq": sequence, "next_by_subj": f"{self._stream}.i.*", "batch": _INDEX_MESSAGES_MAX}
            )
            for message in stored:
                record = decode(message, behind=1)
                if record.response is not None and record.id not in deleted:
                    self._index.put(record.response)
                    missing.discard(record.id)
            if not stored or not left:
                break
            sequence = stored[-1].sequence + 1
        for id in missing:
            record_ = await self._writer.load(id)
            if record_ is None or record_.response is None:
                self._index.remove(id)

    async def _refresh(self, responses: Sequence[StoredResponse]) -> None:
        for begin in range(0, len(responses), _SUBJECTS_MAX):
            subjects = [self._writer.subject(each.id) for each in responses[begin : begin + _SUBJECTS_MAX]]
            stored, _ = await self._connection.batch({"multi_last": subjects})
            for message in stored:
                record = decode(message)
                if record.response is not None:
                    self._index.put(record.response)
                else:
                    self._index.remove(record.id)

    def _on_recovered(self) -> None:
        """Catch up after messages may have been lost."""
        self._nodes.listen_anew()
        self._is_behind.set()

    async def _on_leader_elected(self, _: "Msg") -> None:
        # What the last leader stored, but did not send to followers any more, is sent by nobody.
        self._on_recovered()

    async def _catch_up(self) -> None:
        """Look at what is stored: when messages may have been lost, and once in a while."""
        is_refusing = False
        away_since_s: float | None = None
        loop = asyncio.get_running_loop()
        look_s = loop.time() + _CHECK_INTERVAL_S
        while True:
            due_s = look_s if self._proof.is_complete else min(look_s, loop.time() + _AWAY_INTERVAL_S)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(due_s):
                    await self._is_behind.wait()
            is_behind = self._is_behind.is_set()
            self._is_behind.clear()
            try:
                if self._writer.refusal is not None:
                    refused = await self._connection.missing_room()
                    if refused is not None:
                        raise full_error(refused)
                # Not as often as servers are looked for: there may be many followers.
                if is_behind or due_s == look_s:
                    await self._look(is_behind=is_behind)
                    look_s = loop.time() + _CHECK_INTERVAL_S
                await self._proof.check()
                self._writer.refusal = None
                away_since_s = None
                if is_refusing:
                    _logger.warning("events are stored again")
                    is_refusing = False
            except MistralwireError as error:
                if not is_refusing:
                    _logger.error("nothing is stored any more: %s", error.message)
                    is_refusing = True
                self._writer.refusal = error
                self._is_behind.set()
                await asyncio.sleep(_RETRY_S)
            except (NoAnswerError, RefusedError) as error:
                _logger.debug("NATS: %s", error)
                now_s = loop.time()
                away_since_s = away_since_s or now_s
                if now_s > away_since_s + self._away_s:
                    # They may find another node that reaches NATS.
                    self._feeds.fail_all(unavailable(str(error)))
                self._is_behind.set()
                await asyncio.sleep(_RETRY_S)

    async def _look(self, *, is_behind: bool) -> None:
        await self._check_followed()
        if is_behind:
            await self._load_index()
        else:
            await self._refresh(self._index.running_elsewhere(self.node))

    async def _check_followed(self) -> None:
        ids = iter(list(self._live))
        while group := list(itertools.islice(ids, _REQUESTS_MAX)):
            records = await asyncio.gather(*(self._writer.load(id) for id in group))
            for id, record in zip(group, records, strict=True):
                if record is None:
                    self._feeds.fail(id, not_found_error())
                else:
                    self._pass_on(record)


def _may_get_upstream_id(response: StoredResponse) -> bool:
    return response.space == "response" and not response.upstream_id


def _record(message: "Msg", behind: int = 0) -> Record:
    headers = message.headers or {}
    return decode(Stored(int(headers["Nats-Sequence"]), headers, message.data), behind)


def _opened(opening: Opening, node: str, found: StoredResponse | None) -> Changed:
    return opened(opening, found, node, time.time()), ()


def _appended(append: Append, found: StoredResponse | None) -> Changed:
    if found is None:
        raise not_found_error()
    response, batch = appended(append, found, time.time())
    return response, () if batch is None else (batch,)


def _done(append: Append, response: StoredResponse | None, error: MistralwireError | None) -> None:
    append.on_done(0 if response is None else response.last, error)


def _deleted(revision: int | None, found: StoredResponse | None) -> Changed:
    if found is None:
        raise not_found_error()
    check_revision(found, revision)
    return None, ()


def _folded(batches: Sequence[Batch], revision: int | None, found: StoredResponse | None) -> Changed:
    if found is None:
        raise not_found_error()
    return folded(found, batches, revision), batches
