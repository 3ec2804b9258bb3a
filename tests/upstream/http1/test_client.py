"""The client over real sockets, on each event loop: reuse, loss, cancelling, backpressure, addresses, TLS."""

import asyncio
import contextlib
import gc
import gzip
import itertools
import pathlib
import resource
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Iterator

import aiohappyeyeballs
import pytest
import trustme
import uvicorn

from mistralwire.upstream._http1 import (
    Exchange,
    HttpClient,
    TruncatedError,
    UnreachableError,
    UnreadableError,
    Upload,
    _client,
)
from tests.service.certificates import issue
from tests.upstream.http1.peers import (
    WAIT_S,
    Handler,
    RawServer,
    Recorder,
    answer,
    answering,
    read_head,
    until,
)

HI = answer()


@pytest.fixture
async def client() -> AsyncIterator[HttpClient]:
    made = HttpClient(connect_s=WAIT_S)
    yield made
    await made.close()


def _get(client: HttpClient, url: str, *, body: bytes | None = None) -> tuple[Exchange, Recorder]:
    recorder = Recorder()
    exchange = client.request("GET" if body is None else "POST", url, {}, body, recorder)
    assert not recorder.heard
    return exchange, recorder


async def _got(client: HttpClient, url: str) -> Recorder:
    return await _get(client, url)[1].over()


def _serving(handler: Handler) -> contextlib.AbstractAsyncContextManager[RawServer]:
    return RawServer(handler).running()


async def test_a_request_is_written_and_its_response_passed_on(client: HttpClient) -> None:
    seen = b""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal seen
        seen = await read_head(reader) + await reader.readexactly(3)
        writer.write(answer(b"hello", 418, x_a="b"))

    async with _serving(handle) as server:
        recorder = Recorder()
        client.request("POST", f"{server.url}/a?b=c", {"x": "y"}, b"abc", recorder)
        await recorder.over()
    assert (
        seen
        == (
            f"POST /a?b=c HTTP/1.1\r\nhost: 127.0.0.1:{server.port}\r\naccept-encoding: identity\r\nx: y\r\n"
            "content-length: 3\r\n\r\nabc"
        ).encode()
    )
    assert (recorder.heard, recorder.status, recorder.body) == (["head", "data", "end"], 418, b"hello")
    assert recorder.headers == {"content-length": "5", "x-a": "b"}


async def test_a_header_that_would_break_the_head_is_refused_before_anything_is_sent(
    client: HttpClient,
) -> None:
    async with _serving(answering(HI)) as server:
        recorder = Recorder()
        with pytest.raises(ValueError, match="expected a header of printable characters"):
            client.request("GET", server.url, {"x": "a\r\ny: b"}, None, recorder)
        with pytest.raises(ValueError, match="expected a header of printable characters"):
            client.request("GET", server.url, {}, None, recorder, own_headers={"x": "a\r\ny: b"})
        assert (await _got(client, server.url)).body == b"hi"
    assert (server.connections, recorder.heard) == (1, [])


async def test_each_request_has_the_headers_that_it_was_given(client: HttpClient) -> None:
    seen: list[bytes] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for _ in range(4):
            head = await read_head(reader)
            lines = head.split(b"\r\n")
            seen.append(b" ".join([lines[0].split()[1], *(line for line in lines if line.startswith(b"x-"))]))
            writer.write(HI)

    async with _serving(handle) as server:
        for path, key, own in (("/a", "1", "i"), ("/a", "2", "j"), ("/b", "2", ""), ("/a", "2", "k")):
            recorder = Recorder()
            own_headers = {"x-own": own} if own else {}
            url = f"{server.url}{path}"
            client.request("GET", url, {"x-key": key}, None, recorder, own_headers=own_headers)
            await recorder.over()
    assert seen == [
        b"/a x-key: 1 x-own: i",
        b"/a x-key: 2 x-own: j",
        b"/b x-key: 2",
        b"/a x-key: 2 x-own: k",
    ]


