"""Messages between processes whose contracts have different revisions.

A writer stores what is newer than the oldest reader like undocumented content: `lower`. A reader moves it to
the fields that it has: `lift`. Both convert through the JSON form, which is the same in every revision.
"""

import functools
import re
from collections.abc import Iterable, Iterator
from typing import Any

from google.protobuf.message import Message

from mistralwire._protobuf import MessageT
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
from mistralwire.errors import DecodeError
from mistralwire.v1 import CONTRACT_REVISION, Reason


def lower(message: MessageT, contract_revision: int) -> MessageT:
    """Convert a message for readers with an older revision of the contract.

    Newer fields, enum values and alternatives move to `json_extra`, `unknown_json` and UNLISTED, where an
    older reader keeps them. A message with nothing newer is returned itself.

    Args:
        message: A message of `mistralwire.v1` that is a JSON object.
        contract_revision: Revision of the oldest contract among the readers, 1 or more.

    Raises:
        EncodeError: If it holds something newer, and has no JSON form.
        TypeError: If it is not such a message, and this contract is newer than the revision.
        ValueError: If the revision is not a whole number of 1 or more.
    """
    if checked_revision(contract_revision) >= CONTRACT_REVISION:
        return message
    if not _holds_newer(message, _newer_content(plan_for(type(message)), contract_revision)):
        return message
    return _converted(message, contract_revision)


def lift(message: MessageT) -> MessageT:
    """Move everything in a message that this contract has a field for to its field.

    This undoes `lower`, which put it into `json_extra`, `unknown_json` and UNLISTED for an older reader. It
    costs little unless such content may be present. A message with nothing to move is returned itself.

    Raises:
        EncodeError: If there may be something to move, and the message has no JSON form.
        TypeError: If it is not a message of `mistralwire.v1` that is a JSON object.
    """
    pattern = _newer_names(plan_for(type(message)))
    if pattern is None:
        return message
    wire = message.SerializeToString()
    if pattern.search(wire) is None and _ESCAPED.search(wire) is None:
        return message
    return _converted(message, CONTRACT_REVISION)


def read_request(
    message_type: type[MessageT], data: bytes | str, *, oldest_revision: int, limits: Limits = DEFAULT_LIMITS
) -> MessageT:
    """Convert and validate a request by the newest contract, or by an older one that accepts it.

    A newer process of a fleet must not refuse what an older one accepted: a member that became a field might
    have had any value before. Whatever the newest contract has a field for is in its field.

    Arguments are those of `from_json`, and the oldest revision whose contract applies, 1 or more.

    Raises:
        DecodeError: If no contract accepts it, with the violations of the newest one.
    """
    from mistralwire.codec._convert import from_json_at  # noqa: PLC0415 - with an engine

    try:
        return from_json_at(message_type, data, CONTRACT_REVISION, validate=True, limits=limits)
    except DecodeError as error:
        if error.reason != Reason.CONTRACT_VIOLATION:
            raise
        for revision in range(CONTRACT_REVISION - 1, oldest_revision - 1, -1):
            try:
                from_json_at(message_type, data, revision, validate=True, limits=limits)
            except DecodeError:
                continue
            return from_json_at(message_type, data, CONTRACT_REVISION, validate=False, limits=limits)
        raise


def _converted(message: MessageT, revision: int) -> MessageT:
    from mistralwire.codec._convert import from_document, to_document  # noqa: PLC0415 - with an engine

    message_type = type(message)
    document = to_document(plan_for(message_type), message.SerializeToString())
    return from_document(message_type, document, revision)


# Where a message may hold something newer, by field number: True for a newer field, a set for newer values of
# its enum, a mapping for the content of its message; for json_extra, the newer fields that it may note.
_Newer = dict[int, Any]


def _holds_newer(message: Message, newer: _Newer) -> bool:
    for field, value in message.ListFields() if newer else ():
        what = newer.get(field.number)
        if what is True:
            return True
        if what is not None:
            items: Iterable[Any] = (value,) if isinstance(value, Message | int) else value
            if field.name == EXTRA_FIELD:
                items = (*value.null_fields, *value.empty_fields)
            if isinstance(what, dict):
                if any(_holds_newer(item, what) for item in items):
                    return True
            elif not what.isdisjoint(items):
                return True
    return False


@functools.cache
def _newer_content(plan: MessagePlan, revision: int) -> _Newer:
    return _compare(plan, plan_for(plan.message_class, revision), {})


def _compare(newest: MessagePlan, older: MessagePlan, compared: dict[MessagePlan, _Newer]) -> _Newer:
    if newest in compared:
        return compared[newest]
    # Registered before its fields are compared, so that a recursive type finds itself.
    newer = compared[newest] = {}
    known = {field.number: field for field in older.fields}
    for field in newest.fields:
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
    """Check whether a message or one inside it has fields or enum values that the older plans lack."""
    for new, old in _pairs(newest, older):
        known = {field.number: field.enum_strings.keys() for field in old.fields}
        for field in new.fields:
            if field.number not in known or field.enum_strings.keys() - known[field.number]:
                return True
    return False


# A name may have escapes. Both patterns start with fixed bytes, which makes the search fast.
_ESCAPED = re.compile(rb"\\u00[2-7]")


@functools.cache
def _newer_names(plan: MessagePlan) -> re.Pattern[bytes] | None:
    """Return a pattern for quoted names, tags and enum strings newer than revision 1; None without any."""
    if CONTRACT_REVISION == 1:
        return None
    names = sorted(set(_names(plan, plan_for(plan.message_class, 1))))
    texts = b"|".join(re.escape(name.encode()) for name in names)
    return re.compile(rb'"(?:' + texts + rb')"') if names else None


def _names(newest: MessagePlan, older: MessagePlan) -> Iterator[str]:
    """Yield the names, tags and strings under which an older writer keeps what the newest plan has."""
    for new, old in _pairs(newest, older):
        yield from new.tags.keys() - old.tags.keys()
        for name, member in new.by_name.items():
            known = old.by_name.get(name)
            if known is None or _json_types(member.fields) > _json_types(known.fields):
                yield name
        before = {field.number: field for field in old.fields}
        for field in new.fields:
            if field.number in before:
                yield from field.enum_numbers.keys() - before[field.number].enum_numbers.keys()


def _json_types(fields: Iterable[FieldPlan]) -> int:
    """Count the JSON types that fields can hold; for an array, those of its elements."""
    count = 0
    for field in fields:
        plan = field.message
        has_own_type = plan is None or plan.form is Form.OBJECT or plan.discriminator is not None
        count += 1 if plan is None or has_own_type else _json_types(plan.fields)
    return count


def _pairs(newest: MessagePlan, older: MessagePlan) -> Iterator[tuple[MessagePlan, MessagePlan]]:
    """Yield the plans of a message and of those inside it, at any depth, that both revisions have."""
    rest, seen = [(newest, older)], set()
    while rest:
        new, old = rest.pop()
        if new in seen:
            continue
        seen.add(new)
        yield new, old
        before = {field.number: field for field in old.fields}
        for field in new.fields:
            known = before.get(field.number)
            if known is not None and known.message is not None and field.message is not None:
                rest.append((field.message, known.message))
