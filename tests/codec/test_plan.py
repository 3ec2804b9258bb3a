"""Plans say what the descriptors say, also of contracts that nobody has written yet."""

import pathlib
import subprocess
import sys
from typing import Any

import pytest
from google.protobuf import descriptor_pb2
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

import mistralwire.v1
from mistralwire.codec import from_json, to_json
from mistralwire.codec._plan import Form, Kind, plan_for
from mistralwire.errors import DecodeError
from mistralwire.v1 import (
    AssistantMessage,
    ChatCompletionRequest,
    ChatCompletionStreamResponse,
    ChatMessage,
    IntegerOrString,
    JsonExtra,
    StringList,
    UsageInfo,
)
from mistralwire.v1 import json_options_pb2 as options
from tests.codec import engines
from tests.strategies import MESSAGE_TYPES

FieldProto = descriptor_pb2.FieldDescriptorProto


def test_the_plan_of_a_message_is_made_once() -> None:
    assert plan_for(UsageInfo) is plan_for(UsageInfo)
    nested = plan_for(ChatCompletionRequest).by_name["messages"].fields[0].message
    assert nested is not None
    assert nested.tags["assistant"].message is plan_for(AssistantMessage)


def test_a_plan_says_what_the_options_say() -> None:
    plan = plan_for(ChatCompletionRequest)
    model, stop = plan.by_name["model"], plan.by_name["stop"]
    assert (plan.form, plan.name) == (Form.OBJECT, "ChatCompletionRequest")
    assert (model.required, model.nullable, model.oneof, model.fields[0].kind) == (
        True,
        False,
        None,
        Kind.STRING,
    )
    assert (stop.required, stop.nullable, stop.oneof, stop.number) == (False, True, "stop", 8)
    assert [field.name for field in stop.fields] == ["stop_string", "stop_array"]
    assert plan.by_name["toolChoice"] is plan.by_name["tool_choice"]
    assert plan.by_name["metadata"].fields[0].kind is Kind.TEXT_OBJECT
    assert [member.number for member in plan.members] == sorted(member.number for member in plan.members)


def test_a_union_knows_its_tags() -> None:
    content = plan_for(AssistantMessage).by_name["content"].fields[1].message
    assert content is not None
    assert content.form is Form.ARRAY
    assert content.item is not None
    chunk = content.item.message
    assert chunk is not None
    assert (chunk.form, chunk.discriminator, chunk.untagged) == (Form.UNION, "type", None)
    assert chunk.tags["thinking"].name == "thinking"
    assert chunk.unknown is not None
    assert chunk.unknown.name == "unknown_json"


def test_an_open_constant_does_not_bind() -> None:
    tool = plan_for(mistralwire.v1.Tool)
    assert tool.by_name["type"].fields[0].constant is None
    assert plan_for(AssistantMessage).by_name["role"].fields[0].constant == "assistant"


@pytest.mark.parametrize(
    "message_type", [JsonExtra, StringList, ChatMessage, IntegerOrString, ChatCompletionStreamResponse]
)
def test_messages_that_are_no_json_object_have_no_plan_of_their_own(message_type: type[Message]) -> None:
    with pytest.raises(TypeError, match="is not a message of the contract that is a JSON object"):
        plan_for(message_type)


def test_every_member_has_both_spellings() -> None:
    for message_type in MESSAGE_TYPES:
        plan = plan_for(message_type)
        for member in plan.members:
            assert plan.by_name[member.name] is plan.by_name[member.camel] is member
            assert (member.camel == member.name) is (member.camel is member.name)


_FIRST_USE = """
import sys, threading
from mistralwire.codec import from_json, to_json
from mistralwire.v1 import ChatCompletionRequest

sys.setswitchinterval(1e-6)
text = b'{"model":"m","messages":[{"content":[{"text":"hi","type":"text"}],"role":"user"}],"new":1}'
barrier, messages = threading.Barrier(8), []

def run():
    barrier.wait()
    for _ in range(40):
        message = from_json(ChatCompletionRequest, text)
        messages.append((message, to_json(message), to_json(message, names="camel")))

threads = [threading.Thread(target=run) for _ in range(8)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
assert len(messages) == 320, len(messages)
for message, snake, camel in messages:
    assert message.model == "m" and message.messages[0].user.content_array.items[0].text.text == "hi", message
    assert snake == camel == text, snake
"""


