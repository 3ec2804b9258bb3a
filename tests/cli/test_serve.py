"""`mistralwire serve` as a process of its own."""

import asyncio
import json
import pathlib
import signal
import subprocess
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from mistralwire import to_json
from mistralwire.client import Client
from tests.service.upstreams import REQUEST, STREAM_REQUEST
from tests.upstream_server import UpstreamServer, json_answer

from .serving import COMMAND, REPLAY, refused, run, serving

pytestmark = pytest.mark.process


def as_json(message: Any) -> Any:
    return json.loads(to_json(message))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_the_demonstration_runs_with_nothing_else_and_ends_on_a_signal(number: signal.Signals) -> None:
    async with serving("--log-level", "warning") as (process, address, line):
        async with Client(address) as client:
            response = await client.complete(REQUEST)
            chunks = [item async for item in client.stream(STREAM_REQUEST)]
        process.send_signal(number)
        output, errors = await process.communicate()

    assert line == f"listening on {address}, replaying the demonstration; press Ctrl-C to stop\n"
    assert address.startswith("127.0.0.1:")
    assert response.model == "mistral-small-latest"
    assert as_json(chunks[-1])["choices"][0]["finish_reason"] == "tool_calls"
    assert (process.returncode, output, errors) == (0, b"", b"")


async def test_recordings_are_served_as_they_were_recorded() -> None:
    recordings = (str(REPLAY / "chat.json"), str(REPLAY / "chat.sse"))
    async with serving(*recordings) as (_, address, line), Client(address) as client:
        response = await client.complete(REQUEST)
        ids = {item.id async for item in client.stream(STREAM_REQUEST)}

    assert "replaying 2 recordings from" in line
    assert as_json(response) == json.loads((REPLAY / "chat.json").read_text())
    assert ids == {"stream-1"}


async def test_a_running_stream_is_drained_before_the_end() -> None:
    # 12 chunks at this pace take about half a second, much longer than a signal.
    async with serving(str(REPLAY / "chat.sse"), "--chunks-per-second", "20") as (process, address, _):
        async with Client(address) as client:
            stream = client.stream(STREAM_REQUEST)
            first = await anext(stream)
            process.send_signal(signal.SIGTERM)
            rest = [item async for item in stream]
        await process.communicate()

    assert len([first, *rest]) == 12
    assert process.returncode == 0


async def test_a_stream_that_outlives_the_drain_does_not_stop_the_end() -> None:
    arguments = (str(REPLAY / "chat.sse"), "--chunks-per-second", "0.01", "--drain-s", "0")
    async with serving(*arguments) as (process, address, _), Client(address) as client:
        await anext(client.stream(STREAM_REQUEST))
        process.send_signal(signal.SIGTERM)
        await process.communicate()

    assert process.returncode == 0


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "example.com"])
def test_an_address_beyond_this_machine_needs_the_insecure_flag(host: str) -> None:
    message = refused(2, "--host", host)

    assert f"--host must be a loopback address such as 127.0.0.1, not '{host}'" in message
    assert message.endswith("set --tls-certificate and --tls-key, or --insecure to allow that")


async def test_the_insecure_flag_serves_other_machines_too() -> None:
    async with (
        serving("--host", "0.0.0.0", "--insecure") as (_, address, _line),
        Client(address.replace("0.0.0.0", "127.0.0.1")) as client,
    ):
        assert (await client.complete(REQUEST)).id == "demonstration-answer"


async def test_a_port_that_is_taken_is_said_in_one_line() -> None:
    async with serving() as (_, address, _line):
        result = await asyncio.to_thread(run, "--port", address.rpartition(":")[2])

    assert result.returncode == 1
    assert result.stderr == f"Error: {address} is in use; stop what listens there, or take another port\n"


def test_a_host_that_does_not_resolve_is_told_from_a_port_in_use() -> None:
    result = run("--host", "name.invalid", "--insecure")

    assert result.returncode == 1
    assert result.stderr.splitlines()[-1] == (
        "Error: expected an address of this machine to listen on, "
        "found 'name.invalid', which does not resolve"
    )


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--chunks-per-second", "nan"),
        ("--chunks-per-second", "inf"),
        ("--chunks-per-second", "0"),
        ("--drain-s", "nan"),
        ("--drain-s", "inf"),
        ("--drain-s", "-1"),
        ("--workers", "0"),
    ],
)
def test_a_value_out_of_its_range_is_a_usage_error(option: str, value: str) -> None:
    assert refused(2, f"{option}={value}").startswith(f"Invalid value for {option}: ")


def test_an_empty_host_is_a_usage_error() -> None:
    assert refused(2, "--host", "").startswith("--host must not be empty")


