"""What the README shows runs, and what its table claims is true."""

import asyncio
import contextlib
import io
import json
import os
import pathlib
import re
import sys
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from google.protobuf import json_format

from mistralwire import check, from_json, to_json
from mistralwire.cli.demo._comparison import usual_from_json, usual_to_json
from mistralwire.client import Client
from mistralwire.gateway import GatewayConfig, GatewayServer
from mistralwire.v1 import (
    ChatCompletionRequest,
    ChatCompletionResponse,
    ChatCompletionStreamRequest,
    ChatMessage,
    UserMessage,
)
from tests.json_equality import parse_exactly

README = pathlib.Path(__file__).parents[1] / "README.md"
_BLOCKS = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)


def _response(choice: str = "", more: str = "") -> str:
    return (
        '{"id":"c","object":"chat.completion","model":"m","created":1702256327,"usage":{"prompt_tokens":1},'
        f'"choices":[{{"index":0,"finish_reason":"stop"{choice}}}]{more}}}'
    )


def _message(members: str) -> str:
    return _response(f',"message":{{"role":"assistant",{members}}}')


def _arguments(text: str) -> str:
    return _message(f'"content":"","tool_calls":[{{"function":{{"name":"f","arguments":{text}}}}}]')


# Each row of the table: documents of which the usual schema can't give back at least one.
ROWS = {
    "members that are not documented": [_response(more=',"p":"abc"')],
    "`null` or absent": [_message('"content":null'), _response(',"logprobs":null')],
    "`[]` or absent": [_message('"content":"a","tool_calls":[]')],
    "a `finish_reason` that is not documented yet": [_response().replace('"stop"', '"tired"')],
    "`content` as text or as a list": [
        _message('"content":"a"'),
        _message('"content":[{"type":"text","text":"a"}]'),
    ],
    "a content piece with an unknown `type`": [_message('"content":[{"type":"hologram","x":[1]}]')],
    "`arguments` as text or as an object": [_arguments('"{}"'), _arguments('{"a":1}')],
    "9007199254740993 in free-form JSON": [_response(more=',"metadata":{"n":9007199254740993}')],
    "integers beyond 64 bits, 1e400, many digits": [
        _response(more=',"metadata":{"n":[123456789012345678901234567890,1e400,0.12345678901234567890123]}')
    ],
    "integers such as `created`": [_response()],
}


def _table_labels() -> list[str]:
    table = README.read_text().partition("| in the JSON |")[2].partition("\n\n")[0]
    return [line.split("|")[1].strip() for line in table.splitlines()[2:]]


def test_each_row_of_the_table_is_tested() -> None:
    assert _table_labels() == [*ROWS, "snake_case names"]


@pytest.mark.parametrize("label", ROWS)
def test_what_survives_here(label: str) -> None:
    for text in ROWS[label]:
        message = from_json(ChatCompletionResponse, text)
        assert parse_exactly(to_json(message)) == parse_exactly(text.encode())


@pytest.mark.parametrize("label", ROWS)
def test_what_the_usual_schema_loses(label: str) -> None:
    assert not all(_survives_json_format(text) for text in ROWS[label])


def _survives_json_format(text: str) -> bool:
    try:
        written = usual_to_json(usual_from_json(text))
    except (json_format.Error, ValueError):
        return False
    return bool(json.loads(written) == json.loads(text))


def test_the_codec_example_runs() -> None:
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        exec(compile(_BLOCKS[0], "README.md", "exec"), {"__name__": "readme"})
    printed = output.getvalue()
    assert printed.startswith("Bonjour! 50\n{\n")
    assert '"finishReason": "stop"' in printed
    assert "3 violations in ChatCompletionRequest:\n  model: expected a string, found the number 7" in printed


def test_the_codec_example_says_the_right_size() -> None:
    namespace: dict[str, Any] = {"__name__": "readme"}
    with contextlib.redirect_stdout(io.StringIO()):
        exec(compile(_BLOCKS[0], "README.md", "exec"), namespace)
    size = re.search(r"# (\d+) bytes, readable", _BLOCKS[0])
    assert size is not None
    assert len(namespace["wire"]) == int(size[1])


def test_the_stream_example_runs() -> None:
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        exec(compile(_BLOCKS[1], "README.md", "exec"), {"__name__": "readme"})
    event, _, rest = output.getvalue().partition("\n\n")
    assert event == 'id: 1\ndata: {"id":"1","model":"m","choices":[],"p":"abc"}'
    assert rest.startswith("the upstream failed: Overloaded\ndocument: expected")


