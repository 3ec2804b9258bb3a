"""Content of a newer contract on the wire: a request with it is refused, the rest of an answer counts."""

import pytest

from mistralwire._protobuf import write_varint
from mistralwire.codec import check, check_answer, check_request, from_json, losses, newer_content, to_json
from mistralwire.errors import DecodeError, MistralwireError
from mistralwire.v1 import (
    ChatCompletionRequest,
    ChatCompletionResponse,
    ChatMessage,
    CompletionChunk,
    CompletionResponseStreamChoice,
    JsonExtra,
    ReasoningEffort,
    UsageInfo,
)

pytestmark = pytest.mark.usefixtures("no_losses")

UNKNOWN = b"\xd2\x06\x03abc"
"""Field 106, which no message has, with three bytes."""
REQUEST = b'{"model":"m","messages":[{"role":"user","content":[{"type":"text","text":"t"}]}]}'


def nested(*numbers: int, inner: bytes = UNKNOWN) -> bytes:
    """Return wire bytes inside of fields with these numbers, the outermost first."""
    for number in reversed(numbers):
        inner = write_varint(number << 3 | 2) + write_varint(len(inner)) + inner
    return inner


@pytest.mark.parametrize(
    ("data", "path", "place"),
    [
        (UNKNOWN, "", "the field 106 of ChatCompletionRequest"),
        (nested(3), "messages[1]", "the field 106 of ChatMessage"),
        (nested(3, 1, 3, 1), "messages[1].content[0]", "the field 106 of ContentChunk"),
        (nested(3, 1, 3, 1, 1), "messages[1].content[0]", "the field 106 of ImageURLChunk"),
        (b"\xe0\x01\x0a", "reasoning_effort", "the value 10 of ReasoningEffort"),
        (nested(1), "", "the field 106 of JsonExtra"),
    ],
)
def test_a_request_with_anything_unknown_on_the_wire_is_refused(data: bytes, path: str, place: str) -> None:
    request = ChatCompletionRequest.FromString(
        from_json(ChatCompletionRequest, REQUEST).SerializeToString() + data
    )
    with pytest.raises(MistralwireError) as caught:
        check_request(request)
    assert (caught.value.code, caught.value.reason) == ("FAILED_PRECONDITION", "CONTRACT_NEWER")
    assert caught.value.path == path
    assert "found content of a newer one; upgrade the service" in caught.value.message
    assert place in caught.value.message
    # The caller loses nothing: the request does not go on.
    assert losses() == {}
    assert any(place in violation.found for violation in check(request))


def test_what_is_kept_as_json_is_no_content_of_a_newer_contract() -> None:
    document = (
        b'{"model":"m","reasoning_effort":"newer","messages":[{"role":"newer"},{"role":"user","content":['
        b'{"type":"newer"}]}],"newer":[null],"stop":[],"metadata":null}'
    )
    check_request(from_json(ChatCompletionRequest, document))


def test_a_request_that_breaks_the_contract_too_is_refused_for_what_is_newer() -> None:
    with pytest.raises(MistralwireError, match="upgrade the service") as caught:
        check_request(ChatCompletionRequest.FromString(UNKNOWN))
    assert caught.value.reason == "CONTRACT_NEWER"


def test_a_mass_of_unknown_fields_is_refused_at_once() -> None:
    more = b"".join(write_varint(number << 3) + b"\0" for number in range(1_000, 101_000))
    request = ChatCompletionRequest.FromString(
        from_json(ChatCompletionRequest, REQUEST).SerializeToString() + more
    )
    with pytest.raises(MistralwireError, match=r"found \d+ bytes of fields") as caught:
        check_request(request)
    assert caught.value.reason == "CONTRACT_NEWER"


def test_what_a_field_is_for_is_in_the_field_whoever_put_it_elsewhere() -> None:
    """A check of the typed fields, of a quota for one, can't be passed by hiding a member."""
    hidden = ChatCompletionRequest(
        model="m",
        messages=[ChatMessage(unknown_json='{"role":"user","content":"hi"}')],
        json_extra=JsonExtra(members='{"maxTokens":100000,"reasoning_effort":"low","new":1}'),
        reasoning_effort="REASONING_EFFORT_UNLISTED",
    )
    request = check_request(hidden)
    assert request.messages[0].user.content_string == "hi"
    assert request.max_tokens == 100_000
    assert request.reasoning_effort == ReasoningEffort.REASONING_EFFORT_LOW
    assert request.json_extra.members == '{"new":1}'


def test_a_field_of_another_wire_type_is_the_sender_s_mistake() -> None:
    request = ChatCompletionRequest.FromString(
        from_json(ChatCompletionRequest, REQUEST).SerializeToString() + b"\x32\x01x"
    )
    with pytest.raises(DecodeError) as caught:
        check_request(request)
    (violation,) = caught.value.violations
    assert violation.expected == "the field max_tokens of ChatCompletionRequest"
    assert violation.found == "its number with another wire type"
    assert caught.value.code == "INVALID_ARGUMENT"
    assert newer_content(request) == []
    # An answer that was paid for is delivered without it.
    assert to_json(UsageInfo.FromString(b"\x12\x01x\x18\x01")) == b'{"completion_tokens":1}'
    assert losses() == {("UsageInfo", 2): 1}


def test_an_answer_is_checked_apart_from_what_is_newer_in_it() -> None:
    chunk = CompletionChunk(id="c", model="m", choices=[CompletionResponseStreamChoice(index=0)])
    assert check_answer(chunk) == newer_content(chunk) == []
    chunk = CompletionChunk.FromString(chunk.SerializeToString() + UNKNOWN)
    chunk.choices[0].delta.content_array.items.add().MergeFromString(UNKNOWN)
    assert [violation.path for violation in check_answer(chunk)] == ["choices[0].delta.content[0]", ""]
    assert check_answer(chunk) == newer_content(chunk)
    chunk.ClearField("model")
    with pytest.raises(DecodeError) as caught:
        check_answer(chunk)
    assert [violation.path for violation in caught.value.violations] == ["model"]
    assert losses() == {}


def test_an_answer_without_anything_newer_is_checked_as_its_json_is() -> None:
    for message in (CompletionChunk(id="c"), UsageInfo(json_extra=JsonExtra(members="{"))):
        with pytest.raises(DecodeError):
            check_answer(message)
        assert newer_content(message) == []
    # Vertex AI leaves these out.
    assert check_answer(ChatCompletionResponse(id="r", object="o", model="m", usage=UsageInfo())) == []
