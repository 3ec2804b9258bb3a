"""Requests: receiving them in time, parsing them, and checking them against the contract."""

import asyncio
from typing import Any

import grpc
from google.protobuf.message import Message

from mistralwire import _offload, codec
from mistralwire._methods import REQUEST_VALUES_MAX
from mistralwire._protobuf import parsed
from mistralwire.codec import DEFAULT_LIMITS, Limits
from mistralwire.errors import DecodeError, MistralwireError, Reason, Violation
from mistralwire.upstream import Upstream
from mistralwire.v1 import CONTRACT_REVISION

_LARGE_LIMITS = Limits(values_max=REQUEST_VALUES_MAX)
_SINGLE = (Message, str, bytes, int, float)


class Requests:
    """Parses requests; large ones in threads, so that the other calls go on.

    An upstream that judges requests itself, as an API does, gets them unchecked unless `strict`; for any
    other they are checked, so that its author need not. For `oldest_revision` and errors see `parse_checked`.
    """

    def __init__(self, upstream: Upstream, oldest_revision: int, *, strict: bool = False) -> None:
        self._oldest_revision = oldest_revision
        self._are_checked = strict or not getattr(upstream, "judges_requests", False)
        # The check goes through the JSON form, which the Python engine always makes.
        self._weight_max = _offload.PYTHON_WEIGHT_MAX if self._are_checked else _offload.LOOP_WEIGHT_MAX

    def read_now(self, request_type: type[Message], data: bytes, message: Message | None = None) -> Any:
        """Parse a request, or use its message; None if parsing would block the event loop, see `read`."""
        if not _offload.is_light(data, self._weight_max):
            return None
        is_parsed = message is not None and not self._are_checked and not _is_large(data)
        return message if is_parsed else self._read(request_type, data)

    async def read(self, request_type: type[Message], data: bytes) -> Any:
        """Parse a request in a thread; after a cancellation, a check that has begun runs to its end."""
        return await _offload.in_thread(self._read, request_type, data)

    def _read(self, request_type: type[Message], data: bytes) -> Any:
        if self._are_checked:
            return parse_checked(request_type, data, self._oldest_revision)
        return _parse_bounded(request_type, data)


async def receive(context: grpc.aio.ServicerContext, limit_s: float) -> bytes | None:
    """Receive the request of a call, whose handler is client-streaming; None if the call ends without one.

    grpc itself would wait for the one request of a unary call without a limit. One that has not arrived
    within `limit_s` seconds is a MistralwireError with the reason CALLER_SILENT.
    """
    try:
        async with asyncio.timeout(limit_s):
            data = await context.read()
    except TimeoutError:
        raise caller_silent_error(limit_s) from None
    return None if data is grpc.aio.EOF else data


def caller_silent_error(limit_s: float) -> MistralwireError:
    message = f"the caller was silent for {limit_s:g} seconds"
    return MistralwireError(message, code="DEADLINE_EXCEEDED", reason=Reason.CALLER_SILENT)


def parse_checked(request_type: type[Message], data: bytes, oldest_revision: int = CONTRACT_REVISION) -> Any:
    """Parse a request and check it against the contract; the violations are those of its JSON form.

    What the contract of `oldest_revision`, the oldest in the fleet, accepts is accepted. The request that is
    returned has everything that this contract knows in its fields.

    Raises:
        DecodeError: If the bytes can't be parsed, the request breaks the contract, or it has more than
            REQUEST_VALUES_MAX values.
        MistralwireError: If it has content of a newer contract: FAILED_PRECONDITION, CONTRACT_NEWER.
    """
    request = _parse_bounded(request_type, data)
    limits = _LARGE_LIMITS if _is_large(data) else DEFAULT_LIMITS
    return codec.check_request(request, limits=limits, oldest_revision=oldest_revision)


def _parse_bounded(request_type: type[Message], data: bytes) -> Any:
    """Parse a request of bounded size: its JSON form could take a hundred times the memory."""
    name = request_type.DESCRIPTOR.name
    request = parsed(request_type, data)
    if request is None:
        violation = Violation("", f"the wire bytes of a {name}", f"{len(data)} bytes that can't be parsed")
        raise DecodeError([violation], type_name=name, reason=Reason.NOT_PROTOBUF)
    if _is_large(data) and _has_more_than(REQUEST_VALUES_MAX, request):
        violation = Violation("", f"at most {REQUEST_VALUES_MAX} values", "more")
        raise DecodeError([violation], type_name=name, reason=Reason.LIMIT_EXCEEDED)
    return request


def _is_large(data: bytes) -> bool:
    """Check whether a request may have more than REQUEST_VALUES_MAX values: each has at least a byte."""
    return len(data) > REQUEST_VALUES_MAX


def _has_more_than(count: int, message: Message) -> bool:
    """Check whether a message has more than this many messages and list elements, at any depth."""
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
