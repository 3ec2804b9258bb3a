"""The contract is what Mistral's SDKs say, and `make drift` names everything that changes in them."""

import functools
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable
from typing import Any

import pytest

from tools.drift.compare import find_drift
from tools.drift.contract import contract_types
from tools.drift.known import KNOWN_FILE, Verdict, judge, load_known
from tools.drift.sources import NODE_READER, NODE_SDKS, SOURCES, Reading
from tools.drift.vocabulary import types_from_json, types_to_json

pytestmark = pytest.mark.process

pytest.importorskip("mistralai.gcp.client.models", reason="needs mistralai with its extra gcp")

ROOT = pathlib.Path(__file__).parents[2]
SOURCE = {source.name: source for source in SOURCES}
PYTHON, TYPESCRIPT = "mistralai", "@mistralai/mistralai"
CONTRACT = contract_types()

needs_node = pytest.mark.skipif(
    shutil.which("node") is None
    or not all((folder / "node_modules").is_dir() for folder in (NODE_SDKS, NODE_READER.parent)),
    reason="node or its packages are missing: `make drift` installs the packages",
)
both_languages = pytest.mark.parametrize(
    "source", [PYTHON, pytest.param(TYPESCRIPT, marks=needs_node)], ids=["python", "typescript"]
)


@functools.cache
def _reading(source: str) -> Reading:
    return SOURCE[source].read(CONTRACT)


def _judged(source: str, types: dict[str, Any]) -> Verdict:
    has_integers = SOURCE[source].has_integers
    drift = find_drift(types_from_json(types), CONTRACT, has_integers=has_integers)
    return judge({source: drift}, load_known())


def _unknown(source: str, *mutations: Callable[[dict[str, Any]], None]) -> list[str]:
    """Return the unknown differences of an SDK that is not quite the installed one."""
    types = types_to_json(_reading(source).types)
    for mutate in mutations:
        mutate(types)
    return [str(difference) for difference in _judged(source, types).unknown[source]]


