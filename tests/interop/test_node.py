"""Node.js as a caller: @grpc/grpc-js with the .proto files that the package ships."""

import asyncio
import importlib.util
import json
import pathlib
import shutil
import sys
from typing import Any

import pytest

from mistralwire.codec import from_dict
from mistralwire.errors import UpstreamError
from mistralwire.service import CallRecord, Server, ServerConfig, create_server
from mistralwire.upstream import ReplayUpstream, Upstream
from mistralwire.v1 import ChatCompletionRequest, ChatCompletionResponse, CompletionChunk
from tests.interop.processes import run
from tests.service.upstreams import EagerUpstream, HeldUpstream, chunk

REPLAY = pathlib.Path(__file__).parents[1] / "data" / "replay"
NODE = pathlib.Path(__file__).parent / "node"
REQUEST = {"model": "m", "messages": [{"user": {"role": "user", "content_string": "hello"}}]}
UNARY = {"method": "ChatCompletion", "request": REQUEST}
STREAM = {"method": "ChatCompletionStream", "request": REQUEST}
INT64_MAX = 2**63 - 1

needs_node = pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")
needs_packages = pytest.mark.skipif(
    not (NODE / "node_modules" / "@grpc" / "grpc-js").is_dir(),
    reason="the packages for Node.js are missing: run `npm ci --ignore-scripts` in tests/interop/node",
)