async def test_requests_one_after_the_other_share_a_connection(client: HttpClient) -> None:
    async with _serving(answering(HI, answer(b"", 204), answer(status=404), HI)) as server:
        statuses = [(await _got(client, server.url)).status for _ in range(4)]
    assert (statuses, server.connections) == ([200, 204, 404, 200], 1)


async def test_the_receiver_of_an_end_can_use_the_connection_at_once(client: HttpClient) -> None:
    second = Recorder()

    class Asking(Recorder):
        def end(self) -> None:
            super().end()
            client.request("GET", server.url, {}, None, second)

    async with _serving(answering(HI, answer(b"ho"))) as server:
        client.request("GET", server.url, {}, None, Asking())
        await second.until(lambda this: this.heard)
        await second.over()
    assert (second.body, server.connections) == (b"ho", 1)


async def test_the_connection_that_was_used_last_is_used_first(client: HttpClient) -> None:
    seen: list[int] = []
    numbers = itertools.count(1)
    second_is_over = asyncio.Event()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        number = next(numbers)
        for _ in range(2):
            await read_head(reader)
            seen.append(number)
            if number == 1:
                await second_is_over.wait()
            writer.write(HI)
        await reader.read()

    async with _serving(handle) as server:
        first = _get(client, server.url)[1]
        await until(lambda: seen)
        await _got(client, server.url)
        second_is_over.set()
        await first.over()
        await _got(client, server.url)
    assert seen == [1, 2, 1]


@pytest.mark.parametrize(
    "response",
    [
        answer(connection="close"),
        b"HTTP/1.0 200 OK\r\ncontent-length: 2\r\nconnection: keep-alive\r\n\r\nhi",
        HI + b"x",
        HI + HI,
    ],
    ids=["close", "1.0", "surplus", "a-second-response"],
)
async def test_a_connection_that_can_not_be_used_again_is_closed(client: HttpClient, response: bytes) -> None:
    async with _serving(answering(response)) as server:
        for count in (1, 2):
            assert (await _got(client, server.url)).body == b"hi"
            assert server.connections == count
        await server.all_ended()


async def test_a_byte_on_an_idle_connection_closes_it(client: HttpClient) -> None:
    is_idle = asyncio.Event()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_head(reader)
        writer.write(HI)
        await is_idle.wait()
        writer.write(b"x")
        assert await reader.read() == b""

    async with _serving(handle) as server:
        await _got(client, server.url)
        is_idle.set()
        await server.all_ended()
        assert (await _got(client, server.url)).body == b"hi"
    assert server.connections == 2


async def test_connections_that_are_idle_for_too_long_are_closed(
    client: HttpClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_client, "IDLE_S", 0.05)
    async with _serving(answering(HI, HI)) as server:
        await asyncio.gather(*(_got(client, server.url) for _ in range(3)))
        await server.all_ended()
        assert server.connections == 3
        # The sweep begins anew.
        await _got(client, server.url)
        await server.all_ended()
        assert server.connections == 4


def test_idle_connections_are_closed_before_uvicorn_closes_them() -> None:
    assert uvicorn.Config("an:app", log_config=None).timeout_keep_alive > _client.IDLE_S + 0.5


