"""What differs between the types of an SDK and those of the contract."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from tools.drift.vocabulary import NULL, Member, Types

NOTHING = "nothing"


class Difference(NamedTuple):
    """One difference between the SDK and the contract.

    Attributes:
        place: The type, or the type and its member.
        what: `type`, `member`, `JSON type`, `element`, `value` or `presence`.
        sdk: What the SDK has there, or `nothing`.
        contract: What the contract has there, or `nothing`.
    """

    place: str
    what: str
    sdk: str
    contract: str

    def __str__(self) -> str:
        return f"{self.place}: {self.what}: the SDK has {self.sdk}, the contract has {self.contract}"


def find_drift(sdk: Types, contract: Types, *, has_integers: bool = True) -> list[Difference]:
    """Return all differences between an SDK and the contract.

    Args:
        sdk: The types of the SDK.
        contract: The types of the contract.
        has_integers: Whether the SDK tells integers from other numbers.
    """
    differences: list[Difference] = []
    for type_name in sorted({*sdk, *contract}):
        if type_name not in contract:
            differences.append(Difference(type_name, "type", "an object", NOTHING))
        elif type_name not in sdk:
            differences.append(Difference(type_name, "type", NOTHING, "a message"))
        else:
            differences += _compare_type(type_name, sdk[type_name], contract[type_name], has_integers)
    return differences


def _compare_type(
    type_name: str, sdk: Mapping[str, Member], contract: Mapping[str, Member], has_integers: bool
) -> Iterable[Difference]:
    for name in sorted({*sdk, *contract}):
        place = f"{type_name}.{name}"
        if name not in contract:
            yield Difference(place, "member", str(sdk[name].shape), NOTHING)
        elif name not in sdk:
            yield Difference(place, "member", NOTHING, str(contract[name].shape))
        else:
            yield from _compare_member(place, sdk[name], contract[name], has_integers)


def _compare_member(place: str, sdk: Member, contract: Member, has_integers: bool) -> Iterable[Difference]:
    said, made = sdk.shape.normalized(), contract.shape.normalized()
    if not has_integers:
        made = made.without_integers()
    if said.types - {NULL} != made.types - {NULL}:
        yield Difference(place, "JSON type", _names(said.types - made.types), _names(made.types - said.types))
    for what, names, others in (
        ("element", said.elements, made.elements),
        ("value", said.values, made.values),
    ):
        yield from (Difference(place, what, name, NOTHING) for name in sorted(names - others))
        yield from (Difference(place, what, NOTHING, name) for name in sorted(others - names))
    if sdk.presence != contract.presence:
        yield Difference(place, "presence", sdk.presence, contract.presence)


def _names(types: frozenset[str]) -> str:
    return " or ".join(sorted(types - {NULL})) or NOTHING
