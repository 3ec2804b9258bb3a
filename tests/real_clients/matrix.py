"""What real clients are asked to do, by a gateway in front of a small model API, and what must come of it."""

import collections
import contextlib
import dataclasses
import json
import pathlib
from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Any, NamedTuple

from mistralwire.codec import accumulate, from_json, to_dict
from mistralwire.gateway import GatewayConfig
from mistralwire.service import ServerConfig
from mistralwire.upstream import HttpSettings, MistralUpstream
from mistralwire.v1 import ChatCompletionRequest, CompletionChunk
from tests import corpus
from tests.gateway.openai_messages import meaning_of
from tests.gateway_stack import running_gateway
from tests.interop.processes import run
from tests.upstream_server import CUT, Answer, Received, UpstreamServer, json_answer, sse_answer

_FOLDER = pathlib.Path(__file__).parent
PYTHON_COMMAND: tuple[pathlib.Path, ...] = (
    _FOLDER.parents[1] / ".venv-clients" / "bin" / "python",
    _FOLDER / "ask.py",
)
NODE_COMMAND: tuple[str | pathlib.Path, ...] = ("node", _FOLDER / "ask.mjs")
NODE_MODULES = _FOLDER / "node_modules"
KEY, WRONG_KEY = "a-known-key-of-callers", "an-unknown-key-of-callers"
HEARTBEAT_S, SILENCE_S = 1.0, 3.0
# The frameworks take their time to start.
_WAIT_S = 300
# Beyond what the contract has room for: a service that checks requests refuses it.
TOKENS_BEYOND = 2**40
_CALL_ID = "call00001"
ARGUMENTS = '{"city": "Kraków"}'
DONE = b"data: [DONE]\n\n"
USAGE = {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}


class Client(NamedTuple):
    """A client, and what it does differently from others.

    Attributes:
        name: What the programs that make the calls call it.
        package: Its distribution.
        has_blocking: Whether it has an interface that blocks, beside the one of asyncio.
        attempts: How often it asks if the answer is 429, 500 or 503.
        broken: What its caller gets of a stream that breaks off: one of BROKEN.
        path: The path of its base URL.
        thinking: What it does with the model's thinking: one of THINKING; empty where it is not asked to.
    """

    name: str
    package: str
    has_blocking: bool = True
    attempts: int = 1
    broken: str = "text"
    path: str = "/v1"
    thinking: str = ""

    @property
    def place(self) -> str:
        """Where it calls, if not at Mistral's path."""
        return "" if self.path == "/v1" else f" at `{self.path}`"


BROKEN = {
    "text": "the error with its text",
    "body": "the error with its text in `body` only",
    "error": "an error without the text",
    "transfer": "the broken transfer, without the text",
}
"""What a client can make of an event with an error: what docs/interop.md calls it."""

THINKING = {
    "kept": "read and sent back",
    "ignored": "ignored",
}
"""What a client does with `reasoning_content`: what docs/interop.md calls it."""

_OPENAI: dict[str, Any] = {"attempts": 3, "path": "/openai/v1", "thinking": "kept"}

PYTHON = (
    Client("mistralai", "mistralai", broken="body"),
    Client("openai", "openai", attempts=3),
    Client("langchain-mistralai", "langchain-mistralai", broken="transfer"),
    Client("litellm mistral", "litellm"),
    Client("litellm openai", "litellm", attempts=3),
    Client("pydantic-ai mistral", "pydantic-ai-slim", has_blocking=False, broken="error"),
    Client("pydantic-ai openai", "pydantic-ai-slim", has_blocking=False, attempts=3),
    Client("openai", "openai", **_OPENAI),
    Client("langchain-openai", "langchain-openai", **_OPENAI | {"thinking": "ignored"}),
    Client("litellm openai", "litellm", **_OPENAI),
    Client("pydantic-ai openai", "pydantic-ai-slim", has_blocking=False, **_OPENAI),
)
NODE = (
    Client("@mistralai/mistralai", "@mistralai/mistralai", has_blocking=False, broken="error"),
    Client("openai (Node.js)", "openai", has_blocking=False, attempts=3),
    Client("@ai-sdk/mistral", "@ai-sdk/mistral", has_blocking=False, attempts=3),
    Client("@ai-sdk/openai-compatible", "@ai-sdk/openai-compatible", has_blocking=False, attempts=3),
    Client("openai (Node.js)", "openai", has_blocking=False, **_OPENAI),
    Client("@ai-sdk/openai-compatible", "@ai-sdk/openai-compatible", has_blocking=False, **_OPENAI),
)


