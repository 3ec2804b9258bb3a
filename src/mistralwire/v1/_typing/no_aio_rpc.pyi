"""Stands in for grpc.aio where a type checker knows nothing of it."""

from collections.abc import AsyncIterable, AsyncIterator, Callable, Generator, Iterable, Sequence
from typing import Any, Generic, TypeAlias, TypeVar

import grpc
import grpc.aio

_Request = TypeVar("_Request")
_Response = TypeVar("_Response")
_Metadata: TypeAlias = grpc.aio.Metadata | Sequence[tuple[str, str | bytes]]

class Call:
    """A call, and how it ended."""

    async def code(self) -> grpc.StatusCode: ...
    async def details(self) -> str: ...
    async def initial_metadata(self) -> grpc.aio.Metadata: ...
    async def trailing_metadata(self) -> grpc.aio.Metadata: ...
    async def wait_for_connection(self) -> None: ...
    def cancel(self) -> bool: ...
    def cancelled(self) -> bool: ...
    def done(self) -> bool: ...
    def time_remaining(self) -> float | None: ...
    def add_done_callback(self, callback: Callable[[Any], None]) -> None: ...

class UnaryUnaryCall(Call, Generic[_Request, _Response]):
    """A call that is awaited for its response."""

    def __await__(self) -> Generator[None, None, _Response]: ...

class UnaryStreamCall(Call, Generic[_Request, _Response]):
    """A call that is iterated for its responses."""

    def __aiter__(self) -> AsyncIterator[_Response]: ...
    async def read(self) -> object | _Response:
        """Return the next response, or `grpc.aio.EOF` after the last one."""

class StreamStreamCall(UnaryStreamCall[_Request, _Response]):
    """A call that takes requests until `done_writing`, and is iterated for its responses."""

    async def write(self, request: _Request) -> None: ...
    async def done_writing(self) -> None: ...

class UnaryUnaryMultiCallable(Generic[_Request, _Response]):
    """A method with one response."""

    def __call__(
        self,
        request: _Request,
        *,
        timeout: float | None = None,
        metadata: _Metadata | None = None,
        credentials: grpc.CallCredentials | None = None,
        wait_for_ready: bool | None = None,
        compression: grpc.Compression | None = None,
    ) -> UnaryUnaryCall[_Request, _Response]:
        """Call the method and return the call, to be awaited. `timeout` is in seconds."""

class UnaryStreamMultiCallable(Generic[_Request, _Response]):
    """A method with a stream of responses."""

    def __call__(
        self,
        request: _Request,
        *,
        timeout: float | None = None,
        metadata: _Metadata | None = None,
        credentials: grpc.CallCredentials | None = None,
        wait_for_ready: bool | None = None,
        compression: grpc.Compression | None = None,
    ) -> UnaryStreamCall[_Request, _Response]:
        """Call the method and return the call, to be iterated. `timeout` is in seconds."""

class StreamStreamMultiCallable(Generic[_Request, _Response]):
    """A method with a stream of requests and one of responses."""

    def __call__(
        self,
        request_iterator: AsyncIterable[_Request] | Iterable[_Request] | None = None,
        timeout: float | None = None,
        metadata: _Metadata | None = None,
        credentials: grpc.CallCredentials | None = None,
        wait_for_ready: bool | None = None,
        compression: grpc.Compression | None = None,
    ) -> StreamStreamCall[_Request, _Response]:
        """Call the method and return the call, to be iterated. `timeout` is in seconds."""
