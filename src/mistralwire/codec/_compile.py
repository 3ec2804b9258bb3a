"""Functions from source text: what the fast engines are made of."""

from typing import Any


class Bail(Exception):  # noqa: N818 - a signal between engines, which never leaves the codec
    """A document that the fast engine leaves to the complete one."""


# What a fast engine raises for a document that is not for it: its own signal, or what the parser, a
# compiled function or the stack says of a value that they can't take.
NOT_FAST = (Bail, ValueError, TypeError, OverflowError, IndexError, RecursionError)


def define(name: str, lines: list[str], namespace: dict[str, Any]) -> Any:
    """Define the function of the source lines in a namespace.

    Args:
        name: Name of the function.
        lines: Its source. Text of a document never stands in it: what is not the contract's own comes in
            through the namespace.
        namespace: The globals of the function, to which it is added.

    Returns:
        The function.
    """
    exec(compile("\n".join(lines), f"<mistralwire {name}>", "exec"), namespace)  # noqa: S102 - made from the contract alone
    return namespace[name]


def indent(lines: list[str]) -> list[str]:
    """Indent source lines by one level."""
    return [f"    {line}" for line in lines]
