"""Calls of the service, from wire bytes to wire bytes: deadline, metadata, errors, revision."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple, TypedDict

import grpc
from google.protobuf.message import Message

from mistralwire._metadata import (
    CONTRACT_REVISION_NAME,
    IDEMPOTENCY_KEY,
    ON_DISCONNECT,
    RESPONSE_ID,
    Metadata,
    checked_request_id,
    headers_in,
)
from mistralwire._methods import Method
from mistralwire._protobuf import MessageT
from mistralwire._response_stream import CallSource, EventWriter, Sink
from mistralwire._settings import DEADLINE_S_MAX, checked_number
from mistralwire.client._channel import CallChannel, Channels
from mistralwire.client._metadata import CallMetadata
from mistralwire.client._response import (
    ChunkBatch,
    call_error,
    cancelled_error,
    is_refusing_caller,
    parse_response,
)
from mistralwire.errors import CallError, EncodeError, MistralwireError, Reason, log_unexpected
from mistralwire.v1 import CONTRACT_REVISION

_REVISION_DIGITS = 9

_logger = logging.getLogger(__name__)


class CallOptions(TypedDict, total=False):
    """The arguments of a call other than its request."""

    deadline_s: float | None
    request_id: str | None
    metadata: Mapping[str, str | bytes]


class CompletionOptions(CallOptions, total=False):
    """The arguments of a call for a completion other than its request."""

    response_id: str | None
    idempotency_key: str | None
    on_disconnect: str | None


class StreamOptions(CompletionOptions, total=False):
    """The arguments of a call for a stream other than its request."""

    resumable: bool
    reconnect_s: float


class CallArguments(NamedTuple):
    """The arguments of a call other than its request, checked; the metadata are complete."""

    request_id: str
    timeout_s: float
    metadata: Metadata


class Stub:
    """Makes the calls of one client; for arguments and errors see `Client`.

    Attributes:
        is_admitted: Whether the service is known to accept the client's token.
        is_local: Whether the service runs in this process: its channel then says its revision.
        is_retrying: Whether calls that could not reach the service are retried.
    """

    def __init__(
        self,
        target: str,
        channels: Channels,
        metadata: CallMetadata,
        *,
        deadline_s: float,
        is_retrying: bool,
        contract_revision: int,
    ) -> None:
        self.is_admitted = self.is_local = False
        self._target = target
        self._channels = channels
        self._metadata = metadata
        self._deadline_s = checked_deadline(deadline_s)
        self.is_retrying = is_retrying
        self._contract_revision = contract_revision
        self._has_warned = False
        # The channel's own way to start a call whose response goes to a sink, if it has one.
        self._start_on_channel: Callable[..., CallSource] | None = None
        self._calls: set[grpc.aio.Call] = set()
        self._is_closed = False

    def use(self, channel: CallChannel) -> None:
        """Make all calls on one channel that is open already."""
        self._channels = Channels(lambda: channel, opened=[channel])
        self._start_on_channel = getattr(channel, "start", None)
        self.is_local = hasattr(channel, "contract_revision")

    async def close(self) -> None:
        self._is_closed = True
        for call in list(self._calls):
            call.cancel()
        await self._channels.close()

    def arguments(
        self, deadline_s: float | None, request_id: str | None, metadata: Mapping[str, str | bytes]
    ) -> CallArguments:
        request_id = checked_request_id(request_id)
        timeout_s = self._deadline_s if deadline_s is None else checked_deadline(deadline_s)
        return CallArguments(request_id, timeout_s, self._metadata.of_call(request_id, metadata))

    def call_arguments(self, options: CallOptions) -> CallArguments:
        return self.arguments(
            options.get("deadline_s"), options.get("request_id"), options.get("metadata", {})
        )

    def start(
        self,
        method: Method,
        wire: bytes,
        sink: Sink,
        arguments: CallArguments,
        *,
        message: Message | None,
        events: EventWriter | None,
    ) -> CallSource:
        self._channels.enter()
        if self._start_on_channel is not None:
            return self._start_on_channel(
                method.request_type,
                wire,
                sink,
                timeout=arguments.timeout_s,
                metadata=arguments.metadata,
                message=message,
                events=events,
            )
        messages = self.messages(method, wire, arguments, on_headers=sink.headers)
        return _CallTask(messages, sink, arguments.request_id, is_stream=method.is_stream)

    async def messages(
        self,
        method: Method,
        wire: bytes,
        arguments: CallArguments,
        *,
        on_headers: Callable[[Mapping[str, str]], None] | None = None,
        on_connected: Callable[[], None] | None = None,
    ) -> AsyncGenerator[bytes, None]:
        """Make a call; yield the wire bytes of each message of the response.

        `on_headers` gets the headers of the upstream's response, if there are any, before the first
        message; with an error, the id of the response if it is stored.
        `on_connected` is called once the service has sent the initial metadata of a stream.
        """
        with self.calling(
            method.path, wire, arguments, is_stream=method.is_stream, on_headers=on_headers
        ) as call:
            if on_connected is not None and not self.is_local:
                await call.initial_metadata()
                # A call that could not be made has some, too.
                if not call.done():
                    on_connected()
            if method.is_stream:
                async for data in call:
                    if on_headers is not None:
                        _take_headers(await call.initial_metadata(), on_headers)
                        on_headers = None
                    yield data
                await self._check_revision(call)
                return
            data = await call
            if on_headers is not None:
                _take_headers(await call.trailing_metadata(), on_headers)
            await self._check_revision(call)
            if data is None:
                # grpc has no error for a call that ends with OK but has no response.
                message = f"expected a {method.response_type.DESCRIPTOR.name} from the service, found none"
                raise CallError(
                    message, code="INTERNAL", reason=Reason.NO_ANSWER, request_id=arguments.request_id
                )
            yield data

    async def unary(self, method: Method, wire: bytes, arguments: CallArguments) -> Any:
        """Make a unary call; return the message of the response."""
        async with contextlib.aclosing(self.messages(method, wire, arguments)) as messages:
            data = await anext(messages)
        response_type: type[Any] = method.response_type
        return parse_response(response_type, data, arguments.request_id)

    def lowered(self, message: MessageT) -> MessageT:
        """Return a message as the oldest service reads it."""
        if self._contract_revision >= CONTRACT_REVISION:
            return message
        from mistralwire.codec import lower  # noqa: PLC0415 - with the plans of all messages

        # A message without a JSON form is sent unchanged: the service says what is wrong with it.
        with contextlib.suppress(EncodeError):
            return lower(message, self._contract_revision)
        return message

    @contextlib.contextmanager
    def calling(
        self,
        path: str,
        wire: bytes | AsyncIterable[bytes],
        arguments: CallArguments,
        *,
        is_stream: bool = False,
        on_headers: Callable[[Mapping[str, str]], None] | None = None,
    ) -> Iterator[Any]:
        """Make a call of a method by its path; what grpc raises becomes a CallError.

        A request that is a stream is for a method that streams in both directions. `on_headers` gets the id
        of a stored response that comes with an error.
        """
        request_id = arguments.request_id
        if self._is_closed:
            raise _closed_error(request_id)
        # Not the generated stub: grpc would parse the responses, and one that can't be parsed looks missing.
        channel = self._channels.next()
        if not isinstance(wire, bytes):
            make = channel.stream_stream(path)
        else:
            make = channel.unary_stream(path) if is_stream else channel.unary_unary(path)
        call = make(wire, timeout=arguments.timeout_s, metadata=arguments.metadata)
        self._calls.add(call)
        try:
            yield call
        except grpc.aio.AioRpcError as error:
            if on_headers is not None:
                _take_response_id(error.trailing_metadata(), on_headers)
            raise self._call_error(error, request_id) from None
        except (grpc.aio.BaseError, KeyError) as error:
            # grpc's own failures; a KeyError for a status code that does not exist.
            message = f"grpc could not make the call: {type(error).__name__}"
            raise CallError(
                message, code="INTERNAL", reason=Reason.GRPC_FAILED, request_id=request_id
            ) from error
        except asyncio.CancelledError:
            self._raise_if_not_own(call, request_id)
            raise
        finally:
            # No effect on a call that is over.
            call.cancel()
            self._calls.discard(call)

    def _call_error(self, error: grpc.aio.AioRpcError, request_id: str) -> CallError:
        self._compare_revision(error.trailing_metadata())
        found = call_error(error, request_id, was_retried=self.is_retrying)
        if is_refusing_caller(found):
            self.is_admitted = False
        return found

    def _raise_if_not_own(self, call: Any, request_id: str) -> None:
        """Raise the CallError of a cancellation that did not come from this task's caller."""
        task = asyncio.current_task()
        if task is None or task.cancelling():
            return
        if self._is_closed:
            raise _closed_error(request_id) from None
        if isinstance(call, grpc.aio.Call) and call.cancelled():
            # What grpc raises for a stream's status CANCELLED, although nobody here has cancelled it.
            raise cancelled_error(request_id) from None

    async def _check_revision(self, call: Any) -> None:
        """Compare revisions at the end of a call that ended well."""
        if self._contract_revision > 1 and not self._has_warned and not self.is_local:
            self._compare_revision(await call.trailing_metadata())

    def _compare_revision(self, trailing: Iterable[tuple[str, str | bytes]] | None) -> None:
        """Log once that the service has an older contract than requests are written for."""
        if self._contract_revision == 1 or self._has_warned:
            return
        revisions = [value for key, value in trailing or () if key == CONTRACT_REVISION_NAME]
        revision = str(revisions[0])[:_REVISION_DIGITS] if revisions else ""
        if revision.isdecimal() and int(revision) < self._contract_revision:
            self._has_warned = True
            _logger.warning(
                "the service at %s has revision %s of the contract, and requests are written for %d; "
                "lower contract_revision until all services are upgraded",
                *(self._target, revision, self._contract_revision),
            )


