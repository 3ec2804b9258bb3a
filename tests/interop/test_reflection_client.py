"""A caller that knows nothing of the contract: it learns it by reflection, as grpcurl does."""

import asyncio
import pathlib
from collections.abc import Callable
from typing import Any

import grpc
import pytest
from google.protobuf import json_format
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from google.rpc import error_details_pb2
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from tests.interop.processes import serving
from tests.service.upstreams import status_of

pytestmark = pytest.mark.process

REPLAY = pathlib.Path(__file__).parents[1] / "data" / "replay"
SERVICE = "mistralwire.v1.ChatCompletionService"
REQUEST = {"model": "m", "messages": [{"user": {"content_string": "hello"}}]}


class Explorer:
    """Calls what a server has, with nothing but its address.

    The pool is its own, so that what it knows of the contract is what the server said.
    """

    def __init__(self, channel: grpc.Channel) -> None:
        self._channel = channel
        self.database = ProtoReflectionDescriptorDatabase(channel)
        self._pool = DescriptorPool(self.database)

    def method(self, name: str) -> MethodDescriptor:
        return self._pool.FindServiceByName(SERVICE).methods_by_name[name]

    def call(self, name: str, request: dict[str, Any]) -> list[Any]:
        """Make a call, and return its answers in JSON, as google.protobuf has it."""
        method = self.method(name)
        message = json_format.ParseDict(
            request, GetMessageClass(method.input_type)(), descriptor_pool=self._pool
        )
        make: Callable[..., Any] = (
            self._channel.unary_stream if method.server_streaming else self._channel.unary_unary
        )
        answer = make(
            f"/{SERVICE}/{name}",
            request_serializer=type(message).SerializeToString,
            response_deserializer=GetMessageClass(method.output_type).FromString,
        )(message, timeout=30)
        answers = list(answer) if method.server_streaming else [answer]
        return [
            json_format.MessageToDict(item, preserving_proto_field_name=True, descriptor_pool=self._pool)
            for item in answers
        ]


async def explore(explorer: Callable[[Explorer], Any], *recordings: str) -> Any:
    """Let a function explore a server that plays recordings; it runs in a thread, since grpc blocks there."""

    def run(address: str) -> Any:
        with grpc.insecure_channel(address) as channel:
            return explorer(Explorer(channel))

    async with serving(*(REPLAY / name for name in recordings)) as (_, address):
        return await asyncio.to_thread(run, address)


async def test_it_finds_the_services_and_their_methods() -> None:
    def list_all(explorer: Explorer) -> tuple[list[str], list[str]]:
        methods = explorer.method("ChatCompletion").containing_service.methods
        return list(explorer.database.get_services()), [method.name for method in methods]

    services, methods = await explore(list_all)

    assert {SERVICE, "grpc.health.v1.Health", "grpc.reflection.v1alpha.ServerReflection"} <= set(services)
    assert methods == [
        *("ChatCompletion", "ChatCompletionStream"),
        *("FIMCompletion", "FIMCompletionStream"),
        *("AgentsCompletion", "AgentsCompletionStream"),
    ]


async def test_it_builds_a_request_from_what_it_learnt_and_reads_the_answer() -> None:
    [response] = await explore(lambda explorer: explorer.call("ChatCompletion", REQUEST), "chat.json")

    assert response["id"] == "chat-1"
    assert response["choices"][0]["message"]["content_string"] == "Grüße aus dem Archiv."
    assert response["choices"][0]["finish_reason"] == "FINISH_REASON_STOP"
    assert response["json_extra"]["members"] == '{"undocumented":{"big":123456789012345678901234567890}}'


async def test_it_reads_a_stream() -> None:
    messages = await explore(lambda explorer: explorer.call("ChatCompletionStream", REQUEST), "chat.sse")

    chunks = [item for message in messages for item in message["chunks"]]
    text = "".join(
        item["choices"][0]["delta"].get("content_string", "") for item in chunks if item["choices"]
    )
    assert len(chunks) == 12
    assert text.startswith("The quick brown")


async def test_it_learns_where_its_request_breaks_the_contract() -> None:
    def break_it(explorer: Explorer) -> Any:
        with pytest.raises(grpc.RpcError) as caught:
            explorer.call("ChatCompletion", {"messages": [{"tool": {}}]})
        return status_of(caught.value)

    status = await explore(break_it)

    assert status.code == grpc.StatusCode.INVALID_ARGUMENT.value[0]
    details = {detail.TypeName(): detail.value for detail in status.details}
    bad_request = error_details_pb2.BadRequest.FromString(details["google.rpc.BadRequest"])
    info = error_details_pb2.ErrorInfo.FromString(details["google.rpc.ErrorInfo"])
    assert {item.field for item in bad_request.field_violations} == {"model", "messages[0].content"}
    assert info.reason == "CONTRACT_VIOLATION"


async def test_the_options_and_the_types_that_it_learns_are_whole() -> None:
    def describe(explorer: Explorer) -> list[str]:
        request = explorer.method("ChatCompletion").input_type
        return [field.name for field in request.fields if field.GetOptions().ByteSize()]

    with_options = await explore(describe)

    assert {"model", "messages", "temperature"} <= set(with_options)