def table_row(client: Client) -> str:
    """Return the row of a client in the table of docs/interop.md."""
    is_of_node = client in NODE
    if is_of_node:
        versions = json.loads((_FOLDER / "package.json").read_text())["dependencies"]
    else:
        lines = (_FOLDER / "requirements.txt").read_text().splitlines()
        versions = {
            name.partition("[")[0]: version for name, _, version in (line.partition("==") for line in lines)
        }
    name = client.name + ("" if is_of_node else " (Python)") + client.place
    thinking = THINKING.get(client.thinking, "")
    cells = (name, versions[client.package], str(client.attempts), BROKEN[client.broken], thinking)
    return f"| {' | '.join(cells)} |"


class Case(NamedTuple):
    """What a client is asked to do.

    Attributes:
        name: What it shows; the model's name begins with it, by which the model API knows what to answer.
        is_stream: Whether the client asks for a stream.
        text: The text of the answer, or of what comes of it before an error.
        error: A part of the error's text, if there is one.
        status: The status that the client is told, if there is one.
        is_retried: Whether some clients ask again.
        asks: Whether the model API is asked at all.
        thinking: The model's thinking.
        tools: Names and arguments, as JSON text, of the calls of tools.
        has_second_turn: Whether the answer is sent back with what its tools return.
    """

    name: str
    is_stream: bool
    text: str = ""
    error: str = ""
    status: int | None = None
    is_retried: bool = False
    asks: bool = True
    thinking: str = ""
    tools: tuple[tuple[str, str], ...] = ()
    has_second_turn: bool = False

    @property
    def is_broken(self) -> bool:
        """Whether the stream breaks off."""
        return bool(self.error) and self.status is None


def _both(name: str, **expected: Any) -> list[Case]:
    return [Case(name, is_stream=False, **expected), Case(name, is_stream=True, **expected)]


_TOOLS = (("weather", ARGUMENTS),)
_BEFORE, _BEHIND = "Look it up.", "It says so."
_STREAMS = (
    Case("text", is_stream=True, text="Hello"),
    Case("tools", is_stream=True, tools=_TOOLS),
    Case("silence", is_stream=True, text="Hello"),
    Case("cut", is_stream=True, text="Hel", error="found a connection that broke before"),
    Case("error-event", is_stream=True, text="Hel", error="no luck: error-event"),
)
_WHOLE = (
    Case("text", is_stream=False, text="Hello"),
    Case("tools", is_stream=False, tools=_TOOLS),
)
_ERRORS = (
    *_both("400", error="no luck: 400", status=400),
    *_both("401", error="with a token that is known here", status=401, asks=False),
    *_both("404", error="no luck: 404", status=404),
    *_both("422", error="no luck: 422", status=422),
    *_both("violation", error="max_tokens: expected an integer", status=422, asks=False),
    *_both("429", error="no luck: 429", status=429, is_retried=True),
    *_both("500", error="no luck: 500", status=503, is_retried=True),
    *_both("503", error="no luck: 503", status=503, is_retried=True),
)
CASES = (*_WHOLE, *_STREAMS, *_ERRORS)