async def test_a_connection_beyond_its_time_is_not_used_even_if_the_sweep_is_late(
    client: HttpClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with _serving(answering(HI, HI)) as server:
        await _got(client, server.url)
        monkeypatch.setattr(_client, "IDLE_S", 0.0)
        await _got(client, server.url)
    assert server.connections == 2


def _leaving(count: int, after: Callable[[int], bool]) -> Handler:
    """Answer the first requests of a connection; leave at the next one's head, without a byte."""

    numbers = itertools.count(1)

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for _ in range(count if after(next(numbers)) else 100):
            await read_head(reader)
            writer.write(HI)
        await read_head(reader)

    return handle


async def test_a_used_connection_that_is_lost_without_a_byte_is_replaced(client: HttpClient) -> None:
    async with _serving(_leaving(1, lambda number: number == 1)) as server:
        for _ in range(3):
            assert (await _got(client, server.url)).body == b"hi"
    assert server.connections == 2


async def test_a_request_is_repeated_once(client: HttpClient) -> None:
    counts = iter([1, 0])

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for _ in range(next(counts)):
            await read_head(reader)
            writer.write(HI)
        await read_head(reader)

    async with _serving(handle) as server:
        await _got(client, server.url)
        recorder = await _got(client, server.url)
    assert (recorder.heard, server.connections) == (["failed"], 2)
    assert isinstance(recorder.error, UnreachableError)
    assert str(recorder.error) == "it closed the connection instead of answering"


async def test_a_large_request_is_repeated_whole(client: HttpClient) -> None:
    body = bytes(3_000_000)
    lengths = []
    is_first = True

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal is_first
        if is_first:
            is_first = False
            await read_head(reader)
            writer.write(HI)
            await read_head(reader)
            await reader.readexactly(1000)
            return
        await read_head(reader)
        lengths.append(len(await reader.readexactly(len(body))))
        writer.write(HI)
        await reader.read()

    async with _serving(handle) as server:
        await _got(client, server.url)
        recorder = await _get(client, server.url, body=body)[1].over()
    assert (recorder.body, lengths) == (b"hi", [len(body)])


async def test_a_new_connection_that_is_lost_without_a_byte_is_an_error(client: HttpClient) -> None:
    async with _serving(_leaving(0, lambda _: True)) as server:
        recorder = await _got(client, server.url)
    assert (recorder.heard, server.connections) == (["failed"], 1)
    assert isinstance(recorder.error, UnreachableError)


@pytest.mark.parametrize(
    ("begun", "heard"),
    [
        (b"H", ["failed"]),
        (b"HTTP/1.1 100 Continue\r\n\r\n", ["failed"]),
        (HI[:-2], ["head", "failed"]),
        (HI[:-1], ["head", "data", "failed"]),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n", ["head", "data", "failed"]),
    ],
    ids=["a-byte", "interim", "head", "half-a-body", "chunk"],
)
async def test_a_connection_that_is_lost_in_a_response_is_never_repeated(
    client: HttpClient, begun: bytes, heard: list[str]
) -> None:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_head(reader)
        writer.write(HI)
        await read_head(reader)
        writer.write(begun)
        await writer.drain()

    async with _serving(handle) as server:
        await _got(client, server.url)
        recorder = await _got(client, server.url)
    assert (recorder.heard, server.connections) == (heard, 1)
    assert isinstance(recorder.error, TruncatedError)


async def test_a_body_can_end_with_its_connection(client: HttpClient) -> None:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_head(reader)
        writer.write(b"HTTP/1.1 200 OK\r\n\r\nhel")
        await asyncio.sleep(0)
        writer.write(b"lo")
        await writer.drain()

    async with _serving(handle) as server:
        recorder = await _got(client, server.url)
    assert (recorder.heard, recorder.body) == (["head", "data", "end"], b"hello")


async def test_a_body_that_is_to_end_with_its_connection_is_cut_by_a_reset(client: HttpClient) -> None:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_head(reader)
        writer.write(b"HTTP/1.1 200 OK\r\n\r\nhello")
        await recorder.until(lambda this: this.pieces)
        linger = b"\1\0\0\0\0\0\0\0"
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)

    async with _serving(handle) as server:
        recorder = _get(client, server.url)[1]
        await recorder.over()
    assert (recorder.heard, recorder.body) == (["head", "data", "failed"], b"hello")
    assert isinstance(recorder.error, TruncatedError)


async def test_the_response_to_head_has_no_body(client: HttpClient) -> None:
    async with _serving(answering(HI[:-2])) as server:
        for _ in range(2):
            recorder = Recorder()
            client.request("HEAD", server.url, {}, None, recorder)
            assert (await recorder.over()).heard == ["head", "end"]
    assert server.connections == 2