@pytest.fixture(scope="module")
def contract(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """The folder that `mistralwire proto` writes for other languages."""
    folder = tmp_path_factory.mktemp("contract")
    code, _, errors = asyncio.run(run(sys.executable, "-m", "mistralwire", "proto", "--out", folder))
    assert code == 0, errors
    return folder


class Watcher:
    """Notes from which connections calls come."""

    def __init__(self) -> None:
        self.peers: list[str] = []

    def started(self, call: CallRecord) -> None: ...

    def chunk(self, call: CallRecord, chunk: CompletionChunk) -> None: ...

    def ended(self, call: CallRecord) -> None:
        self.peers.append(call.peer)


def serving(upstream: Upstream) -> Server:
    return create_server(upstream, ServerConfig(port=0))


async def call(contract: pathlib.Path, server: Server, *calls: dict[str, Any], **options: Any) -> Any:
    """Let the client make calls, one after the other; give what it says of each."""
    spec = importlib.util.find_spec("google.rpc")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    job = {
        "address": server.address,
        "contract": str(contract),
        "googleapis": str(pathlib.Path(spec.submodule_search_locations[0]).parents[1]),
        "calls": calls,
        "options": options,
    }
    code, output, errors = await run("node", NODE / "client.mjs", stdin=json.dumps(job).encode())
    assert (code, errors) == (0, "")
    outcomes = json.loads(output)
    return outcomes[0] if len(calls) == 1 else outcomes


def chunks_of(outcome: Any) -> list[Any]:
    return [item for message in outcome["messages"] for item in message["chunks"]]


def delta_of(item: Any) -> Any:
    return item["choices"][0]["delta"]


@needs_node
@needs_packages
class TestNode:
    async def test_it_reads_an_answer_with_all_that_no_field_can_hold(self, contract: pathlib.Path) -> None:
        async with serving(ReplayUpstream([REPLAY / "chat.json"])) as server:
            outcome = await call(contract, server, UNARY)

        assert outcome["code"] == "OK"
        [response] = outcome["messages"]
        [choice] = response["choices"]
        assert choice["message"]["content_string"] == "Grüße aus dem Archiv."
        assert choice["finish_reason"] == "FINISH_REASON_STOP"
        assert choice["message"]["json_extra"]["null_fields"] != []
        assert response["created"] == "1759000000"
        assert response["json_extra"]["members"] == '{"undocumented":{"big":123456789012345678901234567890}}'

    async def test_it_sends_text_and_integers_of_any_size(self, contract: pathlib.Path) -> None:
        # Beyond 4 MiB, the default bound of many gRPC languages on what they read.
        text = "naïve 漢字 👩‍🚀 \0\n" * 250_000
        request = {
            "model": "m",
            "messages": [{"user": {"content_string": text}}],
            "random_seed": str(INT64_MAX),
            "max_tokens": 0,
        }
        upstream = HeldUpstream()
        upstream.items.put_nowait(
            from_dict(ChatCompletionResponse, json.loads((REPLAY / "chat.json").read_text()))
        )
        async with serving(upstream) as server:
            outcome = await call(contract, server, UNARY | {"request": request})

        assert outcome["code"] == "OK"
        [received] = upstream.requests
        assert isinstance(received, ChatCompletionRequest)
        assert received.messages[0].user.content_string == text
        assert received.random_seed == INT64_MAX
        assert received.HasField("max_tokens")
        assert not received.HasField("temperature")

    async def test_it_gets_all_chunks_in_order_and_several_in_a_message(self, contract: pathlib.Path) -> None:
        async with serving(EagerUpstream(5_000, "mot 👩‍🚀")) as server:
            outcome = await call(contract, server, STREAM)

        chunks = chunks_of(outcome)
        assert outcome["code"] == "OK"
        assert [item["id"] for item in chunks] == [str(number) for number in range(5_000)]
        assert {delta_of(item)["content_string"] for item in chunks} == {"mot 👩‍🚀"}
        assert len(outcome["messages"]) < 5_000

    async def test_it_reads_the_pieces_of_tool_calls(self, contract: pathlib.Path) -> None:
        async with serving(ReplayUpstream([REPLAY / "tool-calls.sse"])) as server:
            outcome = await call(contract, server, STREAM)

        names: dict[str, str] = {}
        arguments: dict[str, str] = {}
        for item in chunks_of(outcome):
            for piece in delta_of(item).get("tool_calls", []):
                function = piece["function"]
                names.setdefault(piece["index"], function["name"])
                arguments[piece["index"]] = arguments.get(piece["index"], "") + function["arguments_string"]
        assert names == {"0": "search", "1": "clock"}
        assert [json.loads(text) for text in arguments.values()] == [{"query": "owls"}, {}]

    async def test_it_reads_where_a_request_breaks_the_contract(self, contract: pathlib.Path) -> None:
        broken = {"messages": [{"user": {"content_string": "hello"}}, {"tool": {}}]}
        async with serving(HeldUpstream()) as server:
            outcomes = await call(contract, server, UNARY | {"request": broken}, STREAM | {"request": broken})

        for outcome in outcomes:
            assert outcome["code"] == "INVALID_ARGUMENT"
            places = [
                item["field"] for item in outcome["details"]["google.rpc.BadRequest"]["fieldViolations"]
            ]
            assert {"model", "messages[1].content"} <= set(places)
            assert outcome["details"]["google.rpc.ErrorInfo"]["reason"] == "CONTRACT_VIOLATION"
            assert outcome["messages"] == []

    async def test_it_reads_why_the_upstream_failed_after_the_chunks_before(
        self, contract: pathlib.Path
    ) -> None:
        upstream = HeldUpstream()
        error = UpstreamError("the upstream is on holiday: 休み", status=503, reason="ON_HOLIDAY")
        for item in (chunk(0), chunk(1), error):
            upstream.items.put_nowait(item)
        async with serving(upstream) as server:
            outcome = await call(contract, server, STREAM)

        assert [item["id"] for item in chunks_of(outcome)] == ["0", "1"]
        assert (outcome["code"], outcome["message"]) == ("UNAVAILABLE", "the upstream is on holiday: 休み")
        assert outcome["details"]["google.rpc.ErrorInfo"]["reason"] == "ON_HOLIDAY"

    async def test_its_request_id_reaches_the_upstream_and_comes_back(self, contract: pathlib.Path) -> None:
        upstream = HeldUpstream()
        upstream.items.put_nowait(None)
        async with serving(upstream) as server:
            outcome = await call(contract, server, STREAM | {"metadata": {"x-request-id": "from-node-1"}})

        assert upstream.contexts[0].request_id == "from-node-1"
        assert outcome["trailers"]["x-request-id"] == "from-node-1"

    @pytest.mark.parametrize("kind", [UNARY, STREAM], ids=["unary", "stream"])
    async def test_its_deadline_ends_the_upstream_too(
        self, contract: pathlib.Path, kind: dict[str, Any]
    ) -> None:
        upstream = HeldUpstream()
        async with serving(upstream) as server:
            outcome = await call(contract, server, kind | {"deadline_ms": 500})
            async with asyncio.timeout(30):
                await upstream.closed.wait()

        assert outcome["code"] == "DEADLINE_EXCEEDED"
        assert upstream.contexts[0].deadline_s is not None

    async def test_a_call_that_it_cancels_cancels_the_upstream(self, contract: pathlib.Path) -> None:
        upstream = HeldUpstream()
        upstream.items.put_nowait(chunk(0))
        async with serving(upstream) as server:
            outcome = await call(contract, server, STREAM | {"cancel_after": 1})
            async with asyncio.timeout(30):
                await upstream.closed.wait()

        assert outcome["code"] == "CANCELLED"
        assert [item["id"] for item in chunks_of(outcome)] == ["0"]

    async def test_a_stream_that_it_cancels_while_chunks_pour_in_ends_the_upstream(
        self, contract: pathlib.Path
    ) -> None:
        upstream = EagerUpstream(None)
        async with serving(upstream) as server:
            outcome = await call(contract, server, STREAM | {"cancel_after": 3})
            async with asyncio.timeout(30):
                await upstream.closed.wait()

        assert outcome["code"] == "CANCELLED"

    async def test_calls_one_after_the_other_share_a_connection(self, contract: pathlib.Path) -> None:
        calls: list[dict[str, Any]] = [
            UNARY,
            STREAM | {"deadline_ms": 30_000},
            UNARY | {"request": {}},
            UNARY,
        ]
        watcher = Watcher()
        async with create_server(
            ReplayUpstream([REPLAY / "chat.json"]), ServerConfig(port=0), [watcher]
        ) as server:
            outcomes = await call(contract, server, *calls)

        assert [outcome["code"] for outcome in outcomes] == ["OK", "OK", "INVALID_ARGUMENT", "OK"]
        assert len(watcher.peers) == len(calls)
        assert len(set(watcher.peers)) == 1
