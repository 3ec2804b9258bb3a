"""What a machine can see of plain English: phrases that readers have stumbled over."""

import ast
import io
import pathlib
import re
import tokenize
from collections.abc import Iterator
from typing import NamedTuple

import pytest

ROOT = pathlib.Path(__file__).parents[1]
FOLDERS = ("src", "tools", "tests", "benchmarks")
# A docstring says what the code does: `Return the ...`, `Check whether ...`, `Yield ...`.
FIRST_WORDS = re.compile(r"(?:Give|Say|Tell)s?\b")
# The fact itself is shorter than an announcement of what it is about; a caller is `they`.
PHRASES = re.compile(r"\bAs for\b|\b(?:[Hh]e|[Hh]im|[Hh]is|[Hh]imself)\b")
# Generated, or made by others.
_MADE = re.compile(r"/(?:node_modules|gen|target|build|dist|\.venv[^/]*|\.hypothesis)/|_pb2(?:_grpc)?\.pyi?$")


class Text(NamedTuple):
    """A docstring or a comment.

    Attributes:
        place: The file and the line.
        text: The text.
        is_docstring: Whether it is a docstring.
    """

    place: str
    text: str
    is_docstring: bool


def _texts(path: pathlib.Path) -> Iterator[Text]:
    source = path.read_text()
    name = path.relative_to(ROOT)
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Module):
            docstring = ast.get_docstring(node)
            if docstring is not None:
                yield Text(f"{name}:{node.body[0].lineno}", docstring, True)
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield Text(f"{name}:{token.start[0]}", token.string, False)


def _is_plain(text: Text) -> bool:
    if text.is_docstring and FIRST_WORDS.match(text.text):
        return False
    return PHRASES.search(text.text) is None


def _files(folder: str, pattern: str) -> list[pathlib.Path]:
    found = sorted(path for path in (ROOT / folder).rglob(pattern) if not _MADE.search(path.as_posix()))
    assert found, f"{folder} has no {pattern}"
    return found


@pytest.mark.slow
@pytest.mark.parametrize("folder", FOLDERS)
def test_docstrings_and_comments_are_plain_english(folder: str) -> None:
    texts = [text for path in _files(folder, "*.py") for text in _texts(path)]
    assert [f"{text.place}: {text.text.splitlines()[0]}" for text in texts if not _is_plain(text)] == []


def test_pages_are_plain_english() -> None:
    pages = [*ROOT.glob("*.md"), *_files("docs", "*.md"), *_files("deploy", "*.md"), *_files("proto", "*.md")]
    found = [
        f"{page.relative_to(ROOT)}:{number}: {line}"
        for page in pages
        for number, line in enumerate(page.read_text().splitlines(), 1)
        if PHRASES.search(line)
    ]
    assert found == []


@pytest.mark.parametrize(
    ("text", "is_docstring"),
    [
        ("Give the number of chunks.", True),
        ("Says whether it is open.", True),
        ("Return the number.\n\nAs for errors, see below.", True),
        ("# The caller gets what he asked for.", False),
        ("Return the header. His token is checked.", True),
    ],
)
def test_what_is_not_plain_is_found(text: str, is_docstring: bool) -> None:
    assert not _is_plain(Text("a.py:1", text, is_docstring))


@pytest.mark.parametrize(
    "text", ["Return what is given.", "Tellers count.", "Return the header of the hello."]
)
def test_other_words_are_left_alone(text: str) -> None:
    assert _is_plain(Text("a.py:1", text, True))
