"""Content of a newer contract on the wire: what it costs in an answer, and that a request with it is refused."""

import pytest
from google.protobuf.message import Message

from mistralwire.codec import check, check_request, from_json, losses, to_json
from mistralwire.codec._varint import write_varint
from mistralwire.errors import MistralwireError
from mistralwire.v1 import (
    ChatCompletionChoice,
    ChatCompletionRequest,
    JsonExtra,
    ResourceChunk,
    UsageInfo,
    UserMessage,
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
    ("kind", "data", "place", "text"),
    [
        (UsageInfo, b"\x10\x01" + UNKNOWN, ("UsageInfo", 106), b'{"prompt_tokens":1}'),
        (UsageInfo, nested(8), ("PromptTokensDetails", 106), b'{"prompt_tokens_details":{}}'),
        (UsageInfo, nested(1), ("JsonExtra", 106), b"{}"),
        (UsageInfo, JsonExtra(null_fields=[106]), ("UsageInfo", 106), b"{}"),
        (
            UsageInfo,
            JsonExtra(empty_fields=[106], null_fields=[2]),
            ("UsageInfo", 106),
            b'{"prompt_tokens":null}',
        ),
        (UserMessage, nested(3, 1), ("ContentChunk", 106), b'{"content":[]}'),
        (UserMessage, nested(3), ("ContentChunkList", 106), b'{"content":[]}'),
        (ResourceChunk, nested(3), ("ResourceContent", 106), b"{}"),
        (ChatCompletionChoice, b"\x18\x06", ("ChatCompletionChoice", 3), b'{"finish_reason":"unrecognized"}'),
    ],
)
def test_it_costs_itself_and_is_counted_and_logged_once(
    kind: type[Message],
    data: bytes | JsonExtra,
    place: tuple[str, int],
    text: bytes,
    caplog: pytest.LogCaptureFixture,
) -> None:
    if isinstance(data, JsonExtra):
        data = nested(1, inner=data.SerializeToString())
    message = kind.FromString(data)
    for count in (1, 2, 3):
        assert to_json(message) == text
        assert losses() == {place: count}
    name, number = place
    assert [record.getMessage() for record in caplog.records] == [
        f"content of a newer contract was lost: field {number} of {name}; upgrade this process"
    ]


def test_the_numbers_of_all_alternatives_are_known() -> None:
    message = UserMessage(json_extra=JsonExtra(null_fields=[3]))
    assert to_json(message) == b"{}"
    assert losses() == {}


@pytest.mark.parametrize(
    ("data", "path", "place"),
    [
        (UNKNOWN, "", "the field 106 of ChatCompletionRequest"),
        (nested(3), "messages[1]", "the field 106 of ChatMessage"),
        (nested(3, 1, 3, 1), "messages[1].content[0]", "the field 106 of ContentChunk"),
        (nested(3, 1, 3, 1, 1), "messages[1].content[0]", "the field 106 of ImageURLChunk"),
        (b"\xe0\x01\x0a", "reasoning_effort", "the value 10 of ReasoningEffort"),
        (nested(1, inner=b"\x12\x01\x6a"), "", "a note about the field 106 of ChatCompletionRequest"),
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
