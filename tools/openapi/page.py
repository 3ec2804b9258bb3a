"""The OpenAPI document as one page for people, with a form to try it; nothing is fetched from elsewhere."""

import json
import pathlib
import shlex
from collections.abc import Iterable, Iterator, Mapping
from html import escape
from typing import Any

from tools.openapi.operations import EVENT_STREAM
from tools.openapi.page_types import schema_section, table, text_html, type_html

_FOLDER = pathlib.Path(__file__).parent


Object = Mapping[str, Any]

METHODS = ("get", "put", "post", "delete")
"""The methods of routes, in their order on the page."""


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
        f"<title>{title}</title><style>\n{(_FOLDER / 'style.css').read_text()}</style></head><body>",
        f"<nav>{_lines(_navigation(document))}</nav><main>",
        f"<header><h1>{title} <small>{escape(info['version'])}</small></h1>{text_html(info['description'])}",
        '<p>For programs: <a id="document" href="{{document}}">openapi.json</a>. The examples read the '
        "gateway's address, and a key if it needs one, from environment variables:</p>"
        "<pre>export GATEWAY={{address}}\nexport GATEWAY_KEY=...</pre></header>",
        _try_section(document),
        *(_tag_section(document, tag) for tag in document["tags"]),
        '<section id="types"><h2>Types</h2>',
        *(schema_section(name, schema) for name, schema in document["components"]["schemas"].items()),
        "</section></main>",
        f"<script>\n{(_FOLDER / 'script.js').read_text()}</script></body></html>",
    ]
    return _lines(parts)


def _operations(document: Object, tag: str) -> Iterator[tuple[str, str, Object, list[Object]]]:
    """Yield path, method, operation and parameters of a tag's routes."""
    for path, item in document["paths"].items():
        for method in METHODS:
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
    yield '<h2><a href="#try">try it</a></h2>'
    for tag in document["tags"]:
        yield f"<h2>{escape(tag['name'])}</h2><ul>"
        for _, method, operation, _ in _operations(document, tag["name"]):
            name = escape(operation["operationId"])
            yield f'<li><a href="#{name}">{_badge(method)} {escape(operation["summary"])}</a></li>'
        yield "</ul>"
    yield '<h2><a href="#types">types</a></h2>'
    yield '<input id="filter" type="search" placeholder="filter" aria-label="Filter the types" hidden>'
    yield '<ul class="types">'
    for name in map(escape, document["components"]["schemas"]):
        yield f'<li><a href="#type-{name}">{name}</a></li>'
    yield "</ul>"


def _try_section(document: Object) -> str:
    """Return the form that sends a request; the script shows it."""
    options = [
        f'<option value="{escape(path)}" data-body="{escape(json.dumps(example["value"]))}">'
        f"{escape(operation['summary'])}: {escape(title)}</option>"
        for path, _, operation, _ in _operations(document, document["tags"][0]["name"])
        for title, example in sorted(_examples(operation), key=lambda named: named[0] != "stream")
    ]
    return _lines(
        [
            '<section id="try" hidden><h2>Try it</h2><div class="fields">',
            '<label>Request <select id="try-route">',
            *options,
            "</select></label>",
            '<label>Key <input id="try-key" type="password" autocomplete="off" '
            'placeholder="only if the gateway has keys"></label></div>',
            '<textarea id="try-body" rows="10" spellcheck="false" aria-label="Body of the request">',
            "</textarea>",
            '<p><button id="try-send" type="button">Send</button> <output id="try-facts"></output></p>',
            '<div class="panes"><div><h3>Answer</h3>',
            '<div id="try-answer" class="pane" aria-live="polite"></div></div>',
            '<div><h3>As it arrives</h3><pre id="try-raw" class="pane"></pre></div></div></section>',
        ]
    )


def _examples(operation: Object) -> Iterator[tuple[str, Object]]:
    for body in operation.get("requestBody", {}).get("content", {}).values():
        yield from body.get("examples", {}).items()


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
        *(f"<pre>{escape(line)}</pre>" for line in _curl_lines(path, method, operation, parameters)),
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
    for status, response in responses.items():
        for media_type, body in (
            _resolved(document, response).get("content", {}).items() if status == "200" else ()
        ):
            if "example" in body:
                yield _example_answer(media_type, body["example"])
    errors = table(heads, [row for status, row in rows.items() if not status.startswith("2")])
    if errors:
        yield f"<details><summary>Errors</summary>{errors}</details>"


def _example_answer(media_type: str, example: object) -> str:
    text = example if isinstance(example, str) else json.dumps(example, indent=2)
    return (
        f"<details><summary>Example answer <small>{escape(media_type)}</small></summary>"
        f'<pre class="example">{escape(text)}</pre></details>'
    )


def _answer_row(status: str, response: Object) -> str:
    types = (
        f"<p>{type_html(body['schema'])} <small>{escape(media_type)}</small></p>"
        f"{text_html(body['schema'].get('description', ''))}"
        for media_type, body in response.get("content", {}).items()
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


def _curl_lines(path: str, method: str, operation: Object, parameters: list[Object]) -> Iterator[str]:
    """Yield a command for each example of the body, or one without a body."""
    for parameter in parameters:
        path = path.replace(f"{{{parameter['name']}}}", parameter.get("example", ""))
    address = f'"$GATEWAY{path}"'
    key = ' \\\n  -H "authorization: Bearer $GATEWAY_KEY"' if operation["security"] else ""
    examples = [example["value"] for _, example in _examples(operation)]
    whole = operation["responses"].get("200", {}).get("content", {})
    for example in examples:
        is_stream = (isinstance(example, Mapping) and example.get("stream")) or list(whole) == [EVENT_STREAM]
        data = shlex.quote(json.dumps(example))
        flags = "-sS -N" if is_stream else "-sS" if method == "post" else f"-sS -X {method.upper()}"
        yield f"curl {flags} {address}{key} \\\n  -H 'content-type: application/json' \\\n  -d {data}"
    if not examples:
        flags = "-sS" if method == "get" else f"-sS -X {method.upper()}"
        yield f"curl {flags}{' -N' if EVENT_STREAM in whole else ''} {address}{key}"
