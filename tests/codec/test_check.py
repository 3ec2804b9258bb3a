"""A message that a program made is checked like the JSON of it, with all violations at once."""

import math
from typing import Any

import pytest
from google.protobuf.message import Message

from mistralwire.codec import (
    DEFAULT_LIMITS,
    VIOLATIONS_MAX,
    Limits,
    check,
    check_answer,
    check_request,
    from_dict,
    from_json,
    request_to_json,
)
from mistralwire.codec._python import _encoding
from mistralwire.errors import DecodeError, EncodeError, MistralwireError
from mistralwire.v1 import (
    AssistantMessage,
    ChatCompletionChoice,
    ChatCompletionRequest,
    ChatCompletionResponse,
    ChatCompletionResponseTokenLogprobs,
    ChatMessage,
    CompletionChunk,
    CompletionResponseStreamChoice,
    ContentChunk,
    ContentChunkList,
    FIMCompletionResponse,
    FinishReason,
    FunctionCall,
    IntegerOrString,
    JsonExtra,
    ReferenceChunk,
    ServiceTier,
    TextChunk,
    ThinkChunk,
    ThinkContentChunk,
    ToolCall,
    UsageInfo,
    UserMessage,
)

HELLO = ChatMessage(user=UserMessage(content_string="hello"))


def violations_of(message: ChatCompletionRequest, limits: Limits = DEFAULT_LIMITS) -> DecodeError:
    with pytest.raises(DecodeError) as caught:
        check_request(message, limits=limits)
    return caught.value


def test_an_infinity_is_refused_in_a_request_and_accepted_in_an_answer() -> None:
    usage = UsageInfo(prompt_tokens=1, completion_tokens=1, total_tokens=2)
    logprobs = ChatCompletionResponseTokenLogprobs(token="a", logprob=-math.inf, bytes=[97], token_id=1)
    assert check_answer(logprobs) == []
    assert check_answer(usage) == []
    assert [violation.path for violation in check(logprobs)] == ["logprob"]
    request = ChatCompletionRequest(model="m", messages=[HELLO], temperature=math.inf)
    for refused in (check_request, lambda it: request_to_json(type(it), it.SerializeToString())):
        with pytest.raises((DecodeError, EncodeError), match=r"temperature: .*inf"):
            refused(request)


def test_a_message_that_keeps_the_contract_passes() -> None:
    check_request(ChatCompletionRequest(model="m", messages=[HELLO]))


def test_what_has_no_json_form_does_not_hide_what_else_is_wrong() -> None:
    call = ToolCall(function=FunctionCall(name="f", arguments_object="{oops"))
    error = violations_of(
        ChatCompletionRequest(
            messages=[HELLO, ChatMessage(), ChatMessage(assistant=AssistantMessage(tool_calls=[call]))],
            temperature=math.nan,
            top_p=-math.inf,
            metadata="[1]",
            json_extra={"members": "no object"},
        )
    )

    assert error.reason == "NO_JSON_FORM"
    assert not error.truncated
    assert sorted(violation.path for violation in error.violations) == [
        "json_extra",
        "messages[1]",
        "messages[2].tool_calls[0].function.arguments",
        "metadata",
        "model",
        "temperature",
        "top_p",
    ]
    texts = {violation.path: str(violation) for violation in error.violations}
    assert texts["metadata"] == (
        "metadata: expected the text of an object in the field, found an array of 1 element"
    )
    assert texts["model"] == "model: expected a string, found nothing: the member is required"


@pytest.mark.parametrize(("count", "truncated"), [(3, False), (4, True), (50, True)])
def test_no_more_violations_are_listed_than_asked_for(count: int, truncated: bool) -> None:
    request = ChatCompletionRequest(model="m", messages=[ChatMessage()] * count)

    error = violations_of(request, Limits(violations_max=3))

    assert [violation.path for violation in error.violations] == [f"messages[{n}]" for n in range(3)]
    assert error.truncated is truncated


REQUEST = ChatCompletionRequest(model="m", messages=[HELLO])
NEWER_FIELD = b"\x98\x06\x01"  # number 99, the varint 1
UNSPECIFIED = "expected a value of FinishReason, found the one that is none; leave it unset"
NO_STRING = "expected the string in json_extra.members beside UNLISTED, found"
SET_ONE = "found none; set one of"


def stream_choice(reason: FinishReason, members: str = "{}") -> CompletionResponseStreamChoice:
    return CompletionResponseStreamChoice(
        json_extra=JsonExtra(members=members), index=0, finish_reason=reason
    )


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (stream_choice(FinishReason.FINISH_REASON_STOP), []),
        (stream_choice(FinishReason.FINISH_REASON_UNLISTED, '{"finish_reason":"content_filter"}'), []),
        (
            stream_choice(FinishReason.FINISH_REASON_UNLISTED),
            [f"finish_reason: {NO_STRING} nothing"],
        ),
        (
            stream_choice(FinishReason.FINISH_REASON_UNLISTED, '{"finish_reason":null}'),
            [f"finish_reason: {NO_STRING} nothing"],
        ),
        (
            stream_choice(FinishReason.FINISH_REASON_UNLISTED, '{"finish_reason":5}'),
            [f"finish_reason: {NO_STRING} the number 5"],
        ),
        (stream_choice(FinishReason.FINISH_REASON_UNSPECIFIED), [f"finish_reason: {UNSPECIFIED}"]),
        (
            ChatCompletionChoice(index=0, finish_reason=FinishReason.FINISH_REASON_UNSPECIFIED),
            [f"finish_reason: {UNSPECIFIED}"],
        ),
        (
            ChatCompletionRequest(model="m", messages=[HELLO, ChatMessage()]),
            [f"messages[1]: expected an alternative of ChatMessage, {SET_ONE} user, system, assistant, tool"],
        ),
        (
            ReferenceChunk(reference_ids=[IntegerOrString()]),
            [f"reference_ids[0]: expected an alternative of IntegerOrString, {SET_ONE} integer, string"],
        ),
        (
            ChatCompletionRequest(
                model="m", messages=[ChatMessage(user=UserMessage(role="system", content_string="a"))]
            ),
            ['messages[0].role: expected the string "user", found the string "system"'],
        ),
        (
            AssistantMessage(
                content_array=ContentChunkList(items=[ContentChunk(text=TextChunk(text="a", type="x" * 40))])
            ),
            ['content[0].type: expected the string "text", found a string of 40 characters'],
        ),
    ],
)
def test_what_keeps_a_message_from_being_a_document_is_named(message: Message, expected: list[str]) -> None:
    assert [str(violation) for violation in check(message)] == expected


