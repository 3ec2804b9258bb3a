"""Compression: of responses on request, and of requests within the limit."""

import asyncio
import gzip
import resource
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest

from mistralwire.service import ServerConfig, create_server
from mistralwire.service._server import compression_options
from mistralwire.service._servicer import send_initial_metadata, wants_gzip
from mistralwire.v1 import ChatCompletionResponse
from tests.service.peers import DATA, RawPeer, gzip_bomb
from tests.service.upstreams import REQUEST, HeldUpstream

COMPLETION = "/mistralwire.v1.ChatCompletionService/ChatCompletion"
TEXT = b"word " * 10_000
IS_SAFE = not compression_options()
ASKED = ("x-accept-encoding", "gzip")


async def _complete(_: object, context: grpc.aio.ServicerContext) -> bytes:
    await send_initial_metadata(context, context.invocation_metadata())
    return TEXT


async def _stream(_: object, context: grpc.aio.ServicerContext) -> None:
    await send_initial_metadata(context, context.invocation_metadata())
    for _ in range(2):
        await context.write(TEXT)


@pytest.fixture
async def port() -> AsyncIterator[int]:
    server = grpc.aio.server()
    handlers = {
        "Complete": grpc.stream_unary_rpc_method_handler(_complete),
        "Stream": grpc.stream_stream_rpc_method_handler(_stream),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Service", handlers),))
    port: int = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield port
    await server.stop(0)


@pytest.mark.parametrize("method", ["Complete", "Stream"])
@pytest.mark.parametrize(
    ("metadata", "is_compressed"),
    [([], False), ([ASKED], True), ([("x-accept-encoding", "identity")], False)],
)
async def test_answers_are_compressed_for_who_asks(
    method: str, metadata: list[tuple[str, str]], is_compressed: bool, port: int
) -> None:
    async with asyncio.timeout(30), RawPeer(port, window=1_000_000) as peer:
        peer.call(f"/test.Service/{method}", *metadata)
        trailers = await peer.ended()
    data = b"".join(frame.payload for frame in peer.frames if frame.kind == DATA)
    assert data[0] == is_compressed
    assert (b"grpc-encoding\x04gzip" in trailers) == is_compressed
    size = int.from_bytes(data[1:5], "big")
    message = data[5 : 5 + size]
    assert (gzip.decompress(message) if is_compressed else message) == TEXT


@pytest.mark.parametrize("method", ["Complete", "Stream"])
async def test_a_client_reads_them_like_any_others(method: str, port: int) -> None:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        call = channel.unary_stream(f"/test.Service/{method}")(b"", metadata=[ASKED], timeout=30)
        async for message in call:
            assert message == TEXT


@pytest.mark.parametrize(
    ("metadata", "expected"),
    [
        ([], False),
        ([("x-accept-encoding", "GZIP")], True),
        ([("x-accept-encoding", "deflate, gzip")], True),
        ([("x-accept-encoding", "gzippy")], False),
        ([("accept-encoding", "gzip")], False),
        ([("x-accept-encoding", "identity"), ("x-accept-encoding", "gzip")], True),
    ],
)
def test_what_counts_as_asking(metadata: list[tuple[str, str]], expected: bool) -> None:
    assert wants_gzip(metadata) is expected


@pytest.mark.parametrize(
    ("version", "is_safe"),
    [("1.73.1", False), ("1.83.2", False), ("1.84.0", True), ("1.85.0rc1", True), ("2.0.0.dev0", True)],
)
def test_compressed_requests_depend_on_the_version_of_grpc(version: str, is_safe: bool) -> None:
    assert (compression_options(version) == []) is is_safe


async def complete_compressed(compression: grpc.Compression, **settings: Any) -> bytes:
    upstream = HeldUpstream()
    upstream.items.put_nowait(ChatCompletionResponse(id="1"))
    async with (
        create_server(upstream, ServerConfig(port=0, **settings)) as server,
        grpc.aio.insecure_channel(server.address) as channel,
    ):
        call = channel.unary_unary(COMPLETION)
        request = REQUEST.SerializeToString() * 100
        answer: bytes = await call(request, compression=compression, timeout=30)
        return answer


@pytest.mark.skipif(not IS_SAFE, reason="this grpcio does not bound them")
@pytest.mark.parametrize("compression", [grpc.Compression.Gzip, grpc.Compression.Deflate])
async def test_a_compressed_request_is_read(compression: grpc.Compression) -> None:
    assert ChatCompletionResponse.FromString(await complete_compressed(compression)).id == "1"


@pytest.mark.skipif(not IS_SAFE, reason="this grpcio does not bound them")
async def test_the_limit_is_of_the_request_after_its_decompression() -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await complete_compressed(grpc.Compression.Gzip, message_bytes_max=REQUEST.ByteSize() * 99)
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


@pytest.mark.skipif(IS_SAFE, reason="this grpcio bounds them")
async def test_a_compressed_request_is_refused_where_grpc_does_not_bound_it() -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await complete_compressed(grpc.Compression.Gzip)
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_a_megabyte_that_becomes_a_gigabyte_is_refused_in_flat_memory() -> None:
    bomb = gzip_bomb(blocks=64, block_bytes=16 * 1024 * 1024)
    upstream = HeldUpstream()
    async with (
        asyncio.timeout(30),
        create_server(upstream, ServerConfig(port=0)) as server,
        RawPeer(server.port) as peer,
    ):
        before_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        peer.call(COMPLETION, ("grpc-encoding", "gzip"))
        await peer.request(bomb, is_compressed=True)
        trailers = await peer.ended()
        growth_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kib

        upstream.items.put_nowait(ChatCompletionResponse(id="1"))
        peer.call(COMPLETION, stream=3)
        await peer.request(REQUEST.SerializeToString(), stream=3)
        await peer.ended(3)

    assert (b"grpc-status\x018" if IS_SAFE else b"grpc-status\x0212") in trailers
    assert growth_kib < 128 * 1024
    assert len(upstream.requests) == 1
