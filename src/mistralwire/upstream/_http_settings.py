"""The times and bounds of an upstream that is reached over HTTP."""

import dataclasses
import math


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class HttpSettings:
    """How long an upstream may take, how often it is tried, and how much it may answer.

    Attributes:
        connect_s: Seconds until there is a connection, names looked up and TLS agreed on.
        first_byte_s: Seconds until an answer begins, the connection included. Answers in one piece begin when
            they are complete.
        silence_s: Seconds without any byte in the middle of an answer.
        attempts_max: How often a request is sent, 1 or more. It is sent again only if no byte of an answer
            has come, or the upstream asked for it: with a status 429, 502, 503 or 504.
        answer_bytes_max: Bytes of an answer in one piece, after decompression; 1 or more. Streams have no
            bound as a whole, and SseDecoder's for each event.

    Raises:
        ValueError: If a number is out of range.
    """

    connect_s: float = 10.0
    first_byte_s: float = 300.0
    silence_s: float = 300.0
    attempts_max: int = 3
    answer_bytes_max: int = 64 * 1024 * 1024

    def __post_init__(self) -> None:
        for name in ("connect_s", "first_byte_s", "silence_s"):
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(f"{name} must be above 0 seconds, not {getattr(self, name)!r}")
        for name in ("attempts_max", "answer_bytes_max"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be 1 or more, not {getattr(self, name)!r}")