def _recorded() -> dict[Case, list[bytes]]:
    """Return the recorded streams with thinking or calls of tools, if there are any, as events."""
    streams = {}
    for number, file in enumerate(corpus.files(("chat_sse",))):
        bodies: list[corpus.Body] = file.values[0]
        chunks = [from_json(CompletionChunk, body.text, validate=False) for body in bodies]
        choices = to_dict(accumulate(chunks)).get("choices", [])
        if len(choices) != 1 or choices[0].get("finish_reason") not in ("stop", "tool_calls"):
            continue
        text, thinking, calls = meaning_of(choices[0]["message"])
        tools = tuple((name, json.dumps(arguments)) for name, arguments in calls)
        if (thinking or tools) and len(dict(tools)) == len(tools):
            case = Case(f"recorded-{number}", is_stream=True, text=text, thinking=thinking, tools=tools)
            streams[case] = [*(b"data: %b\n\n" % body.text for body in bodies), DONE]
    return streams


_RECORDED = _recorded()
# What shows the model's thinking.
_REASONING = (
    *_both(
        "turns",
        text="I'll look.It is sunny.",
        thinking=_BEFORE + _BEHIND,
        tools=_TOOLS,
        has_second_turn=True,
    ),
    *_RECORDED,
)


class Call(NamedTuple):
    """A call of a client.

    Attributes:
        client: Who makes it.
        case: What it shows.
        is_blocking: Whether it blocks.
        is_mounted: Whether the gateway is an ASGI application in another one.
    """

    client: Client
    case: Case
    is_blocking: bool = False
    is_mounted: bool = False

    def __str__(self) -> str:
        """Name it, for a test."""
        ways = ("blocking" if self.is_blocking else "", "mounted" if self.is_mounted else "")
        words = (
            self.client.name + self.client.place,
            *ways,
            self.case.name,
            "stream" if self.case.is_stream else "whole",
        )
        return " ".join(filter(None, words))


class Ended(NamedTuple):
    """What came of a call.

    Attributes:
        outcome: What ask.py or ask.mjs says of it.
        requests: What the model API was asked for it.
    """

    outcome: dict[str, Any]
    requests: list[Any]


def calls_of(clients: Iterable[Client]) -> list[Call]:
    """Return all calls of clients. Those that block, or call the mounted application, only stream."""
    clients = list(clients)
    return [
        *(Call(client, case) for client in clients for case in CASES),
        *(Call(client, case) for client in clients if client.thinking for case in _REASONING),
        *(Call(client, case, True) for client in clients if client.has_blocking for case in _STREAMS),
        *(Call(client, case, False, True) for client in clients for case in _STREAMS),
    ]


def check(call: Call, ended: Ended) -> None:
    """Check what came of a call."""
    client, case, *_ = call
    outcome, requests = ended
    assert outcome["text"] == case.text
    assert outcome["thinking"] == ("" if client.thinking == "ignored" else case.thinking)
    tools = {name: json.loads(text) for name, text in case.tools}
    assert {name: json.loads(text) for name, text in outcome["tools"].items()} == tools
    if case.has_second_turn:
        _check_second_turn(client, requests)
        requests = requests[:1]
    assert len(requests) == (case.asks and (client.attempts if case.is_retried else 1))
    error = outcome["error"]
    if not case.error:
        assert error is None
        return
    assert error is not None
    places = [place for place in ("text", "body") if case.error in error.get(place, "")]
    if not case.is_broken:
        assert error["status"] == (400 if client.path != "/v1" and case.status == 422 else case.status)
        assert places
    elif client.broken == "transfer":
        assert "closed connection" in error["text"]
    else:
        assert (places or ["error"])[0] == client.broken


def _check_second_turn(client: Client, requests: list[Any]) -> None:
    """Check that the model API gets what it answered in the first turn, in its own form."""
    [_, second] = requests
    _, assistant, tool = second["messages"]
    content = assistant["content"]
    parts = [{"type": "text", "text": content}] if isinstance(content, str) else content
    thought = {"type": "thinking", "thinking": [{"type": "text", "text": _BEFORE}]}
    expected = [{"type": "text", "text": "I'll look."}]
    assert parts == ([thought, *expected] if client.thinking == "kept" else expected)
    [call] = assistant["tool_calls"]
    assert (call["id"], json.loads(call["function"]["arguments"])) == (_CALL_ID, json.loads(ARGUMENTS))
    assert (tool["role"], tool["tool_call_id"]) == ("tool", _CALL_ID)
    # Mistral refuses what it does not document.
    request = from_json(ChatCompletionRequest, json.dumps(second))
    assert "members:" not in str(request)


