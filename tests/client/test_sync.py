"""The client without an event loop, used from threads and processes of its own against a real server."""

import asyncio
import contextlib
import inspect
import signal
import subprocess
import sys
import threading
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from typing import Any, get_type_hints

import pytest

from mistralwire.client import Client, ClientOptions, SyncClient, SyncPublisher
from mistralwire.errors import CallError
from mistralwire.service import Server, ServerConfig, create_server
from mistralwire.upstream import Upstream
from mistralwire.v1 import (
    AgentsCompletionRequest,
    AgentsCompletionStreamRequest,
    ChatCompletionResponse,
    FIMCompletionRequest,
    FIMCompletionResponse,
    ResponseState,
)
from tests.client.relays import relaying
from tests.service.upstreams import REQUEST, STREAM_REQUEST, EagerUpstream, HeldUpstream, chunk


def serving(upstream: Upstream) -> Server:
    return create_server(upstream, ServerConfig(port=0))


async def test_it_answers_as_the_client_that_it_wraps() -> None:
    upstream = HeldUpstream()
    upstream.items.put_nowait(ChatCompletionResponse(id="chat"))
    upstream.items.put_nowait(FIMCompletionResponse(id="fim"))
    for item in (ChatCompletionResponse(id="agents"), chunk(0), None):
        upstream.items.put_nowait(item)

    def use(address: str) -> None:
        with SyncClient(address) as client:
            assert client.complete(REQUEST, request_id="mine").id == "chat"
            fim = client.complete(FIMCompletionRequest(model="m", prompt="p"))
            assert (type(fim), fim.id) == (FIMCompletionResponse, "fim")
            agents = AgentsCompletionRequest(agent_id="ag_1", messages=REQUEST.messages)
            assert client.complete(agents).id == "agents"
            agents_stream = AgentsCompletionStreamRequest(agent_id="ag_1", messages=REQUEST.messages)
            assert list(client.stream(agents_stream)) == [chunk(0)]

    async with asyncio.timeout(30), serving(upstream) as server:
        await asyncio.to_thread(use, server.address)

    assert upstream.contexts[0].request_id == "mine"


async def test_streams_come_as_chunks_or_as_batches() -> None:
    def use(address: str) -> tuple[list[str], list[int]]:
        with SyncClient(address) as client:
            chunks = [item.id for item in client.stream(STREAM_REQUEST)]
            return chunks, [len(batch) for batch in client.stream_batches(STREAM_REQUEST)]

    async with asyncio.timeout(30), serving(EagerUpstream(1000)) as server:
        chunks, sizes = await asyncio.to_thread(use, server.address)

    assert chunks == [str(number) for number in range(1000)]
    assert sum(sizes) == 1000
    assert len(sizes) < 1000


async def test_it_publishes_follows_and_manages_responses() -> None:
    def use(address: str) -> None:
        with SyncClient(address) as client:
            with client.publish("r") as publisher:
                assert (publisher.response_id, publisher.epoch) == ("r", 0)
                assert publisher.send([chunk(0), chunk(1)]) == publisher.last_sequence == 2
                publisher.flush()
                assert publisher.acknowledged_sequence == 2
                publisher.finish()
            assert list(client.subscribe("r", after=1)) == [(2, chunk(1))]
            batches = list(client.subscribe_batches("r"))
            assert (batches[0].first_sequence, batches[-1].last_sequence) == (1, 2)
            assert client.get_response("r").info.last_sequence == 2
            assert client.cancel_response("r").info.state == ResponseState.RESPONSE_STATE_FINISHED
            assert client.delete_response("r").info.response_id == "r"
            for end in (SyncPublisher.cancel, lambda publisher: publisher.fail(ValueError())):
                with client.publish() as publisher:
                    end(publisher)
            with pytest.raises(CallError, match="internal error"):
                list(client.subscribe(publisher.response_id))
            with pytest.raises(KeyboardInterrupt), client.publish("interrupted"):
                raise KeyboardInterrupt
            states = [info.state for info in client.list_responses(oldest_first=True).responses]
            cancelled, failed = ResponseState.RESPONSE_STATE_CANCELLED, ResponseState.RESPONSE_STATE_FAILED
            assert states == [cancelled, failed, cancelled]

    async with relaying() as server:
        await asyncio.to_thread(use, server.address)


