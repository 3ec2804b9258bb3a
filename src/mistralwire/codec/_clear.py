"""Removing a member from a message."""

from google.protobuf.message import Message

from mistralwire.codec._parse import to_text
from mistralwire.codec._plan import EXTRA_FIELD, plan_for
from mistralwire.codec._writing import parse_text


def clear_member(message: Message, name: str) -> None:
    """Remove a JSON member from a message: its field, and what `json_extra` says of it.

    Clearing the field alone leaves what `json_extra` kept under its name: the string of an UNLISTED enum
    value, a number's exact text, a note that the member was null. A required member of an answer that is
    filled in where nothing is set, such as `finish_reason` of a chunk, is written as what is filled in.

    Args:
        message: A message of `mistralwire.v1` that is a JSON object; changed in place.
        name: Name of the member, in either spelling; it need not be documented, nor be there.

    Raises:
        EncodeError: If `json_extra.members` is no JSON object.
        TypeError: If it is not such a message.
    """
    member = plan_for(type(message)).by_name.get(name)
    extra = getattr(message, EXTRA_FIELD)
    spellings = {name} if member is None else {member.name, member.camel}
    members = parse_text(extra.members, (EXTRA_FIELD,), must_be_object=True) if extra.members else {}
    for field in () if member is None else member.fields:
        message.ClearField(field.name)
    if not spellings.isdisjoint(members):
        kept = {key: value for key, value in members.items() if key not in spellings}
        if kept:
            extra.members = to_text(kept).decode()
        else:
            extra.ClearField("members")
    for numbers in (extra.null_fields, extra.empty_fields, extra.absent_fields):
        if member is not None and member.number in numbers:
            # There may be several: bytes of messages that were put together are a message.
            numbers[:] = [number for number in numbers if number != member.number]
    if message.HasField(EXTRA_FIELD) and not extra.ByteSize():
        message.ClearField(EXTRA_FIELD)
