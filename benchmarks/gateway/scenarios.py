"""What is measured: the loads, the requests and the answers, and what is to be reached."""

import dataclasses
import json
from typing import Any, Self

DIRECT, EMBEDDED, SEPARATE, LITELLM, ENVOY = "direct", "embedded", "two processes", "LiteLLM", "Envoy"
CONTENDERS = (DIRECT, EMBEDDED, SEPARATE, LITELLM, ENVOY)

MODEL = "mistral-small-latest"
PATH = "/v1/chat/completions"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What the load generator does to a contender in one run.

    Attributes:
        connections: Connections, each with one request at a time.
        is_stream: Whether answers are streams.
        warm_s: From the start to the window, in seconds.
        window_s: What is measured, in seconds.
    """

    connections: int
    is_stream: bool = False
    warm_s: float = 0.3
    window_s: float = 1.5


ONE, MANY, STREAMS = "1 at a time", "32 at a time", "50 streams"
# Streams have a longer window: the slowest contender takes about as long for one.
LOADS = {
    ONE: Load(connections=1),
    MANY: Load(connections=32),
    STREAMS: Load(connections=50, is_stream=True, warm_s=0.5, window_s=3.0),
}

# What is to be reached, embedded: the share of LiteLLM's added time, and times its chunks a second.
ADDED_MAX = 0.1
CHUNKS_MIN = 10.0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One run of the load generator.

    Attributes:
        port: Where the contender listens.
        path: What is asked for.
        body: The body of each request.
        key: The key of the caller.
        text: What each answer has to say.
        load: How much is asked.
    """

    port: int
    path: str
    body: str
    key: str
    text: str
    load: Load

    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Self:
        values = json.loads(text)
        return cls(**values | {"load": Load(**values["load"])})


def request_of(*, is_stream: bool) -> dict[str, Any]:
    """Give the request, as a caller of the API writes it."""
    request: dict[str, Any] = {
        "model": MODEL,
        "messages": [
            {"role": "system", "content": "You explain nature to people who are curious. Be brief."},
            {"role": "user", "content": "Why do glaciers move, and how fast do they get?"},
        ],
        "temperature": 0.3,
        "max_tokens": 200,
    }
    return request | ({"stream": True} if is_stream else {})


def request_body(*, is_stream: bool) -> str:
    """Give the JSON text of the request."""
    return json.dumps(request_of(is_stream=is_stream), separators=(",", ":"))


TEXT = (
    "A glacier moves because it is heavy: under its own weight the ice deep inside creeps like very stiff "
    "dough, and where water lies between ice and rock the whole mass slides. Most get no further than a "
    "metre a day; some surge, and then cover tens of metres between two mornings."
)

_COMMON = {"id": "5b1f8a1f0c0f4b0f9d3f5a7c2e9d1b64", "created": 1763800000, "model": MODEL}

ANSWER = _COMMON | {
    "object": "chat.completion",
    "usage": {"prompt_tokens": 38, "total_tokens": 105, "completion_tokens": 67},
    "choices": [
        {
            "index": 0,
            "finish_reason": "stop",
            "message": {"role": "assistant", "tool_calls": None, "content": TEXT},
        }
    ],
}

# As many chunks as an answer of a hundred tokens has, and their text.
CHUNKS = 102
_WORDS = [f" word{number}" for number in range(CHUNKS - 2)]
STREAM_TEXT = "".join(_WORDS)


def chunks() -> list[dict[str, Any]]:
    """Give the chunks of a stream: the role, the words, the reason of the end."""
    deltas = [{"role": "assistant", "content": ""}, *({"content": word} for word in _WORDS)]
    stream = [_chunk(delta, None) for delta in deltas]
    return [*stream, _chunk({"content": ""}, "stop") | {"usage": ANSWER["usage"]}]


def _chunk(delta: dict[str, str], finish_reason: str | None) -> dict[str, Any]:
    choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
    # The last member is one that the API sends and nobody documented.
    return _COMMON | {"object": "chat.completion.chunk", "choices": [choice], "p": "abcdefghijklmnopqrst"}