async def test_several_threads_can_use_it_at_a_time() -> None:
    async with asyncio.timeout(60), serving(EagerUpstream(200)) as server:
        client = SyncClient(server.address)

        def use() -> int:
            return sum(1 for _ in client.stream(STREAM_REQUEST))

        counts = await asyncio.gather(*(asyncio.to_thread(use) for _ in range(8)))
        await asyncio.to_thread(client.close)

    assert counts == [200] * 8


async def test_leaving_a_stream_early_cancels_the_call() -> None:
    upstream = EagerUpstream(None, "x" * 100)

    def use(client: SyncClient) -> None:
        for item in client.stream(STREAM_REQUEST):
            assert item.id == "0"
            break

    async with asyncio.timeout(30), serving(upstream) as server:
        client = SyncClient(server.address)
        await asyncio.to_thread(use, client)
        await upstream.closed.wait()
        await asyncio.to_thread(client.close)


async def test_errors_are_the_same() -> None:
    upstream = HeldUpstream()
    upstream.items.put_nowait(chunk(0))
    upstream.items.put_nowait(RuntimeError())

    def use(address: str) -> None:
        with SyncClient(address) as client:
            stream = client.stream(STREAM_REQUEST, request_id="mine")
            assert next(stream) == chunk(0)
            with pytest.raises(CallError) as caught:
                next(stream)
            assert (caught.value.code, caught.value.request_id) == ("INTERNAL", "mine")
            with pytest.raises(TypeError, match="expected a dict or ChatCompletionRequest"):
                client.complete(STREAM_REQUEST)  # type: ignore[call-overload]
            with pytest.raises(ValueError, match="deadline_s must be a number above 0"):
                next(client.stream(STREAM_REQUEST, deadline_s=0))
        for call in (lambda: client.complete(REQUEST), lambda: next(client.stream(STREAM_REQUEST))):
            with pytest.raises(CallError, match="the client is closed"):
                call()
        client.close()

    async with asyncio.timeout(30), serving(upstream) as server:
        await asyncio.to_thread(use, server.address)
    with pytest.raises(ValueError, match="target must be an address such as 'localhost:50051', not empty"):
        SyncClient("")


async def test_closing_it_ends_the_calls_of_other_threads() -> None:
    upstream = HeldUpstream()
    async with asyncio.timeout(30), serving(upstream) as server:
        client = SyncClient(server.address)
        call = asyncio.create_task(asyncio.to_thread(client.complete, REQUEST))
        await upstream.started.wait()
        await asyncio.to_thread(client.close)
        with pytest.raises(CallError) as caught:
            await call
        await upstream.closed.wait()

    assert caught.value.reason == "CLIENT_CLOSED"


async def test_a_stream_can_be_thrown_away_by_the_thread_that_runs_it() -> None:
    """The garbage collector runs in any thread."""
    upstream = EagerUpstream(None, "x" * 100)
    async with asyncio.timeout(30), serving(upstream) as server:
        client = SyncClient(server.address)
        stream = client.stream(STREAM_REQUEST)
        await asyncio.to_thread(next, stream)
        done = threading.Event()

        def close() -> None:
            stream.close()
            done.set()

        client._runner()._loop.call_soon_threadsafe(close)
        assert await asyncio.to_thread(done.wait, 30)
        await upstream.closed.wait()
        await asyncio.to_thread(client.close)


def test_its_arguments_are_those_of_the_client() -> None:
    def arguments(function: Any) -> dict[str, Any]:
        hints = get_type_hints(function)
        names = [
            name
            for name, parameter in inspect.signature(function).parameters.items()
            if parameter.kind is inspect.Parameter.KEYWORD_ONLY
        ]
        return {name: hints[name] for name in names}

    assert arguments(Client.__init__) == get_type_hints(ClientOptions)
    for name in ("list_responses", "subscribe_batches", "subscribe", "publish"):
        assert arguments(getattr(SyncClient, name)) == arguments(getattr(Client, name))


PRELUDE = """
import logging, os, sys
# How long a step of the event loop takes is the machine's matter.
logging.getLogger("asyncio").addFilter(lambda record: " took " not in record.getMessage())
from mistralwire.client import SyncClient
from mistralwire.errors import CallError
from mistralwire.v1 import *
messages = [ChatMessage(user=UserMessage(role="user", content_string="hello"))]
request = ChatCompletionRequest(model="m", messages=messages)
stream_request = ChatCompletionStreamRequest(model="m", messages=messages)
client = SyncClient(sys.argv[1])
"""


