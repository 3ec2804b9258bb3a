"""The client for programs without an event loop."""

import asyncio
import atexit
import contextlib
import os
import sys
import threading
import types
import weakref
from collections.abc import AsyncGenerator, Coroutine, Generator
from typing import Any, Generic, Self, TypeVar, Unpack, overload

from mistralwire._metadata import checked_request_id
from mistralwire.client._client import Client, ClientOptions, StreamRequest
from mistralwire.client._publisher import Events, Publisher
from mistralwire.client._response import ChunkBatch
from mistralwire.client._stub import CallOptions, CompletionOptions, StreamOptions
from mistralwire.client._subscription import RECONNECT_S, EventBatch, ResponseEvent, events_in
from mistralwire.v1 import (
    AgentsCompletionRequest,
    CancelResponseResponse,
    ChatCompletionRequest,
    ChatCompletionResponse,
    CompletionChunk,
    DeleteResponseResponse,
    FIMCompletionRequest,
    FIMCompletionResponse,
    GetResponseResponse,
    ListResponsesResponse,
    ResponseKind,
    ResponseState,
)

_EXIT_S = 5.0
# A signal that arrives just before a thread begins to wait, or that another thread takes, does not wake it.
_SIGNAL_S = 0.5

ResultT = TypeVar("ResultT")
ItemT = TypeVar("ItemT")


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
        self, request: ChatCompletionRequest | AgentsCompletionRequest, **options: Unpack[CompletionOptions]
    ) -> ChatCompletionResponse: ...

    @overload
    def complete(
        self, request: FIMCompletionRequest, **options: Unpack[CompletionOptions]
    ) -> FIMCompletionResponse: ...

    @overload
    def complete(
        self, request: dict[str, Any], **options: Unpack[CompletionOptions]
    ) -> ChatCompletionResponse | FIMCompletionResponse: ...

    def complete(
        self,
        request: ChatCompletionRequest | FIMCompletionRequest | AgentsCompletionRequest | dict[str, Any],
        **options: Unpack[CompletionOptions],
    ) -> ChatCompletionResponse | FIMCompletionResponse:
        """Request a completion as one response; see `Client.complete`.

        Raises:
            RuntimeError: In a forked process, or while the program exits.
        """
        return self._runner().run(self._client.complete(request, **options))

    def stream(
        self, request: StreamRequest, **options: Unpack[StreamOptions]
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
        self, request: StreamRequest, **options: Unpack[StreamOptions]
    ) -> Generator[ChunkBatch, None, None]:
        """Request a completion as a stream, and yield it message by message; see `Client.stream_batches`.

        Raises:
            RuntimeError: See `complete`.
        """
        return self._iterate(self._client.stream_batches(request, **options))

    def get_response(
        self, response_id: str, *, info_only: bool = False, **options: Unpack[CallOptions]
    ) -> GetResponseResponse:
        """Return a stored response as far as it is; see `Client.get_response`."""
        return self._runner().run(self._client.get_response(response_id, info_only=info_only, **options))

    def list_responses(
        self,
        *,
        page_size: int | None = None,
        page_token: str | None = None,
        oldest_first: bool = False,
        state: ResponseState | None = None,
        model: str | None = None,
        **options: Unpack[CallOptions],
    ) -> ListResponsesResponse:
        """Return a page of the caller's responses; see `Client.list_responses`."""
        page = self._client.list_responses(
            page_size=page_size,
            page_token=page_token,
            oldest_first=oldest_first,
            state=state,
            model=model,
            **options,
        )
        return self._runner().run(page)

    def cancel_response(self, response_id: str, **options: Unpack[CallOptions]) -> CancelResponseResponse:
        """Cancel a running response; see `Client.cancel_response`."""
        return self._runner().run(self._client.cancel_response(response_id, **options))

    def delete_response(self, response_id: str, **options: Unpack[CallOptions]) -> DeleteResponseResponse:
        """Delete a response that has ended; see `Client.delete_response`."""
        return self._runner().run(self._client.delete_response(response_id, **options))

    def subscribe_batches(
        self,
        response_id: str,
        *,
        after: int = 0,
        reconnect_s: float = RECONNECT_S,
        **options: Unpack[CallOptions],
    ) -> Generator[EventBatch, None, None]:
        """Follow a response, and yield its events in batches; see `Client.subscribe_batches`."""
        return self._iterate(
            self._client.subscribe_batches(response_id, after=after, reconnect_s=reconnect_s, **options)
        )

    def subscribe(
        self,
        response_id: str,
        *,
        after: int = 0,
        reconnect_s: float = RECONNECT_S,
        **options: Unpack[CallOptions],
    ) -> Generator[ResponseEvent, None, None]:
        """Follow a response, and yield its events with their numbers; see `Client.subscribe`."""
        options["request_id"] = request_id = checked_request_id(options.get("request_id"))
        batches = self.subscribe_batches(response_id, after=after, reconnect_s=reconnect_s, **options)
        with contextlib.closing(batches):
            for batch in batches:
                yield from events_in(batch, request_id)

    def publish(
        self,
        response_id: str | None = None,
        *,
        epoch: int = 0,
        kind: ResponseKind = ResponseKind.RESPONSE_KIND_CHAT,
        reconnect_s: float = RECONNECT_S,
        **options: Unpack[CallOptions],
    ) -> "SyncPublisher":
        """Publish a response: a context manager, whose block sends the events; see `Client.publish`."""
        return SyncPublisher(
            self._runner(),
            self._client.publish(response_id, epoch=epoch, kind=kind, reconnect_s=reconnect_s, **options),
        )

    def _iterate(self, items: AsyncGenerator[ItemT, None]) -> Generator[ItemT, None, None]:
        runner = self._runner()
        stream = _Stream(items)
        try:
            while (item := runner.run(stream.next())) is not None:
                yield item
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


