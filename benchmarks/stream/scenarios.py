"""What is measured: the work of one run, and the goals."""

import dataclasses
import json
from typing import Literal, Self

MISTRALWIRE = "mistralwire"
PLAIN = "plain grpcio"
STORED = "stored"
CONTENDERS = (MISTRALWIRE, PLAIN)

Kind = Literal["saturated", "paced", "idle", "unread", "cancel"]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """The work of one run.

    Attributes:
        kind: The upstream's behaviour. saturated: it plays a recording without a pause, and a stream that has
            ended is followed by the next. paced: a chunk each time one is due, without end. idle: one chunk,
            then nothing. unread: chunks without end and without a pause, of which the caller reads one.
            cancel: as idle, and the caller cancels, one stream after the other.
        streams: Streams at one time; for cancel, one after the other.
        chunks: Chunks of one stream, where it ends.
        rate: Chunks a second of one stream, where it has a pace.
        warm_s: From the first chunk of the last stream to the start of the window, in seconds.
        window_s: Seconds that are measured.
        has_uvloop: Whether both processes run on uvloop rather than on asyncio's own loop.
    """

    kind: Kind
    streams: int
    chunks: int = 0
    rate: float = 0.0
    warm_s: float = 1.0
    window_s: float = 3.0
    has_uvloop: bool = False

    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Self:
        return cls(**json.loads(text))


# Long enough that what a call costs does not show: at 500,000 chunks a second, one call in a tenth of one.
LONG = 50_000
# As long as a short answer.
SHORT = 50

SATURATED = {
    "1 stream": Scenario(kind="saturated", streams=1, chunks=LONG),
    "200 streams": Scenario(kind="saturated", streams=200, chunks=LONG),
    "1 stream, short": Scenario(kind="saturated", streams=1, chunks=SHORT),
    "200 streams, short": Scenario(kind="saturated", streams=200, chunks=SHORT),
}
PACED = Scenario(kind="paced", streams=20, rate=50, window_s=5)
STORED_LOADS = (PACED, dataclasses.replace(PACED, streams=200))
OVERLOADED = Scenario(kind="paced", streams=400, rate=50, warm_s=2, window_s=8)
MEMORY = {
    "idle": Scenario(kind="idle", streams=1000, window_s=1),
    "not read": Scenario(kind="unread", streams=200, window_s=4),
}
CANCEL = Scenario(kind="cancel", streams=100)

# Goals: multiples of plain grpcio's chunks a second.
SATURATED_TARGETS = {"1 stream": 20.0, "200 streams": 8.0}
# Overloaded: the share of the offered chunks that is delivered, the delay, and by how much the server's
# memory may grow within the window and still count as flat.
CARRIED_MIN = 0.99
DELAY_P99_MS_MAX = 250.0
RSS_GROWTH_MAX = 0.02
CANCEL_MS_MAX = 50.0
# What storing a stream may add to a chunk's way to its caller.
STORED_MS_MAX = 0.1
