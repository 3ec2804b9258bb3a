"""A message that a program made is checked like the JSON of it, with all violations at once."""

import math

import pytest

from mistralwire.codec import DEFAULT_LIMITS, Limits, check_request
from mistralwire.errors import DecodeError
from mistralwire.v1 import (
    AssistantMessage,
    ChatCompletionRequest,
    ChatMessage,
    FunctionCall,
    ToolCall,
    UserMessage,
)

HELLO = ChatMessage(user=UserMessage(content_string="hello"))


def violations_of(message: ChatCompletionRequest, limits: Limits = DEFAULT_LIMITS) -> DecodeError:
    with pytest.raises(DecodeError) as caught:
        check_request(message, limits=limits)
    return caught.value


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
