"""Where log lines go and what they look like: standard error, as text or as JSON, never with private text.

What a library logs may quote what it failed on: an exception's text, an object's representation. A prompt can
be in there. So a line has the type of an exception and the stack that it came through, and no more of it.
"""

import asyncio
import dataclasses
import datetime
import functools
import logging
import os
import sys
import threading
import traceback
import types
from collections.abc import Mapping
from typing import Any, Literal

from pythonjsonlogger.json import JsonFormatter

from mistralwire._settings import setting_field
from mistralwire.cli._wording import printable
from mistralwire.errors import MistralwireError

LogFormat = Literal["text", "json"]
LogLevel = Literal["debug", "info", "warning", "error"]

# Beside when, how bad, who and what: everything that a record may bring along to be logged.
_ATTRIBUTES = (
    "request_id",
    "method",
    "code",
    "reason",
    "duration_ms",
    "chunks",
    "first_chunk_ms",
    "model",
    "agent_id",
    "peer",
    "http_status",
    "upstream_status",
    "upstream_code",
    "upstream_type",
    "upstream_request_id",
)
_FRAMES_MAX = 30
_EXCEPTIONS_MAX = 5

_logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class LogSettings:
    """What is logged, and how; the help of each field says what it means."""

    log_level: LogLevel = setting_field("info", "Least level that is logged, to standard error.")
    log_format: LogFormat = setting_field("text", "What a line of the log looks like.")


def configure_logging(level: LogLevel, format_: LogFormat) -> None:
    """Send everything that this process logs to standard error, one way.

    That is what goes through `logging`, from whatever library; Python's warnings; and the exceptions that
    nobody catches in threads, destructors and callbacks.

    Args:
        level: The least level that is logged.
        format_: What a line looks like.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_JsonFormatter() if format_ == "json" else _TextFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    # A line that can't be written would be reported on the same stream, arguments and all.
    logging.raiseExceptions = False
    # No line has either, so that they need not be found out for each.
    logging.logThreads = logging.logMultiprocessing = False
    logging.captureWarnings(True)
    sys.excepthook = _log_uncaught
    sys.unraisablehook = _log_unraisable
    threading.excepthook = _log_thread
    # grpc prints some errors as well as logging them, with all their text.
    traceback.print_exc = _log_current


def log_loop_error(loop: asyncio.AbstractEventLoop, context: Mapping[str, Any]) -> None:  # noqa: ARG001
    """Log what nobody caught in an event loop; its exception handler.

    The loop's own names the task, and the representation of a task has the text of its exception. The message
    has the arguments of a callback, in parentheses.
    """
    message = str(context.get("message")).partition("(")[0]
    logging.getLogger("asyncio").error("%s", message, exc_info=context.get("exception"))


def _log_uncaught(_: type[BaseException], error: BaseException, __: types.TracebackType | None) -> None:
    _logger.error("an exception ended the process", exc_info=error)


def _log_unraisable(unraisable: "sys.UnraisableHookArgs") -> None:
    _logger.error("an exception that nobody could catch", exc_info=unraisable.exc_value)


def _log_thread(arguments: threading.ExceptHookArgs) -> None:
    _logger.error("an exception ended a thread", exc_info=arguments.exc_value)


def _log_current(*_: object, **__: object) -> None:
    _logger.error("an exception was to be printed", exc_info=sys.exc_info())


class _TextFormatter(logging.Formatter):
    """A line for people: time, level, process, logger, message, then what else is known as name=value.

    Only the first line of a record begins at the margin: nothing that is logged can pose as another record.
    """

    def format(self, record: logging.LogRecord) -> str:
        first, *more = _message(record).splitlines() or [""]
        time, level = _timestamp(record), record.levelname
        head = f"{time} {level:<7} [{record.process}] {printable(record.name)}: {printable(first)}"
        for name, value in _attributes(record):
            # The method and the code of a call are its message.
            if name not in ("method", "code"):
                head += f" {name}={printable(str(value))}"
        more += _stack(record).splitlines()
        return "\n".join([head, *[f"    {printable(line)}" for line in more]]) if more else head


class _JsonFormatter(JsonFormatter):
    """One JSON object in one line."""

    def add_fields(
        self,
        log_data: dict[str, Any],
        record: logging.LogRecord,
        message_dict: dict[str, Any],  # noqa: ARG002 - the signature of the base class
    ) -> None:
        log_data["timestamp"] = _timestamp(record)
        log_data["level"] = record.levelname.lower()
        log_data["logger"] = record.name
        log_data["process"] = record.process
        log_data["message"] = _message(record)
        log_data.update(_attributes(record))
        if stack := _stack(record):
            log_data["stack"] = stack

    def format(self, record: logging.LogRecord) -> str:
        # The base class would put the arguments into the message first, and that may fail.
        log_data: dict[str, Any] = {}
        self.add_fields(log_data, record, {})
        return str(self.serialize_log_record(log_data))


def _timestamp(record: logging.LogRecord) -> str:
    """Give the time as RFC 3339 has it, in UTC."""
    seconds, milliseconds = divmod(int(record.created * 1000), 1000)
    return f"{_second(seconds)}.{milliseconds:03d}Z"


@functools.lru_cache(1)
def _second(created_s: int) -> str:
    """Give the time without its fraction: many records share it."""
    return f"{datetime.datetime.fromtimestamp(created_s, datetime.UTC):%Y-%m-%dT%H:%M:%S}"


def _attributes(record: logging.LogRecord) -> list[tuple[str, Any]]:
    known = record.__dict__
    pairs = [(name, known[name]) for name in _ATTRIBUTES if name in known]
    return [(name, value) for name, value in pairs if isinstance(value, (str, int, float))]


def _message(record: logging.LogRecord) -> str:
    """Put a message together, without the text of exceptions and of what contains them."""
    if not isinstance(record.msg, str):
        return _shown(record.msg)
    arguments: Any = record.args
    if not arguments:
        return record.msg
    if isinstance(arguments, Mapping):
        arguments = {name: _argument(value) for name, value in arguments.items()}
    else:
        arguments = tuple(map(_argument, arguments))
    try:
        return str(record.msg % arguments)
    except (TypeError, ValueError, KeyError):
        # Arguments that do not fit: the message without them says more than nothing.
        return record.msg


def _argument(value: object) -> object:
    return value if value is None or isinstance(value, (str, int, float)) else _shown(value)


def _shown(value: object) -> str:
    if isinstance(value, os.PathLike):
        return os.fsdecode(value)
    # The plain class is for what is wrong with files, addresses and packages. The texts of its subclasses may
    # come from requests and upstreams.
    return value.message if type(value) is MistralwireError else f"<{type(value).__qualname__}>"


def _stack(record: logging.LogRecord) -> str:
    """Give the exceptions of a record, each with its type and the calls that it came through."""
    parts = [record.stack_info] if record.stack_info else []
    error = record.exc_info[1] if record.exc_info else None
    for _ in range(_EXCEPTIONS_MAX):
        if error is None:
            break
        frames = "".join(traceback.format_tb(error.__traceback__, -_FRAMES_MAX))
        parts.append(f"{type(error).__module__}.{type(error).__qualname__} from\n{frames}".rstrip())
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return "\n".join(parts)
