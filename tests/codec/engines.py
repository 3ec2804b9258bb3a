"""The native engine, whatever MISTRALWIRE_ENGINE says, and the Python engine, for tests that compare them."""

import contextlib
import importlib.util
from collections.abc import Iterator
from typing import Any
from unittest import mock

import pytest
from google.protobuf.message import DecodeError as WireError
from google.protobuf.message import Message

from mistralwire.codec import DEFAULT_LIMITS, Limits, _sse_batch, _sse_frames
from mistralwire.codec._native import Engine, NoEngine, make_engine
from mistralwire.codec._parse import parse, to_text
from mistralwire.codec._plan import plan_for
from mistralwire.codec._read import read_document
from mistralwire.codec._write import write_document
from mistralwire.errors import DecodeError, EncodeError
from mistralwire.v1 import CONTRACT_REVISION

WHY_SKIPPED = "the native engine is not installed: run `make native`"


def native_module() -> Any:
    """Return the native engine's module; skip the test, or the whole file, where there is none."""
    return pytest.importorskip("mistralwire_native", reason=WHY_SKIPPED, exc_type=ModuleNotFoundError)


def native_engine() -> Engine:
    """Return a native engine, whose counts start at nothing; skip where there is none."""
    return make_engine(native_module())


def has_native_engine() -> bool:
    """Return whether the native engine is installed."""
    return importlib.util.find_spec("mistralwire_native") is not None


def python_from_json(
    message_type: type[Message],
    text: bytes | str,
    *,
    validate: bool,
    limits: Limits = DEFAULT_LIMITS,
    revision: int = CONTRACT_REVISION,
) -> bytes | DecodeError:
    """Return the wire bytes of the Python engine, or its error."""
    plan = plan_for(message_type, revision)
    try:
        value = parse(text, limits, plan.name)
        arguments = read_document(plan, value, validate=validate, limits=limits)
    except DecodeError as error:
        return error
    return message_type(**arguments).SerializeToString()


def python_to_json(message_type: type[Message], wire: bytes, *, camel: bool) -> bytes | Exception:
    """Return the JSON text of the Python engine, or its error."""
    try:
        message = message_type.FromString(wire)
        return to_text(write_document(plan_for(message_type), message, camel=camel))
    except (WireError, EncodeError, UnicodeDecodeError) as error:
        return error


@contextlib.contextmanager
def without_native_sse() -> Iterator[None]:
    """Let the Python engine find the events of streams whose decoders are made meanwhile, and encode them."""
    absent = NoEngine()
    with (
        mock.patch.object(_sse_frames, "engine", absent),
        mock.patch.object(_sse_batch, "_native_events", absent.sse_events),
    ):
        yield
