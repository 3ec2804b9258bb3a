"""Stands in for grpc where a type checker knows nothing of it."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Generic, TypeAlias, TypeVar

import grpc

_Request = TypeVar("_Request")
_Response = TypeVar("_Response")
_Metadata: TypeAlias = Sequence[tuple[str, str | bytes]]

class Call:
    """A call, and how it ended."""

    def code(self) -> grpc.StatusCode: ...
    def details(self) -> str: ...
    def initial_metadata(self) -> _Metadata: ...
    def trailing_metadata(self) -> _Metadata: ...
    def cancel(self) -> bool: ...
    def is_active(self) -> bool: ...
    def time_remaining(self) -> float: ...
    def add_callback(self, callback: Callable[[], None]) -> bool: ...

class CallFuture(Call, Generic[_Response]):
    """A call whose response is awaited elsewhere."""

    def result(self, timeout: float | None = None) -> _Response: ...
    def exception(self, timeout: float | None = None) -> Exception | None: ...
    def done(self) -> bool: ...
    def cancelled(self) -> bool: ...
    def running(self) -> bool: ...
    def add_done_callback(self, fn: Callable[[Any], None]) -> None: ...

class CallIterator(Call, Generic[_Response]):
    """A call that is the iterator of its responses."""

    def __iter__(self) -> Iterator[_Response]: ...
    def __next__(self) -> _Response: ...

class UnaryUnaryMultiCallable(Generic[_Request, _Response]):
    """A method with one response."""

    def __call__(
        self,
        request: _Request,
        timeout: float | None = None,
        metadata: _Metadata | None = None,
        credentials: grpc.CallCredentials | None = None,
        wait_for_ready: bool | None = None,
        compression: grpc.Compression | None = None,
    ) -> _Response:
        """Call the method and wait for the response. `timeout` is in seconds."""

    def with_call(
        self,
        request: _Request,
        timeout: float | None = None,
        metadata: _Metadata | None = None,
        credentials: grpc.CallCredentials | None = None,
        wait_for_ready: bool | None = None,
        compression: grpc.Compression | None = None,
    ) -> tuple[_Response, Call]:
        """Call the method, wait for the response and return it with the call. `timeout` is in seconds."""

    def future(
        self,
        request: _Request,
        timeout: float | None = None,
        metadata: _Metadata | None = None,
        credentials: grpc.CallCredentials | None = None,
        wait_for_ready: bool | None = None,
        compression: grpc.Compression | None = None,
    ) -> CallFuture[_Response]:
        """Call the method and return at once. `timeout` is in seconds."""

class UnaryStreamMultiCallable(Generic[_Request, _Response]):
    """A method with a stream of responses."""

    def __call__(
        self,
        request: _Request,
        timeout: float | None = None,
        metadata: _Metadata | None = None,
        credentials: grpc.CallCredentials | None = None,
        wait_for_ready: bool | None = None,
        compression: grpc.Compression | None = None,
    ) -> CallIterator[_Response]:
        """Call the method and return the iterator of its responses. `timeout` is in seconds."""

class StreamStreamMultiCallable(Generic[_Request, _Response]):
    """A method with a stream of requests and one of responses."""

    def __call__(
        self,
        request_iterator: Iterable[_Request],
        timeout: float | None = None,
        metadata: _Metadata | None = None,
        credentials: grpc.CallCredentials | None = None,
        wait_for_ready: bool | None = None,
        compression: grpc.Compression | None = None,
    ) -> CallIterator[_Response]:
        """Call the method and return the iterator of its responses. `timeout` is in seconds."""
