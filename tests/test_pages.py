"""The pages link to what exists, and docs/architecture.md names what the source has."""

import ast
import importlib
import pathlib
import re
import subprocess
import sys
from collections.abc import Iterator

import pytest

import mistralwire
import mistralwire.v1
from mistralwire.errors import MistralwireError
from mistralwire.upstream import check_upstream_tables
from tools.docs import PACKAGES, PAGES

ROOT = pathlib.Path(__file__).parents[1]
SOURCE = pathlib.Path(mistralwire.__file__).parent
# Words of two humps, words with an underscore: names of the source, not of a language.
_NAME = re.compile(r"\b(?:[A-Z][a-z0-9]+){2,}\b|\b[a-z][a-z0-9]*(?:_[a-z0-9]+)+\b")
# Of gRPC's own messages.
_FOREIGN = {"BadRequest", "ErrorInfo", "RequestInfo", "RetryInfo"}


def anchors(page: pathlib.Path) -> set[str]:
    """Return the anchors that GitHub makes of the headings of a page."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_the_links_of_a_page_lead_somewhere(page: pathlib.Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", re.sub(r"`([^`]*)`", "", page.read_text())):
        if not re.match(r"[a-z]+:", target):
            path, _, anchor = target.partition("#")
            linked = (page.parent / path).resolve() if path else page
            assert linked.exists(), target
            assert not anchor or anchor in anchors(linked), target


def test_the_menu_of_the_site_has_every_page() -> None:
    menu = (ROOT / "mkdocs.yml").read_text().partition("\nnav:\n")[2]
    pages = [str(page.relative_to(ROOT)) for page in PAGES]
    assert sorted(re.findall(r": (\S+\.md)$", menu, re.MULTILINE)) == sorted(
        pages + [f"api/{package}.md" for package in PACKAGES]
    )


def _defined_names() -> Iterator[str]:
    """Yield the names that the source defines: classes, functions, arguments, fields, modules, messages."""
    yield from dir(mistralwire.v1)
    for path in SOURCE.rglob("*.py"):
        yield from (path.stem, path.parent.name)
        for node in ast.walk(ast.parse(path.read_text())):
            match node:
                case ast.ClassDef() | ast.FunctionDef() | ast.AsyncFunctionDef():
                    yield node.name
                case ast.Name(id=name, ctx=ast.Store()):
                    yield name


def _architecture() -> str:
    return (ROOT / "docs" / "architecture.md").read_text()


@pytest.mark.slow
def test_the_names_in_the_architecture_exist() -> None:
    page = _architecture()
    pictures = re.findall(r"```mermaid\n(.*?)```", page, re.DOTALL)
    words = re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", page, flags=re.DOTALL))
    names = {name for text in (*pictures, *words) for name in _NAME.findall(text)}
    names.update(word for word in words if re.fullmatch(r"[A-Za-z]\w*[a-z]\w*", word))
    assert len(pictures) == 6
    assert len(names) > 30
    assert names - set(_defined_names()) - _FOREIGN == set()


def test_the_modules_and_files_in_the_architecture_exist() -> None:
    page = _architecture()
    for name in re.findall(r"`(mistralwire(?:\.\w+)+)`", page):
        importlib.import_module(name)
    for path in re.findall(r"`(\w[\w/.]*/[\w.]+)`", page):
        assert (ROOT / path).exists(), path
    for name in re.findall(r"\b\w+\.rs\b", page):
        assert (ROOT / "native" / "core" / "src" / name).exists(), name


def test_the_private_modules_in_the_pages_exist() -> None:
    pages = [(ROOT / "docs" / name).read_text() for name in ("architecture.md", "design.md")]
    named = {name for page in pages for name in re.findall(r"`(_[a-z][a-z0-9_]*)`", page)}
    modules = {path.stem for path in SOURCE.rglob("_*")}
    assert named
    assert named - modules == set()


def test_the_error_of_a_table_that_the_gateways_page_quotes_is_raised() -> None:
    text = " ".join((ROOT / "docs" / "gateway.md").read_text().split())
    quoted = re.findall(r"`(upstreams\[1\]\.weight: [^`]+)`", text)
    with pytest.raises(MistralwireError) as caught:
        check_upstream_tables([{"kind": "mistral"}, {"kind": "vertex", "weight": "3"}])
    assert quoted == [caught.value.message]


# A call in the same process, with the observer that the page's formatter is for.
_LOGGED_CALL = """
import asyncio

from mistralwire.client import Client
from mistralwire.service import AccessLog, LocalChannel
from mistralwire.upstream import DEMONSTRATION, ReplayUpstream
from mistralwire.v1 import ChatCompletionRequest, ChatMessage, UserMessage


async def main():
    question = ChatMessage(user=UserMessage(content_string="Hello"))
    request = ChatCompletionRequest(model="small", messages=[question])
    channel = LocalChannel(ReplayUpstream([DEMONSTRATION]), observers=[AccessLog()])
    async with Client.on(channel) as client:
        await client.complete(request, request_id="my-id")


asyncio.run(main())
"""


@pytest.mark.process
def test_the_formatter_in_the_services_page_prints_the_attributes_of_a_call() -> None:
    page = (ROOT / "docs" / "service.md").read_text().partition("\n## Logs\n")[2]
    (formatter,) = re.findall(r"```python\n(.*?)```", page.partition("\n## ")[0], re.DOTALL)
    run = subprocess.run(
        [sys.executable, "-c", formatter + _LOGGED_CALL], capture_output=True, text=True, check=True
    )
    assert re.fullmatch(
        r"INFO ChatCompletion OK request_id=my-id duration_ms=[\d.]+ model=small reason=-\n", run.stderr
    )
