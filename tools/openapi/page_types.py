"""Schemas as people read them: tables of members, with links from type to type."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from html import escape
from typing import Any

from tools.openapi.schema import COMPONENTS

Schema = Mapping[str, Any]

_CODE = re.compile(r"`([^`]*)`")


def text_html(text: str) -> str:
    """Turn text into HTML: paragraphs, with what is in backticks as code.

    Args:
        text: Of the CommonMark of OpenAPI's descriptions just this much.
    """
    paragraphs = (_CODE.sub(r"<code>\1</code>", escape(part)) for part in text.split("\n\n") if part)
    return "".join(f"<p>{part}</p>" for part in paragraphs)


def type_html(schema: Schema) -> str:
    """Describe in a line what a schema accepts, with links to those that it refers to.

    Args:
        schema: One that `message_schemas` makes, or of the same kind.
    """
    return " or ".join(_names(schema)) or "any value"


def table(heads: Iterable[str], rows: Iterable[str]) -> str:
    """Return a table, a row a line; nothing if it has no rows.

    Args:
        heads: What stands above its columns.
        rows: Its rows as HTML.
    """
    body = "\n".join(rows)
    head = "".join(f"<th>{each}</th>" for each in heads)
    return body and f'<div class="wide"><table><tr>{head}</tr>\n{body}</table></div>'


def schema_section(name: str, schema: Schema) -> str:
    """Return the section of a schema that has a name.

    Args:
        name: The name; its anchor is `type-` and the name.
        schema: What it accepts.
    """
    if "properties" in schema:
        body = _member_table(schema)
    elif "oneOf" in schema:
        body = table(("Tag", "Type", ""), map(_alternative_row, schema["oneOf"]))
    else:
        body = _value_table(schema)
    anchor = escape(f"type-{name}")
    head = f'<h3><a href="#{anchor}">{escape(name)}</a></h3>'
    return f'<article id="{anchor}">{head}{text_html(schema.get("description", ""))}\n{body}</article>'


def _names(schema: Schema) -> Iterator[str]:
    """Name the types that a schema accepts."""
    if "$ref" in schema:
        name = escape(schema["$ref"].removeprefix(COMPONENTS))
        yield f'<a href="#type-{name}">{name}</a>'
    elif "anyOf" in schema:
        for alternative in schema["anyOf"]:
            yield from _names(alternative)
    elif "enum" in schema or "const" in schema:
        values = schema.get("enum") or [schema["const"]]
        yield from (f"<code>{escape(json.dumps(value))}</code>" for value in values)
    else:
        types = schema.get("type", [])
        for each in [types] if isinstance(types, str) else types:
            yield f"array of {_element(schema)}" if each == "array" else escape(each)


def _element(schema: Schema) -> str:
    names = list(_names(schema["items"]))
    return names[0] if len(names) == 1 else f"({' or '.join(names)})"


def _member_table(schema: Schema) -> str:
    required = schema.get("required", ())
    rows = (
        f"<tr><td><code>{escape(name)}</code></td><td>{type_html(member)}</td>"
        f"<td>{'required' if name in required else ''}</td>"
        f"<td>{text_html(member.get('description', ''))}</td></tr>"
        for name, member in schema["properties"].items()
    )
    return table(("Member", "Type", "", "Meaning"), rows)


def _alternative_row(alternative: Schema) -> str:
    [(name, tag)] = alternative["properties"].items()
    is_known = "const" in tag or "enum" in tag
    shown = f"<code>{escape(name)}</code> {type_html(tag).replace('<code>null</code>', 'absent')}"
    found = type_html(alternative) if is_known else "object"
    return (
        f"<tr><td>{shown if is_known else 'any other'}</td><td>{found}</td>"
        f"<td>{text_html(alternative.get('description', ''))}</td></tr>"
    )


def _value_table(schema: Schema) -> str:
    rows = (
        f"<tr><td>{type_html(value)}</td><td>{text_html(value.get('description', ''))}</td></tr>"
        for value in schema["anyOf"]
    )
    return table(("Value", "Meaning"), rows)