@contextlib.asynccontextmanager
async def program(code: str, address: str) -> AsyncIterator[Process]:
    # In development mode Python reports what is not closed at exit.
    command = (sys.executable, "-X", "dev", "-c", PRELUDE + code, address)
    process = await asyncio.create_subprocess_exec(*command, stdout=PIPE, stderr=PIPE)
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


@pytest.mark.process
@pytest.mark.parametrize("call", ["client.complete(request)", "list(client.stream(stream_request))"])
async def test_control_c_cancels_the_call(call: str) -> None:
    upstream = HeldUpstream()
    code = f"try:\n    {call}\nexcept KeyboardInterrupt:\n    print('interrupted')\n"
    async with (
        asyncio.timeout(60),
        serving(upstream) as server,
        program(code, server.address) as process,
    ):
        await upstream.started.wait()
        process.send_signal(signal.SIGINT)
        await upstream.closed.wait()
        output, errors = await process.communicate()

    assert (process.returncode, output, errors.decode()) == (0, b"interrupted\n", "")


@pytest.mark.process
async def test_control_c_that_does_not_wake_the_waiting_thread_cancels_the_call() -> None:
    # Another thread takes the signal; Python still handles it in the first one. The same happens to a signal
    # that arrives between the thread's last look for one and the moment that it waits.
    code = """
import signal, threading, time
threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
try:
    list(client.stream(stream_request))
except KeyboardInterrupt:
    print('interrupted')
"""
    upstream = HeldUpstream()
    async with (
        asyncio.timeout(30),
        serving(upstream) as server,
        program(code, server.address) as process,
    ):
        await upstream.started.wait()
        process.send_signal(signal.SIGINT)
        await upstream.closed.wait()
        output, errors = await process.communicate()

    assert (process.returncode, output, errors.decode()) == (0, b"interrupted\n", "")


async def test_control_c_before_the_thread_waits_cancels_the_call(monkeypatch: pytest.MonkeyPatch) -> None:
    upstream = HeldUpstream()
    started = threading.Event()
    submit = asyncio.run_coroutine_threadsafe

    def interrupted(*arguments: Any) -> Any:
        submit(*arguments)
        assert started.wait(30)
        raise KeyboardInterrupt

    def use(client: SyncClient) -> None:
        monkeypatch.setattr(asyncio, "run_coroutine_threadsafe", interrupted)
        with pytest.raises(KeyboardInterrupt):
            client.complete(REQUEST)
        monkeypatch.undo()

    async with asyncio.timeout(30), serving(upstream) as server:
        client = SyncClient(server.address)
        using = asyncio.create_task(asyncio.to_thread(use, client))
        await upstream.started.wait()
        started.set()
        await using
        await upstream.closed.wait()
        await asyncio.to_thread(client.close)


@pytest.mark.process
async def test_a_program_that_ends_in_the_middle_of_a_stream_just_ends() -> None:
    upstream = HeldUpstream()
    upstream.items.put_nowait(chunk(0))
    code = "stream = client.stream(stream_request)\nprint(next(stream).id)\n"
    async with (
        asyncio.timeout(60),
        serving(upstream) as server,
        program(code, server.address) as process,
    ):
        output, errors = await process.communicate()
        await upstream.closed.wait()

    assert (process.returncode, output, errors.decode()) == (0, b"0\n", "")


@pytest.mark.process
async def test_a_call_in_another_thread_does_not_keep_the_program() -> None:
    upstream = HeldUpstream()
    code = """
import threading
threading.Thread(target=lambda: client.complete(request), daemon=True).start()
sys.stdin.read(1)
"""
    async with asyncio.timeout(60), serving(upstream) as server:
        command = (sys.executable, "-c", PRELUDE + code, server.address)
        process = await asyncio.create_subprocess_exec(*command, stdin=PIPE, stdout=PIPE, stderr=PIPE)
        await upstream.started.wait()
        await process.communicate(b"x")
        await upstream.closed.wait()

    assert process.returncode == 0


