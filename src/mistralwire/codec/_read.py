"""Reading any JSON object into a message: the complete engine, which knows every rule and every error.

`_read_fast` handles the documents that are as they should be and of a shape seen before; everything else
comes here. A reader turns a parsed value into the keyword arguments of a message's constructor.
"""

import decimal
import re
from collections.abc import Sized
from typing import Any

from mistralwire.codec._limits import Limits
from mistralwire.codec._parse import Number, is_unicode, to_text, too_deep
from mistralwire.codec._plan import (
    EXTRA_FIELD,
    UNLISTED,
    FieldPlan,
    Fill,
    Form,
    Kind,
    MemberPlan,
    MessagePlan,
)
from mistralwire.errors import DecodeError, Violation

_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}\Z")


class _Misfit:
    """What stands for a value that its field can't hold."""


_MISFIT = _Misfit()


class _Full(Exception):  # noqa: N818 - it never leaves this module
    """As many violations as the limit allows were found."""


def read_document(
    plan: MessagePlan, value: Any, *, validate: bool, limits: Limits, complete: bool = False
) -> dict[str, Any]:
    """Give the constructor arguments for a parsed document.

    Args:
        plan: Plan of a message that is a JSON object.
        value: The parsed JSON.
        validate: Whether to enforce the contract; otherwise every object is accepted.
        limits: Only the bound on violations counts here.
        complete: Whether members that a program is expected to set count as required.

    Raises:
        DecodeError: If the top level is no object, or the contract is enforced and broken.
    """
    if type(value) is not dict:
        raise DecodeError([Violation("", "an object", describe(value))], type_name=plan.name)
    reader = _Reader(validate, limits, complete)
    truncated = False
    arguments: dict[str, Any] = {}
    try:
        arguments = reader.read_object(plan, value)
    except _Full:
        truncated = True
    except RecursionError:
        raise too_deep(plan.name) from None
    if reader.violations:
        raise DecodeError(reader.violations, type_name=plan.name, truncated=truncated)
    return arguments


def describe(value: Any) -> str:
    """Say what a JSON value is, without showing text that may be private."""
    match value:
        case None | bool():
            return {None: "null", True: "true", False: "false"}[value]
        case int() | float():
            return f"the number {str(value)[:40]}"
        case Number():
            return f"the number {value.text[:40]}"
        case str():
            return f"a string of {_count(value, 'character')}" if value else "an empty string"
        case list():
            return f"an array of {_count(value, 'element')}" if value else "an empty array"
        case _:
            return f"an object with {_count(value, 'member')}" if value else "an empty object"


def _count(value: Sized, name: str) -> str:
    return f"1 {name}" if len(value) == 1 else f"{len(value)} {name}s"


def join_path(path: tuple[str | int, ...]) -> str:
    """Write a path as `choices[0].message["odd name"]`."""
    text = ""
    for step in path:
        if isinstance(step, int):
            text += f"[{step}]"
        elif _IDENTIFIER.match(step):
            text += f".{step}" if text else step
        else:
            # Names of free-form JSON are somebody's text: as much as it takes to find the place.
            text += f"[{to_text(step if len(step) <= 40 else step[:40] + '...').decode()}]"
    return text


