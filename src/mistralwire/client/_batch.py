"""The chunks of one message of a stream, as the wire bytes they arrived in."""

from collections.abc import Iterator, Sequence
from typing import TypeVar, overload

from google.protobuf.message import DecodeError as WireError
from google.protobuf.message import Message

from mistralwire.codec import lift
from mistralwire.errors import CallError, CodecError, Reason
from mistralwire.v1 import CONTRACT_REVISION, ChatCompletionStreamResponse, CompletionChunk

AnswerT = TypeVar("AnswerT", bound=Message)


class ChunkBatch(Sequence[CompletionChunk]):
    """The chunks of one message, in order: a sequence that is decoded when it is first read.

    To forward the chunks, take `data`: nothing is decoded. To read them, iterate: they have everything that
    this contract knows in their fields. Both stream responses of the contract have the same wire form, so
    the bytes fit either. Reading anything but `data` raises a CallError with the reason NOT_PROTOBUF and the
    `request_id` if the bytes are not a message.

    Attributes:
        data: The wire bytes of the whole message, a ChatCompletionStreamResponse.
    """

    __slots__ = ("_chunks", "_request_id", "data")

    def __init__(self, data: bytes, request_id: str = "") -> None:
        self.data = data
        self._request_id = request_id
        self._chunks: Sequence[CompletionChunk] | None = None

    def __iter__(self) -> Iterator[CompletionChunk]:
        return iter(self._decoded())

    def __len__(self) -> int:
        return len(self._decoded())

    @overload
    def __getitem__(self, index: int) -> CompletionChunk: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[CompletionChunk]: ...

    def __getitem__(self, index: int | slice) -> CompletionChunk | Sequence[CompletionChunk]:
        return self._decoded()[index]

    def __repr__(self) -> str:
        """Show the size, and nothing of the content."""
        return f"ChunkBatch({len(self.data)} bytes)"

    def _decoded(self) -> Sequence[CompletionChunk]:
        if self._chunks is None:
            batch = parse_response(ChatCompletionStreamResponse, self.data, self._request_id)
            # Nothing can be newer than the first revision.
            is_first = CONTRACT_REVISION == 1
            self._chunks = batch.chunks if is_first else [lifted(chunk) for chunk in batch.chunks]
        return self._chunks


def lifted(message: AnswerT) -> AnswerT:
    """Return a response with what this contract knows in its fields, or unchanged if it has no JSON form."""
    try:
        return lift(message)
    except CodecError:
        return message


def parse_response(message_type: type[AnswerT], data: bytes, request_id: str) -> AnswerT:
    """Parse a response of the service; bytes that can't be parsed are a CallError with NOT_PROTOBUF."""
    try:
        return message_type.FromString(data)
    except (WireError, UnicodeDecodeError):  # protobuf in pure Python raises the second
        name = message_type.DESCRIPTOR.name
        found = f"{len(data)} bytes that can't be parsed"
        message = f"expected the wire bytes of a {name} from the service, found {found}"
        raise CallError(message, code="INTERNAL", reason=Reason.NOT_PROTOBUF, request_id=request_id) from None
