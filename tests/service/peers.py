"""A peer that violates HTTP/2 as a test requires."""

import asyncio
import struct
import zlib
from collections.abc import Callable
from typing import NamedTuple, Self

DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
END_STREAM = ACK = 1
END_HEADERS = 4
INITIAL_WINDOW_SIZE = 4
# The payload of RST_STREAM: RFC 9113, section 7.
CANCEL = b"\0\0\0\x08"
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


class Frame(NamedTuple):
    """A frame of HTTP/2: RFC 9113, section 4.1."""

    kind: int
    flags: int
    stream: int
    payload: bytes = b""

    def encode(self) -> bytes:
        head = struct.pack(">I", len(self.payload))[1:] + bytes([self.kind, self.flags])
        return head + struct.pack(">I", self.stream) + self.payload


class RawPeer:
    """A raw HTTP/2 connection; it acknowledges settings, and pings if it is asked to.

    Args:
        port: Where the server listens, on this machine.
        window: How many bytes of an answer it takes.
        answers_pings: Whether it does.

    Attributes:
        frames: What the server sent, but for settings.
        closed: Set when the server has closed the connection.
    """

    def __init__(self, port: int, *, window: int = 65_535, answers_pings: bool = True) -> None:
        self.frames: list[Frame] = []
        self.closed = asyncio.Event()
        self._port = port
        self._window = window
        self._answers_pings = answers_pings
        self._something = asyncio.Condition()
        self._room: dict[int, int] = {0: 65_535}
        self._room_initial = 65_535

    async def __aenter__(self) -> Self:
        self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)
        settings = struct.pack(">HI", INITIAL_WINDOW_SIZE, self._window)
        self._writer.write(PREFACE + Frame(SETTINGS, 0, 0, settings).encode())
        # The window of the whole connection is not in the settings.
        self.send(Frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", 2**30)))
        self._task = asyncio.create_task(self._read())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        await asyncio.wait([self._task])
        self._writer.close()

    def send(self, *frames: Frame) -> None:
        self._writer.write(b"".join(frame.encode() for frame in frames))

    def call(self, method: str, *metadata: tuple[str, str], stream: int = 1) -> None:
        """Start a call, without its request."""
        fields = [
            (":method", "POST"),
            (":scheme", "http"),
            (":path", method),
            (":authority", "localhost"),
            ("te", "trailers"),
            ("content-type", "application/grpc"),
            *metadata,
        ]
        block = b"".join(b"\0" + _text(name) + _text(value) for name, value in fields)
        self.send(Frame(HEADERS, END_HEADERS, stream, block))

    async def request(self, message: bytes, *, is_compressed: bool = False, stream: int = 1) -> None:
        """Send the one request of a call, as fast as flow control allows, until the server resets it."""
        data = bytes([is_compressed]) + struct.pack(">I", len(message)) + message
        position = 0
        while position < len(data):
            self._room.setdefault(stream, self._room_initial)
            room = min(16_384, self._room[0], self._room[stream], len(data) - position)
            if room <= 0:
                async with self._something:
                    await self._something.wait()
                if self.closed.is_set() or self._has_ended(stream):
                    return
                continue
            end = END_STREAM if position + room == len(data) else 0
            self.send(Frame(DATA, end, stream, data[position : position + room]))
            await self._writer.drain()
            self._room[0] -= room
            self._room[stream] -= room
            position += room

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait for frames that make a condition true, or for the end of the connection."""
        async with self._something:
            await self._something.wait_for(lambda: self.closed.is_set() or condition())

    async def ended(self, stream: int = 1) -> bytes:
        """Wait for the end of a call; return its trailers, not decoded."""
        await self.until(lambda: self._has_ended(stream))
        return b"".join(f.payload for f in self.frames if f.kind == HEADERS and f.stream == stream)

    async def received(self, kind: int, flags: int = 0, count: int = 1) -> Frame:
        """Wait for this many frames of this kind with these flags; return the last of them."""

        def found() -> list[Frame]:
            return [frame for frame in self.frames if (frame.kind, frame.flags) == (kind, flags)]

        await self.until(lambda: len(found()) >= count)
        return found()[count - 1]

    def _has_ended(self, stream: int) -> bool:
        return any(
            frame.stream == stream
            and (frame.kind == RST_STREAM or (frame.kind == HEADERS and frame.flags & END_STREAM))
            for frame in self.frames
        )

    async def _read(self) -> None:
        try:
            while True:
                head = await self._reader.readexactly(9)
                size, stream = int.from_bytes(head[:3], "big"), int.from_bytes(head[5:], "big")
                self._take(Frame(head[3], head[4], stream, await self._reader.readexactly(size)))
                async with self._something:
                    self._something.notify_all()
        except (asyncio.IncompleteReadError, ConnectionError):
            self.closed.set()
            async with self._something:
                self._something.notify_all()

    def _take(self, frame: Frame) -> None:
        if frame.kind == SETTINGS:
            if not frame.flags & ACK:
                for name, value in struct.iter_unpack(">HI", frame.payload):
                    if name == INITIAL_WINDOW_SIZE:
                        # Existing streams get the difference: RFC 9113, section 6.9.2.
                        for stream in self._room.keys() - {0}:
                            self._room[stream] += value - self._room_initial
                        self._room_initial = value
                self.send(Frame(SETTINGS, ACK, 0))
            return
        if frame.kind == WINDOW_UPDATE:
            room = self._room.setdefault(frame.stream, self._room_initial)
            self._room[frame.stream] = room + int.from_bytes(frame.payload, "big")
        if frame.kind == PING and not frame.flags & ACK and self._answers_pings:
            self.send(Frame(PING, ACK, 0, frame.payload))
        self.frames.append(frame)


def gzip_bomb(*, blocks: int, block_bytes: int) -> bytes:
    """Return gzip data that decompresses to this many zeros: one block, repeated."""
    compressor = zlib.compressobj(9, zlib.DEFLATED, -15)
    # A full flush: the block refers to nothing before it.
    block = compressor.compress(bytes(block_bytes)) + compressor.flush(zlib.Z_FULL_FLUSH)
    end = zlib.compressobj(9, zlib.DEFLATED, -15).flush()
    trailer = struct.pack("<II", 0, blocks * block_bytes & 0xFFFFFFFF)
    return b"\x1f\x8b\x08" + bytes(6) + b"\xff" + block * blocks + end + trailer


def _text(value: str) -> bytes:
    """Encode a text for a header without Huffman coding: RFC 7541, section 5.2."""
    data = value.encode()
    assert len(data) < 127, "longer ones have another form"
    return bytes([len(data)]) + data
