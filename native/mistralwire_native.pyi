"""The native engine of mistralwire's codec."""

from typing import Any

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
    def handovers(self) -> dict[str, int]: ...
