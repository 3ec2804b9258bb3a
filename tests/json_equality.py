"""When two JSON texts say the same: every number exactly, either spelling of a documented name."""

import decimal
import json
from typing import Any, NamedTuple

from google.protobuf.message import Message

from mistralwire.codec._plan import FieldPlan, Form, Kind, MessagePlan, plan_for


class Number(NamedTuple):
    """A number, unlike True and False: its exact value, or its text beyond what Decimal holds."""

    value: decimal.Decimal | str


def parse_exactly(text: bytes | str) -> Any:
    """Parse JSON so that equal values compare equal, and others do not."""
    return json.loads(text, parse_int=_number, parse_float=_number)


def _number(text: str) -> Number:
    try:
        return Number(decimal.Decimal(text))
    except decimal.InvalidOperation:
        return Number(text.lower())


def meaning(message_type: type[Message], text: bytes | str) -> Any:
    """Parse a document exactly, with its documented members under their snake_case names.

    An object that has both spellings of a name keeps both as they are.
    """
    return _object_meaning(plan_for(message_type), parse_exactly(text))


def _object_meaning(plan: MessagePlan, value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    result = {}
    for key, item in value.items():
        member = plan.by_name.get(key)
        if member is None or (key != member.name and member.name in value):
            result[key] = item
        else:
            fields = [field for field in member.fields if field.repeated == isinstance(item, list)]
            result[member.name] = _field_meaning(fields or list(member.fields), item)
    return result


def _field_meaning(fields: list[FieldPlan], item: Any) -> Any:
    plans = [field.message for field in fields if field.kind is Kind.MESSAGE and field.message is not None]
    if not plans:
        return item
    if isinstance(item, list) and fields[0].repeated:
        return [_message_meaning(plans[0], element) for element in item]
    for plan in plans:
        item = _message_meaning(plan, item)
    return item


def _message_meaning(plan: MessagePlan, item: Any) -> Any:
    if plan.form is Form.OBJECT:
        return _object_meaning(plan, item)
    if plan.form is Form.ARRAY:
        return _field_meaning([plan.item], item) if plan.item and isinstance(item, list) else item
    if plan.discriminator is None or not isinstance(item, dict):
        return item
    tag = item.get(plan.discriminator)
    alternative = plan.untagged if tag is None else plan.tags.get(tag) if isinstance(tag, str) else None
    if alternative is None or alternative.message is None:
        return item
    return _object_meaning(alternative.message, item)