async def test_a_response_that_comes_byte_by_byte_is_the_same(client: HttpClient) -> None:
    response = (
        b"HTTP/1.1 103 Early\r\n\r\nHTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n"
    )

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await read_head(reader)
            for byte in response:
                writer.write(bytes([byte]))
                await writer.drain()
                await asyncio.sleep(0)

    async with _serving(handle) as server:
        for _ in range(2):
            recorder = await _got(client, server.url)
            assert (recorder.heard, recorder.status, recorder.body) == (["head", "data", "end"], 200, b"hi")
    assert server.connections == 1


@pytest.mark.parametrize("response", [b"garbage\r\n\r\n", b"HTTP/1.1 200 OK\r\nx: a\r\n b\r\n\r\n"])
async def test_what_can_not_be_read_ends_the_exchange_and_the_connection(
    client: HttpClient, response: bytes
) -> None:
    async with _serving(answering(response)) as server:
        recorder = await _got(client, server.url)
        await server.all_ended()
    assert recorder.heard == ["failed"]
    assert isinstance(recorder.error, UnreadableError)
    assert server.connections == 1


async def test_what_came_before_a_hostile_chunk_is_passed_on(client: HttpClient) -> None:
    response = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n-1\r\n"
    async with _serving(answering(response)) as server:
        recorder = await _got(client, server.url)
    assert (recorder.heard, recorder.body) == (["head", "data", "failed"], b"hi")
    assert isinstance(recorder.error, UnreadableError)


async def test_an_encoded_body_is_decoded_and_the_connection_kept(client: HttpClient) -> None:
    encoded = answer(gzip.compress(b"hello" * 100), content_encoding=" GZip")
    async with _serving(answering(encoded, encoded)) as server:
        for _ in range(2):
            recorder = await _got(client, server.url)
            assert (recorder.heard, recorder.body) == (["head", "data", "end"], b"hello" * 100)
    assert server.connections == 1


async def test_a_body_in_an_encoding_that_nobody_knows_fails_behind_its_head(client: HttpClient) -> None:
    async with _serving(answering(answer(b"\x0b\x02\x80hi\x03", 429, content_encoding="br"))) as server:
        recorder = await _got(client, server.url)
    assert (recorder.heard, recorder.status) == (["head", "failed"], 429)
    assert str(recorder.error) == "a content encoding other than gzip and deflate"


async def test_a_bomb_waits_for_its_receiver(client: HttpClient) -> None:
    size = 50_000_000
    async with _serving(answering(answer(gzip.compress(bytes(size)), content_encoding="gzip"))) as server:
        exchange, recorder = _get(client, server.url)
        recorder.on_data = exchange.pause
        await recorder.until(lambda this: this.pieces)
        count = 0
        while "end" not in recorder.heard:
            count += 1
            assert len(recorder.pieces) <= count
            exchange.resume()
            await asyncio.sleep(0)
    assert len(recorder.body) == size


MOMENTS = {
    "at-once": lambda this: True,
    "head": lambda this: "head" in this.heard,
    "data": lambda this: this.pieces,
}


@pytest.mark.parametrize("moment", MOMENTS.values(), ids=MOMENTS)
@pytest.mark.parametrize("is_reused", [False, True])
async def test_a_cancelled_exchange_closes_its_connection_and_hears_no_more(
    client: HttpClient, moment: Callable[[Recorder], object], is_reused: bool
) -> None:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if is_reused:
            await read_head(reader)
            writer.write(HI)
        await read_head(reader)
        writer.write(HI[:-2])
        await asyncio.sleep(0)
        writer.write(HI[-2:-1])
        assert await reader.read() == b""

    async with _serving(handle) as server:
        if is_reused:
            await _got(client, server.url)
        exchange, recorder = _get(client, server.url)
        await recorder.until(moment)
        exchange.cancel()
        heard = list(recorder.heard)
        exchange.cancel()
        exchange.pause()
        exchange.resume()
        if server.connections:
            await server.all_ended()
        assert (recorder.heard, exchange.is_over) == (heard, True)


