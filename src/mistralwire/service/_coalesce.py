"""Adaptive coalescing: write a chunk at once, and together what arrives while a write is in flight."""

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any

from mistralwire._protobuf import read_varint


class ChunkBuffer:
    """Chunks that wait for their caller, combined into messages; a queue of wire bytes.

    The limits are for the chunks and the bytes of one message, unless a single chunk is larger.

    Attributes:
        size: Bytes in the queue.
    """

    __slots__ = ("_bytes_max", "_chunks_max", "_parts", "size")

    def __init__(self, chunks_max: int, bytes_max: int) -> None:
        self.size = 0
        self._chunks_max = chunks_max
        self._bytes_max = bytes_max
        self._parts: deque[tuple[bytes, int]] = deque()

    def __bool__(self) -> bool:
        return bool(self._parts)

    def fits(self, wire: bytes, count: int) -> bool:
        """Check whether chunks fit into one message."""
        return count == 1 or (count <= self._chunks_max and len(wire) <= self._bytes_max)

    def add(self, wire: bytes, count: int) -> None:
        self._parts.append((wire, count))
        self.size += len(wire)

    def take(self) -> tuple[bytes, int]:
        """Remove what fits into one message, a chunk or more; return its wire bytes and the chunks' count."""
        parts = self._parts
        wire, count = parts.popleft()
        if not self.fits(wire, count):
            end, taken = self._end_of_message(wire)
            parts.appendleft((wire[end:], count - taken))
            wire, count = wire[:end], taken
        elif parts:
            taken_parts, size = [wire], len(wire)
            while parts:
                next_wire, next_count = parts[0]
                size += len(next_wire)
                if count + next_count > self._chunks_max or size > self._bytes_max:
                    break
                taken_parts.append(next_wire)
                count += next_count
                parts.popleft()
            wire = b"".join(taken_parts)
        self.size -= len(wire)
        return wire, count

    def _end_of_message(self, wire: bytes) -> tuple[int, int]:
        """Return where the first message of too many chunks ends, and the number of its chunks."""
        end = count = 0
        while count < self._chunks_max:
            # A tag of one byte, the length, and the chunk.
            length, at = read_varint(wire, end + 1)
            if count and at + length > self._bytes_max:
                break
            end = at + length
            count += 1
        return end, count


class EagerCall:
    """Runs a coroutine whose first step is taken at once, in place.

    A task starts with the next iteration of the event loop, which would add to the latency of each chunk.
    This implements as much of a task as a coroutine needs that awaits futures, but does not ask for the
    current task. Python 3.12 has eager tasks, 3.11 does not.

    `on_done` is called at its end with its exception, or None; not if it ends before `start` returns.
    """

    __slots__ = ("_coroutine", "_future", "_on_done")

    def __init__(
        self, coroutine: Coroutine[Any, Any, None], on_done: Callable[[BaseException | None], None]
    ) -> None:
        self._coroutine = coroutine
        self._on_done = on_done
        self._future: asyncio.Future[Any] | None = None

    def start(self) -> bool:
        """Run the coroutine until it waits for the first time; return whether it has ended instead."""
        try:
            self._wait_for(self._coroutine.send(None))
        except StopIteration:
            return True
        return False

    def cancel(self) -> None:
        """Cancel what it waits for, as the cancellation of a task does."""
        if self._future is not None:
            self._future.cancel()

    def _wait_for(self, future: asyncio.Future[Any] | None) -> None:
        self._future = future
        if future is None:
            # A bare yield, as in asyncio.sleep(0): one iteration of the loop.
            asyncio.get_running_loop().call_soon(self._step)
        else:
            # Acknowledges that the future is awaited: the protocol between futures and tasks.
            future._asyncio_future_blocking = False
            future.add_done_callback(self._step)

    def _step(self, _: object = None) -> None:
        self._future = None
        try:
            self._wait_for(self._coroutine.send(None))
        except StopIteration:
            self._on_done(None)
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - it is passed on
            self._on_done(error)
