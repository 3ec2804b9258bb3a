"""How numbers, foreign text and misspelt names are shown to people."""

from collections.abc import Iterable


def counted(number: int, noun: str) -> str:
    """Return a number with its noun, such as `1 message` and `2 messages`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def printable(text: str) -> str:
    r"""Return the text as one line without control characters: `\x1b` for an escape character."""
    if text.isprintable():
        return text
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode()
        for character in text
    )


def nearest(name: str, known: Iterable[str]) -> str:
    """Return a suggestion of the most similar name, ignoring case; empty if none is similar."""
    import difflib  # noqa: PLC0415 - for errors alone

    folded = {candidate.lower(): candidate for candidate in sorted(known)}
    matches = difflib.get_close_matches(name.lower(), folded, 1)
    return f"; did you mean {folded[matches[0]]}?" if matches else ""
