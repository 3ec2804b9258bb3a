"""Reading and writing as programs do it: again and again, and once more with the complete engines.

The codec may learn the shapes of documents and take a shorter way for those that it knows. What comes out
must not depend on that.
"""

from typing import Any, TypeVar

from google.protobuf.message import Message

from mistralwire.codec import DEFAULT_LIMITS, from_json, to_json
from mistralwire.codec._parse import parse, to_text
from mistralwire.codec._plan import plan_for
from mistralwire.codec._read import read_document
from mistralwire.codec._write import write_document
from mistralwire.errors import DecodeError

M = TypeVar("M", bound=Message)

TIMES = 10


def read(message_type: type[M], text: bytes | str, *, validate: bool = True) -> M:
    """Read a document many times; every reading must give the same message, or raise the same error."""
    first = _outcome(message_type, text, validate)
    for _ in range(TIMES - 1):
        assert _outcome(message_type, text, validate) == first
    assert _complete_outcome(message_type, text, validate) == first
    return from_json(message_type, text, validate=validate)


def write(message: Message, *, camel: bool = False) -> bytes:
    """Write a message many times; every writing must give the same bytes."""
    names: Any = "camel" if camel else "snake"
    complete = to_text(write_document(plan_for(type(message)), message.SerializeToString(), camel=camel))
    for _ in range(TIMES):
        assert to_json(message, names=names) == complete
    return complete


def _outcome(message_type: type[M], text: bytes | str, validate: bool) -> Any:
    try:
        return from_json(message_type, text, validate=validate)
    except DecodeError as error:
        return [error.violations, error.truncated, error.reason, str(error)]


def _complete_outcome(message_type: type[M], text: bytes | str, validate: bool) -> Any:
    plan = plan_for(message_type)
    try:
        value = parse(text, DEFAULT_LIMITS, plan.name)
        wire = read_document(plan, value, validate=validate, limits=DEFAULT_LIMITS)
    except DecodeError as error:
        return [error.violations, error.truncated, error.reason, str(error)]
    message = message_type.FromString(wire)
    # As protobuf itself writes it, to the byte.
    assert message.SerializeToString() == wire
    return message
