"""Reading requests, and checking them where nobody else does."""

from typing import Any

from google.protobuf.message import DecodeError as WireError
from google.protobuf.message import Message

from mistralwire import _offload, codec
from mistralwire.codec import DEFAULT_LIMITS, Limits
from mistralwire.errors import DecodeError, Reason, Violation
from mistralwire.upstream import Upstream
from mistralwire.v1 import CONTRACT_REVISION

VALUES_MAX = 100_000
"""Messages and elements in one request, and JSON values in its JSON form."""

_LIMITS = Limits(values_max=VALUES_MAX)
_SINGLE = (Message, str, bytes, int, float)


class Requests:
    """Reads requests; large ones in threads, so that all other calls go on.

    Args:
        upstream: Whom they are for. One that judges requests itself, as an API does, gets them as they came;
            for any other they are checked, so that its author need not.
        oldest_revision: Revision of the oldest contract in the fleet: what it accepts is accepted.
        strict: Whether they are checked for every upstream.
    """

    def __init__(self, upstream: Upstream, oldest_revision: int, *, strict: bool = False) -> None:
        self._oldest_revision = oldest_revision
        self._are_checked = strict or not getattr(upstream, "judges_requests", False)
        # They are checked through their JSON form, which the Python engine makes in any case.
        self._weight_max = _offload.PYTHON_WEIGHT_MAX if self._are_checked else _offload.LOOP_WEIGHT_MAX

    def read_now(self, request_type: type[Message], data: bytes, message: Message | None = None) -> Any:
        """Read a request, unless that would hold the event loop.

        Args:
            request_type: Type of the request.
            data: Its wire bytes.
            message: What they say, if somebody in this process has parsed them.

        Returns:
            The request; None if it is one for `read`.

        Raises:
            DecodeError: As for `read_request`.
            MistralwireError: As for `read_request`.
        """
        if not _offload.is_light(data, self._weight_max):
            return None
        is_read = message is not None and not self._are_checked and not _is_large(data)
        return message if is_read else self._read(request_type, data)

    async def read(self, request_type: type[Message], data: bytes) -> Any:
        """Read a request in a thread.

        Whoever is cancelled stops waiting. A check that has begun then comes to its own end, which the
        codec's limits bound; one that has not never begins.

        Raises:
            DecodeError: As for `read_request`.
            MistralwireError: As for `read_request`.
        """
        return await _offload.in_thread(self._read, request_type, data)

    def _read(self, request_type: type[Message], data: bytes) -> Any:
        if self._are_checked:
            return read_request(request_type, data, self._oldest_revision)
        return _parse(request_type, data)


def read_request(request_type: type[Message], data: bytes, oldest_revision: int = CONTRACT_REVISION) -> Any:
    """Read a request and check that it keeps the contract: violations are those of its JSON form.

    Args:
        request_type: Type of the request.
        data: Its wire bytes.
        oldest_revision: Revision of the oldest contract in the fleet.

    Returns:
        The request, with everything that this contract knows in its fields.

    Raises:
        DecodeError: If the bytes are no such message, it breaks the contract, or it has more than VALUES_MAX
            values.
        MistralwireError: If it has content of a newer contract; FAILED_PRECONDITION, CONTRACT_NEWER.
    """
    request = _parse(request_type, data)
    limits = _LIMITS if _is_large(data) else DEFAULT_LIMITS
    return codec.check_request(request, limits=limits, oldest_revision=oldest_revision)


def _parse(request_type: type[Message], data: bytes) -> Any:
    """Parse a request, and check its size: its JSON form could take a hundred times the memory."""
    try:
        request = request_type.FromString(data)
    except (WireError, UnicodeDecodeError):  # protobuf in pure Python raises the second
        name = request_type.DESCRIPTOR.name
        violation = Violation("", f"the wire bytes of a {name}", f"{len(data)} bytes that are none")
        raise DecodeError([violation], type_name=name, reason=Reason.NOT_PROTOBUF) from None
    if _is_large(data) and _has_more_than(VALUES_MAX, request):
        violation = Violation("", f"at most {VALUES_MAX} values", "more")
        name = request_type.DESCRIPTOR.name
        raise DecodeError([violation], type_name=name, reason=Reason.LIMIT_EXCEEDED)
    return request


def _is_large(data: bytes) -> bool:
    """Check whether a request may have more than VALUES_MAX values: each has at least a byte."""
    return len(data) > VALUES_MAX


def _has_more_than(count: int, message: Message) -> bool:
    """Say whether a message has more than so many messages and elements in it, at any depth."""
    rest = [message]
    while rest:
        for field, value in rest.pop().ListFields():
            is_list = not isinstance(value, _SINGLE)
            if is_list:
                count -= len(value)
            elif field.message_type is not None:
                count -= 1
            if count < 0:
                return True
            if field.message_type is not None:
                rest.extend(value if is_list else (value,))
    return False
