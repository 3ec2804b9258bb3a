"""Places and values of a document in the words of error messages, without text that may be private."""

import json
import re
from collections.abc import Iterable, Sized
from typing import Any

from mistralwire.codec._python._number import Number

_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}\Z")
_NAME_CHARS_SHOWN_MAX = 40
_STRING_CHARS_SHOWN_MAX = 32
_NUMBER_CHARS_SHOWN_MAX = 40

# Text before a mistake that is searched for the JSON path: it is read token by token.
_PATH_CHARACTERS_MAX = 64 * 1024
# The last string may not be complete.
_SYNTAX_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*+(?:"|\Z)|[\[\]{},:]', re.DOTALL)
# The text before the first word that JSON does not have: nothing else outside strings has these letters.
_BEFORE_CONSTANT = re.compile(r'[^"IN]*+(?:"[^"\\]*+(?:\\.[^"\\]*+)*+"[^"IN]*+)*+', re.DOTALL)
_WORD = re.compile(r"-?(?:NaN|Infinity)|[A-Za-z_]+")
_SHOWN_WORDS = frozenset(("NaN", "Infinity", "-Infinity", "None", "True", "False", "undefined", "nan", "inf"))
_SPACE = " \t\n\r"
# By the start of the message of Python's parser.
_EXPECTATIONS = {
    "Expecting value": "a value",
    "Expecting ':'": "a colon",
    "Expecting ','": "a comma or a closing bracket",
    "Expecting property name": "a name in double quotes",
}
# Characters that occur in numbers, not all of them in JSON's.
_OF_NUMBERS = "0123456789.eExX_"


def join_path(path: Iterable[str | int]) -> str:
    """Return a path as text, such as `choices[0].message["odd name"]`."""
    text = ""
    for step in path:
        if isinstance(step, int):
            text += f"[{step}]"
        elif _IDENTIFIER.match(step):
            text += f".{step}" if text else step
        else:
            # Names in free-form JSON may be private: enough to find the place is shown.
            is_short = len(step) <= _NAME_CHARS_SHOWN_MAX
            text += f"[{_in_quotes(step if is_short else step[:_NAME_CHARS_SHOWN_MAX] + '...')}]"
    return text


def _in_quotes(text: str) -> str:
    """Return a JSON string, with lone surrogates as escapes."""
    return json.encoder.encode_basestring(text).encode(errors="backslashreplace").decode()


def describe(value: Any) -> str:
    """Describe a JSON value without showing text that may be private."""
    match value:
        case None | bool():
            return {None: "null", True: "true", False: "false"}[value]
        case int() | float():
            return f"the number {str(value)[:_NUMBER_CHARS_SHOWN_MAX]}"
        case Number():
            return f"the number {value.text[:_NUMBER_CHARS_SHOWN_MAX]}"
        case str():
            return f"a string of {_counted(value, 'character')}" if value else "an empty string"
        case list():
            return f"an array of {_counted(value, 'element')}" if value else "an empty array"
        case _:
            return f"an object with {_counted(value, 'member')}" if value else "an empty object"


def _counted(value: Sized, name: str) -> str:
    return f"1 {name}" if len(value) == 1 else f"{len(value)} {name}s"


def describe_tag(value: Any) -> str:
    """Describe what was found where a fixed string is expected: a short string is shown."""
    is_short = isinstance(value, str) and len(value) <= _STRING_CHARS_SHOWN_MAX
    return f"the string {_in_quotes(value)}" if is_short else describe(value)


class ConstantError(ValueError):
    """A word that Python's parser takes for a number, such as NaN."""


def describe_syntax(text: str, error: ValueError) -> str:
    """Describe the first mistake in a text that is not JSON, in words that no version of Python changes.

    The text has no byte order mark; the error is that of Python's parser. Returns what was found; its JSON
    path, unless that is the document itself or more than 64 Ki characters from the start; the line and
    column, from 1; and the character, from 0.
    """
    if not text.strip(_SPACE):
        return "nothing"
    if isinstance(error, json.JSONDecodeError):
        found, at, is_between = _mistake(text, error.msg, error.pos)
    else:
        constant = _BEFORE_CONSTANT.match(text)
        at = constant.end() if constant else 0
        at -= text[at - 1 : at] == "-"
        found, is_between = f"{_name_at(text, at)}, which JSON does not have", False
    path = _path_at(text, at, is_between=is_between)
    place = f", in {path}" if path else ""
    line = text.count("\n", 0, at) + 1
    column = at - text.rfind("\n", 0, at)
    return f"{found}{place}: line {line} column {column} (char {at})"


def _mistake(text: str, message: str, at: int) -> tuple[str, int, bool]:
    """Return what was found, where, and whether it is between members or elements, where no value can be."""
    before = text[:at].rstrip(_SPACE)
    if message.startswith("Illegal trailing comma"):
        return "a trailing comma", at, True
    if text[at : at + 1] in ("}", "]") and before.endswith(","):
        return "a trailing comma", len(before) - 1, True
    if message.startswith("Unterminated string"):
        return "a string without its closing quote", at, False
    if message.startswith("Invalid control character"):
        return f"{_name_at(text, at)} unescaped in a string", at, False
    if message.startswith("Invalid \\"):
        start = text.rfind("\\", 0, at + 1)
        return "an invalid escape", start, False
    if text[at - 1 : at].isascii() and text[at - 1 : at].isdigit() and text[at : at + 1] in [*_OF_NUMBERS]:
        start = len(text[:at].rstrip(_OF_NUMBERS + "+-"))
        return "a number that is not in JSON's form", start, False
    for beginning, expected in _EXPECTATIONS.items():
        if message.startswith(beginning):
            return f"{_name_at(text, at)} instead of {expected}", at, expected != "a value"
    return f"{_name_at(text, at)} after the document", at, True


def _name_at(text: str, at: int) -> str:
    character = text[at : at + 1]
    if not character:
        return "the end of the text"
    if word := _WORD.match(text, at):
        return word[0] if word[0] in _SHOWN_WORDS else "a word"
    if character in "/#":
        return "a comment" if character == "#" or text[at + 1 : at + 2] in ("/", "*") else "a slash"
    if character in _CHARACTER_NAMES:
        return _CHARACTER_NAMES[character]
    if character.isascii() and character.isdigit():
        return "a number"
    if character.isascii() and character.isprintable():
        return f"the character {character}"
    return f"the character U+{ord(character):04X}"


_CHARACTER_NAMES = {
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
    """Return the JSON path of a place up to which a text is JSON; empty if that would take too long.

    With `is_between`, it is that of the object or array rather than of the value in it.
    """
    if at > _PATH_CHARACTERS_MAX:
        return ""
    # For each open object the name of the current member, None before the first; for each array the index.
    steps: list[str | int | None] = []
    name = ""
    for token in _SYNTAX_TOKEN.finditer(text, 0, at):
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