class ModelApi(UpstreamServer):
    """A model API that is told by the model's name what to answer.

    Args:
        silence_s: How long it says nothing before its first chunk, and after it, in the case of silence.
    """

    def __init__(self, silence_s: float) -> None:
        super().__init__()
        self._silence_s = silence_s

    def answer_to(self, request: Received) -> Answer:
        """Answer as the model's name says."""
        body = json.loads(request.body)
        name = body["model"].partition(".")[0]
        if name.isdigit():
            error = {
                "object": "error",
                "message": f"no luck: {name}",
                "type": "odd",
                "param": None,
                "code": "7",
            }
            return json_answer(json.dumps(error).encode(), int(name))
        if name.startswith("recorded"):
            return sse_answer(*next(events for case, events in _RECORDED.items() if case.name == name))
        if name == "turns":
            return _turn(body["messages"], is_stream=bool(body.get("stream")))
        if not body.get("stream"):
            return _whole(name)
        return sse_answer(*self._pieces(name))

    def requests(self) -> dict[str, list[Any]]:
        """Return the requests for each model."""
        requests = collections.defaultdict(list)
        for request in self.received:
            body = json.loads(request.body)
            requests[body["model"]].append(body)
        return requests

    def _pieces(self, name: str) -> list[Any]:
        hel = _chunk({"role": "assistant", "content": "Hel"})
        rest = [_chunk({"content": "lo"}), _chunk({"content": ""}, "stop", usage=USAGE), DONE]
        match name:
            case "silence":
                return [self._silence_s, hel, self._silence_s, *rest]
            case "cut":
                return [hel, CUT]
            case "error-event":
                error = {"object": "error", "message": f"no luck: {name}", "type": "odd", "code": "7"}
                return [hel, f"data: {json.dumps(error)}\n\n".encode()]
            case "tools":
                first = _tool_call(ARGUMENTS[:8], name="weather")
                return [
                    _chunk({"role": "assistant", "content": "", "tool_calls": [first]}),
                    _chunk({"content": "", "tool_calls": [_tool_call(ARGUMENTS[8:], name="")]}),
                    _chunk({"content": ""}, "tool_calls", usage=USAGE),
                    DONE,
                ]
        return [hel, *rest]


def _tool(name: str) -> dict[str, Any]:
    function = {"name": name, "description": "Tells something.", "parameters": {"type": "object"}}
    return {"type": "function", "function": function}


def _tool_call(arguments: str, *, name: str) -> dict[str, Any]:
    function = {"name": name, "arguments": arguments}
    return {"index": 0, "id": _CALL_ID, "type": "function", "function": function}


def _chunk(delta: dict[str, Any], finish_reason: str | None = None, **more: Any) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
    chunk = {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}
    return f"data: {json.dumps(chunk | more)}\n\n".encode()


def _whole(name: str) -> Answer:
    message: dict[str, Any] = {"role": "assistant", "content": "Hello"}
    if name == "tools":
        message = {"role": "assistant", "content": "", "tool_calls": [_tool_call(ARGUMENTS, name="weather")]}
    return _answer(message, "tool_calls" if name == "tools" else "stop")


def _answer(message: dict[str, Any], finish_reason: str) -> Answer:
    choice = {"index": 0, "message": message, "finish_reason": finish_reason}
    answer = {"id": "1", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice]}
    return json_answer(json.dumps({**answer, "usage": USAGE}).encode())


