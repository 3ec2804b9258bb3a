"""The native engine of mistralwire's codec."""

from collections.abc import Callable
from typing import Any, TypeAlias, TypeVar

_F = TypeVar("_F", bound=Callable[..., Any])
_Frame: TypeAlias = tuple[int, str | None, str | None, bytes | None, int]

INTERFACE: int
__version__: str

class Engine:
    """Converts between JSON text and wire bytes by the plans it was made with."""

    def __init__(
        self, packed: bytes, roots: list[tuple[type[Any], int, int]], default_limits: object
    ) -> None: ...
    def json_to_binary(
        self, message_type: type[Any], data: object, validate: bool, limits: object, revision: object, /
    ) -> bytes | None: ...
    def from_json(
        self, message_type: type[Any], data: object, validate: bool, limits: object, revision: object, /
    ) -> Any | None: ...
    def binary_to_json(
        self, message_type: type[Any], wire: object, names: object, indent: object, /
    ) -> bytes | None: ...
    def to_json(self, message: object, names: object, indent: object, /) -> bytes | None: ...
    def sse_reader(
        self,
        message_type: type[Any],
        error_type: type[Any],
        options: tuple[bool, object, int, int],
        layout: tuple[int, int, int, int, int],
        /,
    ) -> SseReader | None: ...
    def sse_events(
        self,
        message_type: type[Any],
        element: int,
        wire: bytes,
        first_id: tuple[str, int] | None,
        camel: bool,
        /,
    ) -> bytes | None: ...
    def function(self, function: _F, /) -> _F: ...
    def handovers(self) -> dict[str, int]: ...

class SseReader:
    """Reads one stream of server-sent events."""

    @property
    def taken(self) -> int: ...
    @property
    def retry_ms(self) -> int | None: ...
    @property
    def choices(self) -> tuple[list[int], list[int]]: ...
    def frames(self, data: bytes) -> list[_Frame]: ...
    def batch(
        self, data: bytes, start: int, first_id: int | None = None, is_chunked: bool = False, /
    ) -> tuple[bytes, int, bytes | None, tuple[tuple[int, str], ...], bool, _Frame | None, bytes | None]: ...
    def state(
        self,
    ) -> tuple[bytes, bool, int, bool, int | None, bool, int, bytes | None, int, str | None, str | None]: ...
