"""What log lines look like, and what never gets into one."""

import asyncio
import json
import logging
import os
import pathlib
import re
import signal
import subprocess
import sys
from typing import Any

import grpc
import pytest

from mistralwire.cli.processes._logging import JsonFormatter, TextFormatter
from mistralwire.client import Client
from mistralwire.errors import MistralwireError, UpstreamError
from tests.service.upstreams import REQUEST, STREAM_REQUEST

from ..serving import run, serving

FORMATS = ["text", "json"]
TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"
SECRET = "secret"


def formatted(format_: str, message: Any, *arguments: Any, **facts: Any) -> str:
    record = logging.LogRecord("some.where", logging.INFO, "file", 1, message, arguments, None)
    vars(record).update(facts)
    return (JsonFormatter() if format_ == "json" else TextFormatter()).format(record)


def failed() -> BaseException:
    try:
        try:
            raise KeyError(SECRET)
        except KeyError as error:
            raise ValueError(SECRET) from error
    except ValueError as error:
        return error


def exc_info(error: BaseException) -> Any:
    return type(error), error, error.__traceback__


def test_a_json_line_has_these_members() -> None:
    line = formatted("json", "%s of %d", "é\n", 7, request_id="r", duration_ms=1.5, secret=SECRET, process=12)

    document = json.loads(line)
    assert "\n" not in line
    assert re.fullmatch(TIME, document.pop("timestamp"))
    assert document == {
        "level": "info",
        "logger": "some.where",
        "process": 12,
        "message": "é\n of 7",
        "request_id": "r",
        "duration_ms": 1.5,
    }


def test_a_text_line_has_the_same_in_readable_form() -> None:
    line = formatted("text", "%s of %d", "é", 7, request_id="r", duration_ms=1.5, secret=SECRET, process=12)

    assert re.fullmatch(rf"{TIME} INFO    \[12\] some\.where: é of 7 request_id=r duration_ms=1\.5", line)


@pytest.mark.parametrize("breaks", ["\n", "\r\n", "\r", "\u2028", "\x0b", "\x1b[2K\n"])
def test_no_text_can_pose_as_another_record(breaks: str) -> None:
    forged = f"a{breaks}2026-01-01T00:00:00.000Z ERROR"
    lines = formatted("text", "%s", forged, peer=forged, model=forged).splitlines()

    assert [bool(re.match(TIME, line)) for line in lines] == [True] + [False] * (len(lines) - 1)
    assert all(line.isprintable() for line in lines)
    assert "\n" not in formatted("json", "%s", forged, peer=forged)


@pytest.mark.parametrize("format_", FORMATS)
@pytest.mark.parametrize(
    ("message", "arguments"),
    [
        ("it broke: %s", (ValueError(SECRET),)),
        ("it broke: %r", (ValueError(SECRET),)),
        ("%(error)s", ({"error": ValueError(SECRET)},)),
        ("%s", ([SECRET],)),
        ("%s", (SECRET.encode(),)),
        (ValueError(SECRET), ()),
        ([SECRET], ()),
        ("%s", (UpstreamError(SECRET),)),
        ("%d", (SECRET,)),
        ("%s %s", (1,)),
    ],
)
def test_arguments_that_may_hold_anything_are_shown_by_their_type(
    format_: str, message: Any, arguments: Any
) -> None:
    line = formatted(format_, message, *arguments)

    assert SECRET not in line
    assert "some.where" in line


@pytest.mark.parametrize("format_", FORMATS)
def test_what_is_wrong_with_a_file_is_shown(format_: str) -> None:
    path = pathlib.Path("/etc/tokens")

    assert "it broke: no file, /etc/tokens" in formatted(
        format_, "it broke: %s, %s", MistralwireError("no file"), path
    )


@pytest.mark.parametrize("format_", FORMATS)
def test_an_exception_is_shown_by_its_types_and_where_it_came_from(format_: str) -> None:
    line = formatted(format_, "it broke", exc_info=exc_info(failed()))

    text = json.loads(line)["stack"] if format_ == "json" else line
    assert SECRET not in line.replace("KeyError(SECRET)", "").replace("ValueError(SECRET)", "")
    assert text.index("builtins.ValueError from") < text.index("builtins.KeyError from")
    assert ", in failed" in text


@pytest.mark.parametrize("format_", FORMATS)
def test_a_long_stack_and_a_long_chain_are_cut(format_: str) -> None:
    def dig(depth: int) -> None:
        if depth:
            dig(depth - 1)
        raise ValueError(SECRET)

    error: BaseException | None = None
    for _ in range(100):
        try:
            dig(200)
        except ValueError as caught:
            caught.__context__ = error
            error = caught
    assert error is not None

    assert len(formatted(format_, "it broke", exc_info=exc_info(error))) < 30_000


