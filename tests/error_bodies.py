"""The error bodies of the gateway: one for the clients of Mistral's API and for those of OpenAI's."""

from typing import Any

import aiohttp
import pytest


def flat_error(document: Any) -> dict[str, Any]:
    """Check that an error body has what each family of clients reads; return its members, each one once."""
    error: dict[str, Any] = document["error"]
    rest = dict(document)
    del rest["error"]
    detail = rest.pop("detail")
    assert rest == error
    assert error["object"] == "error"
    assert error.keys() >= {"object", "message", "type", "param", "code"}
    if isinstance(detail, list):
        assert detail
        assert all(item["loc"][0] == "body" and item["msg"] and item["type"] for item in detail)
    else:
        assert detail == error["message"]
    return error


async def broken_body(response: aiohttp.ClientResponse) -> bytes:
    """Read the body of a stream that must break off, and return the result."""
    parts: list[bytes] = []

    async def read() -> None:
        async for part in response.content.iter_any():
            parts.append(part)  # noqa: PERF401 - those before the error count

    with pytest.raises(aiohttp.ClientPayloadError):
        await read()
    return b"".join(parts)