def test_what_the_sdks_require_of_a_response_is_named_although_vertex_may_leave_it_out() -> None:
    response = ChatCompletionResponse(id="c", object="chat.completion", model="m", usage=UsageInfo())
    assert [str(violation) for violation in check(response)] == [
        "created: expected an integer, found nothing: the member is required",
        "choices: expected an array, found nothing: the member is required",
    ]
    text = '{"id":"c","object":"chat.completion","model":"m","usage":{}}'
    assert from_json(ChatCompletionResponse, text) == response
    explicit = from_json(ChatCompletionResponse, text[:-1] + ',"created":0,"choices":[]}')
    assert check(explicit) == []


def test_nothing_is_missing_where_the_writer_fills_it_in() -> None:
    assert check(CompletionChunk(id="c", model="m", choices=[CompletionResponseStreamChoice(index=0)])) == []
    paths = [
        violation.path for violation in check(CompletionChunk(choices=[CompletionResponseStreamChoice()]))
    ]
    assert paths == ["choices[0].index", "id", "model"]


def test_everything_is_missing_from_an_empty_response() -> None:
    assert [violation.path for violation in check(FIMCompletionResponse())] == [
        *("id", "object", "model", "usage", "created", "choices"),
    ]


@pytest.mark.parametrize("text", ['{"a":' * 201 + "1" + "}" * 201, '{"a":' * 100_000, " ", "null", "{}}"])
def test_bad_text_is_named_and_never_raised(text: str) -> None:
    message = ChatMessage(user=UserMessage(json_extra=JsonExtra(members=text), content_string="a"))
    (violation,) = check(ChatCompletionRequest(model="m", messages=[message]))
    assert violation.path == "messages[0].json_extra"


def test_what_is_no_document_can_not_be_checked() -> None:
    with pytest.raises(TypeError, match="JSON object"):
        check(ChatMessage())


def test_the_reason_says_whether_there_is_a_json_form() -> None:
    request = ChatCompletionRequest(
        model="m", messages=[HELLO], service_tier=ServiceTier.SERVICE_TIER_UNLISTED
    )
    assert violations_of(request).reason == "CONTRACT_VIOLATION"
    request.top_p = math.nan
    error = violations_of(request)
    assert error.reason == "NO_JSON_FORM"
    assert {violation.path for violation in error.violations} == {"service_tier", "top_p"}


@pytest.mark.parametrize("message", [REQUEST, ChatCompletionRequest(messages=[ChatMessage()])])
def test_a_request_with_newer_content_is_not_blamed_on_the_caller(message: ChatCompletionRequest) -> None:
    request = ChatCompletionRequest.FromString(message.SerializeToString() + NEWER_FIELD)
    with pytest.raises(MistralwireError, match="upgrade the service") as caught:
        check_request(request)
    assert (caught.value.code, caught.value.reason) == ("FAILED_PRECONDITION", "CONTRACT_NEWER")


def test_paths_count_the_elements_of_the_message_where_a_newer_one_is_left_out() -> None:
    newer = ThinkContentChunk.FromString(NEWER_FIELD)
    chunk = ThinkChunk(thinking=[newer, ThinkContentChunk(text=TextChunk())])
    assert [violation.path for violation in check(chunk)] == ["thinking[0]", "thinking[1].text"]


@pytest.mark.parametrize("member", ["created", "choices"])
def test_null_is_no_value_of_an_expected_member(member: str) -> None:
    document = {
        "id": "r",
        "object": "chat.completion",
        "model": "m",
        "created": 1,
        "usage": {},
        "choices": [],
    }
    assert check(from_dict(ChatCompletionResponse, document)) == []
    (violation,) = check(from_dict(ChatCompletionResponse, document | {member: None}))
    assert (violation.path, violation.found) == (member, "null")


def test_no_more_mistakes_are_looked_for_than_are_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[EncodeError] = []

    def make(*args: Any, **kwargs: Any) -> EncodeError:
        made.append(EncodeError(*args, **kwargs))
        return made[-1]

    monkeypatch.setattr(_encoding, "EncodeError", make)
    request = ChatCompletionRequest(model="m", messages=[ChatMessage()] * 10_000)
    assert len(check(request)) == VIOLATIONS_MAX
    assert len(violations_of(request).violations) == VIOLATIONS_MAX
    assert 0 < len(made) <= 2 * (VIOLATIONS_MAX + 1)
