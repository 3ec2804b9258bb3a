"""Writing any message as a parsed JSON object: the complete engine, which knows every rule and every error.

`_write_fast` handles the messages that are as they should be; everything else comes here.
"""

import math
from typing import Any

from mistralwire.codec._limits import DEPTH_MAX, Limits
from mistralwire.codec._parse import Number, parse
from mistralwire.codec._plan import EXTRA_FIELD, FieldPlan, Form, Kind, MemberPlan, MessagePlan
from mistralwire.codec._read import describe, join_path
from mistralwire.errors import DecodeError, EncodeError

_TEXT_LIMITS = Limits(document_bytes_max=2**31, depth_max=DEPTH_MAX, members_max=2**31)
_ABSENT = object()


def write_document(plan: MessagePlan, message: Any, *, camel: bool) -> dict[str, Any]:
    """Give the parsed JSON of a message.

    Args:
        plan: Plan of the message, a JSON object.
        message: The message.
        camel: Whether member names are lowerCamelCase.

    Raises:
        EncodeError: If the message has no JSON form.
    """
    try:
        return _Writer(camel).write_object(plan, message)
    except RecursionError:
        raise _no_room() from None


def write_what_can_be(plan: MessagePlan, message: Any) -> tuple[dict[str, Any], list[EncodeError]]:
    """Give the parsed JSON of a message with stand-ins for what has no JSON form, and the errors of those.

    Args:
        plan: Plan of the message, a JSON object.
        message: The message.

    Raises:
        EncodeError: If it is nested too deeply.
    """
    errors: list[EncodeError] = []
    try:
        return _Writer(camel=False, errors=errors).write_object(plan, message), errors
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
    """

    def __init__(self, camel: bool, errors: list[EncodeError] | None = None) -> None:
        self._camel = camel
        self._errors = errors
        self._path: list[str | int] = []

    def _stand_in(self, value: Any, message: str) -> Any:
        """Give what stands for a value that has no JSON form, where errors are collected."""
        error = EncodeError(message, path=join_path(tuple(self._path)))
        if self._errors is None:
            raise error
        self._errors.append(error)
        return value

    def _parse(self, text: str, *, must_be_object: bool) -> Any:
        try:
            return parse_text(text, tuple(self._path), must_be_object=must_be_object)
        except EncodeError as error:
            return self._stand_in({}, error.message)

    def write_object(self, plan: MessagePlan, message: Any) -> dict[str, Any]:
        result: dict[str, Any] = {}
        extra = getattr(message, EXTRA_FIELD)
        nulls, empties = set(extra.null_fields), set(extra.empty_fields)
        for member in plan.members:
            name = member.camel if self._camel else member.name
            self._path.append(member.name)
            value = self._write_member(member, message)
            self._path.pop()
            if value is not _ABSENT:
                result[name] = value
            elif member.fields[0].repeated and member.number in empties:
                result[name] = []
            elif member.number in nulls:
                result[name] = None
        if extra.members:
            self._path.append(EXTRA_FIELD)
            members = self._parse(extra.members, must_be_object=True)
            self._path.pop()
            merge_members(plan, result, members, camel=self._camel)
        return result

    def _write_member(self, member: MemberPlan, message: Any) -> Any:
        if member.oneof is not None:
            name = message.WhichOneof(member.oneof)
            if name is None:
                return _ABSENT
            field = next(field for field in member.fields if field.name == name)
            return self._write_value(field, getattr(message, name))
        (field,) = member.fields
        value = getattr(message, field.name)
        if field.repeated:
            return self._write_items(field, value) if value else _ABSENT
        return self._write_value(field, value) if message.HasField(field.name) else _ABSENT

    def _write_items(self, field: FieldPlan, items: Any) -> list[Any]:
        result = []
        for index, item in enumerate(items):
            self._path.append(index)
            value = self._write_value(field, item)
            if value is _ABSENT:
                value = self._stand_in("", "an enum value that has no JSON string")
            result.append(value)
            self._path.pop()
        return result

    def _write_value(self, field: FieldPlan, value: Any) -> Any:
        match field.kind:
            case Kind.MESSAGE:
                return self._write_message(field, value)
            case Kind.ENUM:
                # As in ProtoJSON, a number from a newer contract is written as the number.
                return field.enum_strings.get(value, value) if value else _ABSENT
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
        if plan.form is Form.ARRAY:
            assert plan.item is not None  # noqa: S101 - a plan of this form has one
            return self._write_items(plan.item, getattr(message, plan.item.name))
        alternative = next((field for field in plan.alternatives if message.HasField(field.name)), None)
        if alternative is None:
            return self._stand_in({}, f"a {plan.name} without an alternative; set one of its fields")
        value = self._write_value(alternative, getattr(message, alternative.name))
        if plan.discriminator is not None and alternative is not plan.unknown:
            return tagged(plan, alternative, value)
        return value


def tagged(plan: MessagePlan, alternative: FieldPlan, value: dict[str, Any]) -> dict[str, Any]:
    """Make sure that an object of a union says which alternative it is.

    What was read from JSON says so already; a message that a program made may leave its tag unset.
    """
    if plan.discriminator not in value and alternative is not plan.untagged:
        tag = next(tag for tag, field in plan.tags.items() if field is alternative)
        return {plan.discriminator or "": tag, **value}
    return value
