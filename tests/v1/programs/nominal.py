"""A program that hands messages to what takes any message of protobuf."""

from google.protobuf import json_format
from google.protobuf.message import Message

from mistralwire.v1 import ChatCompletionResponse, UsageInfo


def size(message: Message) -> int:
    return message.ByteSize()


response = ChatCompletionResponse(id="1", usage=UsageInfo(total_tokens=3))
assert size(response) == len(response.SerializeToString())
assert json_format.MessageToDict(response) == {"id": "1", "usage": {"totalTokens": 3}}
message: Message = response.usage
kind: type[Message] = ChatCompletionResponse
assert isinstance(message, Message)
