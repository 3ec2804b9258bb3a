"""The text for people of an error body, without what must not be passed on."""

import collections
import itertools
import re
from collections.abc import Iterator
from typing import Any

_LINE_CHARS_MAX = 4_000
_TEXT_CHARS_MAX = 1_000
_TEXTS_MAX = 32
# As deep as the deepest known shape: error, message, detail, its items, msg. Little of a body is looked at.
_DEPTH_MAX = 6
_PATH_STEPS_MAX = 16
# Never `input` or `ctx` of a violation: they quote the request.
_TEXT_NAMES = ("message", "msg", "detail", "error")
_PATH_STEP = re.compile(r"[A-Za-z0-9_-]{1,64}")

_REDACTED = "[redacted]"
_TOKEN = re.compile(r"""[^\s"'`<>()\[\]{},;:=]+""")
_KEY_PREFIX = re.compile(r"[spr]k[-_]|AIza|ya29\.|eyJ")
_OPAQUE = re.compile(r"(?=[A-Za-z]*[0-9])(?=[0-9]*[A-Za-z])[A-Za-z0-9]{16,}|[A-Za-z0-9]{32,}")
_CREDENTIAL_WORD = re.compile(
    r"(.*[-_.])?(api)?(key|token|secret|password|credentials?|authorization|bearer|basic)", re.IGNORECASE
)
_KEY_LIKE = re.compile(r"(?=.*[A-Za-z*])(?=.*[0-9*]).{6,}|.{16,}", re.ASCII)


def text_of(document: dict[str, Any]) -> str:
    """Find the text for people in an error body, however deep it is.

    Args:
        document: The body.

    Returns:
        One line of printable characters, at most 1,000 of them and without anything that looks like a
        credential; with the places of the violations, and without the values found there. Empty if there is
        none.
    """
    texts = itertools.islice(_texts(document, _DEPTH_MAX), _TEXTS_MAX)
    return line_of("; ".join(texts), _TEXT_CHARS_MAX)


def line_of(text: str, chars_max: int) -> str:
    """Return a text as one bounded line of printable characters, without what looks like a credential."""
    line = _redact(_line(text))
    return line if len(line) <= chars_max else f"{line[: chars_max - 3]}..."


def is_secret(token: str) -> bool:
    """Tell whether a word looks like a credential by itself.

    Args:
        token: The word.

    Returns:
        True if it begins like the keys of well-known services, or has 16 letters and digits in a row that
        are no word. Names of models do not, long as they are: their parts are short.
    """
    return bool(_KEY_PREFIX.match(token) or any(map(_OPAQUE.fullmatch, re.split("[^A-Za-z0-9]+", token))))


def _texts(value: Any, depth: int) -> Iterator[str]:
    if isinstance(value, str):
        if line := _line(value):
            yield line
    elif not depth:
        return
    elif isinstance(value, list):
        for item in value[:_TEXTS_MAX]:
            yield from _texts(item, depth - 1)
    elif isinstance(value, dict):
        path = path_of(value.get("loc"))
        for name in _TEXT_NAMES:
            if texts := list(itertools.islice(_texts(value.get(name), depth - 1), _TEXTS_MAX)):
                yield from (f"{path}: {text}" for text in texts) if path else texts
                return


def path_of(loc: Any) -> str:
    """Return the place of a violation as this package has it: `messages[0].role`; empty if it is no list."""
    steps = loc[:_PATH_STEPS_MAX] if isinstance(loc, list) else []
    path = ""
    for step in steps[1:] if steps[:1] == ["body"] else steps:
        if type(step) is int:
            path += f"[{step % 10**9}]"
        else:
            name = step if isinstance(step, str) and _PATH_STEP.fullmatch(step) else "?"
            path += f".{name}" if path else name
    return path


def _line(text: str) -> str:
    """Give a text as one line, cut where a word ends, since half a key does not look like one."""
    # A character more than a line has, to see that there is more. What is not printable goes.
    start = "".join(c if c.isprintable() else " " for c in text[: _LINE_CHARS_MAX + 1])
    if len(text) > _LINE_CHARS_MAX:
        start = start.rpartition(" ")[0]
    return " ".join(start.split())


def _redact(text: str) -> str:
    """Replace what looks like a credential, by itself or because the word before speaks of one.

    An upstream quotes a key by mistake and as it is, so the looks are enough. Too much is replaced rather
    than too little: the reason, the code and the type of the error still say what happened.
    """
    before: collections.deque[bool] = collections.deque(maxlen=2)

    def replace(match: re.Match[str]) -> str:
        token = match[0]
        # Two words: `key is ...`, `key provided: ...`.
        is_named = any(before) and bool(_KEY_LIKE.fullmatch(token))
        before.append(bool(_CREDENTIAL_WORD.fullmatch(token)))
        return _REDACTED if is_named or is_secret(token) else token

    return _TOKEN.sub(replace, text)