class SyncPublisher:
    """The producer of one response, made by `SyncClient.publish`: a context manager; see `Publisher`.

    Attributes:
        response_id: Id of the response.
        epoch: Epoch of this producer.
    """

    def __init__(self, runner: "_Runner", publisher: Publisher) -> None:
        self.response_id = publisher.response_id
        self.epoch = publisher.epoch
        self._runner = runner
        self._publisher = publisher

    @property
    def acknowledged_sequence(self) -> int:
        """Number of the last event that is stored; see `Publisher.acknowledged_sequence`."""
        return self._publisher.acknowledged_sequence

    @property
    def last_sequence(self) -> int:
        """Number of the last event that was sent or kept to be sent."""
        return self._publisher.last_sequence

    def __enter__(self) -> Self:
        """Open the response, and return the publisher."""
        self._runner.run(self._publisher.__aenter__())
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: types.TracebackType | None,
    ) -> None:
        self._runner.run(self._publisher.__aexit__(kind, error, traceback))

    def send(self, events: Events) -> int:
        """Add events to the response, and return the number of the last one; see `Publisher.send`."""
        return self._runner.run(self._publisher.send(events))

    def flush(self) -> None:
        """Wait until all events so far are acknowledged."""
        self._runner.run(self._publisher.flush())

    def finish(self) -> None:
        """End the response as complete, and wait until all of it is stored."""
        self._runner.run(self._publisher.finish())

    def cancel(self) -> None:
        """End the response as cancelled."""
        self._runner.run(self._publisher.cancel())

    def fail(self, error: BaseException) -> None:
        """End the response as failed; see `Publisher.fail`."""
        self._runner.run(self._publisher.fail(error))


class _Stream(Generic[ItemT]):
    """The items of one call, one step at a time: a cancelled step ends before the call is closed."""

    def __init__(self, items: AsyncGenerator[ItemT, None]) -> None:
        self._items = items
        self._step = asyncio.Lock()

    async def next(self) -> ItemT | None:
        async with self._step:
            return await anext(self._items, None)

    async def close(self) -> None:
        async with self._step:
            await self._items.aclose()


class _CancellableCall(Generic[ResultT]):
    """A coroutine for the event loop, which another thread may cancel at any moment, even before it runs."""

    def __init__(self, coroutine: Coroutine[Any, Any, ResultT]) -> None:
        self._coroutine = coroutine
        self._task: asyncio.Task[Any] | None = None
        self._is_cancelled = False

    async def run(self) -> ResultT:
        self._task = asyncio.current_task()
        if self._is_cancelled:
            self._coroutine.close()
            raise asyncio.CancelledError
        return await self._coroutine

    def cancel(self) -> None:
        self._is_cancelled = True
        if self._task is not None:
            self._task.cancel()


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
        call = _CancellableCall(coroutine)
        try:
            future = asyncio.run_coroutine_threadsafe(call.run(), self._loop)
            while True:
                try:
                    return future.result(_SIGNAL_S)
                except TimeoutError:
                    # Unless it is the coroutine's own.
                    if future.done():
                        return future.result()
        except BaseException:
            # Ctrl-C may come before there is a future; the step is there. No effect on one that is over.
            with contextlib.suppress(RuntimeError):  # the thread has ended
                self._loop.call_soon_threadsafe(call.cancel)
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
