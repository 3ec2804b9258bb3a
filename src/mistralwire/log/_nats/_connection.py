"""A connection to NATS, and one stream of its JetStream; it outlives the server's restarts."""

import asyncio
import base64
import contextlib
import itertools
import json
import logging
import secrets
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias, TypeVar
from urllib.parse import urlsplit

from mistralwire.errors import Reason, ResponseError, missing_error
from mistralwire.log._rules import not_opened, unavailable

if TYPE_CHECKING:
    from nats.aio.client import Client
    from nats.aio.msg import Msg

_logger = logging.getLogger(__name__)

_REQUEST_TIMEOUT_S = 5.0
_PROBE_TIMEOUT_S = 1.0
_RECONNECT_WAIT_S = 0.2
# Until it is said that a start waits.
_PATIENCE_S = 1.0
_RETRY_S = 0.2
_PING_INTERVAL_S = 5
# What may wait for the socket: many atomic batches.
_PENDING_BYTES_MAX = 64 * 1024 * 1024

EXPECTED_LAST = "Nats-Expected-Last-Subject-Sequence"
EXPECTED_LAST_SUBJECT = "Nats-Expected-Last-Subject-Sequence-Subject"
ROLLUP = "Nats-Rollup"
TTL = "Nats-TTL"

_NOT_FOUND = 10037
"""Error code of JetStream: no message found."""
_STREAM_NOT_FOUND = 10059
_NO_ROOM = frozenset((10023, 10028, 10047, 10077))
"""Error codes of JetStream: no memory or storage left, or the stream's own limit reached."""
_DISK_FULL = "no space left on device"
_NOT_PERMITTED = "permissions violation"

T = TypeVar("T")
Handler: TypeAlias = "Callable[[Msg], Awaitable[None]]"


class Outgoing(NamedTuple):
    """A message to be stored."""

    subject: str
    headers: Mapping[str, str]
    data: bytes


class Stored(NamedTuple):
    """A message of the stream."""

    sequence: int
    headers: Mapping[str, str]
    data: bytes


class NoAnswerError(Exception):
    """No answer: what was asked for may have been done, or not."""


class RefusedError(Exception):
    """An error of JetStream.

    Attributes:
        code: Its `err_code`.
        is_full: Whether there is no room.
    """

    def __init__(self, code: int, description: str) -> None:
        super().__init__(f"{description} ({code})")
        self.code = code
        self.is_full = code in _NO_ROOM or _DISK_FULL in description


