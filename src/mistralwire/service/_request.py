"""Reading requests, and checking them where nobody else does."""

import asyncio
import concurrent.futures
from typing import Any

from google.protobuf.message import DecodeError as WireError
from google.protobuf.message import Message

from mistralwire import codec
from mistralwire.codec import DEFAULT_LIMITS, Limits
from mistralwire.errors import DecodeError, Reason, Violation
from mistralwire.upstream import Upstream
from mistralwire.v1 import CONTRACT_REVISION

LOOP_BYTES_MAX = 64 * 1024
"""Bytes of a request up to which it is checked in the event loop, if it has few values: 64 KiB."""

LOOP_VALUES_MAX = 500
"""Values of a request up to which it is checked in the event loop: some milliseconds' work at most."""

FEW_BYTES_MAX = 2 * 1024
"""Bytes of a request up to which its values are not counted: there can't be many more."""

VALUES_MAX = 100_000
"""Messages and elements in one request, and JSON values in its JSON form."""

CHECKS_MAX = 2
"""Requests beyond that size which are read at one time: each is a thread that competes with the loop."""

_LIMITS = Limits(values_max=VALUES_MAX)
_SINGLE = (Message, str, bytes, int, float)


class Requests:
    """Reads requests; large ones in threads, so that all other calls go on.

    Args:
        upstream: Whom they are for. One that judges requests itself, as an API does, gets them as they came;
            for any other they are checked, so that its author need not.
        oldest_revision: Revision of the oldest contract in the fleet: what it accepts is accepted.
    """

    def __init__(self, upstream: Upstream, oldest_revision: int) -> None:
        self._oldest_revision = oldest_revision
        self._are_checked = not getattr(upstream, "judges_requests", False)
        # Threads of its own: the loop's are for what waits, and these would keep it from them.
        self._threads = concurrent.futures.ThreadPoolExecutor(CHECKS_MAX, "mistralwire-check")

    def read_now(self, request_type: type[Message], data: bytes) -> Any:
        """Read a request, unless that would hold the event loop.

        Returns:
            The request; None if it is one for `read`.

        Raises:
            DecodeError: As for `read_request`.
            MistralwireError: As for `read_request`.
        """
        if len(data) > LOOP_BYTES_MAX:
            return None
        request = parse_request(request_type, data)
        if not self._are_checked:
            return request
        if len(data) > FEW_BYTES_MAX and _has_more_than(LOOP_VALUES_MAX, request):
            return None
        return checked_request(request, self._oldest_revision)

    async def read(self, request_type: type[Message], data: bytes) -> Any:
        """Read a request in a thread.

        Whoever is cancelled stops waiting. A check that has begun then comes to its own end, which the
        codec's limits bound; one that has not never begins.

        Raises:
            DecodeError: As for `read_request`.
            MistralwireError: As for `read_request`.
        """
        loop = asyncio.get_running_loop()
        if not self._are_checked:
            return await loop.run_in_executor(self._threads, parse_request, request_type, data)
        return await loop.run_in_executor(
            self._threads, read_request, request_type, data, self._oldest_revision
        )


def read_request(request_type: type[Message], data: bytes, oldest_revision: int = CONTRACT_REVISION) -> Any:
    """Read a request and check that it keeps the contract.

    Args:
        request_type: Type of the request.
        data: Its wire bytes.
        oldest_revision: Revision of the oldest contract in the fleet.

    Returns:
        The request.

    Raises:
        DecodeError: If the bytes are no such message, or it breaks the contract.
        MistralwireError: If it has content of a newer contract; see `checked_request`.
    """
    return checked_request(parse_request(request_type, data), oldest_revision)


def parse_request(request_type: type[Message], data: bytes) -> Any:
    """Read a request, as protobuf does.

    Args:
        request_type: Type of the request.
        data: Its wire bytes.

    Returns:
        The request.

    Raises:
        DecodeError: If the bytes are no such message.
    """
    try:
        return request_type.FromString(data)
    except (WireError, UnicodeDecodeError):  # protobuf in pure Python raises the second
        name = request_type.DESCRIPTOR.name
        violation = Violation("", f"the wire bytes of a {name}", f"{len(data)} bytes that are none")
        raise DecodeError([violation], type_name=name, reason=Reason.NOT_PROTOBUF) from None


def checked_request(request: Message, oldest_revision: int) -> Any:
    """Check that a request keeps the contract.

    A gRPC caller gets the same violations as one who sends JSON.

    Args:
        request: The request.
        oldest_revision: Revision of the oldest contract in the fleet: what it accepts is accepted.

    Returns:
        The request, with everything that this contract knows in its fields.

    Raises:
        DecodeError: If it breaks the contract, or has more than VALUES_MAX values.
        MistralwireError: If it has content of a newer contract: FAILED_PRECONDITION, CONTRACT_NEWER.
    """
    if _has_more_than(VALUES_MAX, request):
        # Four bytes on the wire can be one: its JSON form would take a hundred times the memory.
        violation = Violation("", f"at most {VALUES_MAX} values", "more")
        name = request.DESCRIPTOR.name
        raise DecodeError([violation], type_name=name, reason=Reason.LIMIT_EXCEEDED)
    # A small one can't have so many, and needs no counting.
    limits = DEFAULT_LIMITS if request.ByteSize() < VALUES_MAX else _LIMITS
    return codec.check_request(request, limits=limits, oldest_revision=oldest_revision)


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
