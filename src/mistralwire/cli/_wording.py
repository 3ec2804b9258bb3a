"""How numbers and foreign text are shown to people."""


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
