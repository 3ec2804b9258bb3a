"""The client for programs without an event loop."""

import asyncio
import atexit
import contextlib
import os
import sys
import threading
import weakref
from collections.abc import AsyncGenerator, Coroutine, Generator
from typing import Any, Self, TypeVar, Unpack, overload

from mistralwire.client._client import CallOptions, Client, ClientOptions, StreamRequest
from mistralwire.client._response import ChunkBatch
from mistralwire.v1 import (
    AgentsCompletionRequest,
    ChatCompletionRequest,
    ChatCompletionResponse,
    CompletionChunk,
    FIMCompletionRequest,
    FIMCompletionResponse,
)

_EXIT_S = 5.0

ResultT = TypeVar("ResultT")


class SyncClient:
    """Calls a ChatCompletionService from a program without an event loop.

    It is a `Client` in a background thread that all SyncClients share; arguments, limits and errors are the
    same. It is thread-safe. Ctrl-C, or another exception in the waiting thread, cancels the call. Calls that
    still run when the program exits are cancelled.

    gRPC does not survive a fork: once a SyncClient has made a call, the process must not fork others that
    make calls. A fork before the first call is fine, as in servers that load a program and fork then:
    gunicorn with --preload, uWSGI, Celery. In a program with an event loop, use `Client`: this one would
    block the loop. It needs threads of the operating system, and can't be made where gevent or eventlet has
    replaced them.

    Examples:
        >>> with SyncClient("localhost:50051") as client:
        ...     response = client.complete(request)
        ...     for chunk in client.stream(stream_request):
        ...         ...

    Raises:
        RuntimeError: If gevent or eventlet has replaced threads.
    """

    def __init__(self, target: str, **options: Unpack[ClientOptions]) -> None:
        _refuse_green_threads()
        self._client = Client(target, **options)
        self._is_closed = False

    def __enter__(self) -> Self:
        """Return the client; it connects with the first call."""
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections. Calls that still run, and later ones, end with CANCELLED, CLIENT_CLOSED."""
        self._is_closed = True
        # Without a thread in this process there is no connection, and none is started: a fork may follow.
        runner = _runners.get(os.getpid())
        if runner is not None and runner.is_running():
            runner.run(self._client.close())

    @overload
    def complete(
        self, request: ChatCompletionRequest | AgentsCompletionRequest, **options: Unpack[CallOptions]
    ) -> ChatCompletionResponse: ...

    @overload
    def complete(
        self, request: FIMCompletionRequest, **options: Unpack[CallOptions]
    ) -> FIMCompletionResponse: ...

    @overload
    def complete(
        self, request: dict[str, Any], **options: Unpack[CallOptions]
    ) -> ChatCompletionResponse | FIMCompletionResponse: ...

    def complete(
        self,
        request: ChatCompletionRequest | FIMCompletionRequest | AgentsCompletionRequest | dict[str, Any],
        **options: Unpack[CallOptions],
    ) -> ChatCompletionResponse | FIMCompletionResponse:
        """Request a completion as one response; see `Client.complete`.

        Raises:
            RuntimeError: In a forked process, or while the program exits.
        """
        return self._runner().run(self._client.complete(request, **options))

    def stream(
        self, request: StreamRequest, **options: Unpack[CallOptions]
    ) -> Generator[CompletionChunk, None, None]:
        """Request a completion as a stream, and yield its chunks; see `Client.stream`.

        The call starts when the first chunk is requested. Leaving the loop early cancels the call when the
        generator is destroyed; use `contextlib.closing` to be sure.

        Raises:
            RuntimeError: See `complete`.
        """
        with contextlib.closing(self.stream_batches(request, **options)) as batches:
            for batch in batches:
                yield from batch

    def stream_batches(
        self, request: StreamRequest, **options: Unpack[CallOptions]
    ) -> Generator[ChunkBatch, None, None]:
        """Request a completion as a stream, and yield it message by message; see `Client.stream_batches`.

        Raises:
            RuntimeError: See `complete`.
        """
        runner = self._runner()
        stream = _Stream(self._client.stream_batches(request, **options))
        try:
            while (batch := runner.run(stream.next())) is not None:
                yield batch
        finally:
            # Not waited for: the garbage collector may close this in any thread, even in the event loop's.
            runner.begin(stream.close())

    def _runner(self) -> "_Runner":
        """Return the shared thread; the first call of the process starts it."""
        runner = _shared_runner()
        runner.clients.add(self._client)
        if self._is_closed:
            runner.run(self._client.close())
        return runner


class _Stream:
    """The batches of one call, one step at a time: a cancelled step ends before the call is closed."""

    def __init__(self, batches: AsyncGenerator[ChunkBatch, None]) -> None:
        self._batches = batches
        self._step = asyncio.Lock()

    async def next(self) -> ChunkBatch | None:
        async with self._step:
            return await anext(self._batches, None)

    async def close(self) -> None:
        async with self._step:
            await self._batches.aclose()


class _Runner:
    """A thread with an event loop that runs until the program exits.

    Attributes:
        clients: The clients in it, which are closed then.
    """

    def __init__(self) -> None:
        self.clients: weakref.WeakSet[Client] = weakref.WeakSet()
        self._pid = os.getpid()
        self._loop = asyncio.new_event_loop()
        self._tasks: set[asyncio.Task[Any]] = set()
        # A daemon: otherwise the interpreter would wait for it before it calls `stop`.
        self._thread = threading.Thread(target=self._serve, name="mistralwire-client", daemon=True)
        self._thread.start()
        atexit.register(self.stop)

    def is_here(self) -> bool:
        """Check whether the thread is in this process, and not in the one that this was forked from."""
        return os.getpid() == self._pid

    def is_running(self) -> bool:
        return self.is_here() and not self._loop.is_closed()

    def run(self, coroutine: Coroutine[Any, Any, ResultT]) -> ResultT:
        """Run a coroutine in the thread, and wait for it; an exception in this thread cancels it."""
        if not self.is_running():
            coroutine.close()
            raise RuntimeError(_EXITING if self.is_here() else _FORKED)
        future = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        try:
            return future.result()
        except BaseException:
            # No effect if the exception is the coroutine's own.
            future.cancel()
            raise

    def begin(self, coroutine: Coroutine[Any, Any, None]) -> None:
        """Run a coroutine in the thread, without waiting for it."""
        if not self.is_running():
            coroutine.close()
            return
        self._loop.call_soon_threadsafe(self._begin, coroutine)

    def stop(self) -> None:
        """Close the clients and stop the thread, when the program exits."""
        if not self.is_here():
            return
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_EXIT_S)

    def _begin(self, coroutine: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()
        self._loop.run_until_complete(self._close_clients())
        self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        self._loop.close()

    async def _close_clients(self) -> None:
        for client in list(self.clients):
            await client.close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        if others:
            await asyncio.wait(others, timeout=_EXIT_S / 2)


_FORKED = (
    "this process was forked from one in which a SyncClient had made a call, and gRPC does not survive that; "
    "make the first call after the fork (in gunicorn's post_fork, Celery's worker_process_init, uWSGI's "
    "postfork), or start processes with the methods spawn or forkserver of multiprocessing"
)
_EXITING = "the program exits, and its SyncClients are closed; make calls before its atexit functions run"
# By process: another thread may hold a lock at the moment of a fork, and would never release it in the child.
_locks: dict[int, threading.Lock] = {}
_runners: dict[int, _Runner] = {}


def _shared_runner() -> _Runner:
    pid = os.getpid()
    with _locks.setdefault(pid, threading.Lock()):
        if pid not in _runners:
            if _runners:
                raise RuntimeError(_FORKED)
            _refuse_green_threads()
            _runners[pid] = _Runner()
        return _runners[pid]


def _refuse_green_threads() -> None:
    """Refuse green threads: an event loop in one of them would block the whole process."""
    gevent, eventlet = sys.modules.get("gevent.monkey"), sys.modules.get("eventlet.patcher")
    if gevent is not None and gevent.is_module_patched("threading"):
        name = "gevent"
    elif eventlet is not None and eventlet.is_monkey_patched("thread"):
        name = "eventlet"
    else:
        return
    raise RuntimeError(
        f"expected threads of the operating system for a SyncClient, found those of {name}; call the service "
        "from a worker with threads or processes, such as gunicorn's gthread"
    )
