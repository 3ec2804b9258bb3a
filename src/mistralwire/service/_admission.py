"""What the calls of a service share: limits, observers, and the slots of the upstream."""

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from mistralwire._response_stream import Source
from mistralwire._serving.incomplete_requests import IncompleteRequests
from mistralwire._timeouts import Timeouts
from mistralwire.errors import MistralwireError, OverloadError, Reason
from mistralwire.service._config import ServerConfig
from mistralwire.service._observers import CallObserver
from mistralwire.service._relay import Relay
from mistralwire.service._request import Requests
from mistralwire.upstream import CallContext, Receiver, Upstream, with_start


class RunningCall(Receiver, Protocol):
    """A call that has begun.

    Attributes:
        is_asking: Whether the upstream works on it.
    """

    is_asking: bool

    def abort(self, error: Exception) -> None: ...


class Calls:
    """The calls of one service, and what they share.

    `contract_revision` is that of the oldest contract among the readers of the responses.

    Attributes:
        relay: Stores their responses; None if nothing does.
        running: The calls that are not over.
        arriving: Those whose request has not fully arrived.
        bodies_bytes: Bytes of the requests of the calls that have begun.
    """

    def __init__(
        self,
        upstream: Upstream,
        config: ServerConfig,
        observers: Sequence[CallObserver],
        contract_revision: int,
        relay: Relay | None = None,
    ) -> None:
        self.limits = config
        self.observers = tuple(observers)
        self.relay = relay
        self.requests = Requests(upstream, config.contract_revision, strict=config.strict)
        self.slots = UpstreamSlots(config.upstream_calls_max, config.upstream_queue_max)
        self.running: set[RunningCall] = set()
        self.arriving = IncompleteRequests(config.arriving_max)
        self.bodies_bytes = 0
        self.timeouts = Timeouts()
        self._upstream = with_start(upstream)
        self._contract_revision = contract_revision
        # Those whose upstream has not ended.
        self._asking: set[RunningCall] = set()
        self._has_left = asyncio.Event()
        self._has_ended = asyncio.Event()

    def overload(self) -> OverloadError | None:
        """Return the error for a call beyond the limit; None if its request has arrived within it."""
        calls_max = self.limits.calls_max
        if len(self.running) - len(self.arriving) <= calls_max:
            return None
        return OverloadError(
            f"the service has {calls_max} calls, its limit; retry later", reason=Reason.TOO_MANY_CALLS
        )

    def ask(self, request: Any, wire: bytes, context: CallContext, call: RunningCall) -> Source:
        self._asking.add(call)
        return self._upstream.start(request, wire, context, call, contract_revision=self._contract_revision)

    def left(self, call: RunningCall) -> None:
        """Note that the upstream of a call has ended, and give its slot to the next one."""
        self._asking.discard(call)
        self._has_left.set()
        self.slots.release()

    def ended(self, call: RunningCall) -> None:
        """Note that a call is over."""
        self.running.discard(call)
        self._has_ended.set()

    async def wait_for_calls(self) -> None:
        """Wait until all calls are over, those without their caller included."""
        while self.running:
            self._has_ended.clear()
            await self._has_ended.wait()

    async def wait_for_upstreams(self, limit_s: float) -> None:
        """Wait until the upstreams of all calls have ended, for at most this many seconds."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(limit_s):
                while self._asking:
                    self._has_left.clear()
                    await self._has_left.wait()

    def stop(self) -> None:
        """End all calls, and their upstreams, with UNAVAILABLE and the reason SERVER_STOPPING."""
        # Those that wait for a slot first: they must not get the slots of the others.
        for call in sorted(self.running, key=lambda call: call.is_asking):
            message = "the server stops, and the time for running calls is over"
            call.abort(MistralwireError(message, code="UNAVAILABLE", reason=Reason.SERVER_STOPPING))


class UpstreamSlots:
    """Bounds the concurrent calls of the upstream; further calls wait in a bounded FIFO queue."""

    def __init__(self, calls_max: int, queue_max: int) -> None:
        self._free = calls_max
        self._queue_max = queue_max
        self._is_releasing = False
        self._waiting: deque[Callable[[], None]] = deque()

    def take(self, on_turn: Callable[[], None]) -> None:
        """Take a slot and call back, at once if one is free; an OverloadError if the queue is full."""
        if self._free and not self._waiting:
            self._free -= 1
            on_turn()
        elif len(self._waiting) < self._queue_max:
            self._waiting.append(on_turn)
        else:
            raise OverloadError(
                "the upstream has as many calls as its limits allow, running and waiting; retry later",
                reason=Reason.UPSTREAM_BUSY,
            )

    def leave(self, on_turn: Callable[[], None]) -> None:
        self._waiting.remove(on_turn)

    def release(self) -> None:
        """Release a slot; the call that has waited longest gets it."""
        self._free += 1
        if self._is_releasing:
            # A call that ends at once releases its slot within the loop below, which goes on.
            return
        self._is_releasing = True
        try:
            while self._free and self._waiting:
                self._free -= 1
                self._waiting.popleft()()
        finally:
            self._is_releasing = False
