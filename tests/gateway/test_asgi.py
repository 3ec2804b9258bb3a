"""Completions in an ASGI server that fails."""

import asyncio
import json
import logging
from collections.abc import MutableMapping
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount

from mistralwire.client import Client
from mistralwire.errors import BrokenStreamError, MistralwireError, UpstreamError
from mistralwire.gateway import create_app
from mistralwire.service import LocalChannel
from tests.service.upstreams import HeldUpstream, chunk

BODY = json.dumps({"model": "m", "messages": [{"role": "user", "content": "hi"}]}).encode()
STREAM_BODY = b'{"model": "m", "messages": [{"role": "user", "content": "hi"}], "stream": true}'
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


async def test_a_stream_that_breaks_off_raises_behind_its_event_and_only_others_errors_are_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    upstream = HeldUpstream()
    for item in (chunk(0), UpstreamError("no luck")):
        upstream.items.put_nowait(item)
    messages = [{"type": "http.request", "body": STREAM_BODY, "more_body": False}]
    sent: list[MutableMapping[str, Any]] = []
    handled: list[Exception] = []

    async def receive() -> MutableMapping[str, Any]:
        if messages:
            return messages.pop()
        await asyncio.Event().wait()
        raise AssertionError

    async def send(message: MutableMapping[str, Any]) -> None:
        sent.append(message)

    async def handle(_: Request, error: Exception) -> Response:
        handled.append(error)
        return Response("handled")

    async with Client.on(LocalChannel(upstream)) as client:
        outer = Starlette(
            routes=[Mount("/", create_app(client))], exception_handlers={MistralwireError: handle}
        )
        with pytest.raises(RuntimeError) as raised:
            await outer(dict(SCOPE), receive, send)
    assert isinstance(raised.value.__cause__, BrokenStreamError)
    assert not handled
    start, *parts = sent
    assert start["status"] == 200
    assert b"no luck" in parts[-1]["body"]
    assert all(part["more_body"] for part in parts)
    logger = logging.getLogger("uvicorn.error")
    for error in (raised.value, raised.value.__cause__, RuntimeError("another")):
        logger.error("Exception in ASGI application", exc_info=error)
    [record] = [record for record in caplog.records if record.name == "uvicorn.error"]
    assert record.exc_info
    assert str(record.exc_info[1]) == "another"