class _CallTask:
    """Feeds a sink from the messages of a call: a task between grpc, which is awaited, and callbacks."""

    def __init__(
        self, messages: AsyncGenerator[bytes, None], sink: Sink, request_id: str, *, is_stream: bool
    ) -> None:
        self._messages = messages
        self._sink = sink
        self._request_id = request_id
        self._is_stream = is_stream
        self._is_running = asyncio.Event()
        self._is_running.set()
        self._task = asyncio.get_running_loop().create_task(self._run())

    def pause(self) -> None:
        self._is_running.clear()

    def resume(self) -> None:
        self._is_running.set()

    def cancel(self) -> None:
        self._task.cancel()

    def abort(self, error: MistralwireError) -> None:
        if not self._task.done():
            self.cancel()
            self._sink.failed(error)

    async def _run(self) -> None:
        sink = self._sink
        try:
            # So that a call which is cancelled while it is paused ends at once.
            async with contextlib.aclosing(self._messages) as messages:
                async for data in messages:
                    if self._is_stream:
                        count = len(ChunkBatch(data, self._request_id))
                        if count:
                            sink.batch(data, count)
                        await self._is_running.wait()
                    else:
                        answer = data
        except MistralwireError as error:
            sink.failed(error)
        except Exception as error:  # noqa: BLE001 - nobody awaits this task
            log_unexpected(_logger, f"call {self._request_id} ended with", error)
            sink.failed(MistralwireError("internal error of the client"))
        else:
            if self._is_stream:
                sink.end()
            else:
                sink.answer(answer)


