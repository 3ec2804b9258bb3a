"""Response logs: where the events of responses are stored, to be followed and resumed.

`MemoryLog` keeps them in this process, `SqliteLog` in a folder, `NatsLog` in NATS JetStream, with the extra
`relay`. All logs have the methods of `ResponseLog`.
"""

from typing import TYPE_CHECKING

from mistralwire._lazy import lazy_names
from mistralwire.log._framing import count_events, framed, skip, split
from mistralwire.log._memory import MemoryLog
from mistralwire.log._response_log import (
    Append,
    Batch,
    Delivery,
    End,
    KeyClaim,
    Opening,
    Query,
    ResponseLog,
    Space,
    StoredResponse,
    Usage,
    append_and_wait,
)
from mistralwire.log._rules import ended_error, exists_error, not_found_error, stale_error

if TYPE_CHECKING:
    from mistralwire.log._nats import NatsLog
    from mistralwire.log._sqlite import SqliteLog

__all__ = [
    "Append",
    "Batch",
    "Delivery",
    "End",
    "KeyClaim",
    "MemoryLog",
    "NatsLog",
    "Opening",
    "Query",
    "ResponseLog",
    "Space",
    "SqliteLog",
    "StoredResponse",
    "Usage",
    "append_and_wait",
    "count_events",
    "ended_error",
    "exists_error",
    "framed",
    "not_found_error",
    "skip",
    "split",
    "stale_error",
]

if not TYPE_CHECKING:  # what a log needs is imported when it is used
    __getattr__, __dir__ = lazy_names(__name__, "_nats", "_sqlite")
