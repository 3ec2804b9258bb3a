"""The contract says what the documentation says, type for type, member for member, flag for flag."""

import copy
from collections.abc import Callable
from typing import Any

import pytest

from tests.contract.drift import Difference, contract_types, documented_types, find_drift, load_facts

# Where the contract means to differ, and why.
DEVIATIONS = {
    Difference("ChatCompletionResponse.created", "required", "true", "false"): "optional at Vertex AI",
    Difference("ChatCompletionResponse.choices", "required", "true", "false"): "optional at Vertex AI",
    Difference(
        "CompletionResponseStreamChoice.finish_reason",
        "types",
        "enum(error|length|stop|tool_calls)",
        "enum(error|length|model_length|stop|tool_calls)",
    ): "shares its enum with whole responses",
    Difference("ErrorResponse", "the type", "none of this name", "a message"): "seen in practice only",
}


def _drift(facts: dict[str, Any]) -> list[Difference]:
    return find_drift(documented_types(facts), contract_types())


def test_the_contract_is_what_the_documentation_says() -> None:
    drift = [difference for difference in _drift(load_facts()) if difference not in DEVIATIONS]
    assert not drift, "\n".join(["the contract drifted:", *map(str, drift)])


def test_every_deviation_is_still_one() -> None:
    assert set(DEVIATIONS) <= set(_drift(load_facts()))


def _add_type(facts: dict[str, Any]) -> None:
    facts["VideoChunk"] = {"url": {"types": ["string"], "required": True, "nullable": False}}


def _drop_type(facts: dict[str, Any]) -> None:
    del facts["FileChunk"]


def _add_member(facts: dict[str, Any]) -> None:
    facts["UsageInfo"]["video_seconds"] = {"types": ["integer"], "required": False, "nullable": True}


def _drop_member(facts: dict[str, Any]) -> None:
    del facts["ToolCall"]["index"]


def _change_type(facts: dict[str, Any]) -> None:
    facts["UsageInfo"]["total_tokens"]["types"] = ["number"]


def _add_json_type(facts: dict[str, Any]) -> None:
    facts["SystemMessage"]["content"]["types"].append("object")


def _add_alternative(facts: dict[str, Any]) -> None:
    facts["ThinkChunk"]["thinking"]["types"] = [
        "array<TextChunk|ReferenceChunk|ToolReferenceChunk|FileChunk>"
    ]


def _change_tag(facts: dict[str, Any]) -> None:
    facts["ImageURLChunk"]["type"]["types"] = ["const(image)"]


def _close_constant(facts: dict[str, Any]) -> None:
    facts["Tool"]["type"]["types"] = ["const(function)"]


def _flip_required(facts: dict[str, Any]) -> None:
    facts["ToolCall"]["id"]["required"] = True


def _flip_nullable_of_a_union(facts: dict[str, Any]) -> None:
    facts["UserMessage"]["content"]["nullable"] = False


def _add_enum_value(facts: dict[str, Any]) -> None:
    facts["ResponseFormat"]["type"]["types"] = ["open_enum(text|json_object|json_schema|xml)"]


def _drop_enum_value(facts: dict[str, Any]) -> None:
    facts["ImageURL"]["detail"]["types"] = ["open_enum(low|high)"]


@pytest.mark.parametrize(
    ("mutate", "named"),
    [
        (_add_type, "VideoChunk: the type: documented is there, the contract has no message of this name"),
        (_drop_type, "FileChunk: the type: documented is none of this name, the contract has a message"),
        (
            _add_member,
            "UsageInfo.video_seconds: the member: documented is integer, the contract has no field for it",
        ),
        (
            _drop_member,
            "ToolCall.index: the member: documented is none of this name, the contract has integer",
        ),
        (_change_type, "UsageInfo.total_tokens: types: documented is number, the contract has integer"),
        (
            _add_json_type,
            "SystemMessage.content: types: documented is array<TextChunk|ThinkChunk> or object or string, "
            "the contract has array<TextChunk|ThinkChunk> or string",
        ),
        (
            _add_alternative,
            "ThinkChunk.thinking: types: "
            "documented is array<FileChunk|ReferenceChunk|TextChunk|ToolReferenceChunk>, "
            "the contract has array<ReferenceChunk|TextChunk|ToolReferenceChunk>",
        ),
        (
            _change_tag,
            "ImageURLChunk.type: types: documented is const(image), the contract has const(image_url)",
        ),
        (
            _close_constant,
            "Tool.type: types: documented is const(function), the contract has const(function) or string",
        ),
        (_flip_required, "ToolCall.id: required: documented is true, the contract has false"),
        (
            _flip_nullable_of_a_union,
            "UserMessage.content: nullable: documented is false, the contract has true",
        ),
        (
            _add_enum_value,
            "ResponseFormat.type: types: documented is enum(json_object|json_schema|text|xml), "
            "the contract has enum(json_object|json_schema|text)",
        ),
        (
            _drop_enum_value,
            "ImageURL.detail: types: documented is enum(high|low), the contract has enum(auto|high|low)",
        ),
    ],
    ids=lambda value: value.__name__.strip("_") if callable(value) else "",
)
def test_the_alarm_names_what_changed(mutate: Callable[[dict[str, Any]], None], named: str) -> None:
    facts = copy.deepcopy(load_facts())
    mutate(facts)
    assert named in [str(difference) for difference in _drift(facts) if difference not in DEVIATIONS]


def test_the_alarm_names_all_at_once() -> None:
    facts = copy.deepcopy(load_facts())
    for mutate in (_add_type, _drop_member, _flip_required):
        mutate(facts)
    places = {difference.place for difference in _drift(facts) if difference not in DEVIATIONS}
    assert places == {"VideoChunk", "ToolCall.index", "ToolCall.id"}


def test_vertex_documents_nothing_that_the_contract_refuses() -> None:
    contract = contract_types()
    for type_name, members in load_facts().items():
        for name, fact in members.items():
            if isinstance(fact["vertex"], dict):
                place, member = f"{type_name}.{name}", contract[type_name][name]
                assert not member.required or fact["vertex"]["required"], place
                for vertex_type in fact["vertex"]["types"]:
                    assert any(_covers(made, vertex_type) for made in member.types), (place, vertex_type)


def _covers(contract_type: str, vertex_type: str) -> bool:
    """Say whether one type has all alternatives of the other."""
    kind, _, alternatives = contract_type.rstrip(">)").replace("(", "<").partition("<")
    vertex_kind, _, vertex_alternatives = vertex_type.rstrip(">)").replace("(", "<").partition("<")
    return kind == vertex_kind and set(vertex_alternatives.split("|")) <= set(alternatives.split("|"))
