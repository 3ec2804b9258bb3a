"""The nodes that use the log: which are alive, and what they ask each other."""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from mistralwire.log._nats._connection import Connection, NoAnswerError

if TYPE_CHECKING:
    from nats.aio.msg import Msg

_logger = logging.getLogger(__name__)

_BEATS_PER_LEASE = 5
# For a node that was not heard.
_ANSWER_TIMEOUT_S = 1.0
_STOPPED = b"stopped"
_NEVER_S = float("-inf")
# Nodes that are remembered, alive or not, before those are dropped that are not.
_NODES_MAX = 1000


class Nodes:
    """Heartbeats, and requests between nodes; neither is stored, and no clocks are compared.

    Args:
        connection: The connection.
        stream: First part of the subjects.
        node: Name of this node.
        lease_s: Seconds without a heartbeat after which a node is not alive.
    """

    def __init__(self, connection: Connection, stream: str, node: str, lease_s: float) -> None:
        self._connection = connection
        self._stream = stream
        self._node = node
        self._lease_s = lease_s
        self._heard_s: dict[str, float] = {}
        self._listens_since_s = 0.0
        self._beating: asyncio.Task[None] | None = None
        self._handler: Callable[[bytes], Awaitable[bytes]] | None = None
        self._answering: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Begin to listen, and to be heard."""
        await self._connection.subscribe(f"{self._stream}-beat.*", self._on_beat)
        await self._connection.subscribe(f"{self._stream}-node.{self._node}", self._on_request)
        self.listen_anew()
        self._beating = asyncio.create_task(self._beat())

    async def close(self) -> None:
        """Announce that this node stops."""
        tasks = [*self._answering, *([self._beating] if self._beating else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        with contextlib.suppress(NoAnswerError):
            await self._connection.publish(f"{self._stream}-beat.{self._node}", _STOPPED)

    def listen_anew(self) -> None:
        """Forget what was not heard up to now: heartbeats may have been lost."""
        self._listens_since_s = asyncio.get_running_loop().time()

    async def is_alive(self, node: str) -> bool:
        """Check whether a node was heard within the lease, or answers: heartbeats may get lost.

        While NATS is away, a node does not even reach itself, and all others count as alive.
        """
        if self._was_heard(node):
            return True
        # First, so that a node which is back with NATS is asked after that.
        if not await self._answers(self._node):
            return True
        is_alive = await self._answers(node)
        if is_alive:
            self._heard_s[node] = asyncio.get_running_loop().time()
        return is_alive

    async def _answers(self, node: str) -> bool:
        return await self.ask(node, b"", _ANSWER_TIMEOUT_S) is not None

    def _was_heard(self, node: str) -> bool:
        """Check whether a node was heard within the lease, or may not have had the time to be heard."""
        heard_s = self._heard_s.get(node, self._listens_since_s)
        if node == self._node or heard_s == _NEVER_S:
            return node == self._node
        since_s = max(heard_s, self._listens_since_s)
        return asyncio.get_running_loop().time() - since_s < self._lease_s

    def serve(self, handler: Callable[[bytes], Awaitable[bytes]]) -> None:
        """Answer requests."""
        self._handler = handler

    async def ask(self, node: str, request: bytes, timeout_s: float) -> bytes | None:
        """Ask a node; None if it does not answer in time."""
        try:
            return await self._connection.request(f"{self._stream}-node.{node}", request, timeout_s=timeout_s)
        except NoAnswerError:
            return None

    async def _beat(self) -> None:
        while True:
            with contextlib.suppress(NoAnswerError):
                await self._connection.publish(f"{self._stream}-beat.{self._node}")
            await asyncio.sleep(self._lease_s / _BEATS_PER_LEASE)

    async def _on_beat(self, message: "Msg") -> None:
        node = message.subject.rpartition(".")[2]
        self._heard_s[node] = _NEVER_S if message.data == _STOPPED else asyncio.get_running_loop().time()
        if len(self._heard_s) > _NODES_MAX:
            self._heard_s = {each: at for each, at in self._heard_s.items() if self._was_heard(each)}

    async def _on_request(self, message: "Msg") -> None:
        # Others are answered meanwhile.
        task = asyncio.create_task(self._answer(message.data, message.reply))
        self._answering.add(task)
        task.add_done_callback(self._answering.discard)

    async def _answer(self, request: bytes, reply: str) -> None:
        if not reply or (request and self._handler is None):
            return
        try:
            answer = await self._handler(request) if request and self._handler is not None else b""
        except Exception:  # the handler's fault; who asked gets no answer
            _logger.exception("a request of another node failed")
            return
        with contextlib.suppress(NoAnswerError):
            await self._connection.publish(reply, answer)
