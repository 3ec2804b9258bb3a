"""The terms in which the contract and the SDKs are compared.

Imports the standard library alone: the reader of the models runs where nothing but the SDK is installed.
"""

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

LITERAL = "literal"
NULL = "null"
ANY = "any"


@dataclasses.dataclass(frozen=True)
class Shape:
    """What a JSON value may be.

    Attributes:
        types: JSON types and names of types. `literal` is one of `values`, `object` an object without
            documented members, `any` any JSON value.
        elements: The same for the elements of an array.
        values: Documented strings of the value, or of its elements.
    """

    types: frozenset[str] = frozenset()
    elements: frozenset[str] = frozenset()
    values: frozenset[str] = frozenset()

    @classmethod
    def of(cls, *types: str) -> "Shape":
        """Return the shape of a value of any of these types."""
        return cls(frozenset(types))

    @classmethod
    def literal(cls, *values: str) -> "Shape":
        """Return the shape of a string that is one of these."""
        return cls(frozenset([LITERAL]), values=frozenset(values))

    @classmethod
    def array(cls, element: "Shape") -> "Shape":
        """Return the shape of an array; an array in an array is named as a whole."""
        inner = {str(Shape(frozenset(["array"]), element.elements))} if "array" in element.types else set()
        return cls(frozenset(["array"]), element.types - {"array"} | inner, element.values)

    @classmethod
    def union(cls, shapes: Iterable["Shape"]) -> "Shape":
        """Return the shape of a value that has any of these shapes."""
        alternatives = list(shapes)
        return cls(
            frozenset().union(*(shape.types for shape in alternatives)),
            frozenset().union(*(shape.elements for shape in alternatives)),
            frozenset().union(*(shape.values for shape in alternatives)),
        )

    def normalized(self) -> "Shape":
        """Return the shape in which open and closed enums are equal: those of the contract are always open.

        One documented string is a constant, and there it matters whether others are allowed.
        """
        opened = {"string"} if len(self.values) > 1 else set()
        types = self.types - opened if LITERAL in self.types else self.types
        elements = self.elements - opened if LITERAL in self.elements else self.elements
        return Shape(types, elements, self.values)

    def without_integers(self) -> "Shape":
        """Return the shape as a language without integers has it."""
        types, elements = (
            frozenset("number" if name == "integer" else name for name in names)
            for names in (self.types, self.elements)
        )
        return Shape(types, elements, self.values)

    def __str__(self) -> str:
        shape = self.normalized()
        names = sorted(shape.types - {NULL})
        elements = f"array<{'|'.join(map(shape._described, sorted(shape.elements)))}>"
        return " or ".join(elements if name == "array" else shape._described(name) for name in names)

    def _described(self, name: str) -> str:
        return f"one of {'|'.join(sorted(self.values))}" if name == LITERAL else name


@dataclasses.dataclass(frozen=True)
class Member:
    """What is said of one member of a JSON object.

    Attributes:
        shape: What its value may be.
        required: Whether it must be present.
    """

    shape: Shape
    required: bool

    @property
    def presence(self) -> str:
        """Whether it may be absent, and whether it may be null."""
        presence = "required" if self.required else "optional"
        return presence if self.shape.types.isdisjoint((NULL, ANY)) else f"{presence} or null"


Types = Mapping[str, Mapping[str, Member]]
"""The members of each type, by their names."""


def types_to_json(types: Types) -> dict[str, Any]:
    """Return types as plain JSON values."""
    return {
        type_name: {
            name: {
                "types": sorted(member.shape.types),
                "elements": sorted(member.shape.elements),
                "values": sorted(member.shape.values),
                "required": member.required,
            }
            for name, member in members.items()
        }
        for type_name, members in types.items()
    }


def types_from_json(document: Mapping[str, Any]) -> Types:
    """Return the types of what `types_to_json` made, or a reader in another language."""
    return {
        type_name: {
            name: Member(
                Shape(*(frozenset(fact[key]) for key in ("types", "elements", "values"))), fact["required"]
            )
            for name, fact in members.items()
        }
        for type_name, members in document.items()
    }