@contextlib.asynccontextmanager
async def _listening(command: str, *arguments: str) -> AsyncIterator[str]:
    """Run a command on a free port, and yield its address."""
    words = [sys.executable, "-m", "mistralwire", command, "--port", "0", *arguments]
    process = await asyncio.create_subprocess_exec(*words, stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    try:
        yield (await asyncio.wait_for(process.stdout.readline(), 30)).decode().split()[2].rstrip(",")
    finally:
        process.terminate()
        await process.communicate()


async def _printed_by(source: str) -> str:
    example = await asyncio.create_subprocess_exec(
        sys.executable, "-c", source, stdout=asyncio.subprocess.PIPE
    )
    output, _ = await asyncio.wait_for(example.communicate(), 60)
    assert example.returncode == 0
    return output.decode()


@pytest.mark.process
async def test_the_client_example_runs_against_serve() -> None:
    async with _listening("serve") as address:
        printed = await _printed_by(_BLOCKS[2].replace("localhost:50051", address))

    assert printed.startswith("Let me look at the weather in Paris.")


@pytest.mark.process
async def test_the_sdk_example_runs_against_gateway() -> None:
    pytest.importorskip("mistralai", reason="needs the SDK")
    async with _listening("gateway") as url:
        printed = await _printed_by(_BLOCKS[4].replace("http://127.0.0.1:8080", url))

    assert printed.startswith("Hello! This answer was recorded")


@pytest.mark.process
async def test_the_application_example_answers() -> None:
    async with _listening("serve") as address:
        namespace: dict[str, Any] = {"__name__": "readme"}
        exec(compile(_BLOCKS[5].replace("localhost:50051", address), "README.md", "exec"), namespace)
        config = GatewayConfig(port=0)
        async with (
            GatewayServer(namespace["app"], config) as server,
            aiohttp.ClientSession() as session,
            session.get(f"{server.url}/readyz") as response,
        ):
            assert response.status == 200
            await namespace["client"].close()


@pytest.mark.process
async def test_the_upstream_example_answers_and_ends_on_a_signal() -> None:
    source = _BLOCKS[3].replace("port=50052", "port=0").replace('address}")', 'address}", flush=True)')
    pipe = asyncio.subprocess.PIPE
    example = await asyncio.create_subprocess_exec(sys.executable, "-c", source, stdout=pipe)
    assert example.stdout is not None
    try:
        address = (await asyncio.wait_for(example.stdout.readline(), 30)).decode().split()[2]
        messages = [ChatMessage(user=UserMessage(content_string="say it again"))]
        async with Client(address) as client:
            response = await client.complete(ChatCompletionRequest(model="m", messages=messages))
            stream = client.stream(ChatCompletionStreamRequest(model="m", messages=messages))
            chunks = [chunk async for chunk in stream]
    finally:
        example.terminate()
        await example.communicate()

    assert response.choices[0].message.content_string == "say it again "
    assert check(response) == []
    assert [chunk.choices[0].delta.content_string for chunk in chunks] == ["say ", "it ", "again ", ""]
    assert all(check(chunk) == [] for chunk in chunks)
    assert example.returncode == 0


@pytest.mark.process
async def test_the_commands_for_stored_responses_run(tmp_path: pathlib.Path) -> None:
    section = README.read_text().partition("## Relay\n")[2].partition("\n## ")[0]
    serve, *lines = [line.strip() for line in section.splitlines() if line.startswith("    mistralwire ")]
    assert serve.startswith("mistralwire serve --data ./data &")
    async with _listening("serve", "--data", str(tmp_path / "data")) as address:
        variables = {
            f"MISTRALWIRE_{name}_TARGET": address for name in ("CALL", "FOLLOW", "PUBLISH", "RESPONSES")
        }
        script = "\n".join(["set -e", f'mistralwire() {{ {sys.executable} -m mistralwire "$@"; }}', *lines])
        process = await asyncio.create_subprocess_exec(
            *("sh", "-c", script),
            cwd=tmp_path,
            env={**os.environ, **variables},
            stdout=asyncio.subprocess.PIPE,
        )
        output, _ = await asyncio.wait_for(process.communicate(), 60)

    table, _, rest = output.decode().partition("\nanswer\n")
    assert process.returncode == 0
    assert [line.split()[1] for line in table.splitlines()] == ["STATE", "finished"]
    assert rest.startswith("Hello! This answer was recorded")
