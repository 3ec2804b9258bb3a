"""The documentation of the gateway: its OpenAPI document, and a page that also tries the routes out."""

import asyncio
import base64
import functools
import hashlib
import html
import importlib.resources
import re
import shlex

import orjson
from google.protobuf.message import Message
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from mistralwire import _offload
from mistralwire._methods import REQUEST_VALUES_MAX
from mistralwire.codec import Limits, SseBatchDecoder, json_to_binary
from mistralwire.errors import MistralwireError, Reason
from mistralwire.gateway._errors import HttpError, answer_of, response_of
from mistralwire.gateway._routes import find_route
from mistralwire.gateway._state import GatewayState
from mistralwire.v1 import ChatCompletionResponse, CompletionChunk

HAD_SLASH = "mistralwire.had_slash"
"""Key of the scope of a request whose path ended with a slash, which was removed."""

_JSON = "application/json"
_MEASURED_BYTES_MAX = 1024 * 1024
_MEASURED_LIMITS = Limits(values_max=REQUEST_VALUES_MAX)
_INLINE = re.compile(rb"<(script|style)>(.*?)</\1>", re.DOTALL)


def docs_routes(state: GatewayState) -> list[Route]:
    """Return the routes of the OpenAPI document and its page, which `make generate` writes."""

    async def send_document(request: Request) -> Response:
        # The path at which the application is mounted, if it is.
        root = request.scope.get("root_path", "")
        servers = {"servers": [{"url": root}]} if root else {}
        return Response(orjson.dumps({**orjson.loads(_file("openapi.json")), **servers}), media_type=_JSON)

    async def send_page(request: Request) -> Response:
        # Relative, since a proxy may serve it at another path.
        document_url = b"../openapi.json" if request.scope.get(HAD_SLASH) else b"openapi.json"
        # `base_url` has the path of the outermost application only.
        address = str(request.base_url.replace(path=request.scope.get("root_path", ""))).rstrip("/")
        quoted = html.escape(shlex.quote(address)).encode()
        page = _file("docs.html").replace(b"{{document}}", document_url).replace(b"{{address}}", quoted)
        return Response(page, headers=_page_headers(), media_type="text/html")

    async def measure(request: Request) -> Response:
        try:
            state.admit(dict(request.scope["headers"]))
            size = await _wire_bytes(request, state)
        except MistralwireError as error:
            return response_of(answer_of(error))
        except ClientDisconnect:
            # Nobody reads it.
            return Response()
        return Response(orjson.dumps({"protobuf": size}), media_type=_JSON)

    return [
        Route("/openapi.json", send_document),
        Route("/docs", send_page),
        Route("/docs/size", measure, methods=["POST"]),
    ]


async def _wire_bytes(request: Request, state: GatewayState) -> int:
    """Return the bytes that an answer takes as Protobuf: a response, or the batches of a stream.

    Raises:
        DecodeError: If a response is no JSON object, or exceeds a limit.
        HttpError: If it is too large, or arrives too slowly.
        OverloadError: If the bodies of all requests exceed their limit.
    """
    buffer = bytearray()
    try:
        async with asyncio.timeout(state.config.request_s):
            async for part in request.stream():
                buffer += part
                state.hold(len(part))
                if len(buffer) > _MEASURED_BYTES_MAX:
                    message = f"expected at most {_MEASURED_BYTES_MAX} bytes to measure, found more"
                    raise HttpError(413, message, reason=Reason.BODY_TOO_LARGE)
        return await _size_of(request, bytes(buffer))
    except TimeoutError:
        message = f"expected the whole body within {state.config.request_s:g} seconds"
        raise HttpError(408, message, reason=Reason.CALLER_SILENT) from None
    finally:
        state.bodies_bytes -= len(buffer)


async def _size_of(request: Request, body: bytes) -> int:
    if request.headers.get("content-type", "").startswith("text/event-stream"):
        return await _offload.in_thread_if_heavy(body, _stream_size, body)
    found = find_route(request.query_params.get("path", "").encode())
    message_type = found[0].kind.response if found and found[0].kind else ChatCompletionResponse
    return await _offload.in_thread_if_heavy(body, _response_size, message_type, body)


def _stream_size(events: bytes) -> int:
    decoder = SseBatchDecoder(CompletionChunk, validate=False, limits=_MEASURED_LIMITS)
    batches = [decoder.feed(events), decoder.close()]
    return sum(len(batch.wire) for batch in batches)


def _response_size(message_type: type[Message], body: bytes) -> int:
    return len(json_to_binary(message_type, body, validate=False, limits=_MEASURED_LIMITS))


@functools.cache
def _file(name: str) -> bytes:
    return (importlib.resources.files(__package__) / name).read_bytes()


@functools.cache
def _page_headers() -> dict[str, str]:
    """Return the headers of the page: it runs its own script, asks only its own origin, and is in no frame.

    Source: https://www.w3.org/TR/CSP3/
    """
    hashes = {
        tag.decode(): base64.b64encode(hashlib.sha256(text).digest()).decode()
        for tag, text in _INLINE.findall(_file("docs.html"))
    }
    policy = (
        "default-src 'none'",
        *(f"{tag}-src 'sha256-{found}'" for tag, found in hashes.items()),
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
    )
    return {
        "content-security-policy": "; ".join(policy),
        "x-content-type-options": "nosniff",
        "referrer-policy": "no-referrer",
    }
