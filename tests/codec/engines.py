"""The native engine, whatever MISTRALWIRE_ENGINE says, and the Python engine, for tests that compare them.

`read` and `write` convert as programs do, with the engine that is chosen, and once more with the Python
engine: what comes out must not depend on that.
"""

import contextlib
import importlib.util
from collections.abc import Iterator
from typing import Any, TypeVar
from unittest import mock

import pytest
from google.protobuf.message import DecodeError as WireError
from google.protobuf.message import Message

from mistralwire.codec import DEFAULT_LIMITS, Limits, from_json, to_json
from mistralwire.codec._convert import is_request
from mistralwire.codec._native import Engine, NoEngine, make_engine
from mistralwire.codec._plan import plan_for
from mistralwire.codec._python import (
    binary_to_document,
    document_to_binary,
    parse,
    to_indented_text,
    to_text,
)
from mistralwire.codec._sse import _batch, _framer
from mistralwire.errors import DecodeError, EncodeError
from mistralwire.v1 import CONTRACT_REVISION

M = TypeVar("M", bound=Message)

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
        value = parse(text, limits, plan.name, constants=not validate and not is_request(plan))
        wire = document_to_binary(plan, value, validate=validate, limits=limits)
    except DecodeError as error:
        return error
    return wire


def python_to_json(
    message_type: type[Message], wire: bytes, *, camel: bool, indent: int | None = None
) -> bytes | Exception:
    """Return the JSON text of the Python engine, or its error."""
    try:
        canonical = message_type.FromString(wire).SerializeToString()
        value = binary_to_document(plan_for(message_type), canonical, camel=camel)
        return to_text(value) if indent is None else to_indented_text(value, indent)
    except (WireError, EncodeError, UnicodeDecodeError) as error:
        return error


@contextlib.contextmanager
def native_sse() -> Iterator[Engine]:
    """Let a native engine find the events of streams whose decoders are made meanwhile; skip without one."""
    engine = native_engine()
    with _sse_by(engine):
        yield engine


def python_sse() -> contextlib.AbstractContextManager[None]:
    """Let the Python engine find the events of streams whose decoders are made meanwhile, and encode them."""
    return _sse_by(NoEngine())


@contextlib.contextmanager
def _sse_by(engine: Engine) -> Iterator[None]:
    with (
        mock.patch.object(_framer, "engine", engine),
        mock.patch.object(_batch, "_native_events", engine.sse_events),
    ):
        yield


def read(message_type: type[M], text: bytes | str, *, validate: bool = True) -> M:
    """Read a document; the Python engine must give the same wire bytes, or the same error."""
    expected = python_from_json(message_type, text, validate=validate)
    if isinstance(expected, DecodeError):
        with pytest.raises(DecodeError) as caught:
            from_json(message_type, text, validate=validate)
        assert _content(caught.value) == _content(expected)
        raise caught.value
    message = from_json(message_type, text, validate=validate)
    assert message.SerializeToString() == expected
    return message


def _content(error: DecodeError) -> tuple[Any, ...]:
    return error.violations, error.truncated, error.reason, str(error)


def write(message: Message, *, camel: bool = False) -> bytes:
    """Write a message; the Python engine must give the same text."""
    names: Any = "camel" if camel else "snake"
    text = to_json(message, names=names)
    assert text == to_text(
        binary_to_document(plan_for(type(message)), message.SerializeToString(), camel=camel)
    )
    return text
