"""Every error of the gateway has the same form of body, wherever it is found, and in either server."""

import json
import pathlib
from typing import Any

import pytest

from mistralwire.errors import UpstreamError
from mistralwire.gateway import GatewayConfig
from tests.error_bodies import flat_error
from tests.gateway.test_protocol import CHAT, connected, request_of
from tests.gateway_stack import running_gateway
from tests.service.upstreams import HeldUpstream

LARGE = b"GET /healthz HTTP/1.1\r\nhost: x\r\nx-large: " + b"a" * 40_000 + b"\r\n\r\n"
OWN: dict[str, tuple[int, bytes, dict[str, Any]]] = {
    "version": (400, b"GET /healthz HTTP/2.0\r\nhost: x\r\n\r\n", {}),
    "no http": (400, b"\x16\x03\x01\r\n\r\n", {}),
    "origin": (403, request_of(headers="origin: https://elsewhere.example\r\n"), {}),
    "route": (404, b"GET /v1/nothing HTTP/1.1\r\nhost: localhost\r\n\r\n", {}),
    "method": (405, f"DELETE {CHAT} HTTP/1.1\r\nhost: localhost\r\n\r\n".encode(), {}),
    "slow body": (408, request_of()[:-1], {"request_s": 0.2}),
    "large body": (413, request_of(), {"body_bytes_max": 10}),
    "compressed": (415, request_of(headers="content-encoding: gzip\r\n"), {}),
    "violation": (422, request_of({"model": 7, "messages": []}), {}),
    "no json": (422, request_of([]), {}),
    "large head": (431, LARGE, {}),
}
CODES = {
    "INVALID_ARGUMENT": 400,
    "NOT_FOUND": 404,
    "ABORTED": 409,
    "RESOURCE_EXHAUSTED": 429,
    "INTERNAL": 500,
    "FAILED_PRECONDITION": 500,
    "UNIMPLEMENTED": 501,
    "UNAVAILABLE": 503,
    "DEADLINE_EXCEEDED": 504,
}
WAYS = pytest.mark.parametrize("is_wrapped", [False, True], ids=["own server", "asgi"])


async def answer_to(
    request: bytes, upstream: HeldUpstream, *, is_wrapped: bool, **settings: Any
) -> tuple[int, dict[str, Any]]:
    """Return the status of a response, and the error in its body, each member once."""
    config = GatewayConfig(port=0, **settings)
    async with (
        running_gateway(upstream, config, is_wrapped=is_wrapped) as url,
        connected(url) as caller,
    ):
        caller.writer.write(request)
        head = await caller.head()
        length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
        assert b"\r\ncontent-type: application/json\r\n" in head
        return int(head.split()[1]), flat_error(json.loads(await caller.reader.readexactly(length)))


@WAYS
@pytest.mark.parametrize("name", OWN)
async def test_what_the_gateway_refuses(name: str, is_wrapped: bool) -> None:
    expected, request, settings = OWN[name]
    status, error = await answer_to(request, HeldUpstream(), is_wrapped=is_wrapped, **settings)
    assert status == expected
    assert error["message"].startswith(("expected ", "model: expected ", "document: expected "))


@WAYS
async def test_a_missing_key(is_wrapped: bool, tmp_path: pathlib.Path) -> None:
    file = tmp_path / "keys"
    file.write_text("an-example-of-a-key\n")
    file.chmod(0o600)
    status, error = await answer_to(request_of(), HeldUpstream(), is_wrapped=is_wrapped, token_file=file)
    assert (status, error["type"]) == (401, "token_missing")


@WAYS
@pytest.mark.parametrize(("code", "expected"), CODES.items())
async def test_what_the_upstream_refuses(code: str, expected: int, is_wrapped: bool) -> None:
    upstream = HeldUpstream()
    upstream.items.put_nowait(UpstreamError("no luck", code=code, upstream_code="7", upstream_type="odd"))
    status, error = await answer_to(request_of(), upstream, is_wrapped=is_wrapped)
    assert status == expected
    assert error == {"object": "error", "message": "no luck", "type": "odd", "param": None, "code": "7"}
