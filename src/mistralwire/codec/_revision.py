"""Messages of processes whose contracts have different revisions.

A writer puts what is newer than the oldest reader where undocumented content goes: `lower`. A reader moves
what was put there to the fields that it knows: `lift`. Both go by way of the JSON form, which is the same in
every revision.
"""

import functools
import re
from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

from google.protobuf.message import Message

from mistralwire.codec._convert import read_message, to_document
from mistralwire.codec._limits import DEFAULT_LIMITS, Limits
from mistralwire.codec._plan import (
    EXTRA_FIELD,
    EXTRA_NUMBER,
    FieldPlan,
    Form,
    MessagePlan,
    checked_revision,
    plan_for,
)
from mistralwire.codec._read import read_document
from mistralwire.errors import DecodeError
from mistralwire.v1 import CONTRACT_REVISION, Reason

M = TypeVar("M", bound=Message)


def lower(message: M, contract_revision: int) -> M:
    """Return a message as readers of an older revision of the contract need it.

    Fields, enum values and alternatives that are newer move to `json_extra`, `unknown_json` and UNLISTED,
    where an older reader keeps them.

    Args:
        message: A message of `mistralwire.v1` that is a JSON object.
        contract_revision: Revision of the oldest contract among the readers, 1 or more.

    Returns:
        The message itself if it holds nothing newer, otherwise a new one.

    Raises:
        EncodeError: If it holds something newer, and has no JSON form.
        TypeError: If it is not such a message, and this contract is newer than the revision.
        ValueError: If the revision is not a whole number of 1 or more.
    """
    if checked_revision(contract_revision) >= CONTRACT_REVISION:
        return message
    if not _is_newer(message, _newer_content(plan_for(type(message)), contract_revision)):
        return message
    return _rewritten(message, contract_revision)


def lift(message: M) -> M:
    """Return a message with everything that this contract knows in its fields.

    Undoes `lower`: what a writer put into `json_extra`, `unknown_json` and UNLISTED because of an older
    reader moves to its fields. This costs something only where such content may be present.

    Args:
        message: A message of `mistralwire.v1` that is a JSON object.

    Returns:
        The message itself if there is nothing to move, otherwise a new one.

    Raises:
        EncodeError: If there may be something to move, and the message has no JSON form.
        TypeError: If it is not such a message.
    """
    pattern = _newer_names(plan_for(type(message)))
    if pattern is None:
        return message
    wire = message.SerializeToString()
    if pattern.search(wire) is None and _ESCAPED.search(wire) is None:
        return message
    return _rewritten(message, CONTRACT_REVISION)


def read_request(
    message_type: type[M], data: bytes | str, *, oldest_revision: int, limits: Limits = DEFAULT_LIMITS
) -> M:
    """Read and validate a request by the newest contract, or by an older one that accepts it.

    What the older processes of a fleet have accepted must not be refused by the newer ones: a member that
    became a field had any value before.

    Args:
        message_type: A request of `mistralwire.v1`.
        data: The JSON text; bytes are UTF-8.
        oldest_revision: The oldest revision whose contract counts, 1 or more.
        limits: Bounds of the document; see `from_json`.

    Returns:
        The message, with everything that the newest contract knows in its fields.

    Raises:
        DecodeError: If no contract accepts it, as the newest one says it.
    """
    try:
        return read_message(message_type, data, CONTRACT_REVISION, validate=True, limits=limits)
    except DecodeError as error:
        if error.reason != Reason.CONTRACT_VIOLATION:
            raise
        for revision in range(CONTRACT_REVISION - 1, oldest_revision - 1, -1):
            try:
                read_message(message_type, data, revision, validate=True, limits=limits)
            except DecodeError:
                continue
            return read_message(message_type, data, CONTRACT_REVISION, validate=False, limits=limits)
        raise


def _rewritten(message: M, revision: int) -> M:
    message_type = type(message)
    document = to_document(plan_for(message_type), message.SerializeToString())
    plan = plan_for(message_type, revision)
    return message_type.FromString(read_document(plan, document, validate=False, limits=DEFAULT_LIMITS))


# Where a message may hold something newer, by field number: True for a field that is newer itself, a set for
# newer values of its enum, a mapping for what its message may hold; for json_extra, the newer fields that a
# note may be about.
_Newer = dict[int, Any]