@pytest.mark.parametrize("call", ["on_head", "on_data"])
async def test_a_receiver_can_cancel_while_it_is_called(client: HttpClient, call: str) -> None:
    async with _serving(answering(HI)) as server:
        exchange, recorder = _get(client, server.url)
        setattr(recorder, call, exchange.cancel)
        await recorder.until(lambda this: exchange.is_over)
        await server.all_ended()
    assert recorder.heard == (["head"] if call == "on_head" else ["head", "data"])


async def test_cancelling_at_its_end_keeps_the_connection(client: HttpClient) -> None:
    async with _serving(answering(HI, HI)) as server:
        exchange, recorder = _get(client, server.url)
        await recorder.over()
        exchange.cancel()
        await _got(client, server.url)
    assert server.connections == 1


async def _cancelled_after(turns: int, exchange: Exchange, recorder: Recorder) -> tuple[Recorder, list[str]]:
    """Cancel an exchange after some turns of the event loop; return what had been heard until then."""
    for _ in range(turns):
        await asyncio.sleep(0)
    exchange.cancel()
    return recorder, list(recorder.heard)


async def test_a_cancelled_connection_attempt_leaves_nothing_behind(client: HttpClient) -> None:
    async with _serving(answering(*[HI] * 100)) as server:
        cancelled = []
        for turns in range(30):
            exchange, recorder = _get(client, server.url)
            cancelled.append(await _cancelled_after(turns, exchange, recorder))
        assert (await _got(client, server.url)).body == b"hi"
    assert all(recorder.heard == heard for recorder, heard in cancelled)
    assert cancelled[0][1] == []


async def test_a_connection_made_for_nobody_is_kept_and_may_be_lost_like_others(client: HttpClient) -> None:
    async with _serving(_leaving(0, lambda number: number == 1)) as server:
        exchange, recorder = _get(client, server.url)
        # As if it were cancelled in the very turn in which the connection is made.
        exchange.is_over = True
        await until(lambda: any(client._idle.values()))
        assert (await _got(client, server.url)).body == b"hi"
    assert (recorder.heard, server.connections) == ([], 2)


async def test_a_paused_receiver_stops_the_server_and_loses_nothing(client: HttpClient) -> None:
    size, piece = 40_000_000, bytes(100_000)
    written = 0

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal written
        await read_head(reader)
        writer.write(f"HTTP/1.1 200 OK\r\ncontent-length: {size}\r\n\r\n".encode())
        while written < size:
            writer.write(piece)
            written += len(piece)
            await writer.drain()
        await reader.read()

    async with _serving(handle) as server:
        exchange, recorder = _get(client, server.url)
        recorder.on_data = exchange.pause
        await recorder.until(lambda this: this.pieces)
        before = -1
        while before != written:
            before = written
            await asyncio.sleep(0.05)
        assert written < size
        assert len(recorder.pieces) == 1
        recorder.on_data = lambda: None
        exchange.resume()
        await recorder.over()
        assert (len(recorder.body), recorder.heard) == (size, ["head", "data", "end"])


async def test_an_exchange_can_be_paused_before_there_is_a_connection(client: HttpClient) -> None:
    async with _serving(answering(HI, HI)) as server:
        for _ in range(2):
            exchange, recorder = _get(client, server.url)
            exchange.pause()
            for _ in range(20):
                await asyncio.sleep(0.001)
            assert recorder.heard == []
            exchange.resume()
            await recorder.over()
            assert recorder.body == b"hi"
    assert server.connections == 1


async def test_a_connection_whose_receiver_paused_at_the_end_is_read_again(client: HttpClient) -> None:
    async with _serving(answering(HI, HI)) as server:
        exchange, recorder = _get(client, server.url)
        recorder.on_data = exchange.pause
        await recorder.over()
        assert (await _got(client, server.url)).body == b"hi"
    assert server.connections == 1


