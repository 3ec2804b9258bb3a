"""The native engine of mistralwire's codec."""

from typing import Any

INTERFACE: int
__version__: str

class Engine:
    """Converts between JSON text and wire bytes by the plans it was made with."""

    def __init__(
        self, packed: bytes, roots: list[tuple[type[Any], int, int]], default_limits: object
    ) -> None: ...
    def from_json(
        self, message_type: type[Any], data: object, validate: bool, limits: object, revision: int, /
    ) -> bytes | None: ...
    def to_json(
        self, message_type: type[Any], wire: object, names: object, indent: object, /
    ) -> bytes | None: ...
    def handovers(self) -> dict[str, int]: ...
