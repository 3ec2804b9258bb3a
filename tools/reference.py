"""Write the generated tables of docs/reference.md.

Settings come from the commands, reasons from the contract, exit codes from the help, limits from the codec
and from constants. The tables of metrics, span attributes and keys of upstreams are written by hand.

Run it with `python -m tools.reference`. A test fails if the page is not current.
"""

import ast
import dataclasses
import itertools
import pathlib
import re
import textwrap
from collections.abc import Iterator
from typing import Any

import click
import click.testing

import mistralwire
from mistralwire.cli import main as command_line
from mistralwire.codec import Limits
from mistralwire.upstream import HttpSettings

PAGE = pathlib.Path(__file__).resolve().parents[1] / "docs" / "reference.md"
SOURCE = pathlib.Path(mistralwire.__file__).parent

_SETTING = re.compile(r"(?:# )?(?P<name>[a-z_]+) (?:= (?P<value>.*?)(?:  # .*)?|is not set)")
_RANGE = re.compile(r"\[(?:default: .*?; )?(?P<range>(?:above |from )?\d[^\]]*)\]$")
_REASON = re.compile(r"(?P<meaning>.*?\.) (?P<code>[A-Z_]+), HTTP (?P<status>\d{3})\. (?P<remedy>.*)")
_EXIT_CODE = re.compile(r" +(?P<code>\d+) +(?P<meaning>\S.*)")
_CHOICES = re.compile(r"\[(?P<choices>[a-z|]+)\]$")
_LIMIT = re.compile(r"[A-Z][A-Z0-9_]*_MAX")
# The ranges of settings show these.
_SETTINGS_BOUNDS = {"INT32_MAX", "BYTES_MAX", "SECONDS_MAX", "KEEPALIVE_S_MAX"}

Row = tuple[str, ...]


def tables() -> dict[str, str]:
    """Return the generated tables, in Markdown, by the names of their markers."""
    return {
        "settings of serve": _table(("setting", "default", "range", "meaning"), settings("serve")),
        "settings of gateway": _table(("setting", "default", "range", "meaning"), settings("gateway")),
        "codec limits": _table(("limit", "default", "meaning"), limits_of(Limits)),
        "upstream limits": _table(("limit", "default", "meaning"), limits_of(HttpSettings)),
        "fixed limits": _table(("limit", "value", "in", "meaning"), fixed_limits()),
        "error reasons": _table(("reason", "gRPC code", "HTTP status", "meaning", "remedy"), error_reasons()),
        "exit codes": _table(("exit code", "meaning"), exit_codes()),
    }


def with_tables(page: str) -> str:
    """Return a page with current tables between its markers.

    Raises:
        ValueError: If the page lacks the markers of a table.
    """
    for name, table in tables().items():
        head, start, rest = page.partition(f"<!-- {name} -->\n")
        _, end, tail = rest.partition(f"<!-- /{name} -->\n")
        if not end:
            raise ValueError(f"expected the markers of {name!r} around a table, found none")
        page = "".join((head, start, table, end, tail))
    return page


def settings(command: str) -> Iterator[Row]:
    """Yield name, default, range and meaning of each setting of a command, as the command prints them."""
    runner = click.testing.CliRunner(env={"MISTRALWIRE_CONFIG": None})
    result = runner.invoke(command_line, [command, "--print-config"], catch_exceptions=False)
    ranges = dict(_ranges(command))
    comments: list[str] = []
    for line in result.stdout.splitlines():
        if match := _SETTING.fullmatch(line):
            value = f"`{match['value']}`" if match["value"] else ""
            if match["name"].endswith("_bytes_max"):
                value += f" ({_size(int(match['value']))})"
            yield f"`{match['name']}`", value, ranges.get(match["name"], ""), " ".join(comments)
        comments = [*comments, line.removeprefix("# ")] if line.startswith("# ") and not match else []


def _size(count: int) -> str:
    """Return a number of bytes, a multiple of 1024, in the largest unit that divides it."""
    mebibytes, rest = divmod(count, 1024 * 1024)
    return f"{count // 1024} KiB" if rest else f"{mebibytes} MiB"


