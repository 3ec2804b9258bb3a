"""The timeouts and bounds of an upstream that is reached over HTTP."""

import dataclasses

from mistralwire._settings import UNBOUNDED, check_settings, count_field, seconds_field


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class HttpSettings:
    """Timeouts, retries and the size of responses.

    Attributes:
        connect_s: Seconds until a connection is established, name lookup and TLS handshake included.
        first_byte_s: Seconds until a response begins, the connection included. A response that is not a
            stream begins when it is complete.
        silence_s: Seconds without a byte in the middle of a response.
        attempts_max: How often a request is sent, at least 1. It is retried only before the first byte of a
            response, or if the upstream asks for it with a status 429, 502, 503 or 504.
        answer_bytes_max: Bytes of a response that is not a stream, after decompression; at least 1. A stream
            has no bound as a whole; each of its events has that of SseDecoder.

    Raises:
        TypeError: If a value is not a number.
        ValueError: If a number is out of range.
    """

    connect_s: float = seconds_field(10.0, most=UNBOUNDED)
    first_byte_s: float = seconds_field(300.0, most=UNBOUNDED)
    silence_s: float = seconds_field(300.0, most=UNBOUNDED)
    attempts_max: int = count_field(3, most=UNBOUNDED)
    answer_bytes_max: int = count_field(64 * 1024 * 1024, most=UNBOUNDED)

    def __post_init__(self) -> None:
        check_settings(self)
