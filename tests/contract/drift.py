"""The drift alarm: what the documentation says of the JSON types against what the contract says.

Both are brought into one vocabulary, a `Member` for each member of each type, and compared.
"""

import json
import pathlib
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor, OneofDescriptor

import mistralwire.v1
from mistralwire.v1 import json_options_pb2 as options

DOCUMENTED_TYPES = pathlib.Path(__file__).parents[1] / "data" / "documented-types.json"

SCALARS = {
    FieldDescriptor.TYPE_STRING: "string",
    FieldDescriptor.TYPE_INT32: "integer",
    FieldDescriptor.TYPE_INT64: "integer",
    FieldDescriptor.TYPE_DOUBLE: "number",
    FieldDescriptor.TYPE_BOOL: "boolean",
}
TEXTS = {options.JSON_TEXT_ANY: "any", options.JSON_TEXT_OBJECT: "object"}


class Member(NamedTuple):
    """What is said of one member of a JSON object.

    Attributes:
        types: JSON types, names of types, `const(..)`, `enum(..)` and `array<..>`.
        required: Whether it must be present.
        nullable: Whether null is one of its values.
    """

    types: frozenset[str]
    required: bool
    nullable: bool


class Difference(NamedTuple):
    """One place where the contract is not what the documentation says.

    Attributes:
        place: The type, or the type and its member.
        what: `types`, `required`, `nullable`, or what is missing.
        documented: What the documentation says.
        contract: What the contract says.
    """

    place: str
    what: str
    documented: str
    contract: str

    def __str__(self) -> str:
        """Say it in one line."""
        return f"{self.place}: {self.what}: documented is {self.documented}, the contract has {self.contract}"


Types = Mapping[str, Mapping[str, Member]]


def load_facts() -> dict[str, Any]:
    """Give the documented types as their file has them."""
    facts: dict[str, Any] = json.loads(DOCUMENTED_TYPES.read_text())
    del facts["_about"]
    return facts


def documented_types(facts: Mapping[str, Any]) -> Types:
    """Give the documented types in the common vocabulary."""
    return {
        type_name: {
            name: Member(_normalised(fact["types"]), fact["required"], fact["nullable"])
            for name, fact in members.items()
        }
        for type_name, members in facts.items()
    }


def _normalised(types: Iterable[str]) -> frozenset[str]:
    return frozenset(map(_normalise, types))


def _normalise(documented: str) -> str:
    """Sort the alternatives; an enum of the contract is always open."""
    documented = documented.removeprefix("open_")
    for prefix, opening, closing in (("array", "<", ">"), ("enum", "(", ")")):
        if documented.startswith(prefix + opening):
            alternatives = documented.removeprefix(prefix + opening).removesuffix(closing)
            return f"{prefix}{opening}{'|'.join(sorted(alternatives.split('|')))}{closing}"
    return documented


def contract_types() -> Types:
    """Give the messages of the contract that are JSON objects in the common vocabulary."""
    messages = (getattr(getattr(mistralwire.v1, name), "DESCRIPTOR", None) for name in mistralwire.v1.__all__)
    return {
        message.name: dict(_contract_members(message))
        for message in messages
        if isinstance(message, Descriptor) and "json_extra" in message.fields_by_name
    }


def _contract_members(message: Descriptor) -> Iterable[tuple[str, Member]]:
    for field in message.fields:
        oneof: OneofDescriptor | None = field.containing_oneof
        if field.name == "json_extra":
            continue
        if oneof is None or oneof.name.startswith("_"):
            flags = _option(field, options.json_field)
            yield field.name, Member(frozenset(_field_types(field)), flags.required, flags.nullable)
        elif field.number == min(alternative.number for alternative in oneof.fields):
            types = frozenset(name for alternative in oneof.fields for name in _field_types(alternative))
            flags = _option(oneof, options.json_oneof)
            yield oneof.name, Member(types, flags.required, flags.nullable)


def _field_types(field: FieldDescriptor) -> set[str]:
    elements = _element_types(field)
    return {f"array<{'|'.join(sorted(elements))}>"} if is_repeated(field) else elements


def _element_types(field: FieldDescriptor) -> set[str]:
    json_field = _option(field, options.json_field)
    if json_field.HasField("text"):
        return {TEXTS[json_field.text]}
    if json_field.HasField("constant"):
        return {f"const({json_field.constant})", *(["string"] if json_field.open else [])}
    if field.enum_type is not None:
        return {f"enum({'|'.join(sorted(_enum_strings(field.enum_type)))})"}
    if field.message_type is not None:
        return _message_types(field.message_type)
    return {SCALARS[field.type]}


def _message_types(message: Descriptor) -> set[str]:
    json_message = _option(message, options.json_message)
    if json_message.form == options.JSON_FORM_ARRAY:
        return _field_types(message.fields[0])
    if json_message.form != options.JSON_FORM_UNION:
        return {message.name}
    documented = [field for field in message.fields if field.name != "unknown_json"]
    return {name for field in documented for name in _field_types(field)}


def _enum_strings(enum: EnumDescriptor) -> Iterable[str]:
    return filter(None, (_option(value, options.json_value).string for value in enum.values))


def _option(described: Any, extension: Any) -> Any:
    return described.GetOptions().Extensions[extension]


def is_repeated(field: FieldDescriptor) -> bool:
    """Say whether the field is repeated, on every protobuf runtime."""
    if hasattr(field, "is_repeated"):
        return bool(field.is_repeated)
    return bool(getattr(field, "label") == FieldDescriptor.LABEL_REPEATED)  # noqa: B009 - gone from the types


def find_drift(documented: Types, contract: Types) -> list[Difference]:
    """Give every difference between the documentation and the contract."""
    differences = []
    for type_name in sorted({*documented, *contract}):
        if type_name not in contract:
            differences.append(Difference(type_name, "the type", "there", "no message of this name"))
        elif type_name not in documented:
            differences.append(Difference(type_name, "the type", "none of this name", "a message"))
        else:
            differences += _member_drift(type_name, documented[type_name], contract[type_name])
    return differences


def _member_drift(
    type_name: str, documented: Mapping[str, Member], contract: Mapping[str, Member]
) -> Iterable[Difference]:
    for name in sorted({*documented, *contract}):
        place = f"{type_name}.{name}"
        if name not in contract:
            yield Difference(place, "the member", _show(documented[name].types), "no field for it")
        elif name not in documented:
            yield Difference(place, "the member", "none of this name", _show(contract[name].types))
        else:
            for what in Member._fields:
                said, made = getattr(documented[name], what), getattr(contract[name], what)
                if said != made:
                    yield Difference(place, what, _show(said), _show(made))


def _show(value: bool | frozenset[str]) -> str:
    return " or ".join(sorted(value)) if isinstance(value, frozenset) else str(value).lower()