class _Reader:
    """Reads one document, and collects its violations if it validates.

    Attributes:
        violations: What was found so far.
    """

    def __init__(self, validate: bool, limits: Limits, complete: bool) -> None:
        self.validate = validate
        self._complete = complete
        self.violations: list[Violation] = []
        self._limit = limits.violations_max
        self._path: list[str | int] = []

    def _refuse(self, expected: str, found: str) -> _Misfit:
        if self.validate:
            if len(self.violations) == self._limit:
                raise _Full
            self.violations.append(Violation(join_path(tuple(self._path)), expected, found))
        return _MISFIT

    def read_object(self, plan: MessagePlan, value: dict[str, Any]) -> dict[str, Any]:
        arguments: dict[str, Any] = {}
        members: dict[str, Any] = {}
        nulls: list[int] = []
        empties: list[int] = []
        absents: list[int] = []
        for key, item in value.items():
            member = plan.by_name.get(key)
            if member is None:
                members[key] = item
                continue
            self._path.append(key)
            if key != member.name and member.name in value:
                self._refuse(f"one spelling of the member, {member.name} or {member.camel}", "both")
                members[key] = item
            elif item is None:
                if (member.required and not member.nullable) or (self._complete and member.expected):
                    self._refuse(_expected(member), "null")
                if member.fill is not Fill.NULL:
                    nulls.append(member.number)
            elif item == [] and member.fields[0].repeated:
                if member.fill is not Fill.ARRAY:
                    empties.append(member.number)
            else:
                self._read_member(member, item, arguments, members)
            self._path.pop()
        self._note_missing(plan, value, absents)
        extra = {
            "members": to_text(members).decode() if members else None,
            "null_fields": sorted(nulls) or None,
            "empty_fields": sorted(empties) or None,
            "absent_fields": absents or None,
        }
        if any(extra.values()):
            arguments[EXTRA_FIELD] = extra
        return arguments

    def _note_missing(self, plan: MessagePlan, value: dict[str, Any], absents: list[int]) -> None:
        for member in plan.members:
            required = self.validate and (member.required or (self._complete and member.expected))
            if not required and member.fill is None:
                continue
            if member.name not in value and member.camel not in value:
                if required:
                    self._path.append(member.name)
                    self._refuse(_expected(member), "nothing: the member is required")
                    self._path.pop()
                if member.fill is not None:
                    absents.append(member.number)

    def _read_member(
        self, member: MemberPlan, item: Any, arguments: dict[str, Any], members: dict[str, Any]
    ) -> None:
        field = next((field for field in member.fields if _accepts(field, item)), None)
        if field is None:
            self._refuse(_expected(member), describe(item))
            members[member.name] = item
            return
        if field.kind is Kind.ENUM and not field.repeated and item not in field.enum_numbers:
            # Enums are open: a string that is not documented yet is no violation.
            arguments[field.name] = UNLISTED
            members[member.name] = item
            return
        result = self._read_repeated(field, item) if field.repeated else self._read_value(field, item)
        if result is _MISFIT:
            members[member.name] = item
            return
        arguments[field.name] = result
        if field.kind is Kind.NUMBER and not field.repeated and not _is_exact(item, result):
            # The nearest double for those who compute, the exact text for those who pass it on.
            members[member.name] = item

    def _read_repeated(self, field: FieldPlan, items: list[Any]) -> Any:
        results = []
        misfit = False
        for index, item in enumerate(items):
            self._path.append(index)
            result: Any
            if not _accepts_element(field, item):
                result = self._refuse(_expected_field(field), describe(item))
            else:
                result = self._read_value(field, item)
                if field.kind is Kind.ENUM and item not in field.enum_numbers:
                    result = _MISFIT
                elif field.kind is Kind.NUMBER and result is not _MISFIT and not _is_exact(item, result):
                    result = self._refuse("a number that a double holds exactly", describe(item))
            self._path.pop()
            misfit = misfit or result is _MISFIT
            results.append(result)
        return _MISFIT if misfit else results

    def _read_value(self, field: FieldPlan, item: Any) -> Any:
        match field.kind:
            case Kind.MESSAGE:
                return self._read_message(field, item)
            case Kind.STRING:
                return self._read_string(field, item)
            case Kind.INTEGER:
                return self._read_integer(field, item)
            case Kind.NUMBER:
                return self._read_number(item)
            case Kind.ENUM:
                return field.enum_numbers.get(item)
            case Kind.TEXT_ANY | Kind.TEXT_OBJECT:
                return to_text(item).decode()
            case _:
                return item

    def _read_string(self, field: FieldPlan, item: str) -> Any:
        if not is_unicode(item):
            return self._refuse("Unicode text", "a string with a lone surrogate")
        if field.constant is not None and item != field.constant:
            self._refuse(f'the string "{field.constant}"', quoted(item))
        return item

    def _read_integer(self, field: FieldPlan, item: Any) -> Any:
        if isinstance(item, float) and item.is_integer():
            # What its text says, which beyond 2^53 is not what the float is: 47e17 is 4700000000000000000.
            item = int(decimal.Decimal(repr(item)))
        if isinstance(item, Number | float):
            return self._refuse(f"a {field.bits}-bit integer", describe(item))
        if not -(1 << field.bits - 1) <= item < 1 << field.bits - 1:
            sign_bit = field.bits - 1
            return self._refuse(f"an integer from -2^{sign_bit} to 2^{sign_bit}-1", describe(item))
        return item

    def _read_number(self, item: Any) -> Any:
        number = float(item.text if isinstance(item, Number) else item)
        if number in (float("inf"), float("-inf")):
            return self._refuse("a number within the range of a double", describe(item))
        return number

    def _read_message(self, field: FieldPlan, item: Any) -> Any:
        plan = field.message
        assert plan is not None  # noqa: S101 - a field of this kind has one
        if plan.form is Form.OBJECT:
            return self.read_object(plan, item)
        if plan.form is Form.ARRAY:
            assert plan.item is not None  # noqa: S101 - a plan of this form has one
            items = self._read_repeated(plan.item, item)
            return items if items is _MISFIT else {plan.item.name: items}
        if plan.discriminator is None:
            alternative = next(field for field in plan.alternatives if _accepts(field, item))
            value = self._read_value(alternative, item)
            return value if value is _MISFIT else {alternative.name: value}
        return self._read_tagged(plan, item)

    def _read_tagged(self, plan: MessagePlan, item: dict[str, Any]) -> Any:
        tag = item.get(plan.discriminator or "")
        if tag is not None and not isinstance(tag, str):
            self._path.append(plan.discriminator or "")
            self._refuse("a string", describe(tag))
            self._path.pop()
            if self.validate:
                return _MISFIT
        alternative = plan.untagged if tag is None else plan.tags.get(tag) if isinstance(tag, str) else None
        if alternative is None:
            alternative = plan.unknown
        assert alternative is not None  # noqa: S101 - a plan with a discriminator has one
        return {alternative.name: self._read_value(alternative, item)}