@pytest.mark.process
@pytest.mark.parametrize("attempt", range(3))
def test_the_first_use_may_be_in_many_threads_at_once(attempt: int) -> None:
    run = subprocess.run([sys.executable, "-c", _FIRST_USE], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr


def _tomorrow() -> dict[str, descriptor_pb2.FileDescriptorProto]:
    """Return the files of the contract, to be changed as a next version would change them."""
    path = pathlib.Path(mistralwire.v1.__path__[0]) / "descriptor_set.binpb"
    files = descriptor_pb2.FileDescriptorSet.FromString(path.read_bytes()).file
    return {file.name.rpartition("/")[2]: file for file in files}


def _classes(files: dict[str, descriptor_pb2.FileDescriptorProto]) -> Any:
    pool = DescriptorPool()
    for file in files.values():
        pool.Add(file) if hasattr(pool, "Add") else pool.AddSerializedFile(file.SerializeToString())
    return lambda name: GetMessageClass(pool.FindMessageTypeByName(f"mistralwire.v1.{name}"))


def _message(file: descriptor_pb2.FileDescriptorProto, name: str) -> descriptor_pb2.DescriptorProto:
    return next(message for message in file.message_type if message.name == name)


def _add_optional(
    message: descriptor_pb2.DescriptorProto, field: descriptor_pb2.FieldDescriptorProto
) -> None:
    field.label = FieldProto.LABEL_OPTIONAL
    field.proto3_optional = True
    field.oneof_index = len(message.oneof_decl)
    message.oneof_decl.add(name=f"_{field.name}")
    message.field.append(field)


def test_a_field_that_is_added_to_the_contract_is_read_and_written() -> None:
    """What kept a member before the field was there is understood, and the codec did not change."""
    files = _tomorrow()
    usage = _message(files["completion.proto"], "UsageInfo")
    field = FieldProto(name="video_seconds", number=90, type=FieldProto.TYPE_DOUBLE)
    json_field: Any = options.json_field
    field.options.Extensions[json_field].required = True
    _add_optional(usage, field)
    tomorrow = _classes(files)("UsageInfo")

    text = b'{"prompt_tokens":1,"video_seconds":1.5,"p":"x"}'
    message = engines.read(tomorrow, text)
    assert message.video_seconds == 1.5
    assert engines.write(message) == text
    with pytest.raises(DecodeError, match="video_seconds: expected a number"):
        from_json(tomorrow, "{}")

    today = from_json(UsageInfo, text)
    assert today.json_extra.members == '{"video_seconds":1.5,"p":"x"}'
    assert engines.write(tomorrow.FromString(today.SerializeToString())) == text


def test_an_enum_value_that_is_added_never_goes_out_as_its_number_where_it_is_not_known() -> None:
    files = _tomorrow()
    enum = next(enum for enum in files["completion.proto"].enum_type if enum.name == "FinishReason")
    value = enum.value.add(name="FINISH_REASON_PAUSE", number=6)
    json_value: Any = options.json_value
    value.options.Extensions[json_value].string = "pause"
    tomorrow = _classes(files)("ChatCompletionChoice")

    text = b'{"index":0,"finish_reason":"pause"}'
    message = engines.read(tomorrow, text)
    assert message.finish_reason == 6
    assert engines.write(message) == text
    today = mistralwire.v1.ChatCompletionChoice.FromString(message.SerializeToString())
    assert engines.write(today) == b'{"index":0,"finish_reason":"unrecognized"}'
    kept = from_json(mistralwire.v1.ChatCompletionChoice, text)
    assert to_json(tomorrow.FromString(kept.SerializeToString())) == text


def test_a_type_may_hold_itself() -> None:
    files = _tomorrow()
    resource = _message(files["content.proto"], "ResourceChunk")
    _add_optional(
        resource,
        FieldProto(
            name="next", number=90, type=FieldProto.TYPE_MESSAGE, type_name=".mistralwire.v1.ResourceChunk"
        ),
    )
    union = _message(files["content.proto"], "ResourceContent")
    union.field.add(
        name="resource",
        number=90,
        type=FieldProto.TYPE_MESSAGE,
        type_name=".mistralwire.v1.ResourceChunk",
        label=FieldProto.LABEL_OPTIONAL,
        oneof_index=0,
    )
    chunk_type = _classes(files)("ResourceChunk")
    text = b'{"uri":"c","content":{"text":"t","type":"text"},"type":"resource"}'
    for _ in range(5):
        text = b'{"uri":"b","content":' + text + b',"type":"resource","next":' + text + b"}"
    message = engines.read(chunk_type, text)
    assert message.next.content.HasField("resource")
    assert engines.write(message) == text


@pytest.mark.parametrize("name", ["a", "some_name", "moderation_llm_v1", "top_k", "n"])
def test_camel_case_names_of_tomorrow(name: str) -> None:
    files = _tomorrow()
    _add_optional(
        _message(files["error.proto"], "ErrorResponse"),
        FieldProto(name=name, number=90, type=FieldProto.TYPE_INT64),
    )
    error_type = _classes(files)("ErrorResponse")
    camel = error_type.DESCRIPTOR.fields_by_name[name].camelcase_name
    assert engines.read(error_type, f'{{"{camel}":5}}') == error_type(**{name: 5})
    assert engines.write(error_type(**{name: 5}), camel=True) == f'{{"{camel}":5}}'.encode()


def test_a_message_without_a_form_is_refused() -> None:
    files = _tomorrow()
    helper = files["completion.proto"].message_type.add(name="Formless")
    _add_optional(helper, FieldProto(name="x", number=2, type=FieldProto.TYPE_INT64))
    _add_optional(
        _message(files["completion.proto"], "UsageInfo"),
        FieldProto(
            name="formless", number=90, type=FieldProto.TYPE_MESSAGE, type_name=".mistralwire.v1.Formless"
        ),
    )
    usage_type = _classes(files)("UsageInfo")
    for _ in range(2):
        with pytest.raises(
            TypeError, match=r"mistralwire\.v1\.Formless has neither a JSON form nor a field json_extra"
        ):
            plan_for(usage_type)
