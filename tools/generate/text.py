"""Comments of .proto files as docstrings, and lines that fit."""

import textwrap
from collections.abc import Iterable, Sequence

WIDTH = 110


def clean(comment: str) -> str:
    """Return a leading comment without its margin and the directives to linters in it."""
    lines = [line.strip() for line in comment.splitlines()]
    return "\n".join(line for line in lines if not line.startswith("buf:lint:")).strip()


def wrap(text: str, width: int = WIDTH) -> list[str]:
    """Wrap the paragraphs and list items of a comment into lines."""
    joined: list[str] = []
    for line in text.splitlines():
        if joined and joined[-1] and line and not line.startswith("- "):
            joined[-1] += f" {line}"
        else:
            joined.append(line)
    lines = []
    for paragraph in joined:
        hang = "  " if paragraph.startswith("- ") else ""
        lines += _fill(paragraph, width, subsequent_indent=hang) or [""]
    return lines


def entry(name: str, text: str, width: int) -> list[str]:
    """Return the lines of an entry in a docstring's section: a name and what it is."""
    return _fill(
        f"{name}: {' '.join(text.split())}", width, initial_indent=" " * 4, subsequent_indent=" " * 8
    )


def docstring(text: str, indent: str = "") -> list[str]:
    """Return the lines of a docstring with the text of a comment."""
    lines = [_escape(line) for line in wrap(text, WIDTH - len(indent) - len('"""'))]
    one_line = f'{indent}"""{lines[0]}"""'
    if len(lines) == 1 and len(one_line) <= WIDTH and not lines[0].endswith('"'):
        return [one_line]
    body = [f"{indent}{line}".rstrip() for line in lines[1:]]
    return [f'{indent}"""{lines[0]}', *body, f'{indent}"""']


def attribute_docstring(text: str, indent: str) -> list[str]:
    """Return the lines of a docstring that closes on its last line of text, as those of attributes do."""
    *lines, last = docstring(text, indent)
    if lines and not lines[-1].endswith('"') and len(lines[-1] + '"""') <= WIDTH:
        return [*lines[:-1], f'{lines[-1]}"""']
    return [*lines, last]


def string(start: str, lines: Iterable[str], end: str = "") -> list[str]:
    """Return the lines of code with a string in triple quotes between what starts and what ends it."""
    escaped = [_escape(line) for line in lines]
    if escaped[-1].endswith('"'):
        escaped[-1] = escaped[-1][:-1] + r"\""
    escaped[-1] += f'"""{end}'
    return [f'{start}"""\\', *escaped]


def literal(strings: Sequence[str], room: int) -> str | None:
    """Return a Literal of strings, or None if there is no room for it in one line."""
    text = f"Literal[{_quoted(strings)}]"
    return text if len(text) <= room else None


def literal_lines(strings: Sequence[str], indent: str) -> list[str]:
    """Return the lines between the brackets of a Literal of strings."""
    return _fill(_quoted(strings), WIDTH, initial_indent=indent, subsequent_indent=indent)


def _escape(line: str) -> str:
    return line.replace("\\", "\\\\").replace('"""', r"\"\"\"")


def _quoted(strings: Sequence[str]) -> str:
    return ", ".join(f'"{string}"' for string in strings)


def _fill(text: str, width: int, initial_indent: str = "", subsequent_indent: str = "") -> list[str]:
    return textwrap.wrap(
        text,
        width,
        initial_indent=initial_indent,
        subsequent_indent=subsequent_indent,
        break_long_words=False,
        break_on_hyphens=False,
    )