def _drift(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join(filter(None, [os.environ.get("PYTHONPATH"), str(ROOT)]))
    return subprocess.run(
        [sys.executable, "-m", "tools.drift", *arguments],
        env=os.environ | {"PYTHONPATH": path} | environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@needs_node
def test_the_contract_has_not_drifted_from_the_pinned_sdks() -> None:
    run = _drift("--all")
    assert run.returncode == 0, run.stdout + run.stderr
    for source in SOURCES:
        assert re.search(rf"^\W*{re.escape(source.name)} \d+\.\d+\.\d+: ", run.stdout, re.MULTILINE)
    for name in (PYTHON, TYPESCRIPT):
        assert f"{name} {_reading(name).version}: " in run.stdout
    assert "AudioChunk.input_audio" in run.stdout.partition("Known differences")[2]
    assert run.stdout.endswith("The contract has not drifted.\n")


def _add_type(types: dict[str, Any]) -> None:
    types["VideoChunk"] = {"url": {"types": ["string"], "elements": [], "values": [], "required": True}}


def _drop_type(types: dict[str, Any]) -> None:
    del types["FileChunk"]


def _add_member(types: dict[str, Any]) -> None:
    types["UsageInfo"]["tier"] = {
        "types": ["literal"],
        "elements": [],
        "values": ["a", "b"],
        "required": False,
    }


def _drop_member(types: dict[str, Any]) -> None:
    del types["ToolCall"]["index"]


def _change_type(types: dict[str, Any]) -> None:
    closed = types["ThinkChunk"]["closed"]
    closed["types"] = ["string" if name == "boolean" else name for name in closed["types"]]


def _add_json_type(types: dict[str, Any]) -> None:
    types["SystemMessage"]["content"]["types"].append("object")


def _drop_json_type(types: dict[str, Any]) -> None:
    types["FunctionCall"]["arguments"]["types"].remove("object")


def _add_alternative(types: dict[str, Any]) -> None:
    types["ThinkChunk"]["thinking"]["elements"].append("FileChunk")


def _drop_alternative(types: dict[str, Any]) -> None:
    types["CustomConnector"]["authorization"]["types"].remove("APIKeyAuth")


def _change_tag(types: dict[str, Any]) -> None:
    types["ImageURLChunk"]["type"]["values"] = ["image"]


def _close_constant(types: dict[str, Any]) -> None:
    types["Tool"]["type"]["types"].remove("string")


def _add_enum_value(types: dict[str, Any]) -> None:
    types["ResponseFormat"]["type"]["values"].append("xml")


def _drop_enum_value(types: dict[str, Any]) -> None:
    types["ImageURL"]["detail"]["values"].remove("auto")


def _flip_required(types: dict[str, Any]) -> None:
    types["ToolReferenceChunk"]["url"]["required"] = True


def _flip_nullable(types: dict[str, Any]) -> None:
    types["UserMessage"]["content"]["types"].remove("null")


@both_languages
@pytest.mark.parametrize(
    ("mutate", "named"),
    [
        (_add_type, ["VideoChunk: type: the SDK has an object, the contract has nothing"]),
        (_drop_type, ["FileChunk: type: the SDK has nothing, the contract has a message"]),
        (_add_member, ["UsageInfo.tier: member: the SDK has one of a|b, the contract has nothing"]),
        (_drop_member, ["ToolCall.index: member: the SDK has nothing, the contract has integer"]),
        (_change_type, ["ThinkChunk.closed: JSON type: the SDK has string, the contract has boolean"]),
        (_add_json_type, ["SystemMessage.content: JSON type: the SDK has object, the contract has nothing"]),
        (
            _drop_json_type,
            ["FunctionCall.arguments: JSON type: the SDK has nothing, the contract has object"],
        ),
        (_add_alternative, ["ThinkChunk.thinking: element: the SDK has FileChunk, the contract has nothing"]),
        (
            _drop_alternative,
            ["CustomConnector.authorization: JSON type: the SDK has nothing, the contract has APIKeyAuth"],
        ),
        (
            _change_tag,
            [
                "ImageURLChunk.type: value: the SDK has image, the contract has nothing",
                "ImageURLChunk.type: value: the SDK has nothing, the contract has image_url",
            ],
        ),
        (_close_constant, ["Tool.type: JSON type: the SDK has nothing, the contract has string"]),
        (_add_enum_value, ["ResponseFormat.type: value: the SDK has xml, the contract has nothing"]),
        (_drop_enum_value, ["ImageURL.detail: value: the SDK has nothing, the contract has auto"]),
        (
            _flip_required,
            [
                "ToolReferenceChunk.url: presence: "
                "the SDK has required or null, the contract has optional or null"
            ],
        ),
        (
            _flip_nullable,
            ["UserMessage.content: presence: the SDK has required, the contract has required or null"],
        ),
    ],
    ids=lambda value: value.__name__.strip("_") if callable(value) else "",
)
def test_the_tool_names_what_an_sdk_changed_and_nothing_else(
    source: str, mutate: Callable[[dict[str, Any]], None], named: list[str]
) -> None:
    assert _unknown(source, mutate) == named


@both_languages
def test_the_tool_names_everything_at_once(source: str) -> None:
    unknown = _unknown(source, _add_type, _drop_member, _flip_required)
    places = {difference.partition(":")[0] for difference in unknown}
    assert places == {"VideoChunk", "ToolCall.index", "ToolReferenceChunk.url"}


def test_a_number_that_was_an_integer_is_a_difference_in_python() -> None:
    def mutate(types: dict[str, Any]) -> None:
        types["UsageInfo"]["total_tokens"]["types"] = ["number", "null"]

    assert _unknown(PYTHON, mutate) == [
        "UsageInfo.total_tokens: JSON type: the SDK has number, the contract has integer"
    ]


@both_languages
def test_a_known_difference_that_is_gone_is_stale(source: str) -> None:
    types = types_to_json(_reading(source).types)
    types["AudioChunk"]["input_audio"]["types"].append("InputAudio")
    verdict = _judged(source, types)
    assert [entry.place for entry in verdict.stale] == ["AudioChunk.input_audio"]
    assert not verdict.is_clean


def test_a_known_difference_that_changes_is_unknown_and_stale() -> None:
    types = types_to_json(_reading(PYTHON).types)
    types["AudioChunk"]["input_audio"]["types"].append("AudioURL")
    verdict = _judged(PYTHON, types)
    assert [str(difference) for difference in verdict.unknown[PYTHON]] == [
        "AudioChunk.input_audio: JSON type: the SDK has AudioURL, the contract has InputAudio"
    ]
    assert [entry.place for entry in verdict.stale] == ["AudioChunk.input_audio"]


def test_known_differences_of_sources_that_were_not_read_are_not_stale() -> None:
    assert judge({}, load_known()).is_clean


def test_every_known_difference_names_sources_and_fields_that_exist() -> None:
    fields = {"sources", "places", "what", "sdk", "contract"}
    for known in tomllib.loads(KNOWN_FILE.read_text())["known"]:
        assert set(known) == {"reason", "differences"}
        for entry in known["differences"]:
            assert {"sources", "places", "what"} <= set(entry) <= fields, entry
            assert set(entry["sources"]) <= set(SOURCE), entry


def test_without_node_its_sources_are_skipped_unless_all_are_needed(tmp_path: pathlib.Path) -> None:
    remedy = "node is not installed: install Node.js 20 or newer"
    run = _drift(PATH=str(tmp_path))
    assert run.returncode == 0, run.stdout + run.stderr
    assert f"@mistralai/mistralai: skipped: {remedy}" in run.stdout
    assert f"@mistralai/mistralai-gcp: skipped: {remedy}" in run.stdout

    run = _drift("--all", PATH=str(tmp_path))
    assert (run.returncode, run.stdout) == (2, "")
    assert run.stderr.startswith(remedy)


@pytest.mark.parametrize("requirement", ["mistralai", "mistralai@", "openai@1.0.0", "@mistralai/mistralai"])
def test_only_versions_of_known_sdks_can_be_asked_for(requirement: str) -> None:
    run = _drift("--with", requirement)
    assert (run.returncode, run.stdout) == (2, "")
    assert run.stderr == (
        f"--with {requirement}: expected @mistralai/mistralai@VERSION or "
        "@mistralai/mistralai-gcp@VERSION or mistralai@VERSION\n"
    )