def _turn(messages: list[Any], *, is_stream: bool) -> Answer:
    """Answer as a model that reasons does: with a tool call, and then with what the tool has returned."""
    is_first = messages[-1]["role"] != "tool"
    thinking = {"type": "thinking", "thinking": [{"type": "text", "text": _BEFORE if is_first else _BEHIND}]}
    text = {"type": "text", "text": "I'll look." if is_first else "It is sunny."}
    calls = [_tool_call(ARGUMENTS, name="weather")] if is_first else None
    reason = "tool_calls" if is_first else "stop"
    if not is_stream:
        return _answer({"role": "assistant", "content": [thinking, text], "tool_calls": calls}, reason)
    return sse_answer(
        _chunk({"role": "assistant", "content": ""}),
        _chunk({"content": [{**thinking, "closed": True}]}, p="abcdef"),
        _chunk({"content": [text]}, p="abcdefghij"),
        _chunk({"content": "", "tool_calls": calls}, reason, usage=USAGE, p="abc"),
        DONE,
    )


def write_keys(folder: pathlib.Path) -> pathlib.Path:
    """Write the file with the key that callers have, and return its path."""
    file = folder / "keys"
    file.write_text(f"{KEY}\n")
    file.chmod(0o600)
    return file


async def ask(
    command: Sequence[str | pathlib.Path],
    calls: Sequence[Call],
    keys: pathlib.Path,
    *,
    heartbeat_s: float = HEARTBEAT_S,
    silence_s: float = SILENCE_S,
) -> dict[Call, Ended]:
    """Let clients make calls, all at one time, in one process.

    Args:
        command: The process.
        calls: The calls.
        keys: A file with the key that callers have.
        heartbeat_s: Seconds of silence after which the gateway sends a comment.
        silence_s: Seconds of silence of the model API.
    """
    async with _gateways(keys, heartbeat_s, silence_s) as (api, urls):
        told: list[dict[str, Any]] = [
            {
                "client": client.name,
                "path": client.path,
                "has_second_turn": case.has_second_turn,
                "is_stream": case.is_stream,
                "is_blocking": is_blocking,
                "tools": [_tool(name) for name, _ in case.tools],
                "max_tokens": TOKENS_BEYOND if case.name == "violation" else 0,
                "url": urls[case.name if case.name in ("violation", "silence") else "", is_mounted],
                "key": WRONG_KEY if case.name == "401" else KEY,
                # Names that no client knows, each one once, so that attempts can be counted.
                "model": f"{case.name}.{number}",
            }
            for number, (client, case, is_blocking, is_mounted) in enumerate(calls)
        ]
        code, output, errors = await run(*command, stdin=json.dumps(told).encode(), wait_s=_WAIT_S)
        # Clients warn of what they like.
        assert code == 0, errors
        requests = api.requests()
    return {
        call: Ended(outcome, requests.get(each["model"], []))
        for call, each, outcome in zip(calls, told, json.loads(output), strict=True)
    }


@contextlib.asynccontextmanager
async def _gateways(
    keys: pathlib.Path, heartbeat_s: float, silence_s: float
) -> AsyncIterator[tuple[ModelApi, dict[tuple[str, bool], str]]]:
    """Run a model API and gateways to it; yield it and their URLs, by case and by whether they are mounted.

    The service of that for `violation` checks requests. That for `silence` alone has a short heartbeat, which
    on a busy machine may come before any answer.
    """
    config = GatewayConfig(port=0, token_file=keys, openai=True)
    often = dataclasses.replace(config, heartbeat_s=heartbeat_s)
    strict = ServerConfig(port=0, strict=True)
    async with ModelApi(silence_s) as api, contextlib.AsyncExitStack() as stack:
        # Each request is sent once: what is tried again, the clients do.
        upstream = MistralUpstream(api.url, settings=HttpSettings(attempts_max=1))
        stack.push_async_callback(upstream.close)

        async def run_gateway(config: GatewayConfig, **options: Any) -> str:
            return await stack.enter_async_context(running_gateway(upstream, config, **options))

        yield (
            api,
            {
                ("", False): await run_gateway(config),
                ("", True): await run_gateway(config, is_wrapped=True),
                ("silence", False): await run_gateway(often),
                ("silence", True): await run_gateway(often, is_wrapped=True),
                ("violation", False): await run_gateway(config, service=strict),
            },
        )
