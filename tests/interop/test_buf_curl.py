"""`buf curl` as a caller: connect-go's gRPC over plain HTTP/2."""

import base64
import json
import pathlib
import sys
from typing import Any

import pytest
from google.rpc import error_details_pb2

from tests.interop.processes import find_program, run, serving

REPLAY = pathlib.Path(__file__).parents[1] / "data" / "replay"
SERVICE = "mistralwire.v1.ChatCompletionService"
REQUEST = {"model": "m", "messages": [{"user": {"contentString": "Grüezi 👋"}}]}
BUF = find_program("buf") or "buf"

pytestmark = [
    pytest.mark.process,
    pytest.mark.skipif(find_program("buf") is None, reason="buf (the package buf-bin) is not installed"),
]


async def curl(
    address: str, method: str, request: Any, *options: str | pathlib.Path
) -> tuple[int, list[Any], str]:
    """Make a call, and return the exit code, the answers, and its error output."""
    code, output, errors = await run(
        *(BUF, "curl", "--protocol", "grpc", "--http2-prior-knowledge", "--timeout", "30s"),
        *("--data", json.dumps(request), *options),
        f"http://{address}/{SERVICE}/{method}",
    )
    return code, list(_documents(output)), errors


def _documents(text: str) -> Any:
    decoder, text = json.JSONDecoder(), text.strip()
    while text:
        document, end = decoder.raw_decode(text)
        yield document
        text = text[end:].lstrip()


@pytest.fixture(params=["reflection", "descriptor set", "proto files"])
async def schema(request: pytest.FixtureRequest, tmp_path: pathlib.Path) -> list[str | pathlib.Path]:
    """Where the contract comes from: the options that say so."""
    if request.param == "reflection":
        return ["--reflect-protocol", "grpc-v1alpha"]
    code, _, errors = await run(sys.executable, "-m", "mistralwire", "proto", "--out", tmp_path)
    assert code == 0, errors
    return ["--schema", tmp_path / "mistralwire.v1.binpb" if request.param == "descriptor set" else tmp_path]


async def test_it_reads_an_answer(schema: list[str | pathlib.Path]) -> None:
    async with serving(REPLAY / "chat.json") as (_, address):
        code, answers, errors = await curl(address, "ChatCompletion", REQUEST, *schema)

    assert (code, errors) == (0, "")
    [response] = answers
    assert response["choices"][0]["message"]["contentString"] == "Grüße aus dem Archiv."


async def test_it_reads_a_stream(schema: list[str | pathlib.Path]) -> None:
    async with serving(REPLAY / "chat.sse") as (_, address):
        code, answers, errors = await curl(address, "ChatCompletionStream", REQUEST, *schema)

    assert (code, errors) == (0, "")
    chunks = [item for message in answers for item in message["chunks"]]
    assert len(chunks) == 12
    assert {item["id"] for item in chunks} == {"stream-1"}


async def test_it_finds_reflection_by_itself_and_lists_the_methods() -> None:
    async with serving() as (_, address):
        code, output, errors = await run(
            BUF,
            "curl",
            "--protocol",
            "grpc",
            "--http2-prior-knowledge",
            "--list-methods",
            f"http://{address}",
        )

    assert (code, errors) == (0, "")
    assert f"{SERVICE}/ChatCompletionStream" in output.split()


@pytest.mark.parametrize("method", ["ChatCompletion", "ChatCompletionStream"])
async def test_it_shows_where_a_request_breaks_the_contract(method: str) -> None:
    async with serving() as (_, address):
        code, answers, errors = await curl(address, method, {"messages": [{"tool": {}}]})

    error = json.loads(errors)
    assert code != 0
    assert answers == []
    assert error["code"] == "invalid_argument"
    [value] = [item["value"] for item in error["details"] if item["type"] == "google.rpc.BadRequest"]
    bad_request = error_details_pb2.BadRequest.FromString(base64.b64decode(f"{value}=="))
    assert {item.field for item in bad_request.field_violations} == {"model", "messages[0].content"}


async def test_it_shows_the_error_in_the_middle_of_a_stream_after_the_chunks_before() -> None:
    async with serving(REPLAY / "error-in-the-middle.sse") as (_, address):
        code, answers, errors = await curl(address, "ChatCompletionStream", REQUEST)

    assert code != 0
    assert sum(len(message["chunks"]) for message in answers) == 2
    assert json.loads(errors)["code"] == "resource_exhausted"
