"""Completions in an ASGI server that fails."""

import asyncio
import json
from collections.abc import MutableMapping
from typing import Any

import pytest

from mistralwire.client import Client
from mistralwire.gateway import create_app
from mistralwire.service import LocalChannel
from tests.service.upstreams import HeldUpstream

BODY = json.dumps({"model": "m", "messages": [{"role": "user", "content": "hi"}]}).encode()
SCOPE = {
    "type": "http",
    "asgi": {"version": "3.0"},
    "http_version": "1.1",
    "method": "POST",
    "path": "/v1/chat/completions",
    "raw_path": b"/v1/chat/completions",
    "query_string": b"",
    "headers": [(b"host", b"x"), (b"content-type", b"application/json")],
}


async def test_a_server_that_fails_to_receive_ends_its_call() -> None:
    upstream = HeldUpstream()
    messages = [{"type": "http.request", "body": BODY, "more_body": False}]

    async def receive() -> MutableMapping[str, Any]:
        if messages:
            return messages.pop()
        await upstream.started.wait()
        raise OSError("the server's own")

    async def send(message: MutableMapping[str, Any]) -> None:
        del message  # the error page of a framework

    async with Client.on(LocalChannel(upstream)) as client:
        app = create_app(client)
        async with asyncio.timeout(10):
            with pytest.raises(OSError, match="the server's own"):
                await app(dict(SCOPE), receive, send)
            await upstream.closed.wait()
