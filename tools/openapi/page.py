"""The OpenAPI document as one page for people: no script, and nothing that is fetched from elsewhere."""

import json
import pathlib
import shlex
from collections.abc import Iterable, Iterator, Mapping
from html import escape
from typing import Any

from tools.openapi.page_types import schema_section, table, text_html, type_html

_STYLE = pathlib.Path(__file__).with_name("style.css")

_STREAM = "text/event-stream"

Object = Mapping[str, Any]


def docs_page(document: Object) -> str:
    """Make the page.

    Args:
        document: An OpenAPI 3.1 document whose references are all to its own components.

    Returns:
        HTML, each block on a line of its own. The server fills in `{{address}}`, the URL that the
        paths begin at as a shell takes it, and `{{document}}`, the URL of the document.
    """
    info = document["info"]
    title = escape(info["title"])
    parts = [
        '<!doctype html><html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{title}</title><style>\n{_STYLE.read_text()}</style></head><body>",
        f"<nav>{_lines(_navigation(document))}</nav><main>",
        f"<header><h1>{title} <small>{escape(info['version'])}</small></h1>{text_html(info['description'])}",
        '<p>For programs: <a href="{{document}}">openapi.json</a>. The examples take the '
        "address of the gateway, and a key if it needs one, from the environment:</p>"
        "<pre>export GATEWAY={{address}}\nexport GATEWAY_KEY=...</pre></header>",
        *(_tag_section(document, tag) for tag in document["tags"]),
        '<section id="types"><h2>Types</h2>',
        *(schema_section(name, schema) for name, schema in document["components"]["schemas"].items()),
        "</section></main></body></html>",
    ]
    return _lines(parts)


def _operations(document: Object, tag: str) -> Iterator[tuple[str, str, Object, list[Object]]]:
    """Yield path, method, operation and parameters of a tag's routes."""
    for path, item in document["paths"].items():
        for method in ("get", "post"):
            if method in item and tag in item[method]["tags"]:
                operation = item[method]
                parameters = [*item.get("parameters", []), *operation.get("parameters", [])]
                yield path, method, operation, [_resolved(document, each) for each in parameters]


def _resolved(document: Object, thing: Object) -> Object:
    """Follow a reference, if it is one."""
    if "$ref" not in thing:
        return thing
    found: Object = document
    for step in thing["$ref"].removeprefix("#/").split("/"):
        found = found[step]
    return found


def _navigation(document: Object) -> Iterator[str]:
    for tag in document["tags"]:
        yield f"<h2>{escape(tag['name'])}</h2><ul>"
        for _, method, operation, _ in _operations(document, tag["name"]):
            name = escape(operation["operationId"])
            yield f'<li><a href="#{name}">{_badge(method)} {escape(operation["summary"])}</a></li>'
        yield "</ul>"
    yield '<h2><a href="#types">types</a></h2><ul class="types">'
    for name in map(escape, document["components"]["schemas"]):
        yield f'<li><a href="#type-{name}">{name}</a></li>'
    yield "</ul>"


def _badge(method: str) -> str:
    return f'<b class="method {method}">{method.upper()}</b>'


def _tag_section(document: Object, tag: Object) -> str:
    routes = (_route(document, *each) for each in _operations(document, tag["name"]))
    description = text_html(tag["description"])
    head = f"<section><h2>{escape(tag['name']).capitalize()}</h2>{description}"
    return _lines([head, *routes, "</section>"])


def _route(document: Object, path: str, method: str, operation: Object, parameters: list[Object]) -> str:
    parts = [
        f'<article id="{escape(operation["operationId"])}"><h3>{escape(operation["summary"])}</h3>',
        f'<p class="path">{_badge(method)} <code>{escape(path)}</code></p>',
        text_html(operation.get("description", "")),
        _parameter_table(parameters),
        *_body(operation),
        *(f"<pre>{escape(line)}</pre>" for line in _curl_lines(path, operation, parameters)),
        *_answers(document, operation["responses"]),
        "</article>",
    ]
    return _lines(parts)


def _parameter_table(parameters: list[Object]) -> str:
    rows = [
        f"<tr><td><code>{escape(each['name'])}</code></td><td>{escape(each['in'])}</td>"
        f"<td>{'required' if each.get('required') else ''}</td><td>{text_html(each['description'])}</td></tr>"
        for each in parameters
    ]
    return table(("Parameter", "Where", "", "Meaning"), rows)


def _body(operation: Object) -> Iterator[str]:
    if "requestBody" in operation:
        for media_type, body in operation["requestBody"]["content"].items():
            yield f"<p>Body: {type_html(body['schema'])} <small>{escape(media_type)}</small></p>"


def _answers(document: Object, responses: Object) -> Iterator[str]:
    """Yield the answers, the errors folded: they are many, and the same almost everywhere."""
    rows = {status: _answer_row(status, _resolved(document, each)) for status, each in responses.items()}
    heads = ("Status", "Meaning", "Body")
    yield table(heads, [row for status, row in rows.items() if status.startswith("2")])
    errors = table(heads, [row for status, row in rows.items() if not status.startswith("2")])
    if errors:
        yield f"<details><summary>Errors</summary>{errors}</details>"


def _answer_row(status: str, response: Object) -> str:
    types = (
        f"<p>{type_html(body['schema'])} <small>{escape(media_type)}</small></p>"
        f"{text_html(body['schema'].get('description', ''))}"
        for media_type, body in response["content"].items()
    )
    headers = (
        f"<p><small>with <code>{escape(name)}</code></small></p>" for name in response.get("headers", ())
    )
    return (
        f"<tr><td><code>{escape(status)}</code></td>"
        f"<td>{text_html(response['description'])}{''.join(headers)}</td><td>{''.join(types)}</td></tr>"
    )


def _lines(blocks: Iterable[str]) -> str:
    """Join blocks, each on a line of its own."""
    return "\n".join(block for block in blocks if block)


def _curl_lines(path: str, operation: Object, parameters: list[Object]) -> Iterator[str]:
    """Yield a command for each example of the body, or one without a body."""
    for parameter in parameters:
        path = path.replace(f"{{{parameter['name']}}}", parameter.get("example", ""))
    address = f'"$GATEWAY{path}"'
    key = ' \\\n  -H "authorization: Bearer $GATEWAY_KEY"' if operation["security"] else ""
    examples = [
        example["value"]
        for body in operation.get("requestBody", {}).get("content", {}).values()
        for example in body["examples"].values()
    ]
    for example in examples:
        is_stream = example.get("stream") or list(operation["responses"]["200"]["content"]) == [_STREAM]
        data = shlex.quote(json.dumps(example))
        flags = "-sS -N" if is_stream else "-sS"
        yield f"curl {flags} {address}{key} \\\n  -H 'content-type: application/json' \\\n  -d {data}"
    if not examples:
        yield f"curl -sS {address}{key}"
