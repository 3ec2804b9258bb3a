"""The part of the demonstration that goes over HTTP."""

import json
from collections.abc import Sequence

import aiohttp
import click

from mistralwire import SseDecoder, SseMessage, to_json
from mistralwire.v1 import CompletionChunk

REQUEST = {
    "model": "mistral-small-latest",
    "messages": [{"role": "user", "content": "What do the tides and the weather look like in Brest?"}],
}


def curl_commands(url: str) -> list[str]:
    """Return commands to paste: an answer in one piece, a stream, code for a gap."""
    requests = [
        ("chat", REQUEST),
        ("chat", {**REQUEST, "stream": True}),
        ("fim", {"model": "codestral-latest", "prompt": "def fib(n):", "suffix": "    return a"}),
    ]
    return [
        f"curl -sN {url}/v1/{kind}/completions -H 'content-type: application/json' -d '{json.dumps(request)}'"
        for kind, request in requests
    ]


async def ask(url: str) -> tuple[bytes, bytes]:
    """Ask a gateway for an answer and for a stream, and return what it sends."""
    async with aiohttp.ClientSession(url) as session:
        bodies = []
        for request in (REQUEST, {**REQUEST, "stream": True}):
            async with session.post("/v1/chat/completions", json=request) as response:
                response.raise_for_status()
                bodies.append(await response.read())
    return bodies[0], bodies[1]


def show(url: str, answer: bytes, stream: bytes) -> list[bytes]:
    """Show what came, and return the JSON of the chunks."""
    click.echo(f"POST {url}/v1/chat/completions\n  {_short(answer.decode())}")
    click.echo('the same with "stream": true')
    for line in stream.decode().splitlines()[:6]:
        click.echo(f"  {_short(line)}")
    click.echo("  ...")
    decoder = SseDecoder(CompletionChunk)
    events: Sequence[object] = [*decoder.feed(stream), *decoder.close()]
    return [to_json(event.message) for event in events if isinstance(event, SseMessage)]


def _short(text: str) -> str:
    return text if len(text) <= 96 else f"{text[:92]} ..."