def completion_metadata(options: CompletionOptions) -> Mapping[str, str | bytes]:
    """Return the metadata that the arguments of a call for a completion stand for, with the caller's own."""
    given = {
        RESPONSE_ID: options.get("response_id"),
        IDEMPOTENCY_KEY: options.get("idempotency_key"),
        ON_DISCONNECT: options.get("on_disconnect"),
    }
    own = {name: value for name, value in given.items() if value is not None}
    metadata = options.get("metadata", {})
    return {**metadata, **own} if own else metadata


def checked_deadline(deadline_s: float) -> float:
    return checked_number("deadline_s", deadline_s, 0, DEADLINE_S_MAX, is_above=True)


def _take_headers(
    metadata: Iterable[tuple[str, str | bytes]] | None, on_headers: Callable[[Mapping[str, str]], None]
) -> None:
    metadata = tuple(metadata or ())
    headers = headers_in(metadata)
    # Of the service alone: an upstream may be a gateway with responses of its own.
    headers |= {name: value for name, value in metadata if name == RESPONSE_ID and isinstance(value, str)}
    if headers:
        on_headers(headers)


def _take_response_id(
    trailing: Iterable[tuple[str, str | bytes]] | None, on_headers: Callable[[Mapping[str, str]], None]
) -> None:
    for name, value in trailing or ():
        if name == RESPONSE_ID and isinstance(value, str):
            on_headers({name: value})


def _closed_error(request_id: str) -> CallError:
    return CallError(
        "the client is closed; make another for more calls",
        code="CANCELLED",
        reason=Reason.CLIENT_CLOSED,
        request_id=request_id,
    )
