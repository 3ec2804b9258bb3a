"""The chunks of one message of a stream, as the wire bytes they came in."""

from collections.abc import Iterator, Sequence
from typing import TypeVar, overload

from google.protobuf.message import DecodeError as WireError
from google.protobuf.message import Message

from mistralwire.codec import lift
from mistralwire.errors import CallError, CodecError, Reason
from mistralwire.v1 import CONTRACT_REVISION, ChatCompletionStreamResponse, CompletionChunk

M = TypeVar("M", bound=Message)


class ChunkBatch(Sequence[CompletionChunk]):
    """The chunks that travelled in one message, in order: a sequence that is decoded when it is first read.

    Whoever passes the chunks on takes `data` and decodes nothing; whoever wants the chunks goes over the
    batch, and gets them with everything that this contract knows in its fields. Both stream responses of the
    contract have the same wire form, so that the bytes fit either.

    Reading anything but `data` raises a CallError with the reason NOT_PROTOBUF if the bytes are no message.

    Args:
        data: The wire bytes.
        request_id: Id of the call, for that error.

    Attributes:
        data: The wire bytes of the whole message, a ChatCompletionStreamResponse.
    """

    __slots__ = ("_chunks", "_request_id", "data")

    def __init__(self, data: bytes, request_id: str = "") -> None:
        self.data = data
        self._request_id = request_id
        self._chunks: Sequence[CompletionChunk] | None = None

    def __iter__(self) -> Iterator[CompletionChunk]:
        """Go over the chunks."""
        return iter(self._decoded())

    def __len__(self) -> int:
        """Count the chunks."""
        return len(self._decoded())

    @overload
    def __getitem__(self, index: int) -> CompletionChunk: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[CompletionChunk]: ...

    def __getitem__(self, index: int | slice) -> CompletionChunk | Sequence[CompletionChunk]:
        """Give a chunk, or a list of some."""
        return self._decoded()[index]

    def __repr__(self) -> str:
        """Name the size and nothing of the content."""
        return f"ChunkBatch({len(self.data)} bytes)"

    def _decoded(self) -> Sequence[CompletionChunk]:
        if self._chunks is None:
            batch = read_message(ChatCompletionStreamResponse, self.data, self._request_id)
            # Nothing can be newer than the first revision.
            is_first = CONTRACT_REVISION == 1
            self._chunks = batch.chunks if is_first else [lifted(chunk) for chunk in batch.chunks]
        return self._chunks


def lifted(message: M) -> M:
    """Return an answer with everything that this contract knows in its fields.

    One that has no JSON form stays as it is.
    """
    try:
        return lift(message)
    except CodecError:
        return message


def read_message(message_type: type[M], data: bytes, request_id: str) -> M:
    """Read an answer of the service.

    Args:
        message_type: Its type.
        data: Its wire bytes.
        request_id: Id of the call.

    Returns:
        The message.

    Raises:
        CallError: If the bytes are no such message: INTERNAL, with the reason NOT_PROTOBUF.
    """
    try:
        return message_type.FromString(data)
    except (WireError, UnicodeDecodeError):  # protobuf in pure Python raises the second
        name = message_type.DESCRIPTOR.name
        message = (
            f"expected the wire bytes of a {name} from the service, found {len(data)} bytes that are none"
        )
        raise CallError(message, code="INTERNAL", reason=Reason.NOT_PROTOBUF, request_id=request_id) from None
