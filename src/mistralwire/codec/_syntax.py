"""What is wrong with a text that is not JSON, and where: in words that hold with every version of Python."""

import json
import re

from mistralwire.codec._path import join_path

# Text in front of a mistake that is searched for the JSON path: it is read token by token.
_PATH_CHARACTERS_MAX = 64 * 1024
# The last string may not be complete.
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*+(?:"|\Z)|[\[\]{},:]', re.DOTALL)
# Up to the first word of those that JSON does not have: nothing else outside strings has these letters.
_BEFORE_CONSTANT = re.compile(r'[^"IN]*+(?:"[^"\\]*+(?:\\.[^"\\]*+)*+"[^"IN]*+)*+', re.DOTALL)
_WORD = re.compile(r"-?(?:NaN|Infinity)|[A-Za-z_]+")
_SHOWN_WORDS = frozenset(("NaN", "Infinity", "-Infinity", "None", "True", "False", "undefined", "nan", "inf"))
_SPACE = " \t\n\r"
# What people write in numbers, though not all of it is JSON's.
_OF_NUMBERS = "0123456789.eExX_"


class ConstantError(ValueError):
    """A word that Python's parser takes for a number, such as NaN."""


def describe_syntax(text: str, error: ValueError) -> str:
    """Describe the first mistake in a text that is not JSON, without what the text says.

    Args:
        text: The text, without a byte order mark.
        error: What Python's parser says of it.

    Returns:
        What was found, with the JSON path of the place unless that is the document itself or far behind its
        beginning, the line and column from 1, and the character from 0.
    """
    if not text.strip(_SPACE):
        return "nothing"
    if isinstance(error, json.JSONDecodeError):
        found, at, is_between = _mistake(text, error.msg, error.pos)
    else:
        constant = _BEFORE_CONSTANT.match(text)
        at = constant.end() if constant else 0
        at -= text[at - 1 : at] == "-"
        found, is_between = f"{_shown(text, at)}, which JSON does not have", False
    path = _path_at(text, at, is_between=is_between)
    place = f", in {path}" if path else ""
    line = text.count("\n", 0, at) + 1
    column = at - text.rfind("\n", 0, at)
    return f"{found}{place}: line {line} column {column} (char {at})"


def _mistake(text: str, message: str, at: int) -> tuple[str, int, bool]:
    """Return what was found, where, and whether it stands where no value can: between members or elements."""
    before = text[:at].rstrip(_SPACE)
    if message.startswith("Illegal trailing comma"):
        return "a comma behind the last value", at, True
    if text[at : at + 1] in ("}", "]") and before.endswith(","):
        return "a comma behind the last value", len(before) - 1, True
    if message.startswith("Unterminated string"):
        return "a string without its closing quote", at, False
    if message.startswith("Invalid control character"):
        return f"{_shown(text, at)} that is not escaped in a string", at, False
    if message.startswith("Invalid \\"):
        start = text.rfind("\\", 0, at + 1)
        return "a backslash that begins no escape of JSON", start, False
    if text[at - 1 : at].isascii() and text[at - 1 : at].isdigit() and text[at : at + 1] in [*_OF_NUMBERS]:
        start = len(text[:at].rstrip(_OF_NUMBERS + "+-"))
        return "a number in another form than JSON's", start, False
    shown = _shown(text, at)
    if message.startswith("Expecting value"):
        return f"{shown} instead of a value", at, False
    if message.startswith("Expecting ':'"):
        return f"{shown} instead of a colon", at, True
    if message.startswith("Expecting ','"):
        return f"{shown} instead of a comma or a closing bracket", at, True
    if message.startswith("Expecting property name"):
        return f"{shown} instead of a name in double quotes", at, True
    return f"{shown} behind the document", at, True


def _shown(text: str, at: int) -> str:
    """Return the name of what stands at a place."""
    character = text[at : at + 1]
    if not character:
        return "the end of the text"
    if word := _WORD.match(text, at):
        return word[0] if word[0] in _SHOWN_WORDS else "a word"
    if character in "/#":
        return "a comment" if character == "#" or text[at + 1 : at + 2] in ("/", "*") else "a slash"
    if character in _NAMES:
        return _NAMES[character]
    if character.isascii() and character.isdigit():
        return "a number"
    if character.isascii() and character.isprintable():
        return f"the character {character}"
    return f"the character U+{ord(character):04X}"


_NAMES = {
    '"': "a string",
    "'": "a single quote",
    "`": "a backquote",
    ",": "a comma",
    ":": "a colon",
    "{": "an opening brace",
    "}": "a closing brace",
    "[": "an opening bracket",
    "]": "a closing bracket",
    "\t": "a tab",
    "\n": "a newline",
    "\r": "a carriage return",
    "\ufeff": "a byte order mark",
}


def _path_at(text: str, at: int, *, is_between: bool) -> str:
    """Return the JSON path of a place up to which a text is JSON; empty for a place far behind its beginning.

    Args:
        text: The text.
        at: The place.
        is_between: Whether the object or array is meant, and not the value in it.
    """
    if at > _PATH_CHARACTERS_MAX:
        return ""
    # Of each open object the name of its member, None before that; of each open array the index.
    steps: list[str | int | None] = []
    name = ""
    for token in _TOKEN.finditer(text, 0, at):
        match token[0]:
            case "{":
                steps.append(None)
            case "[":
                steps.append(0)
            case "}" | "]":
                steps.pop()
            case ",":
                last = steps[-1]
                steps[-1] = last + 1 if isinstance(last, int) else None
            case ":":
                steps[-1] = json.loads(name)
            case string:
                name = string
    if is_between and steps:
        steps.pop()
    return join_path([step for step in steps if step is not None])