@pytest.mark.process
async def test_what_runs_after_the_end_of_its_thread_gets_an_error_or_nothing_to_close() -> None:
    code = """
try:
    client.complete(request)
except RuntimeError as error:
    print(error)
client.close()
"""
    # atexit functions run in reverse: one that was registered before the client runs after its end.
    prelude = f"import atexit\natexit.register(lambda: exec({code!r}, globals()))\n"
    async with asyncio.timeout(60):
        first_call = "try:\n    client.complete(request)\nexcept CallError:\n    pass\n"
        command = (sys.executable, "-X", "dev", "-c", prelude + PRELUDE + first_call, "127.0.0.1:1")
        process = await asyncio.create_subprocess_exec(*command, stdout=PIPE, stderr=PIPE)
        output, errors = await process.communicate()

    assert (process.returncode, errors.decode()) == (0, "")
    assert output.startswith(b"the program exits, and its SyncClients are closed")


@pytest.mark.process
async def test_a_forked_process_gets_an_error_instead_of_silence() -> None:
    code = """
assert [chunk.id for chunk in client.stream(stream_request)] == ["0"]
if child := os.fork():
    _, status = os.waitpid(child, 0)
    assert [chunk.id for chunk in client.stream(stream_request)] == ["0"]
    print("parent", os.waitstatus_to_exitcode(status))
else:
    for each in (client, SyncClient(sys.argv[1])):
        try:
            each.complete(request)
        except RuntimeError as error:
            for name in ("post_fork", "worker_process_init", "spawn or forkserver"):
                assert name in str(error)
        else:
            os._exit(1)
    client.close()
    os._exit(7)
"""
    async with (
        asyncio.timeout(60),
        serving(EagerUpstream(1)) as server,
        program(code, server.address) as process,
    ):
        output, _ = await process.communicate()

    assert (process.returncode, output) == (0, b"parent 7\n")


@pytest.mark.process
async def test_a_client_that_made_no_call_before_a_fork_works_in_all_processes() -> None:
    code = """
children = []
for _ in range(2):
    if child := os.fork():
        children.append(child)
    else:
        assert [chunk.id for chunk in client.stream(stream_request)] == ["0"]
        with SyncClient(sys.argv[1]) as other:
            assert [chunk.id for chunk in other.stream(stream_request)] == ["0"]
        client.close()
        os._exit(7)
assert [chunk.id for chunk in client.stream(stream_request)] == ["0"]
print([os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children])
"""
    async with (
        asyncio.timeout(60),
        serving(EagerUpstream(1)) as server,
        program(code, server.address) as process,
    ):
        output, _ = await process.communicate()

    assert (process.returncode, output) == (0, b"[7, 7]\n")


@pytest.mark.process
async def test_closing_a_client_that_made_no_call_leaves_forks_fine() -> None:
    code = """
SyncClient(sys.argv[1]).close()
if child := os.fork():
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
else:
    assert [chunk.id for chunk in client.stream(stream_request)] == ["0"]
    os._exit(7)
"""
    async with (
        asyncio.timeout(60),
        serving(EagerUpstream(1)) as server,
        program(code, server.address) as process,
    ):
        output, _ = await process.communicate()

    assert (process.returncode, output) == (0, b"7\n")


async def test_a_client_that_is_closed_before_its_first_call_is_closed() -> None:
    def use() -> None:
        client = SyncClient("127.0.0.1:1")
        client.close()
        with pytest.raises(CallError) as caught:
            client.complete(REQUEST)
        assert caught.value.reason == "CLIENT_CLOSED"

    await asyncio.to_thread(use)


@pytest.mark.process
@pytest.mark.parametrize(
    ("patch", "name"),
    [
        ("import gevent.monkey; gevent.monkey.patch_all()", "gevent"),
        ("import gevent.monkey; gevent.monkey.patch_thread()", "gevent"),
        (
            "import warnings; warnings.simplefilter('ignore'); import eventlet; eventlet.monkey_patch()",
            "eventlet",
        ),
    ],
)
@pytest.mark.parametrize("is_late", [False, True], ids=["from the start", "after it was made"])
def test_green_threads_are_refused(patch: str, name: str, is_late: bool) -> None:
    make, call = "client = SyncClient('127.0.0.1:1')", "client.complete(ChatCompletionRequest(model='m'))"
    lines = [make, patch, call] if is_late else [patch, make]
    code = "\n".join(["from mistralwire.client import SyncClient", "from mistralwire.v1 import *", *lines])
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert last.startswith(
        f"RuntimeError: expected threads of the operating system for a SyncClient, found those of {name};"
    )
