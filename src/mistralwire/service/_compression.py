"""Compression of answers, for callers who ask for it, and of requests, where it is safe."""

import re
from collections.abc import Iterable, Sequence

import grpc

from mistralwire._metadata import ACCEPT_ENCODING

_GZIP = "gzip"
# Earlier ones decompress a whole request before they look at its size: a megabyte becomes a gigabyte.
_SAFE_VERSION = (1, 84)
_ONLY_IDENTITY = 1


def wants_gzip(metadata: Iterable[tuple[str, str | bytes]]) -> bool:
    """Say whether a caller asks for compressed answers.

    Args:
        metadata: What the caller sent beside the request; `x-accept-encoding` may list several encodings,
            with commas.
    """
    return any(
        name == ACCEPT_ENCODING and isinstance(value, str) and _GZIP in re.split(r"[ ,]+", value.lower())
        for name, value in metadata
    )


async def send_initial_metadata(
    context: grpc.aio.ServicerContext,
    metadata: Iterable[tuple[str, str | bytes]],
    headers: Sequence[tuple[str, str]] = (),
) -> None:
    """Send what comes before the answers of a call, and compress these if its caller asks for it.

    To be called before the first answer is written, or returned. A message that would not get smaller goes
    out as it is.

    Args:
        context: The call.
        metadata: What the caller sent beside the request.
        headers: Initial metadata for the caller. Without any, nothing is sent unless answers are compressed.
    """
    is_compressed = wants_gzip(metadata)
    if is_compressed:
        context.set_compression(grpc.Compression.Gzip)
    # Compressed too: grpc forgets about the compression where it sends the two itself, with a single answer.
    if is_compressed or headers:
        await context.send_initial_metadata(tuple(headers))


def request_options(version: str = grpc.__version__) -> list[tuple[str, int]]:
    """Give the options of a server that say which compressed requests it takes.

    gRPC bounds the size of a request after its decompression, from 1.84 on. With an earlier one there are no
    compressed requests: they end with UNIMPLEMENTED, which tells a client to send them plain.

    Args:
        version: Of grpcio.
    """
    numbers = tuple(map(int, re.findall(r"\d+", version)[:2]))
    if numbers >= _SAFE_VERSION:
        return []
    return [("grpc.compression_enabled_algorithms_bitset", _ONLY_IDENTITY)]