async def test_a_request_waits_for_a_server_that_reads_slowly(client: HttpClient) -> None:
    body = bytes(range(256)) * 100_000
    may_read = asyncio.Event()
    received = b""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal received
        await read_head(reader)
        await may_read.wait()
        received = await reader.readexactly(len(body))
        writer.write(HI)
        await reader.read()

    async with _serving(handle) as server:
        _, recorder = _get(client, server.url, body=body)
        await until(lambda: client._open)
        (connection,) = client._open
        await until(lambda: connection._is_writing_paused)
        assert len(connection._unsent) > len(body) // 2
        assert connection._transport.get_write_buffer_size() < 1_000_000
        # Another call has its turn meanwhile.
        may_read.set()
        await recorder.over()
        assert received == body
        assert (recorder.body, len(client._idle)) == (b"hi", 1)


@pytest.mark.parametrize("status", [413, 200])
async def test_who_answers_before_the_end_of_a_request_gets_its_connection_closed(
    client: HttpClient, status: int
) -> None:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_head(reader)
        writer.write(answer(status=status))
        await recorder.over()
        await reader.read()

    async with _serving(handle) as server:
        _, recorder = _get(client, server.url, body=bytes(30_000_000))
        await recorder.over()
        await server.all_ended()
    assert (recorder.status, recorder.body) == (status, b"hi")


async def test_who_refuses_a_request_is_sent_no_more_of_it(client: HttpClient) -> None:
    body = bytes(30_000_000)
    received = 0

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal received
        await read_head(reader)
        writer.write(answer(status=413)[:-1])
        await recorder.until(lambda this: this.pieces)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.2):
                while data := await reader.read(1 << 20):
                    received += len(data)
        writer.write(b"i")
        await reader.read()

    async with _serving(handle) as server:
        _, recorder = _get(client, server.url, body=body)
        await recorder.over()
        await server.all_ended()
    assert received < len(body)


@pytest.mark.parametrize("length", [100, None], ids=["sized", "chunked"])
async def test_a_connection_is_not_used_again_whose_upload_was_refused_in_its_middle(
    client: HttpClient, length: int | None
) -> None:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_head(reader)
        writer.write(answer(status=413)[:-1])
        await ended.wait()
        writer.write(b"i")
        await reader.read()

    ended, recorder = asyncio.Event(), Recorder()
    upload = Upload(length, lambda: None)
    async with _serving(handle) as server:
        client.request("POST", server.url, {}, upload, recorder)
        await recorder.until(lambda this: this.pieces)
        upload.write(b"x" * 100)
        upload.end()
        ended.set()
        await recorder.over()
        # On the same connection it would be taken for the rest of the body.
        assert (await _got(client, server.url)).body == b"hi"
    assert (recorder.status, recorder.body, server.connections) == (413, b"hi", 2)


