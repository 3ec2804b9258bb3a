"""What all enums of the contract have in common."""

from typing import Never, Self, TypeVar

from google.protobuf.descriptor import EnumDescriptor

_E = TypeVar("_E")

class EnumTypeWrapper(type):
    """The functions of an enum: at run time an object with these methods, whose values are ints."""

    DESCRIPTOR: EnumDescriptor
    def Name(cls, number: int) -> str:
        """Return the name of a value.

        Raises:
            ValueError: The enum does not have the value; a message may hold it all the same.
        """

    def Value(cls: type[_E], name: str) -> _E:
        """Return the value with a name.

        Raises:
            ValueError: The enum does not have the name.
        """

    def keys(cls) -> list[str]:
        """Return the names, in the order of the contract."""

    def values(cls: type[_E]) -> list[_E]:
        """Return the values, in the order of the contract."""

    def items(cls: type[_E]) -> list[tuple[str, _E]]:
        """Return the names and values, in the order of the contract."""

class EnumValue(int, metaclass=EnumTypeWrapper):
    """A value of an enum of the contract: an int at run time.

    The enum itself is an object and no class there: it can't be called, and a union with it in an annotation
    that is evaluated must be in quotes, as in `"FinishReason | None"`.
    """

    def __new__(cls, value: Never, /) -> Self: ...
