"""How numbers, foreign text and misspelt names are shown to people."""

import difflib
from collections.abc import Iterable


def counted(number: int, noun: str) -> str:
    """Give a number with its noun, such as `1 message` and `2 messages`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def printable(text: str) -> str:
    r"""Give the text in one line that no terminal acts upon: `\x1b` in the place of an escape character."""
    if text.isprintable():
        return text
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode()
        for character in text
    )


def nearest(name: str, known: Iterable[str]) -> str:
    """Ask whether another name was meant, if there is one like it."""
    matches = difflib.get_close_matches(name, sorted(known), 1)
    return f", did you mean {matches[0]}?" if matches else ""