def _accepts(field: FieldPlan, item: Any) -> bool:
    """Say whether the JSON type of the item selects the field."""
    return isinstance(item, list) if field.repeated else _accepts_element(field, item)


def _accepts_element(field: FieldPlan, item: Any) -> bool:
    match field.kind:
        case Kind.STRING | Kind.ENUM:
            return isinstance(item, str)
        case Kind.INTEGER | Kind.NUMBER:
            return isinstance(item, int | float | Number) and not isinstance(item, bool)
        case Kind.BOOLEAN:
            return isinstance(item, bool)
        case Kind.TEXT_OBJECT:
            return isinstance(item, dict)
        case Kind.TEXT_ANY:
            return True
        case _:
            return _message_accepts(field, item)


def _message_accepts(field: FieldPlan, item: Any) -> bool:
    plan = field.message
    assert plan is not None  # noqa: S101 - a field of this kind has one
    if plan.form is Form.ARRAY:
        return isinstance(item, list)
    if plan.form is Form.UNION and plan.discriminator is None:
        return any(_accepts(alternative, item) for alternative in plan.alternatives)
    return isinstance(item, dict)


def _is_exact(item: Any, number: float) -> bool:
    # What will be written is the shortest text of the double, which beyond 2^53 is not what the double is.
    return not isinstance(item, Number) and decimal.Decimal(repr(number)) == decimal.Decimal(repr(item))


def _expected(member: MemberPlan) -> str:
    names = [_expected_field(field, array=field.repeated) for field in member.fields]
    if member.nullable:
        names.append("null")
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} or {names[-1]}"


def _expected_field(field: FieldPlan, *, array: bool = False) -> str:
    if array:
        return "an array"
    if field.message is None:
        return Kind.STRING.value if field.kind is Kind.ENUM else field.kind.value
    if field.message.form is Form.UNION and field.message.discriminator is None:
        return " or ".join(_expected_field(alternative) for alternative in field.message.alternatives)
    return Form.ARRAY.value if field.message.form is Form.ARRAY else Form.OBJECT.value


def quoted(value: Any) -> str:
    """Describe what stands where a fixed string is due: a short string is shown."""
    is_short = isinstance(value, str) and len(value) <= 32
    return f"the string {to_text(value).decode()}" if is_short else describe(value)