@pytest.mark.parametrize("pieces", [[b"123", b"4"], [b"12"]], ids=["longer", "shorter"])
async def test_a_body_of_another_length_breaks_the_connection(
    client: HttpClient, pieces: list[bytes]
) -> None:
    received: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    async def handle(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await read_head(reader)
        has_head.set()
        try:
            received.set_result(await reader.read())
        except ConnectionResetError:
            received.set_result(b"")

    has_head, recorder = asyncio.Event(), Recorder()
    async with _serving(handle) as server:
        upload = Upload(3, lambda: None)
        client.request("POST", server.url, {}, upload, recorder)
        await asyncio.wait_for(has_head.wait(), WAIT_S)
        for piece in pieces:
            upload.write(piece)
        upload.end()
        await recorder.over()
        assert len(await asyncio.wait_for(received, WAIT_S)) <= 3
    assert recorder.heard == ["failed"]
    assert str(recorder.error) == f"expected a body of 3 bytes, found {len(b''.join(pieces))}"


async def test_nobody_there_is_told(client: HttpClient, closed_port: int) -> None:
    recorder = await _got(client, f"http://127.0.0.1:{closed_port}")
    assert (recorder.heard, str(recorder.error)) == (["failed"], "the connection was refused")


async def test_a_process_without_files_is_told(client: HttpClient, closed_port: int) -> None:
    await _got(client, f"http://127.0.0.1:{closed_port}")  # opens what the first request opens
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with socket.socket() as last:
        # Descriptors are given by number: all below the last one may be taken, and none follows.
        resource.setrlimit(resource.RLIMIT_NOFILE, (last.fileno(), hard))
        try:
            with contextlib.ExitStack() as taken:
                with contextlib.suppress(OSError):
                    while True:
                        taken.enter_context(socket.socket())
                recorder = await _got(client, f"http://127.0.0.1:{closed_port}")
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert (recorder.heard, str(recorder.error)) == (["failed"], "this process may not open more files")


async def test_a_name_that_nobody_has_is_told(client: HttpClient) -> None:
    for name in ("nobody.invalid", "a" * 63 + "." + "b" * 63 + ".invalid"):
        recorder = await _got(client, f"http://{name}")
        assert (recorder.heard, str(recorder.error)) == (["failed"], "its host name is unknown")


@contextlib.contextmanager
def _full_socket(host: str, port: int = 0) -> Iterator[int]:
    """Listen without room in the queue: who connects hears nothing."""
    with socket.create_server((host, port), backlog=0) as full, contextlib.ExitStack() as stack:
        for _ in range(8):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(full.getsockname())
        yield full.getsockname()[1]


async def test_a_connection_that_takes_too_long_is_given_up() -> None:
    client = HttpClient(connect_s=0.2)
    with _full_socket("127.0.0.1") as port:
        recorder = await _got(client, f"http://127.0.0.1:{port}")
    await client.close()
    assert str(recorder.error) == "no connection within 0.2 s"


@pytest.mark.parametrize("is_silent", [False, True], ids=["refused", "silent"])
async def test_the_next_address_is_tried_where_one_is_dead(
    client: HttpClient, monkeypatch: pytest.MonkeyPatch, is_silent: bool
) -> None:
    async def addresses(host: str, port: int) -> list[aiohappyeyeballs.AddrInfoType]:
        assert host == "two.example"
        return [
            (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (address, port))
            for address in ("127.0.0.2", "127.0.0.1")
        ]

    monkeypatch.setattr(_client, "resolve", addresses)
    async with _serving(answering(HI)) as server:
        with contextlib.ExitStack() as stack:
            if is_silent:
                stack.enter_context(_full_socket("127.0.0.2", server.port))
            recorder = await _got(client, f"http://two.example:{server.port}")
    assert (recorder.body, server.connections) == (b"hi", 1)


async def test_localhost_is_reached_by_whichever_address_has_somebody(client: HttpClient) -> None:
    async with _serving(answering(HI)) as server:
        assert (await _got(client, f"http://localhost:{server.port}")).body == b"hi"


async def test_small_packets_are_not_held_back(client: HttpClient) -> None:
    async with _serving(answering(HI)) as server:
        await _got(client, server.url)
        (connection,) = client._open
        sock = connection._transport.get_extra_info("socket")
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


class Trust:
    """The file of an authority, and a server's context with a certificate of it."""

    def __init__(self, folder: pathlib.Path) -> None:
        authority = trustme.CA()
        files = issue(authority, folder)
        self.server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self.server.load_cert_chain(files.certificate, files.key)
        self.file = folder / "ca.pem"
        authority.cert_pem.write_to_path(self.file)


@pytest.fixture(scope="module")
def trust(tmp_path_factory: pytest.TempPathFactory) -> Trust:
    return Trust(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def trusted(trust: Trust, monkeypatch: pytest.MonkeyPatch) -> Trust:
    monkeypatch.setenv("SSL_CERT_FILE", str(trust.file))
    return trust


async def test_tls_is_spoken_and_its_connections_are_kept(trusted: Trust) -> None:
    client = HttpClient(connect_s=WAIT_S)
    large = answer(bytes(3_000_000))
    async with RawServer(answering(HI, large)).running(tls=trusted.server) as server:
        url = f"https://localhost:{server.port}"
        assert (await _got(client, url)).body == b"hi"
        assert len((await _got(client, url)).body) == 3_000_000
        await client.close()
        await server.all_ended()
    assert server.connections == 1


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
async def test_a_certificate_of_nobody_or_of_somebody_else_is_not_trusted(
    trust: Trust, host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if host != "localhost":
        monkeypatch.setenv("SSL_CERT_FILE", str(trust.file))
    client = HttpClient(connect_s=WAIT_S)
    async with RawServer(answering(HI)).running(tls=trust.server) as server:
        recorder = await _got(client, f"https://{host}:{server.port}")
        await client.close()
    gc.collect()
    assert (recorder.heard, str(recorder.error)) == (["failed"], "its certificate is not trusted")


async def test_a_server_without_tls_is_told(client: HttpClient) -> None:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await writer.drain()
        await reader.read()

    async with _serving(handle) as server:
        recorder = await _got(client, f"https://127.0.0.1:{server.port}")
    assert (recorder.heard, str(recorder.error)) == (["failed"], "TLS failed")


async def test_tls_that_never_ends_is_given_up() -> None:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    client = HttpClient(connect_s=0.2)
    async with _serving(handle) as server:
        recorder = await _got(client, f"https://127.0.0.1:{server.port}")
        await server.all_ended()
    await client.close()
    gc.collect()
    assert str(recorder.error) == "no connection within 0.2 s"


async def test_cancelling_at_each_turn_of_a_tls_handshake_leaves_nothing_behind(trusted: Trust) -> None:
    client = HttpClient(connect_s=WAIT_S)
    async with RawServer(answering(*[HI] * 100)).running(tls=trusted.server) as server:
        cancelled = []
        for turns in range(0, 60, 3):
            exchange, recorder = _get(client, f"https://localhost:{server.port}")
            cancelled.append(await _cancelled_after(turns, exchange, recorder))
        await client.close()
        gc.collect()
    assert all(recorder.heard == heard for recorder, heard in cancelled)
    assert cancelled[0][1] == []


async def test_the_rest_of_a_response_is_read_for_nobody_so_that_the_connection_is_kept(
    client: HttpClient,
) -> None:
    is_discarded = asyncio.Event()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_head(reader)
        writer.write(HI[:-1])
        await is_discarded.wait()
        writer.write(HI[-1:])
        await read_head(reader)
        writer.write(HI)
        await reader.read()

    async with _serving(handle) as server:
        exchange, recorder = _get(client, server.url)
        await recorder.until(lambda this: this.pieces)
        exchange.pause()
        exchange.discard(WAIT_S)
        is_discarded.set()
        await until(lambda: exchange.is_over)
        exchange.discard(WAIT_S)
        assert (await _got(client, server.url)).body == b"hi"
    assert (recorder.heard, server.connections) == (["head", "data"], 1)


async def test_a_rest_that_does_not_come_closes_the_connection(client: HttpClient) -> None:
    async with _serving(answering(HI[:-1])) as server:
        exchange, recorder = _get(client, server.url)
        await recorder.until(lambda this: this.pieces)
        exchange.discard(0.05)
        await server.all_ended()
    assert (exchange.is_over, recorder.heard) == (True, ["head", "data"])


async def test_closing_ends_all_exchanges_and_the_client_can_be_used_again(client: HttpClient) -> None:
    async with _serving(answering(HI[:-1])) as server:
        recorders = [_get(client, server.url)[1] for _ in range(3)]
        await recorders[0].until(lambda this: this.pieces)
        recorders.append(_get(client, server.url)[1])
        await client.close()
        for recorder in recorders:
            assert isinstance((await recorder.over()).error, UnreachableError)
        assert not client._open
        await server.all_ended()
        await client.close()
        recorder = _get(client, server.url)[1]
        await recorder.until(lambda this: this.pieces)


async def test_calls_at_one_time_have_a_connection_each(client: HttpClient) -> None:
    async with _serving(answering(HI, HI)) as server:
        await asyncio.gather(*(_got(client, server.url) for _ in range(100)))
        await asyncio.gather(*(_got(client, server.url) for _ in range(100)))
    assert server.connections <= 100
