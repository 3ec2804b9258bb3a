"""Writing any message as a parsed JSON object: the complete engine, which knows every rule and every error.

`_write_fast` handles the messages that are as they should be; everything else comes here.
"""

import math
from typing import Any

from google.protobuf.unknown_fields import UnknownFieldSet

from mistralwire.codec._limits import DEPTH_MAX, Limits
from mistralwire.codec._losses import OTHER_PLACE, count_loss
from mistralwire.codec._parse import Number, parse
from mistralwire.codec._plan import EXTRA_FIELD, UNLISTED, FieldPlan, Form, Kind, MemberPlan, MessagePlan
from mistralwire.codec._read import describe, join_path, quoted
from mistralwire.errors import DecodeError, EncodeError
from mistralwire.v1 import CONTRACT_REVISION, Reason

UNRECOGNIZED = "unrecognized"
"""The string that stands for an enum value without one: from a newer contract, or a program's mistake."""

_TEXT_LIMITS = Limits(document_bytes_max=2**31, depth_max=DEPTH_MAX, members_max=2**31)
_ABSENT = object()
# Unknown fields are looked at one by one in a message that has no more than so many bytes of them. Beyond
# that only their size is noted: a Python object for each would cost a hundred times the message.
_UNKNOWN_BYTES_MAX = 4_096


class _Full(Exception):  # noqa: N818 - it never leaves this module
    """As many errors as are asked for were found."""


def write_document(plan: MessagePlan, message: Any, *, camel: bool) -> dict[str, Any]:
    """Return the parsed JSON of a message.

    Content of a newer contract costs itself and nothing else, and is counted.

    Args:
        plan: Plan of the message, a JSON object.
        message: The message.
        camel: Whether member names are lowerCamelCase.

    Raises:
        EncodeError: If the message has no JSON form.
    """
    try:
        return _Writer(camel).write(plan, message)
    except RecursionError:
        raise _no_room() from None


def write_what_can_be(
    plan: MessagePlan, message: Any, errors_max: int
) -> tuple[dict[str, Any] | None, list[EncodeError]]:
    """Return the parsed JSON of a message with stand-ins for what has no JSON form, and the errors of those.

    Here, content of a newer contract is an error too, with the reason CONTRACT_NEWER, and is not counted.

    Args:
        plan: Plan of the message, a JSON object.
        message: The message.
        errors_max: How many errors to look for; beyond, there is no JSON.

    Raises:
        EncodeError: If it is nested too deeply.
    """
    errors: list[EncodeError] = []
    try:
        return _Writer(camel=False, errors=errors, errors_max=errors_max).write(plan, message), errors
    except _Full:
        return None, errors
    except RecursionError:
        raise _no_room() from None


def _no_room() -> EncodeError:
    return EncodeError("nesting that the stack has no room for; write it from a shallower call")


def merge_members(
    plan: MessagePlan, target: dict[str, Any], members: dict[str, Any], *, camel: bool
) -> dict[str, Any]:
    """Add to an object what JsonExtra kept of it; a field that is set wins over a member of its name.

    Args:
        plan: Plan of the message.
        target: The object with the fields, under names as they are to be written; changed in place.
        members: The parsed members.
        camel: Whether names are lowerCamelCase.

    Returns:
        The target.
    """
    for name, value in members.items():
        member = plan.by_name.get(name)
        if member is None:
            target[name] = value
        elif name == member.name:
            written = member.camel if camel and member.camel not in members else name
            _put(target, written, value)
        elif camel and name in target:
            # The document had both spellings; the field gives way, under its other name.
            field_value = target.pop(name)
            target.setdefault(member.name, field_value)
            target[name] = value
        else:
            target[name] = value
    return target


def _put(target: dict[str, Any], name: str, value: Any) -> None:
    """Put a member that its field could not hold, unless the field was set since."""
    current = target.get(name)
    if current is None:
        target[name] = value
    elif isinstance(current, float) and type(value) in (int, Number):
        text = value.text if isinstance(value, Number) else str(value)
        if float(text) == current:
            target[name] = value


def parse_text(text: str, path: tuple[str | int, ...], *, must_be_object: bool) -> Any:
    """Parse JSON text that a message carries.

    Raises:
        EncodeError: If it is no JSON, or no object where one is due.
    """
    try:
        value = parse(text, _TEXT_LIMITS)
    except DecodeError as error:
        violation = error.violations[0]
        message = f"expected {violation.expected} in the field, found {violation.found}"
        raise EncodeError(message, path=join_path(path)) from None
    if must_be_object and type(value) is not dict:
        message = f"expected the text of an object in the field, found {describe(value)}"
        raise EncodeError(message, path=join_path(path))
    return value