class Connection:
    """One connection and one stream.

    Args:
        url: Addresses of servers, separated by commas, with credentials if they need some.
        stream: Name of the stream.
        away_s: Seconds for which servers may be away.
        on_recovered: Called when messages of subscriptions may have been lost, once they arrive again.
        on_away: Called when the connection is lost.

    Attributes:
        not_permitted: What the server has not permitted this connection first; empty if nothing.
    """

    def __init__(
        self,
        url: str,
        stream: str,
        away_s: float,
        on_recovered: Callable[[], None],
        on_away: Callable[[], None],
    ) -> None:
        self._urls = [_checked_url(part) for part in url.split(",")]
        self._stream = stream
        self._away_s = away_s
        self._on_recovered = on_recovered
        self._on_away = on_away
        self._client: Client | None = None
        self._handlers: dict[int, tuple[str, Handler]] = {}
        self._subscriptions: dict[int, Any] = {}
        self._ids = itertools.count()
        self._inbox = ""
        self._waiting: dict[str, Callable[[Msg | None], None]] = {}
        self._connected = asyncio.Event()
        self._is_closing = False
        self._reviving: asyncio.Task[None] | None = None
        self._last_error = ""
        self.not_permitted = ""

    @property
    def hosts(self) -> list[str]:
        """Hosts of the servers, without credentials and ports."""
        return [urlsplit(url).hostname or "" for url in self._urls]

    @property
    def payload_bytes_max(self) -> int:
        """Bytes of a message that the server accepts, headers included."""
        return self._client.max_payload if self._client is not None else 0

    @property
    def version(self) -> str:
        """Version of the server."""
        if self._client is None:
            return ""
        version = self._client.connected_server_version
        return f"{version.major}.{version.minor}.{version.patch}"

    async def open(self) -> None:
        """Connect.

        Raises:
            MistralwireError: EXTRA_MISSING without nats-py, RESPONSE_LOG without a connection.
        """
        where = ", ".join(urlsplit(url).netloc.rpartition("@")[2] for url in self._urls)

        def say() -> None:
            _logger.warning("waiting for NATS at %s: %s", where, self._last_error or "no answer yet")

        waiting = asyncio.get_running_loop().call_later(_PATIENCE_S, say)
        try:
            async with asyncio.timeout(self._away_s):
                await self._connect()
        except TimeoutError:
            cause = f": {self._last_error}" if self._last_error else ""
            raise not_opened(f"expected a NATS server at {where}, found none{cause}") from None
        finally:
            waiting.cancel()

    async def _connect(self) -> None:
        try:
            from nats.aio.client import Client  # noqa: PLC0415 - an extra
        except ImportError as error:
            raise missing_error("a response log on NATS", "nats-py", "relay") from error
        client = Client()
        try:
            await client.connect(
                servers=list(self._urls),
                error_cb=self._on_error,
                disconnected_cb=self._on_disconnected,
                reconnected_cb=self._on_reconnected,
                closed_cb=self._on_closed,
                name="mistralwire",
                max_reconnect_attempts=-1,
                reconnect_time_wait=_RECONNECT_WAIT_S,  # type: ignore[arg-type] # it takes fractions, too
                ping_interval=_PING_INTERVAL_S,
                pending_size=_PENDING_BYTES_MAX,
            )
        except BaseException:
            await client.close()
            raise
        self._client = client
        self._inbox = client.new_inbox()
        await client.subscribe(f"{self._inbox}.*", cb=self._on_reply)
        for id, (subject, handler) in self._handlers.items():
            self._subscriptions[id] = await client.subscribe(subject, cb=handler)
        self._connected.set()

    async def close(self) -> None:
        """End the connection; messages that were published are sent."""
        self._is_closing = True
        if self._reviving is not None:
            self._reviving.cancel()
            await asyncio.gather(self._reviving, return_exceptions=True)
        if self._client is not None:
            with contextlib.suppress(OSError):
                await self._client.close()
        self._on_lost()

    async def _on_error(self, error: Exception) -> None:
        from nats.errors import SlowConsumerError  # noqa: PLC0415 - an extra

        self._last_error = str(error) or type(error).__name__
        if isinstance(error, SlowConsumerError):
            self._on_recovered()
        elif _NOT_PERMITTED in self._last_error.lower() and not self.not_permitted:
            self.not_permitted = self._last_error
            _logger.error("the response log may not do what it needs: %s", self._last_error)
        elif isinstance(error, (self._nats_error(), OSError, TimeoutError)):
            _logger.debug("NATS: %s", self._last_error)
        else:
            _logger.error("a message of NATS could not be used", exc_info=error)

    async def _on_disconnected(self) -> None:
        if not self._is_closing and self._connected.is_set():
            _logger.warning("the connection to NATS is lost; reconnecting")
            self._on_away()
        self._on_lost()

    def _on_lost(self) -> None:
        self._connected.clear()
        for on_reply in list(self._waiting.values()):
            on_reply(None)

    async def _on_reconnected(self) -> None:
        _logger.warning("connected to NATS again")
        self.not_permitted = ""
        self._connected.set()
        self._on_recovered()

    async def _on_closed(self) -> None:
        self._begin_anew()

    def _begin_anew(self) -> None:
        """Make another client after an error for which nats-py gives up, such as an expired credential."""
        is_reviving = self._reviving is not None and not self._reviving.done()
        if not self._is_closing and not is_reviving and self._client is not None:
            self._on_lost()
            self._reviving = asyncio.create_task(self._revive())

    async def _revive(self) -> None:
        while True:
            try:
                async with asyncio.timeout(self._away_s):
                    await self._connect()
            except (TimeoutError, OSError, self._nats_error()) as error:
                _logger.warning("no connection to NATS: %s", self._last_error or error)
                await asyncio.sleep(_RECONNECT_WAIT_S)
            else:
                await self._on_reconnected()
                return

    async def _on_reply(self, message: "Msg") -> None:
        on_reply = self._waiting.get(message.subject.rpartition(".")[2])
        if on_reply is not None:
            on_reply(message)

    @staticmethod
    def _nats_error() -> type[Exception]:
        from nats.errors import Error  # noqa: PLC0415 - an extra

        return Error

    async def pause(self, seconds: float) -> None:
        """Wait before another attempt: for a moment, or for a connection if there is none."""
        if self._connected.is_set():
            await asyncio.sleep(seconds)
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._connected.wait()

    async def persist(self, attempt: Callable[[], Awaitable[T]]) -> T:
        """Repeat what has no effect, or the same one each time, while servers are away.

        Raises:
            ResponseError: LOG_UNAVAILABLE, LOG_FULL.
        """
        deadline_s = asyncio.get_running_loop().time() + self._away_s
        while True:
            try:
                return await attempt()
            except (NoAnswerError, RefusedError) as error:
                if isinstance(error, RefusedError) and error.is_full:
                    raise full_error(error) from error
                if asyncio.get_running_loop().time() > deadline_s:
                    raise unavailable(str(error)) from error
            await self.pause(_RETRY_S)

    async def subscribe(self, subject: str, handler: Handler) -> int:
        """Have messages handled, over reconnections; the server knows it before what is sent after this."""
        id = next(self._ids)
        self._handlers[id] = subject, handler
        client = self._client
        if client is not None and not client.is_closed:
            self._subscriptions[id] = await client.subscribe(subject, cb=handler)
        return id

    async def unsubscribe(self, id: int) -> None:
        """End a subscription."""
        del self._handlers[id]
        subscription = self._subscriptions.pop(id, None)
        if subscription is not None:
            with contextlib.suppress(self._nats_error()):
                await subscription.unsubscribe()

    async def publish(
        self, subject: str, data: bytes = b"", headers: Mapping[str, str] | None = None, reply: str = ""
    ) -> None:
        """Send a message.

        Raises:
            NoAnswerError: Without a connection.
        """
        client = self._client
        if client is None or not self._connected.is_set():
            raise NoAnswerError("there is no connection to NATS")
        try:
            await client.publish(subject, data, reply, dict(headers) if headers else None)
        except self._nats_error() as error:
            if client.is_closed and client is self._client:
                # An error while it closed: nats-py tells nobody.
                self._begin_anew()
            raise NoAnswerError(str(error)) from error

    @contextlib.contextmanager
    def _replies(self, on_reply: "Callable[[Msg | None], None]") -> Iterator[str]:
        """Receive replies, and None when the connection is lost."""
        id = str(next(self._ids))
        self._waiting[id] = on_reply
        try:
            yield f"{self._inbox}.{id}"
        finally:
            del self._waiting[id]

    async def request(
        self,
        subject: str,
        data: bytes = b"",
        headers: Mapping[str, str] | None = None,
        timeout_s: float = _REQUEST_TIMEOUT_S,
    ) -> bytes:
        """Return the answer to a message.

        Raises:
            NoAnswerError: If there is none.
        """
        answer: asyncio.Future[Msg | None] = asyncio.get_running_loop().create_future()

        def on_reply(message: "Msg | None") -> None:
            if not answer.done():
                answer.set_result(message)

        with self._replies(on_reply) as reply:
            await self.publish(subject, data, headers, reply)
            try:
                async with asyncio.timeout(timeout_s):
                    message = await answer
            except TimeoutError:
                raise NoAnswerError(f"no answer from NATS within {timeout_s:g} s") from None
        if message is None:
            raise NoAnswerError("the connection to NATS is lost")
        if _status(message) == "503":
            raise NoAnswerError("nobody answers at NATS")
        return message.data

    async def api(self, call: str, arguments: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Call JetStream's API for the stream.

        Raises:
            NoAnswerError: Without an answer.
            RefusedError: For an error.
        """
        data = json.dumps(arguments).encode() if arguments else b""
        return _checked(await self.request(f"$JS.API.{call}.{self._stream}", data))

    async def purge(self, subject: str) -> None:
        """Remove the messages of a subject.

        Raises:
            NoAnswerError: Without an answer.
            RefusedError: For an error.
        """
        await self.api("STREAM.PURGE", {"filter": subject})

    async def missing_room(self, *, for_batches: bool = True) -> RefusedError | None:
        """Return why the server stores nothing, if its disk is full or was; None otherwise.

        To a message on its own such a server gives no answer until it is restarted, and an atomic batch is
        incomplete for it until there is room. Its API names the cause.
        """
        try:
            async with asyncio.timeout(_PROBE_TIMEOUT_S):
                # It removes nothing, and fails if single messages do.
                await self.purge(f"{self._stream}.none")
                if for_batches:
                    # It changes nothing, but the server has to write it, as it would a batch.
                    await self.api("STREAM.UPDATE", (await self.api("STREAM.INFO"))["config"])
        except (NoAnswerError, TimeoutError):
            return None
        except RefusedError as error:
            return error if error.is_full else None
        return None

    async def info(self) -> dict[str, Any] | None:
        """Return what JetStream knows of the stream; None if there is none."""
        try:
            return await self.api("STREAM.INFO")
        except RefusedError as error:
            if error.code == _STREAM_NOT_FOUND:
                return None
            raise

    async def store(self, messages: Sequence[Outgoing]) -> int:
        """Store all messages or none, in this order and without others between them.

        Returns:
            Sequence of the last one.

        Raises:
            NoAnswerError: If it is unknown whether they are stored.
            RefusedError: For an error; a disk that gets full may have stored some.
        """
        *others, last = messages
        headers = dict(last.headers)
        if others:
            batch = secrets.token_hex(8)
            for number, message in enumerate(others, 1):
                member = {**message.headers, "Nats-Batch-Id": batch, "Nats-Batch-Sequence": str(number)}
                await self.publish(message.subject, message.data, member)
            headers |= {
                "Nats-Batch-Id": batch,
                "Nats-Batch-Sequence": str(len(messages)),
                "Nats-Batch-Commit": "1",
            }
        answer = _checked(await self.request(last.subject, last.data, headers))
        return int(answer["seq"])

    async def last(self, subject: str) -> Stored | None:
        """Return the last message of a subject, from the stream's leader."""
        try:
            message = (await self.api("STREAM.MSG.GET", {"last_by_subj": subject}))["message"]
        except RefusedError as error:
            if error.code == _NOT_FOUND:
                return None
            raise
        data = base64.b64decode(message.get("data", ""))
        return Stored(int(message["seq"]), _headers(base64.b64decode(message.get("hdrs", ""))), data)

    async def batch(self, arguments: Mapping[str, Any]) -> tuple[list[Stored], int]:
        """Return messages from any replica, which may not have the newest, and how many more there are.

        Raises:
            NoAnswerError: If not all arrive.
        """
        found: list[Stored] = []
        pending: asyncio.Future[int | None] = asyncio.get_running_loop().create_future()

        def on_reply(message: "Msg | None") -> None:
            status = "" if message is None else _status(message)
            if message is not None and not status:
                headers = message.headers or {}
                found.append(Stored(int(headers["Nats-Sequence"]), headers, message.data))
            elif not pending.done():
                ended = status == "204" and message is not None and message.headers
                pending.set_result(
                    int(ended["Nats-Num-Pending"]) if ended else 0 if status == "404" else None
                )

        with self._replies(on_reply) as reply:
            await self.publish(
                f"$JS.API.DIRECT.GET.{self._stream}", json.dumps(arguments).encode(), reply=reply
            )
            try:
                async with asyncio.timeout(_REQUEST_TIMEOUT_S):
                    left = await pending
            except TimeoutError:
                left = None
        if left is None:
            raise NoAnswerError("no answer from NATS")
        return found, left


def full_error(error: RefusedError) -> ResponseError:
    """Return the error for a log without room."""
    # Without a path on its server.
    cause = _DISK_FULL if _DISK_FULL in str(error) else str(error)
    return ResponseError(
        f"the response log has no room left: {cause}; make room on the disks of NATS, or raise "
        "`max_file_store`, and restart the servers",
        code="RESOURCE_EXHAUSTED",
        reason=Reason.LOG_FULL,
    )


def _checked_url(text: str) -> str:
    url = text.strip() if "://" in text else f"nats://{text.strip()}"
    try:
        parts = urlsplit(url)
        is_valid = parts.scheme in ("nats", "tls") and parts.hostname and (parts.port is None or parts.port)
    except ValueError:
        is_valid = False
    if not is_valid:
        # Not what was found: it may contain a password.
        raise not_opened(
            "expected addresses such as nats://host:4222 or tls://host:4222, with commas between"
        )
    return url


def _status(message: "Msg") -> str:
    return (message.headers or {}).get("Status", "")


def _checked(data: bytes) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(data)
    error = answer.get("error")
    if error is not None:
        raise RefusedError(error.get("err_code", 0), error.get("description", ""))
    return answer


def _headers(block: bytes) -> dict[str, str]:
    """Read the headers of a stored message."""
    lines = (line.partition(b":") for line in block.split(b"\r\n")[1:] if line)
    return {name.strip().decode(): value.strip().decode() for name, _, value in lines}
