"""Plans as bytes: the input of the native engine, which reads them in native/core/src/pack.rs.

Little-endian integers of 32 bits, and texts as their length and so many bytes. A list is its length and its
elements, an optional value a list of one or none, an optional index the index plus 1 or 0.
"""

from collections.abc import Callable, Iterable
from typing import TypeVar

from mistralwire.codec._plan import UNLISTED, FieldPlan, Fill, Form, Kind, MemberPlan, MessagePlan

T = TypeVar("T")

INTERFACE = 8
"""Version of the packed form, and of the functions of the native engine."""

_KINDS = {
    kind: number
    for number, kind in enumerate(
        (
            *(Kind.STRING, Kind.INTEGER, Kind.NUMBER, Kind.BOOLEAN, Kind.ENUM, Kind.MESSAGE),
            *(Kind.TEXT_ANY, Kind.TEXT_OBJECT),
        )
    )
}
_FORMS = {Form.OBJECT: 0, Form.ARRAY: 1, Form.UNION: 2}
_FILLS = {None: 0, Fill.NULL: 1, Fill.ARRAY: 2, Fill.OBJECT: 3}


def pack(roots: Iterable[MessagePlan]) -> tuple[bytes, dict[MessagePlan, int]]:
    """Pack plans, and those of all messages in them.

    Args:
        roots: The plans of the messages that are documents.

    Returns:
        The packed plans, and the index of each of them.
    """
    index: dict[MessagePlan, int] = {}
    rest = list(roots)
    while rest:
        plan = rest.pop()
        if plan not in index:
            index[plan] = len(index)
            rest += [field.message for field in _fields(plan) if field.message is not None]
    packer = _Packer(index)
    packer.add_integer(INTERFACE)
    packer.add_integer(UNLISTED)
    packer.add_list(list(index), packer.add_message)
    return bytes(packer.data), index


def _fields(plan: MessagePlan) -> list[FieldPlan]:
    items = [] if plan.item is None else [plan.item]
    return [*items, *plan.alternatives, *(field for member in plan.members for field in member.fields)]


class _Packer:
    """Packs plans one after the other.

    Args:
        index: The index of each plan.

    Attributes:
        data: What was packed so far.
    """

    def __init__(self, index: dict[MessagePlan, int]) -> None:
        self._index = index
        self.data = bytearray()

    def add_integer(self, value: int) -> None:
        self.data += value.to_bytes(4, "little")

    def add_list(self, values: list[T], add: Callable[[T], None]) -> None:
        self.add_integer(len(values))
        for value in values:
            add(value)

    def _add_text(self, text: str) -> None:
        encoded = text.encode()
        self.add_integer(len(encoded))
        self.data += encoded

    def add_message(self, plan: MessagePlan) -> None:
        self.add_integer(_FORMS[plan.form])
        self.add_list(list(plan.members), self._add_member)
        self.add_list([] if plan.item is None else [plan.item], self._add_field)
        self.add_list(list(plan.alternatives), self._add_field)
        self._add_text(plan.discriminator or "")
        self.add_integer(len(plan.tags))
        for tag, field in plan.tags.items():
            self._add_text(tag)
            self.add_integer(plan.alternatives.index(field))
        for alternative in (plan.untagged, plan.unknown):
            self.add_integer(0 if alternative is None else plan.alternatives.index(alternative) + 1)

    def _add_member(self, member: MemberPlan) -> None:
        self._add_text(member.name)
        self._add_text(member.camel)
        self.add_integer(member.number)
        self.add_integer(member.required | member.nullable << 1)
        self.add_integer(_FILLS[member.fill])
        self.add_list(list(member.fields), self._add_field)

    def _add_field(self, field: FieldPlan) -> None:
        self.add_integer(field.number)
        self.add_integer(_KINDS[field.kind])
        self.add_integer(field.repeated)
        self.add_integer(0 if field.message is None else self._index[field.message])
        self.add_integer(field.bits)
        self.add_list([] if field.constant is None else [field.constant], self._add_text)
        self.add_integer(len(field.enum_numbers))
        for string, number in field.enum_numbers.items():
            self._add_text(string)
            self.add_integer(number)
