"""The methods of the services of mistralwire.v1."""

from collections.abc import Container
from typing import NamedTuple

from google.protobuf.descriptor import ServiceDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from mistralwire.v1 import chat_completion_service_pb2, response_relay_service_pb2

_SERVICE = chat_completion_service_pb2.DESCRIPTOR.services_by_name["ChatCompletionService"]
_RELAY = response_relay_service_pb2.DESCRIPTOR.services_by_name["ResponseRelayService"]

SERVICE_NAME: str = _SERVICE.full_name
"""Full name of ChatCompletionService."""

RELAY_SERVICE_NAME: str = _RELAY.full_name
"""Full name of ResponseRelayService."""

REQUEST_VALUES_MAX = 100_000
"""Messages and list elements in one request, and JSON values in its JSON form."""


class Method(NamedTuple):
    """One method. For a stream, the response type is that of each of its messages."""

    name: str
    path: str
    request_type: type[Message]
    response_type: type[Message]
    is_stream: bool


def _methods_of(service: ServiceDescriptor) -> dict[str, Method]:
    return {
        method.name: Method(
            method.name,
            f"/{service.full_name}/{method.name}",
            GetMessageClass(method.input_type),
            GetMessageClass(method.output_type),
            method.server_streaming,
        )
        for method in service.methods
    }


METHODS = _methods_of(_SERVICE)
"""The methods of ChatCompletionService by name."""

RELAY_METHODS = _methods_of(_RELAY)
"""The methods of ResponseRelayService by name."""

METHODS_BY_REQUEST = {method.request_type: method for method in METHODS.values()}
"""The methods of ChatCompletionService by the type of their requests: each has its own."""


def method_for(members: Container[str], *, is_stream: bool) -> Method:
    """Return the method for a request in the API's JSON form, where only the members tell its type.

    Args:
        members: The names of its members.
        is_stream: Whether the answer is streamed.

    Returns:
        FIM for a `prompt` without `messages`, agents for an `agent_id` without `model`, otherwise chat.
    """
    if "prompt" in members and "messages" not in members:
        name = "FIMCompletion"
    elif "agent_id" in members and "model" not in members:
        name = "AgentsCompletion"
    else:
        name = "ChatCompletion"
    return METHODS[f"{name}Stream" if is_stream else name]