@pytest.mark.parametrize(("number", "returncode"), [(signal.SIGTERM, -signal.SIGTERM), (signal.SIGINT, 130)])
async def test_a_second_signal_ends_a_drain_at_once(number: signal.Signals, returncode: int) -> None:
    arguments = (str(REPLAY / "chat.sse"), "--chunks-per-second", "0.01", "--drain-s", "600")
    async with (
        serving(*arguments) as (process, address, _),
        Client(address) as client,
        grpc.aio.insecure_channel(address) as channel,
    ):
        stream = client.stream(STREAM_REQUEST)
        await anext(stream)
        stub: Any = health_pb2_grpc.HealthStub(channel)
        watch = stub.Watch(health_pb2.HealthCheckRequest())
        assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVING
        process.send_signal(number)
        assert (await watch.read()).status == health_pb2.HealthCheckResponse.NOT_SERVING
        watch.cancel()
        process.send_signal(number)
        _, errors = await process.communicate()
        await stream.aclose()

    assert process.returncode == returncode
    assert b"Traceback" not in errors
    assert errors.endswith(b"interrupted\n") == (number == signal.SIGINT)


def test_a_server_whose_address_can_not_be_printed_is_stopped() -> None:
    with pathlib.Path("/dev/full").open("wb") as full:
        result = subprocess.run(
            [*COMMAND, "--port", "0"], stdout=full, stderr=subprocess.PIPE, timeout=60, check=False
        )

    assert result.returncode == 1
    assert result.stderr.endswith(b"Error: standard output: No space left on device\n")


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_file_that_can_not_be_used_is_said_with_the_place_that_names_it(
    workers: str, tmp_path: pathlib.Path
) -> None:
    file = tmp_path / "m.toml"
    file.write_text('[serve]\ntoken_file = "nowhere"\n')

    arguments = ("--workers", workers)
    said = refused(1, *arguments, "--token-file", "nowhere")
    assert said == "--token-file: expected a file, found none at nowhere; check the path"
    said = refused(1, *arguments, "--config", str(file))
    assert said.startswith(f"token_file in {file}: expected a file, found none at {tmp_path}")


async def test_the_log_says_what_ended_the_service() -> None:
    async with serving() as (process, _, _line):
        process.send_signal(signal.SIGTERM)
        _, errors = await process.communicate()

    assert b"SIGTERM: refusing new calls, waiting for running calls to end" in errors


def test_a_bad_recording_is_said_with_file_and_line(tmp_path: pathlib.Path) -> None:
    recording = tmp_path / "bad.sse"
    recording.write_text("data: {}\n\ndata: {oops\n\n")

    assert refused(1, recording).startswith(f"{recording}:3: ")


def test_the_help_has_examples_and_exit_codes() -> None:
    result = run("--help")

    assert result.returncode == 0
    assert "    mistralwire serve recordings/ --port 8080" in result.stdout
    assert ": delay 120" in result.stdout
    assert "Exit codes:" in result.stdout
    assert "\b" not in result.stdout


@pytest.mark.parametrize("workers", ["1", "2"])
async def test_the_upstreams_of_the_file_are_asked(workers: str, tmp_path: pathlib.Path) -> None:
    answer = (REPLAY / "chat.json").read_bytes()
    (tmp_path / "key").write_text("a-key\n")
    file = tmp_path / "m.toml"
    async with UpstreamServer(json_answer(answer)) as upstream:
        file.write_text(
            f'[[upstreams]]\nkind = "mistral"\nname = "own"\nbase_url = "{upstream.url}"\nkey_file = "key"\n'
        )
        arguments = ("--config", str(file), "--workers", workers)
        async with serving(*arguments) as (process, address, line), Client(address) as client:
            response = await client.complete(REQUEST)
            process.send_signal(signal.SIGTERM)
            await process.communicate()

    assert f", calling own at {upstream.url}; " in line
    assert as_json(response) == json.loads(answer)
    assert [request.headers["authorization"] for request in upstream.received] == ["Bearer a-key"]
    assert process.returncode == 0


async def test_one_url_is_asked_without_a_key_if_there_is_none() -> None:
    answer = (REPLAY / "chat.json").read_bytes()
    async with UpstreamServer(json_answer(answer)) as upstream:
        arguments = ("--upstream-url", f"{upstream.url}/v1")
        env = {"MISTRAL_API_KEY": ""}
        async with serving(*arguments, env=env) as (_, address, line), Client(address) as client:
            response = await client.complete(REQUEST)

    assert f"calling {upstream.url}/v1, without a key: MISTRAL_API_KEY is not set; press Ctrl-C" in line
    assert as_json(response) == json.loads(answer)
    [request] = upstream.received
    assert request.path == "/v1/chat/completions"
    assert "authorization" not in request.headers
