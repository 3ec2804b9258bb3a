"""A batch of chunks as server-sent events."""

from collections.abc import Iterator

from google.protobuf.message import DecodeError as WireError

from mistralwire.codec import encode_sse
from mistralwire.errors import CodecError, DecodeError, Reason, Violation
from mistralwire.v1 import ChatCompletionStreamResponse


def batch_to_sse(wire: bytes, first_id: int) -> bytes:
    """Encode the chunks of a batch as events.

    Args:
        wire: The batch, as the wire bytes of a stream response.
        first_id: Id of the first event; each of the others has one more.

    Returns:
        The events.

    Raises:
        DecodeError: If the bytes are no such message.
        EncodeError: If a chunk has no JSON form.
    """
    return b"".join(_events_of(wire, first_id))


def events_before_error(wire: bytes, first_id: int) -> list[bytes]:
    """Encode the chunks of a batch that come before the first one without a JSON form.

    Args:
        wire: As for `batch_to_sse`.
        first_id: As for `batch_to_sse`.

    Returns:
        Their events.
    """
    events = []
    try:
        for event in _events_of(wire, first_id):
            events.append(event)  # noqa: PERF402 - what came before an error counts
    except CodecError:
        return events
    raise AssertionError("expected a batch with a chunk that has no JSON form")


def _events_of(wire: bytes, first_id: int) -> Iterator[bytes]:
    try:
        chunks = ChatCompletionStreamResponse.FromString(wire).chunks
    except (WireError, UnicodeDecodeError):  # protobuf in pure Python raises the second
        name = ChatCompletionStreamResponse.DESCRIPTOR.name
        violation = Violation("", f"the wire bytes of a {name}", f"{len(wire)} bytes that are none")
        raise DecodeError([violation], type_name=name, reason=Reason.NOT_PROTOBUF) from None
    for number, chunk in enumerate(chunks, first_id):
        yield encode_sse(chunk, id=number)
