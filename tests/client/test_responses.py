"""The calls for stored responses, at a service that answers with what it was asked."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc
import pytest
from google.protobuf.message import Message

from mistralwire.client import Client
from mistralwire.errors import CallError
from mistralwire.v1 import (
    CancelResponseResponse,
    ChatCompletionResponse,
    DeleteResponseResponse,
    FIMCompletionResponse,
    GetResponseResponse,
    ListResponsesRequest,
    ListResponsesResponse,
    ResponseInfo,
    ResponseState,
)
from mistralwire.v1 import response_relay_service_pb2_grpc as relay_grpc
from tests.client.peers import started

INFO = ResponseInfo(response_id="r", state=ResponseState.RESPONSE_STATE_FINISHED, last_sequence=2)


@contextlib.asynccontextmanager
async def relay(answer: Message, failures: int = 0) -> AsyncIterator[tuple[str, list[Any]]]:
    """Answer each unary call with a message, after this many failures; with the requests."""
    requests: list[Any] = []

    async def reply(_: object, request: Any, context: Any) -> Any:
        requests.append(request)
        if len(requests) <= failures:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "restarting")
        return answer

    names = ("GetResponse", "ListResponses", "CancelResponse", "DeleteResponse")
    servicer = type("Servicer", (relay_grpc.ResponseRelayServiceServicer,), dict.fromkeys(names, reply))
    server = grpc.aio.server()
    relay_grpc.add_ResponseRelayServiceServicer_to_server(servicer(), server)
    async with asyncio.timeout(30), started(server) as target:
        yield target, requests


Call = Callable[[Client], Awaitable[Any]]


@pytest.mark.parametrize(
    ("call", "answer"),
    [
        (lambda client: client.get_response("r"), GetResponseResponse(info=INFO)),
        (
            lambda client: client.get_response("r"),
            GetResponseResponse(info=INFO, response=ChatCompletionResponse(id="up")),
        ),
        (
            lambda client: client.get_response("r"),
            GetResponseResponse(info=INFO, fim_response=FIMCompletionResponse(id="up")),
        ),
        (lambda client: client.cancel_response("r"), CancelResponseResponse(info=INFO)),
        (lambda client: client.delete_response("r"), DeleteResponseResponse(info=INFO)),
    ],
    ids=["get", "get chat", "get FIM", "cancel", "delete"],
)
async def test_a_call_names_the_response_and_returns_the_message(call: Call, answer: Message) -> None:
    async with relay(answer, failures=1) as (target, requests), Client(target) as client:
        found = await call(client)

    assert found == answer
    assert [request.response_id for request in requests] == ["r", "r"], "the second attempt"


async def test_a_list_is_asked_for_page_by_page() -> None:
    page = ListResponsesResponse(responses=[INFO], next_page_token="next")
    async with relay(page) as (target, requests), Client(target) as client:
        assert await client.list_responses() == page
        state = ResponseState.RESPONSE_STATE_RUNNING
        await client.list_responses(page_size=7, page_token="t", oldest_first=True, state=state, model="m")

    asked = ListResponsesRequest(page_size=7, page_token="t", oldest_first=True, state=state, model="m")
    assert requests == [ListResponsesRequest(), asked]


async def test_a_service_without_the_relay_is_unimplemented() -> None:
    async with started(grpc.aio.server()) as target, Client(target) as client:
        with pytest.raises(CallError) as caught:
            await client.get_response("r", request_id="mine")

    assert (caught.value.code, caught.value.request_id) == ("UNIMPLEMENTED", "mine")