def _ranges(command: str) -> Iterator[tuple[str, str]]:
    context = click.Context(command_line)
    subcommand = command_line.get_command(context, command)
    assert subcommand is not None
    for parameter in subcommand.params:
        flags, help_ = parameter.get_help_record(click.Context(subcommand, parent=context)) or ("", "")
        if match := _RANGE.search(help_):
            yield str(parameter.name), match["range"]
        elif match := _CHOICES.search(flags):
            yield str(parameter.name), match["choices"].replace("|", ", ")


def limits_of(class_: Any) -> Iterator[Row]:
    """Yield name, default and meaning of the fields of a dataclass."""
    attributes = _attributes(class_)
    for field in dataclasses.fields(class_):
        yield f"`{field.name}`", f"{field.default:,.0f}", attributes[field.name]


def _attributes(class_: type) -> dict[str, str]:
    """Read the section Attributes of a class's docstring, which a test holds to be complete."""
    section = textwrap.dedent(str(class_.__doc__).partition("Attributes:\n")[2].partition("\n\n")[0])
    entries = re.split(r"^(\w+): ", section, flags=re.MULTILINE)[1:]
    return {name: _line(text) for name, text in zip(entries[::2], entries[1::2], strict=True)}


def fixed_limits() -> Iterator[Row]:
    """Yield name, value, package and meaning of each documented constant of the source that is a bound."""
    rows = []
    for path in SOURCE.rglob("*.py"):
        package = _package(path)
        for name, value, meaning in _constants(ast.parse(path.read_text()).body):
            is_elsewhere = name in _SETTINGS_BOUNDS or (
                package == "codec" and name.lower() in _attributes(Limits)
            )
            if _LIMIT.fullmatch(name) and not is_elsewhere:
                rows.append((f"`{name}`", _value(value), package, meaning))
    # Modules move within a package.
    yield from sorted(rows, key=lambda row: (row[2], row[0]))


def _constants(body: list[ast.stmt]) -> Iterator[tuple[str, ast.expr, str]]:
    """Yield name, value and docstring of each assignment that has a docstring."""
    for statement, following in itertools.pairwise(body):
        if isinstance(statement, ast.Assign) and isinstance(target := statement.targets[0], ast.Name):
            text = following.value if isinstance(following, ast.Expr) else None
            if isinstance(text, ast.Constant) and isinstance(text.value, str):
                yield target.id, statement.value, _line(text.value)


def _value(expression: ast.expr) -> str:
    """Return a constant's value if it is a product of numbers, or else its source."""
    if all(isinstance(node, ast.BinOp | ast.operator | ast.Constant) for node in ast.walk(expression)):
        return f"{_product(expression):,.0f}"
    return f"`{ast.unparse(expression)}`"


def _product(expression: ast.expr) -> float:
    if isinstance(expression, ast.BinOp):
        assert isinstance(expression.op, ast.Mult), ast.unparse(expression)
        return _product(expression.left) * _product(expression.right)
    return float(ast.literal_eval(expression))


def _package(path: pathlib.Path) -> str:
    """Return the public package that a module belongs to."""
    parts = path.relative_to(SOURCE).with_suffix("").parts
    return parts[0] if not parts[0].startswith("_") else "mistralwire"


def error_reasons() -> Iterator[Row]:
    """Yield reason, gRPC code, HTTP status, meaning and remedy of each value of Reason."""
    body = ast.parse((SOURCE / "v1" / "error_reason.py").read_text()).body
    enum = next(statement for statement in body if isinstance(statement, ast.ClassDef))
    for name, _, text in _constants(enum.body):
        match = _REASON.fullmatch(text)
        assert match is not None, f"expected a code, an HTTP status and a remedy in the comment of {name}"
        yield f"`{name}`", match["code"], match["status"], match["meaning"], match["remedy"]


def exit_codes() -> Iterator[Row]:
    """Yield the exit codes that the command line's help lists, and what they mean."""
    result = click.testing.CliRunner().invoke(command_line, ["--help"], catch_exceptions=False)
    section = result.stdout.partition("Exit codes")[2].partition("\n\n")[0]
    for match in _EXIT_CODE.finditer(section):
        yield match["code"], _line(match["meaning"])


def _line(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _table(heads: Row, rows: Iterator[Row]) -> str:
    lines = [heads, tuple("---" for _ in heads), *rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


if __name__ == "__main__":
    PAGE.write_text(with_tables(PAGE.read_text()))