class _Writer:
    """Writes one message.

    Args:
        camel: Whether member names are lowerCamelCase.
        errors: Where to put what has no JSON form; None to raise the first.
        errors_max: How many of them to look for.
    """

    def __init__(self, camel: bool, errors: list[EncodeError] | None = None, errors_max: int = 0) -> None:
        self._camel = camel
        self._errors = errors
        self._errors_max = errors_max
        self._path: list[str | int] = []
        self._has_unknown = False
        self._has_dropped = False

    def write(self, plan: MessagePlan, message: Any) -> dict[str, Any]:
        """Write a message that is a document of its own."""
        known = type(message)()
        known.CopyFrom(message)
        known.DiscardUnknownFields()
        unknown_bytes = message.ByteSize() - known.ByteSize()
        self._has_unknown = unknown_bytes > 0
        if unknown_bytes > _UNKNOWN_BYTES_MAX:
            self._has_unknown, self._has_dropped = False, True
            self._lose(*OTHER_PLACE, f"{unknown_bytes} bytes of fields")
            message = known
        return self.write_object(plan, message)

    def _add_error(self, message: str, reason: Reason) -> None:
        assert self._errors is not None  # noqa: S101 - whoever calls it has looked
        if len(self._errors) > self._errors_max:
            raise _Full
        self._errors.append(EncodeError(message, path=join_path(tuple(self._path)), reason=reason))

    def _stand_in(self, value: Any, message: str) -> Any:
        """Return what stands for a value that has no JSON form, where errors are collected."""
        if self._errors is None:
            raise EncodeError(message, path=join_path(tuple(self._path)))
        self._add_error(message, Reason.NO_JSON_FORM)
        return value

    def _note(self, message: str) -> None:
        """Note a mistake that does not keep the message from being written."""
        if self._errors is not None:
            self._add_error(message, Reason.CONTRACT_VIOLATION)

    def _lose(self, message_name: str, number: int, what: str) -> None:
        """Note content of a newer contract, which can't be written."""
        if self._errors is None:
            count_loss(message_name, number)
        else:
            expected = f"content of revision {CONTRACT_REVISION} of the contract"
            message = f"expected {expected}, found {what}, which it does not have"
            self._add_error(message, Reason.CONTRACT_NEWER)

    def _lose_unknown_fields(self, message: Any) -> bool:
        """Note the fields of a message that its type does not know; return whether there are any."""
        if not self._has_unknown:
            return False
        fields = UnknownFieldSet(message)
        numbers = {fields[index].field_number for index in range(len(fields))}
        name = message.DESCRIPTOR.name
        for number in sorted(numbers):
            known = message.DESCRIPTOR.fields_by_number.get(number)
            if known is not None and self._errors is not None:
                # A field never changes its type: this is not a newer contract, but bytes of something else.
                self._note(
                    f"expected the field {known.name} of {name}, found its number with another wire type"
                )
            else:
                self._lose(name, number, f"the field {number} of {name}")
        return bool(numbers)

    def _parse(self, text: str, *, must_be_object: bool) -> Any:
        try:
            return parse_text(text, tuple(self._path), must_be_object=must_be_object)
        except EncodeError as error:
            return self._stand_in({}, error.message)

    def write_object(self, plan: MessagePlan, message: Any) -> dict[str, Any]:
        result: dict[str, Any] = {}
        extra = getattr(message, EXTRA_FIELD)
        nulls, empties = set(extra.null_fields), set(extra.empty_fields)
        members: dict[str, Any] = {}
        if extra.members:
            self._path.append(EXTRA_FIELD)
            members = self._parse(extra.members, must_be_object=True)
            self._path.pop()
        for member in plan.members:
            name = member.camel if self._camel else member.name
            self._path.append(member.name)
            value = self._write_member(plan, member, message, members)
            self._path.pop()
            if value is not _ABSENT:
                result[name] = value
            elif member.fields[0].repeated and member.number in empties:
                result[name] = []
            elif member.number in nulls:
                result[name] = None
            elif member.fill is not None and not (
                member.number in extra.absent_fields or member.name in members
            ):
                result[name] = member.fill.value_of()
        self._lose_unknown_fields(message)
        if message.HasField(EXTRA_FIELD):
            self._lose_unknown_fields(extra)
        return merge_members(plan, result, members, camel=self._camel) if members else result

    def _write_member(
        self, plan: MessagePlan, member: MemberPlan, message: Any, members: dict[str, Any]
    ) -> Any:
        given = [field for field in member.fields if _is_set(message, field)]
        if not given:
            return _ABSENT
        if len(given) > 1:
            names = " and ".join(field.name for field in given)
            self._note(f"expected one of the fields of the member, found {names}; leave all but one unset")
        field, value = given[0], getattr(message, given[0].name)
        if field.repeated:
            return self._write_items(plan, field, value)
        if field.kind is Kind.ENUM:
            return self._write_enum(plan, field, value, members.get(member.name))
        return self._write_value(plan, field, value)

    def _write_enum(self, plan: MessagePlan, field: FieldPlan, number: int, kept: Any = None) -> Any:
        """Return the string of an enum value, where `kept` is what JsonExtra has under the name."""
        string = field.enum_strings.get(number)
        if string is not None:
            return string
        if number == 0:
            self._note(f"expected a value of {field.enum_name}, found the one that is none; leave it unset")
            return _ABSENT
        is_kept = isinstance(kept, str)
        if number != UNLISTED:
            if not is_kept or self._errors is not None:
                self._lose(plan.name, field.number, f"the value {number} of {field.enum_name}")
        elif not is_kept:
            self._note(f"expected the string in json_extra.members beside UNLISTED, found {_described(kept)}")
        # A string that was kept is written with the other members, in their order.
        return _ABSENT if is_kept else UNRECOGNIZED

    def _write_items(self, plan: MessagePlan, field: FieldPlan, items: Any) -> list[Any]:
        result = []
        for index, item in enumerate(items):
            self._path.append(index)
            if field.kind is Kind.ENUM:
                value = self._write_enum(plan, field, item)
                value = UNRECOGNIZED if value is _ABSENT else value
            else:
                value = self._write_value(plan, field, item)
            if value is not _ABSENT:
                result.append(value)
            self._path.pop()
        return result

    def _write_value(self, plan: MessagePlan, field: FieldPlan, value: Any) -> Any:
        match field.kind:
            case Kind.MESSAGE:
                return self._write_message(field, value)
            case Kind.ENUM:
                return self._write_enum(plan, field, value)
            case Kind.NUMBER:
                if not math.isfinite(value):
                    return self._stand_in(0, f"{value}, which JSON does not have; set a finite number")
                return value
            case Kind.TEXT_ANY | Kind.TEXT_OBJECT:
                return self._parse(value, must_be_object=field.kind is Kind.TEXT_OBJECT)
            case _:
                return value

    def _write_message(self, field: FieldPlan, message: Any) -> Any:
        plan = field.message
        assert plan is not None  # noqa: S101 - a field of this kind has one
        if plan.form is Form.OBJECT:
            return self.write_object(plan, message)
        is_newer = self._lose_unknown_fields(message)
        if plan.form is Form.ARRAY:
            assert plan.item is not None  # noqa: S101 - a plan of this form has one
            return self._write_items(plan, plan.item, getattr(message, plan.item.name))
        alternative = next((field for field in plan.alternatives if message.HasField(field.name)), None)
        if alternative is None and (is_newer or self._has_dropped):
            # An alternative of a newer contract costs itself, and not the document. Where errors are
            # collected it keeps its place, so that the paths of those behind it are right.
            return _ABSENT if self._errors is None else {}
        if alternative is None:
            return self._stand_in({}, _no_alternative(plan))
        value = self._write_value(plan, alternative, getattr(message, alternative.name))
        if plan.discriminator is None or alternative is plan.unknown:
            return value
        tag = wrong_tag(plan, alternative, value)
        if tag is not None:
            self._path.append(plan.discriminator)
            self._note(f'expected the string "{tag}", found {quoted(value[plan.discriminator])}')
            self._path.pop()
        return tagged(plan, alternative, value)


