"""What is measured: the loads, the requests, the answers and the goals."""

import dataclasses
import json
import re
from typing import Any, Self

DIRECT = "direct"
EMBEDDED, SMG, FERROGW, ENVOY, LITELLM = "mistralwire", "smg", "ferrogw", "Envoy", "LiteLLM"
TLS, SEPARATE, PROGRAM = "TLS upstream", "two processes", "own upstream"
WORKERS = {1: "one worker", 2: "two workers"}

GATEWAYS = (EMBEDDED, SMG, FERROGW, ENVOY, LITELLM)
"""What is compared."""

VARIANTS = (TLS, SEPARATE, PROGRAM)
"""Our gateway in other places, without a goal."""

MODEL = "mistral-small-latest"
PATH = "/v1/chat/completions"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What the load generator does to a contender in one run.

    Attributes:
        title: Its name in the table.
        connections: Connections, each with one request at a time.
        gaps_ms: The shortest and the longest gap between two chunks of a stream, in milliseconds, each drawn
            evenly from between; None for answers that are no streams.
        warm_s: Seconds from the start to the window.
        window_s: Seconds that are measured.
        is_latency: Whether the figure is the time that a request adds, not processor time.
    """

    title: str
    connections: int
    gaps_ms: tuple[int, int] | None = None
    warm_s: float = 0.3
    window_s: float = 1.2
    is_latency: bool = False

    @property
    def is_stream(self) -> bool:
        return self.gaps_ms is not None


# A paced stream takes so long, so that each ends and is followed by the next one once in the window.
_STREAM_S = 2.05

PACED, JITTERED, UNPACED, REQUEST, ADDED = "paced", "jittered", "unpaced", "request", "added"
LOADS = {
    PACED: Load(title="paced chunk, 40 streams", connections=40, gaps_ms=(20, 20), window_s=_STREAM_S),
    JITTERED: Load(title="jittered chunk, 40 streams", connections=40, gaps_ms=(2, 38), window_s=_STREAM_S),
    UNPACED: Load(title="unpaced chunk, 50 streams", connections=50, gaps_ms=(0, 0), window_s=1.5),
    REQUEST: Load(title="request, 32 connections", connections=32),
    ADDED: Load(title="added ms, 1 connection", connections=1, is_latency=True),
}
WORKER_LOADS = {
    PACED: Load(title="paced chunk, 200 streams", connections=200, gaps_ms=(20, 20), window_s=_STREAM_S),
    UNPACED: Load(title="unpaced chunk, 200 streams", connections=200, gaps_ms=(0, 0), window_s=1.5),
}
WORKERS_LOAD = "workers"
"""What --only calls the loads of the workers."""

# Goals: multiples of smg's figure in the same round.
OF_SMG_MAX = {PACED: 1.0, JITTERED: 1.1, UNPACED: 0.7, REQUEST: 0.6, ADDED: 0.6}
# Of two workers: the larger share of the chunks, and processor time a chunk as a multiple of that of one.
SHARE_MAX = 0.65
OF_ONE_WORKER_MAX = {PACED: 1.3, UNPACED: 1.8}


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One run of the load generator.

    Attributes:
        port: Where the contender listens.
        pids: Its processes, of which those that they have started are a part; empty for none.
        key: The key of the caller.
        load: The load to generate.
    """

    port: int
    pids: tuple[int, ...]
    key: str
    load: Load

    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Self:
        values = json.loads(text)
        load = values["load"]
        gaps_ms = load["gaps_ms"] and tuple(load["gaps_ms"])
        return cls(**values | {"pids": tuple(values["pids"]), "load": Load(**load | {"gaps_ms": gaps_ms})})


def request_body(gaps_ms: tuple[int, int] | None) -> bytes:
    """Return the JSON text of a request.

    Args:
        gaps_ms: The gaps of the stream, as in Load; the model API reads them from the last message, which all
            contenders pass on as it is. None for no stream.
    """
    question = "Why do glaciers move, and how fast do they get?"
    pace = "" if gaps_ms is None else f" Gaps: {gaps_ms[0]} to {gaps_ms[1]} ms."
    request: dict[str, Any] = {
        "model": MODEL,
        "messages": [
            {"role": "system", "content": "You explain nature to people who are curious. Be brief."},
            {"role": "user", "content": question + pace},
        ],
        "temperature": 0.3,
        "max_tokens": 200,
    }
    if gaps_ms is not None:
        request["stream"] = True
    return to_text(request)


def gaps_of(text: bytes | str) -> tuple[float, float]:
    """Return the shortest and the longest gap that a request asks for, in seconds; none is 0.

    Args:
        text: The body of the request, or its last message.
    """
    match = _GAPS.search(text if isinstance(text, str) else text.decode())
    return (int(match[1]) / 1000, int(match[2]) / 1000) if match else (0.0, 0.0)


_GAPS = re.compile(r"Gaps: (\d+) to (\d+) ms")


def to_text(value: Any) -> bytes:
    """Return JSON text without spaces."""
    return json.dumps(value, separators=(",", ":")).encode()


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
    """Return the chunks of a stream: the role, the words, the reason of the end."""
    deltas = [{"role": "assistant", "content": ""}, *({"content": word} for word in _WORDS)]
    stream = [_chunk(delta, None) for delta in deltas]
    return [*stream, _chunk({"content": ""}, "stop") | {"usage": ANSWER["usage"]}]


def _chunk(delta: dict[str, str], finish_reason: str | None) -> dict[str, Any]:
    choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
    # The last member is one that the API sends and nobody documented.
    return _COMMON | {"object": "chat.completion.chunk", "choices": [choice], "p": "abcdefghijklmnopqrst"}
