"""Logging to standard error, as text or JSON, without the text of exceptions.

Libraries log the text of exceptions and the representations of objects, and either may quote a prompt. So a
line has the types of exceptions and their stacks, and nothing else of them.
"""

import asyncio
import datetime
import json
import logging
import os
import sys
import threading
import traceback
from collections.abc import Mapping
from typing import Any

from mistralwire.cli._server_settings import LogSettings
from mistralwire.cli._wording import printable
from mistralwire.errors import MistralwireError

# The extra attributes of records that are logged; others are dropped.
_LOGGED = (
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
    "response_id",
)
_FRAMES_MAX = 30
_EXCEPTIONS_MAX = 5

_logger = logging.getLogger(__name__)


def configure_logging(settings: LogSettings) -> None:
    """Send everything that this process logs to standard error, in one format.

    That is what any library logs, Python's warnings, and uncaught exceptions in threads, destructors and
    callbacks.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if settings.log_format == "json" else TextFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(settings.log_level.upper())
    # A line that can't be written would be reported to the same stream, arguments included.
    logging.raiseExceptions = False
    # No line has either, and looking them up for each record costs time.
    logging.logThreads = logging.logMultiprocessing = False
    logging.captureWarnings(True)
    sys.excepthook = lambda _, error, __: _logger.error("an exception ended the process", exc_info=error)
    sys.unraisablehook = lambda unraisable: _logger.error(
        "an exception could not be caught", exc_info=unraisable.exc_value
    )
    threading.excepthook = lambda args: _logger.error("an exception ended a thread", exc_info=args.exc_value)
    # grpc prints some errors that it also logs, with their text.
    traceback.print_exc = lambda *_, **__: _logger.error("a library printed an exception", exc_info=True)


def log_loop_error(loop: asyncio.AbstractEventLoop, context: Mapping[str, Any]) -> None:  # noqa: ARG001
    """Log an uncaught exception in an event loop, as its exception handler.

    The default handler shows the task, whose representation has the text of its exception, and a callback's
    arguments in parentheses.
    """
    message = str(context.get("message")).partition("(")[0]
    logging.getLogger("asyncio").error("%s", message, exc_info=context.get("exception"))


class TextFormatter(logging.Formatter):
    """Lines for people: time, level, process, logger and message, then attributes as name=value.

    The further lines of a record are indented, so that no logged text can pose as another record.
    """

    def format(self, record: logging.LogRecord) -> str:
        first, *more = _safe_message(record).splitlines() or [""]
        time, level = _timestamp(record), record.levelname
        head = f"{time} {level:<7} [{record.process}] {printable(record.name)}: {printable(first)}"
        for name, value in _extra_attributes(record):
            # The method and the code of a call are its message.
            if name not in ("method", "code"):
                head += f" {name}={printable(str(value))}"
        more += _stack(record).splitlines()
        return "\n".join([head, *[f"    {printable(line)}" for line in more]]) if more else head


class JsonFormatter(logging.Formatter):
    """One JSON object per line."""

    def format(self, record: logging.LogRecord) -> str:
        members = {
            "timestamp": _timestamp(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "process": record.process,
            "message": _safe_message(record),
            **dict(_extra_attributes(record)),
        }
        if stack := _stack(record):
            members["stack"] = stack
        return json.dumps(members)


def _timestamp(record: logging.LogRecord) -> str:
    time = datetime.datetime.fromtimestamp(record.created, datetime.UTC)
    return time.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _extra_attributes(record: logging.LogRecord) -> list[tuple[str, Any]]:
    known = record.__dict__
    pairs = [(name, known[name]) for name in _LOGGED if name in known]
    return [(name, value) for name, value in pairs if isinstance(value, (str, int, float))]


def _safe_message(record: logging.LogRecord) -> str:
    """Format the message without the text of exceptions and of objects that may contain them."""
    if not isinstance(record.msg, str):
        return _shown_object(record.msg)
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
        # The arguments do not fit; the message without them is better than none.
        return record.msg


def _argument(value: object) -> object:
    return value if value is None or isinstance(value, (str, int, float)) else _shown_object(value)


def _shown_object(value: object) -> str:
    if isinstance(value, os.PathLike):
        return os.fsdecode(value)
    # The base class describes faults of files, addresses and packages. The texts of its subclasses may come
    # from requests and upstreams.
    return value.message if type(value) is MistralwireError else f"<{type(value).__qualname__}>"


def _stack(record: logging.LogRecord) -> str:
    parts = [record.stack_info] if record.stack_info else []
    error = record.exc_info[1] if record.exc_info else None
    for _ in range(_EXCEPTIONS_MAX):
        if error is None:
            break
        frames = "".join(traceback.format_tb(error.__traceback__, -_FRAMES_MAX))
        parts.append(f"{type(error).__module__}.{type(error).__qualname__} from\n{frames}".rstrip())
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return "\n".join(parts)