def _is_set(message: Any, field: FieldPlan) -> bool:
    return bool(getattr(message, field.name) if field.repeated else message.HasField(field.name))


def _no_alternative(plan: MessagePlan) -> str:
    names = [field.name for field in plan.alternatives if field is not plan.unknown]
    return f"expected an alternative of {plan.name}, found none; set one of {', '.join(names)}"


def _described(value: Any) -> str:
    return "nothing" if value is None else describe(value)


def wrong_tag(plan: MessagePlan, alternative: FieldPlan, value: dict[str, Any]) -> str | None:
    """Return the tag that an object of a union must have, if it says that it is another alternative."""
    discriminator = plan.discriminator or ""
    if discriminator not in value or alternative.message is None:
        return None
    constant = alternative.message.by_name[discriminator].fields[0].constant
    return None if value[discriminator] == constant else constant


def tagged(plan: MessagePlan, alternative: FieldPlan, value: dict[str, Any]) -> dict[str, Any]:
    """Make sure that an object of a union says which alternative it is.

    What was read from JSON says so already; a message that a program made may leave its tag unset.
    """
    if plan.discriminator not in value and alternative is not plan.untagged:
        tag = next(tag for tag, field in plan.tags.items() if field is alternative)
        return {plan.discriminator or "": tag, **value}
    return value
