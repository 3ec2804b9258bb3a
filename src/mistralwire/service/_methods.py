"""The methods of mistralwire.v1.ChatCompletionService."""

from typing import NamedTuple

from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from mistralwire.v1 import chat_completion_service_pb2

_SERVICE = chat_completion_service_pb2.DESCRIPTOR.services_by_name["ChatCompletionService"]

SERVICE_NAME: str = _SERVICE.full_name
"""Full name of the service, for health checks and reflection."""


class Method(NamedTuple):
    """One method.

    Attributes:
        name: Its name, such as `ChatCompletionStream`.
        request_type: The type of its requests.
        response_type: The type of its answer, or of the messages of its stream.
        is_stream: Whether it is answered by a stream.
    """

    name: str
    request_type: type[Message]
    response_type: type[Message]
    is_stream: bool


METHODS = {
    method.name: Method(
        method.name,
        GetMessageClass(method.input_type),
        GetMessageClass(method.output_type),
        method.server_streaming,
    )
    for method in _SERVICE.methods
}
"""The methods, by name."""