def _is_newer(message: Message, newer: _Newer) -> bool:
    for field, value in message.ListFields() if newer else ():
        what = newer.get(field.number)
        if what is True:
            return True
        if what is not None:
            items: Iterable[Any] = (value,) if isinstance(value, Message | int) else value
            if field.name == EXTRA_FIELD:
                items = (*value.null_fields, *value.empty_fields)
            if isinstance(what, dict):
                if any(_is_newer(item, what) for item in items):
                    return True
            elif not what.isdisjoint(items):
                return True
    return False


@functools.cache
def _newer_content(plan: MessagePlan, revision: int) -> _Newer:
    """Return where a message may hold something newer than a revision."""
    return _compare(plan, plan_for(plan.message_class, revision), {})


def _compare(newest: MessagePlan, older: MessagePlan, compared: dict[MessagePlan, _Newer]) -> _Newer:
    if newest in compared:
        return compared[newest]
    # Registered before its fields are compared, so that a recursive type finds itself.
    newer = compared[newest] = {}
    known = {field.number: field for field in _fields(older)}
    for field in _fields(newest):
        old = known.get(field.number)
        if old is None:
            newer[field.number] = True
        elif values := field.enum_strings.keys() - old.enum_strings.keys():
            newer[field.number] = frozenset(values)
        elif field.message is not None and old.message is not None and _is_more(field.message, old.message):
            newer[field.number] = _compare(field.message, old.message, compared)
    added = frozenset(number for number, what in newer.items() if what is True)
    if added and newest.form is Form.OBJECT:
        newer[EXTRA_NUMBER] = added
    return newer


def _is_more(newest: MessagePlan, older: MessagePlan) -> bool:
    """Check whether a message or one in it has fields or enum values that the older plans do not have."""
    for new, old in _pairs(newest, older):
        known = {field.number: field.enum_strings.keys() for field in _fields(old)}
        for field in _fields(new):
            if field.number not in known or field.enum_strings.keys() - known[field.number]:
                return True
    return False


# A name may be written with escapes. Both patterns begin with fixed bytes, which makes the search fast.
_ESCAPED = re.compile(rb"\\u00[2-7]")


@functools.cache
def _newer_names(plan: MessagePlan) -> re.Pattern[bytes] | None:
    """Return what finds text that may stand for content newer than revision 1; None if there is none.

    Names, tags and enum strings stand in quotes in JSON text.
    """
    if CONTRACT_REVISION == 1:
        return None
    names = sorted(set(_names(plan, plan_for(plan.message_class, 1))))
    texts = b"|".join(re.escape(name.encode()) for name in names)
    return re.compile(rb'"(?:' + texts + rb')"') if names else None


def _names(newest: MessagePlan, older: MessagePlan) -> Iterator[str]:
    """Yield the names, tags and strings under which an older writer keeps what the newest plan knows."""
    for new, old in _pairs(newest, older):
        yield from new.tags.keys() - old.tags.keys()
        for name, member in new.by_name.items():
            known = old.by_name.get(name)
            if known is None or _json_types(member.fields) > _json_types(known.fields):
                yield name
        before = {field.number: field for field in _fields(old)}
        for field in _fields(new):
            if field.number in before:
                yield from field.enum_numbers.keys() - before[field.number].enum_numbers.keys()


def _json_types(fields: Iterable[FieldPlan]) -> int:
    """Count the JSON types that fields can hold; those of the elements where they hold an array."""
    count = 0
    for field in fields:
        plan = field.message
        has_own_type = plan is None or plan.form is Form.OBJECT or plan.discriminator is not None
        count += 1 if plan is None or has_own_type else _json_types(_fields(plan))
    return count


def _pairs(newest: MessagePlan, older: MessagePlan) -> Iterator[tuple[MessagePlan, MessagePlan]]:
    """Yield the plans of a message and of those in it, at any depth, that both revisions have."""
    rest, seen = [(newest, older)], set()
    while rest:
        new, old = rest.pop()
        if new in seen:
            continue
        seen.add(new)
        yield new, old
        before = {field.number: field for field in _fields(old)}
        for field in _fields(new):
            known = before.get(field.number)
            if known is not None and known.message is not None and field.message is not None:
                rest.append((field.message, known.message))


def _fields(plan: MessagePlan) -> list[FieldPlan]:
    if plan.item is not None:
        return [plan.item]
    return [*plan.alternatives, *(field for member in plan.members for field in member.fields)]