_FAILING = """
import asyncio, gc, logging, sys, threading, traceback, warnings
import grpc
from mistralwire.cli._server_settings import LogSettings
from mistralwire.cli.processes._logging import configure_logging, log_loop_error
from mistralwire.client import Client
from mistralwire.errors import MistralwireError, UpstreamError
from mistralwire.errors import CallError
from mistralwire.service import ServerConfig, create_server
from mistralwire.service._observers._observer import AccessLog
from tests.service.upstreams import REQUEST, STREAM_REQUEST

SECRET = "se" + "cret"


class Failing:
    async def complete(self, request, context):
        raise ValueError(f"{SECRET} prompt")

    async def stream(self, request, context):
        raise ExceptionGroup(SECRET, [ValueError(f"{SECRET} prompt")])
        yield


def fail(*_):
    raise ValueError(f"{SECRET} prompt")


async def fail_later():
    fail()


class Unraisable:
    def __del__(self):
        fail()


class Handler(grpc.GenericRpcHandler):
    def service(self, details):
        async def handle(request, context):
            fail()
        return grpc.unary_unary_rpc_method_handler(handle)


async def main():
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(log_loop_error)
    async with create_server(Failing(), ServerConfig(port=0), [AccessLog()]) as server:
        async with Client(server.address) as client:
            for call in (client.complete(REQUEST), anext(client.stream(STREAM_REQUEST))):
                try:
                    await call
                except CallError:
                    pass
    other = grpc.aio.server()
    other.add_generic_rpc_handlers((Handler(),))
    port = other.add_insecure_port("127.0.0.1:0")
    await other.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        try:
            await channel.unary_unary("/a/b")(b"")
        except grpc.aio.AioRpcError:
            pass
    await other.stop(None)
    loop.call_soon(fail, SECRET)
    task = loop.create_task(fail_later())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    del task
    gc.collect()
    thread = threading.Thread(target=fail)
    thread.start()
    thread.join()
    Unraisable()
    try:
        fail()
    except ValueError:
        traceback.print_exc()
        logging.getLogger("a.b").exception("caught")
    warnings.warn("beware", stacklevel=1)
    logging.getLogger("a.b").error("%d", SECRET)


configure_logging(LogSettings(log_level="debug", log_format=sys.argv[1]))
asyncio.run(main())
fail()
"""


@pytest.mark.process
@pytest.mark.parametrize("format_", FORMATS)
def test_no_line_has_the_text_of_an_exception_wherever_it_comes_from(format_: str) -> None:
    path = filter(None, [str(pathlib.Path(__file__).parents[3]), os.environ.get("PYTHONPATH")])
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path)}
    result = subprocess.run(
        [sys.executable, "-W", "default", "-c", _FAILING, format_],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=environment,
    )

    assert result.returncode == 1
    lines = result.stderr.splitlines()
    assert SECRET not in result.stderr, next(line for line in lines if SECRET in line)
    for said in (
        "ended with an unexpected ValueError",
        "ended with an unexpected ExceptionGroup",
        "ChatCompletion INTERNAL",
        "Unexpected [ValueError] raised by servicer method [/a/b]",
        "Exception in callback fail",
        "Task exception was never retrieved",
        "an exception ended a thread",
        "an exception could not be caught",
        "a library printed an exception",
        "beware",
        "an exception ended the process",
    ):
        assert said in result.stderr, said
    for line in lines:
        if format_ == "json":
            json.loads(line)
        else:
            assert re.match(f"{TIME} |    ", line), line


@pytest.mark.process
@pytest.mark.parametrize("format_", FORMATS)
async def test_a_call_of_serve_is_logged_in_one_line(format_: str) -> None:
    async with serving("--log-format", format_) as (process, address, _):
        async with grpc.aio.insecure_channel(address) as channel:
            call = channel.unary_unary("/mistralwire.v1.ChatCompletionService/ChatCompletion")
            metadata = (("x-request-id", "call-17"), ("authorization", f"Bearer {SECRET}"))
            await call(REQUEST.SerializeToString(), metadata=metadata, timeout=30)
        process.send_signal(signal.SIGTERM)
        errors = (await process.communicate())[1].decode()

    (line,) = (line for line in errors.splitlines() if "call-17" in line)
    if format_ == "json":
        document = json.loads(line)
        found = {
            name: document[name] for name in ("level", "logger", "process", "request_id", "method", "code")
        }
        assert found == {
            "level": "info",
            "logger": "mistralwire.access",
            "process": process.pid,
            "request_id": "call-17",
            "method": "ChatCompletion",
            "code": "OK",
        }
    else:
        assert f"INFO    [{process.pid}] mistralwire.access: ChatCompletion OK request_id=call-17 " in line
    assert SECRET not in errors


@pytest.mark.process
async def test_a_higher_level_leaves_out_calls_that_went_well() -> None:
    async with serving("--log-level", "warning") as (process, address, _):
        async with Client(address) as client:
            assert [chunk async for chunk in client.stream(STREAM_REQUEST)]
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(30):
            assert await process.communicate() == (b"", b"")


@pytest.mark.process
async def test_a_port_in_use_leaves_no_line_that_is_not_json() -> None:
    async with serving() as (_, address, _line):
        port = address.rpartition(":")[2]
        result = await asyncio.to_thread(run, "--port", port, "--log-format", "json")

    *lines, last = result.stderr.splitlines()
    assert last.startswith("Error: ")
    assert all(json.loads(line) for line in lines)
