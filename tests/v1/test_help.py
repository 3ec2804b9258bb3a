"""What `help()` shows of the contract."""

import inspect
import os
import pydoc
import subprocess
import sys
from typing import Any

import pytest
from google.protobuf.internal.enum_type_wrapper import EnumTypeWrapper

import mistralwire.v1
from mistralwire.v1 import chat_completion_service_pb2_grpc as service_grpc

EXPECTED = {
    "AssistantMessage": (
        "A message of the assistant.",
        "content_string (str): content as a string.",
        "content_array (ContentChunkList): content as an array.",
        "tool_calls (repeated ToolCall): Calls that the model requests.",
        "content (content_string | content_array): What the assistant said: text, or a list of pieces.",
    ),
    "ChatCompletionResponse": (
        "id (str): Identifier of the completion.",
        "choices (repeated ChatCompletionChoice):",
        "usage (UsageInfo):",
        "created (int): Time of creation, in seconds since the Unix epoch.",
    ),
    "FinishReason": (
        "Why the model stopped.",
        "FINISH_REASON_TOOL_CALLS = 5: The model asks for tool calls. In JSON: tool_calls.",
        "FINISH_REASON_UNLISTED = 127: A string that is not listed here",
    ),
    "ErrorReason": ("ERROR_REASON_NOT_JSON = 2: The text is", "INVALID_ARGUMENT, HTTP 422."),
}


def shown(thing: Any) -> str:
    """Return what help() shows, without margins and line breaks."""
    lines = pydoc.plain(pydoc.render_doc(thing)).splitlines()
    return " ".join(" ".join(line.lstrip(" |") for line in lines).split())


@pytest.mark.parametrize(("name", "texts"), EXPECTED.items())
def test_help_shows_comments_and_types(name: str, texts: tuple[str, ...]) -> None:
    text = shown(getattr(mistralwire.v1, name))
    assert [expected for expected in texts if expected not in text] == []


def test_every_message_and_enum_has_the_comments_of_all_that_is_in_it() -> None:
    for name in mistralwire.v1.__all__:
        thing = getattr(mistralwire.v1, name)
        if isinstance(thing, EnumTypeWrapper):
            parts = [f"{value} = {number}:" for value, number in thing.items()]
        elif hasattr(thing, "DESCRIPTOR"):
            parts = [f"{field.name} (" for field in thing.DESCRIPTOR.fields]
        else:
            continue
        text = inspect.cleandoc(thing.__doc__)
        assert [part for part in parts if f"\n    {part}" not in text] == [], name


@pytest.mark.parametrize("name", ["ChatCompletionServiceStub", "ChatCompletionServiceAsyncStub"])
def test_help_shows_the_methods_of_a_stub(name: str) -> None:
    text = shown(getattr(service_grpc, name))
    signature = "ChatCompletionStream(ChatCompletionStreamRequest) -> stream of ChatCompletionStreamResponse"
    assert f"{signature}: Answers a chat completion as a stream" in text
    assert (
        "FIMCompletion(FIMCompletionRequest) -> FIMCompletionResponse: Answers a fill-in-the-middle" in text
    )


def test_help_shows_no_directives_to_linters() -> None:
    for name in ("Stub", "AsyncStub", "Servicer"):
        assert "buf:lint" not in shown(getattr(service_grpc, f"ChatCompletionService{name}"))


PROGRAM = """
import pydoc
from google.protobuf.internal import api_implementation
import mistralwire.v1 as v1
from mistralwire.v1 import completion_pb2
assert api_implementation.Type() == IMPLEMENTATION
assert completion_pb2.UsageInfo is v1.UsageInfo
for name in v1.__all__:
    pydoc.render_doc(getattr(v1, name))
assert "total_tokens (int): Tokens of prompt" in pydoc.plain(pydoc.render_doc(v1.UsageInfo))
assert "FINISH_REASON_STOP = 1: The model" in pydoc.plain(pydoc.render_doc(v1.FinishReason))
"""


@pytest.mark.process
@pytest.mark.parametrize("implementation", ["upb", "python"])
def test_help_works_without_warnings_on_each_implementation_of_protobuf(implementation: str) -> None:
    environment = os.environ | {"PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION": implementation}
    program = PROGRAM.replace("IMPLEMENTATION", repr(implementation))
    command = [sys.executable, "-W", "error", "-c", program]
    run = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)
    assert (run.returncode, run.stdout, run.stderr) == (0, "", "")
