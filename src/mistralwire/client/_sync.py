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

from mistralwire.client._batch import ChunkBatch
from mistralwire.client._client import CallOptions, Client, ClientOptions, StreamRequest
from mistralwire.v1 import (
    AgentsCompletionRequest,
    ChatCompletionRequest,
    ChatCompletionResponse,
    CompletionChunk,
    FIMCompletionRequest,
    FIMCompletionResponse,
)

_EXIT_S = 5.0

T = TypeVar("T")


class SyncClient:
    """Calls a ChatCompletionService from a program without an event loop.

    It is a `Client` that runs in a thread of the package's own, one for all of them; arguments, limits and
    errors are the same. Several threads can use it at a time. Ctrl-C, or another exception in the waiting
    thread, cancels the call. At the end of the program what still runs is cancelled.

    gRPC does not survive a fork, so a process in which a SyncClient has made a call must not fork others that
    make calls. Before the first call of any of them a fork is fine, as servers do it that load a program and
    fork then: gunicorn with --preload, uWSGI, Celery. In a program with an event loop, use `Client`: this one
    would hold the loop up. It needs threads of the operating system: where gevent or eventlet has replaced
    them it refuses to be made.

    Examples:
        >>> with SyncClient("localhost:50051") as client:
        ...     response = client.complete(request)
        ...     for chunk in client.stream(stream_request):
        ...         ...

    Args:
        target: As for `Client`.
        **options: As for `Client`.

    Raises:
        OSError: As for `Client`.
        RuntimeError: If gevent or eventlet has replaced threads.
        TypeError: As for `Client`.
        ValueError: As for `Client`.
    """

    def __init__(self, target: str, **options: Unpack[ClientOptions]) -> None:
        _refuse_green_threads()
        self._client = Client(target, **options)
        self._is_closed = False

    def __enter__(self) -> Self:
        """Give the client; it connects with the first call."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close."""
        self.close()

    def close(self) -> None:
        """Close the connections. Calls that still run, and later ones, end with CANCELLED, CLIENT_CLOSED."""
        self._is_closed = True
        # Without a thread of this process there is no connection. None is started: a fork may follow.
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

    def complete(
        self,
        request: ChatCompletionRequest | FIMCompletionRequest | AgentsCompletionRequest,
        **options: Unpack[CallOptions],
    ) -> Any:
        """Ask for a completion in one piece.

        Args:
            request: The request.
            **options: As for `Client.complete`: `deadline_s`, `request_id`, `metadata`.

        Returns:
            The response, as for `Client.complete`.

        Raises:
            CallError: As for `Client.complete`.
            RuntimeError: In a forked process, or while the program ends.
            TypeError: As for `Client.complete`.
            ValueError: As for `Client.complete`.
        """
        return self._runner().run(self._client.complete(request, **options))

    def stream(
        self,
        request: StreamRequest,
        **options: Unpack[CallOptions],
    ) -> Generator[CompletionChunk, None, None]:
        """Ask for a completion as a stream.

        The call starts with the first chunk that is asked for. Leaving the loop early cancels the call when
        the generator goes away; `contextlib.closing` makes it certain.

        Args:
            request: The request.
            **options: As for `Client.stream`.

        Yields:
            The chunks, one by one.

        Raises:
            CallError: As for `Client.stream`.
            RuntimeError: In a forked process, or while the program ends.
            TypeError: As for `Client.stream`.
            ValueError: As for `Client.stream`.
        """
        with contextlib.closing(self.stream_batches(request, **options)) as batches:
            for batch in batches:
                yield from batch

    def stream_batches(
        self,
        request: StreamRequest,
        **options: Unpack[CallOptions],
    ) -> Generator[ChunkBatch, None, None]:
        """Ask for a completion as a stream, message by message.

        Args:
            request: The request.
            **options: As for `Client.stream`.

        Yields:
            The batches, one for each message.

        Raises:
            CallError: As for `Client.stream_batches`.
            RuntimeError: In a forked process, or while the program ends.
            TypeError: As for `Client.stream`.
            ValueError: As for `Client.stream`.
        """
        runner = self._runner()
        stream = _Stream(self._client.stream_batches(request, **options))
        try:
            while (batch := runner.run(stream.next())) is not None:
                yield batch
        finally:
            # Not waited for: the garbage collector may close this in any thread, the loop's own included.
            runner.begin(stream.close())

    def _runner(self) -> "_Runner":
        """Return the thread, which is started by the first call of the process."""
        runner = _shared_runner()
        runner.clients.add(self._client)
        if self._is_closed:
            runner.run(self._client.close())
        return runner


class _Stream:
    """The batches of one call, one step at a time: one that was cancelled ends before the call is closed."""

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
    """A thread with an event loop that runs until the program ends.

    Attributes:
        clients: Those that run in it, to be closed at the end.
    """

    def __init__(self) -> None:
        self.clients: weakref.WeakSet[Client] = weakref.WeakSet()
        self._pid = os.getpid()
        self._loop = asyncio.new_event_loop()
        self._tasks: set[asyncio.Task[Any]] = set()
        # A daemon, as the program would not get as far as `stop` otherwise.
        self._thread = threading.Thread(target=self._serve, name="mistralwire-client", daemon=True)
        self._thread.start()
        atexit.register(self.stop)

    def is_here(self) -> bool:
        """Say whether the thread is in this process, and not in the one that this was forked from."""
        return os.getpid() == self._pid

    def is_running(self) -> bool:
        """Say whether the thread can take something to run."""
        return self.is_here() and not self._loop.is_closed()

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Wait for a coroutine to end in the thread; an exception in this one cancels it."""
        if not self.is_running():
            coroutine.close()
            raise RuntimeError(_ENDING if self.is_here() else _FORKED)
        future = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        try:
            return future.result()
        except BaseException:
            # Without effect when it is the coroutine's own.
            future.cancel()
            raise

    def begin(self, coroutine: Coroutine[Any, Any, None]) -> None:
        """Let a coroutine run in the thread, without waiting for it."""
        if not self.is_running():
            coroutine.close()
            return
        self._loop.call_soon_threadsafe(self._begin, coroutine)

    def stop(self) -> None:
        """Close the clients and end the thread, at the end of the program."""
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
_ENDING = "the program ends, and its SyncClients are closed; call before its functions of atexit run"
# By process, as another thread may hold a lock at the moment of a fork, and never release it afterwards.
_locks: dict[int, threading.Lock] = {}
_runners: dict[int, _Runner] = {}


def _shared_runner() -> _Runner:
    """Return the runner of the process."""
    pid = os.getpid()
    with _locks.setdefault(pid, threading.Lock()):
        if pid not in _runners:
            if _runners:
                raise RuntimeError(_FORKED)
            _refuse_green_threads()
            _runners[pid] = _Runner()
        return _runners[pid]


def _refuse_green_threads() -> None:
    """Refuse threads that are none: the event loop in one of them would hold up the whole process."""
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
