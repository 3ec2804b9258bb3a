"""Mistral's SDKs for JavaScript against the gateway: they see what they see without it."""

import asyncio
import itertools
import json
import pathlib
import shutil
from typing import Any

import pytest

from mistralwire.gateway import GatewayConfig
from tests.error_bodies import flat_error
from tests.json_equality import parse_exactly
from tests.sdk_node.asking import FOLDER, Pair, ask, asked, both_ways, gateway_to
from tests.sdk_node.cases import (
    ANSWERS,
    API_ERROR,
    CASES,
    CHAT_ANSWER,
    CHAT_STREAM,
    FIM,
    Case,
    error_answer,
)
from tests.upstream_server import CUT, STALL, Answer, UpstreamServer, json_answer, sse_answer

CHUNK = (
    b'data: {"id":"1","model":"m","choices":[{"index":0,"delta":{"content":"a"},"finish_reason":null}]}\n\n'
)
STALLED = Answer(pieces=[STALL], is_headless=True)
STALLED_STREAM = sse_answer(CHUNK, STALL)
# Whatever it is told to wait, the SDK waits 10 ms then.
RETRIES = {
    "retries": {
        "strategy": "backoff",
        "backoff": {"initialInterval": 1, "maxInterval": 10, "exponent": 1, "maxElapsedTime": 60_000},
    }
}
LATE = {"timeoutMs": 3_000}
STREAM = {"method": "chat.stream"}
VERTEX = {"sdk": "vertex"}
VERTEX_FIM = {"sdk": "vertex", "method": "fim.complete", "request": FIM}
VERTEX_STREAM = VERTEX | STREAM
CHAT_KINDS: tuple[dict[str, Any], ...] = ({}, STREAM, VERTEX, VERTEX_STREAM)
TROUBLES = (error_answer(429, retry_after="1"), error_answer(503))

pytestmark = [
    pytest.mark.process,
    pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed"),
    pytest.mark.skipif(
        not (FOLDER / "node_modules" / "@mistralai" / "mistralai").is_dir(),
        reason="the packages for Node.js are missing: run `npm ci --ignore-scripts` in tests/sdk_node",
    ),
]
every_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


def _answer_for(kind: dict[str, Any]) -> Answer:
    return CHAT_STREAM if "method" in kind else CHAT_ANSWER


# The SDKs check what they send, so that a hook of the caller has to break it.
BROKEN = json.dumps({"model": 7, "messages": [{"role": "user", "content": 5}]})
INVALID = b'{"detail":[{"type":"missing","loc":["body","messages",0,"role"],"msg":"Field required"}]}'
ERRORS = [error_answer(400), error_answer(404), error_answer(429, retry_after="7"), error_answer(503)]
FAILURES = [error_answer(500), error_answer(502), json_answer(b"<html>", 500)]
ENDINGS = [
    sse_answer(CHUNK, CHUNK, *last)
    for last in ((CUT,), (b"data: %b\n\n" % json.dumps(API_ERROR).encode(),), ())
]
GROUPS = {
    "broken request": [asked(CHAT_ANSWER, body=BROKEN)],
    "errors": [asked(answer, **kind) for answer in ERRORS for kind in (*CHAT_KINDS, VERTEX_FIM)],
    "failures": [asked(answer, **kind) for answer in FAILURES for kind in ({}, STREAM)],
    "invalid": [asked(json_answer(INVALID, 422))],
    "retried": [asked(*TROUBLES, _answer_for(kind), **kind, options=RETRIES) for kind in CHAT_KINDS],
    "once": [asked(*TROUBLES, _answer_for(kind), **kind) for kind in CHAT_KINDS],
    "broken streams": [asked(answer, **kind) for answer in ENDINGS for kind in (STREAM, VERTEX_STREAM)],
}


@pytest.fixture(scope="module")
def groups() -> dict[str, list[Pair]]:
    """What came of all calls: one process of Node.js makes them, and each test looks at its own."""
    cases = {
        case.name: [
            asked(case.answer, sdk=case.sdk, method=case.method, request=case.request, schema=case.schema)
        ]
        for case in CASES + ANSWERS
    }
    jobs = cases | GROUPS
    pairs = iter(asyncio.run(both_ways(*itertools.chain(*jobs.values()))))
    return {name: [*itertools.islice(pairs, len(group))] for name, group in jobs.items()}


@pytest.fixture(scope="module")
def pairs(groups: dict[str, list[Pair]]) -> dict[str, Pair]:
    """What came of the cases by their names."""
    return {name: group[0] for name, group in groups.items()}


@every_case
def test_the_sdk_gives_what_it_gives_without_the_gateway(pairs: dict[str, Pair], case: Case) -> None:
    pair = pairs[case.name]
    assert "error" not in pair.direct
    assert pair.direct.get("value") or len(pair.direct["events"]) > 1
    assert pair.behind == pair.direct


@every_case
def test_the_model_api_receives_what_it_receives_without_the_gateway(
    pairs: dict[str, Pair], case: Case
) -> None:
    [direct] = pairs[case.name].direct_server.received
    [behind] = pairs[case.name].behind_server.received
    assert (behind.method, behind.path) == (direct.method, direct.path)
    assert parse_exactly(behind.body) == parse_exactly(direct.body)


@every_case
def test_the_model_api_gets_the_key_of_the_service_and_not_that_of_the_caller(
    pairs: dict[str, Pair], case: Case
) -> None:
    [direct] = pairs[case.name].direct_server.received
    [behind] = pairs[case.name].behind_server.received
    assert direct.headers["authorization"] == "Bearer key-of-the-caller"
    assert behind.headers["authorization"] == "Bearer key-of-the-service"
    assert "key-of-the-caller" not in str(behind)


@pytest.mark.parametrize("case", ANSWERS, ids=lambda case: case.name)
def test_the_sdk_says_of_any_answer_what_it_says_without_the_gateway(
    pairs: dict[str, Pair], case: Case
) -> None:
    assert pairs[case.name].behind == pairs[case.name].direct


def test_a_schema_gives_parsed_objects(pairs: dict[str, Pair]) -> None:
    [choice] = pairs["parsed-by-a-schema"].behind["value"]["choices"]
    assert choice["message"]["parsed"] == {"title": "Owls", "pages": 7, "authors": ["A. B."]}


@pytest.mark.parametrize("name", ["tools-stream", "vertex-tools-stream"])
def test_the_pieces_of_tool_calls_make_their_arguments(pairs: dict[str, Pair], name: str) -> None:
    arguments = {0: "", 1: ""}
    for event in pairs[name].behind["events"]:
        for call in event["data"]["choices"][0]["delta"].get("toolCalls") or []:
            arguments[call["index"]] += call["function"]["arguments"]
    assert [json.loads(text) for text in arguments.values()] == [{"query": "owls"}, {}]


async def test_a_key_that_is_not_in_the_file_is_refused(tmp_path: pathlib.Path) -> None:
    file = tmp_path / "keys"
    file.write_text("a-known-key-of-a-caller\n")
    config = GatewayConfig(port=0, token_file=file)
    async with UpstreamServer(CHAT_ANSWER) as server, gateway_to("mistral", server, config) as url:
        keys = ("an-unknown-key-of-a-caller", "a-known-key-of-a-caller")
        answers = await ask(
            *(asked(**kind, key=key, url=url).call for kind in ({}, VERTEX) for key in keys),
            *(asked(**kind, key=keys[0], url=url).call for kind in (STREAM, VERTEX_STREAM)),
        )

    admitted = [answer for answer in answers if "error" not in answer]
    refused = [answer for answer in answers if "error" in answer]
    assert [answer["value"]["id"] for answer in admitted] == ["chat-1"] * 2
    assert [answer["error"]["status"] for answer in refused] == [401] * 4
    assert [flat_error(answer["error"]["body"])["object"] for answer in refused] == ["error"] * 4
    assert len(server.received) == 2


async def test_a_request_that_breaks_the_contract_is_refused_by_a_strict_service_with_its_places() -> None:
    fim = json.dumps({"model": 7, "prompt": "a"})
    jobs = [
        *(asked(CHAT_ANSWER, **kind, body=BROKEN) for kind in CHAT_KINDS),
        asked(CHAT_ANSWER, **VERTEX_FIM, body=fim),
    ]
    *pairs, fim_pair = await both_ways(*jobs, strict=True)

    for pair in (*pairs, fim_pair):
        error = pair.behind["error"]
        assert (error["name"], error["status"]) == ("HTTPValidationError", 422)
        places = [["body", "model"], ["body", "messages", 0, "content"]]
        assert [item["loc"] for item in error["detail"]] == (places[:1] if pair is fim_pair else places)
        assert all(item["msg"].startswith("expected ") and item["type"] for item in error["detail"])
        assert not pair.behind_server.received


def test_a_request_that_breaks_the_contract_reaches_the_model_api_otherwise(
    groups: dict[str, list[Pair]],
) -> None:
    for pair in groups["broken request"]:
        assert pair.behind["value"] == pair.direct["value"]
        assert [json.loads(each.body) for each in pair.behind_server.received] == [json.loads(BROKEN)]


def test_an_error_of_the_model_api_is_what_it_is_without_the_gateway(groups: dict[str, list[Pair]]) -> None:
    for pair in groups["errors"]:
        assert pair.direct["error"]["name"] == pair.behind["error"]["name"]
        assert pair.direct["error"]["status"] == pair.behind["error"]["status"]
        assert flat_error(pair.behind["error"]["body"]) == API_ERROR
        assert pair.behind["seen"] == pair.direct["seen"]


def test_a_failure_of_the_model_api_is_503_with_the_body_of_the_api(groups: dict[str, list[Pair]]) -> None:
    errors = [pair.behind["error"] for pair in groups["failures"]]

    assert [(error["name"], error["status"]) for error in errors] == [("SDKError", 503)] * 6
    bodies = [flat_error(error["body"]) for error in errors]
    assert bodies[:4] == [API_ERROR] * 4
    assert [(body["object"], body["type"]) for body in bodies[4:]] == [("error", "upstream_failed")] * 2


def test_what_the_model_api_finds_invalid_is_422_with_its_places(groups: dict[str, list[Pair]]) -> None:
    [pair] = groups["invalid"]
    behind, direct = pair.behind["error"], pair.direct["error"]
    assert (behind["name"], behind["status"]) == (direct["name"], direct["status"])
    assert (behind["status"], behind["detail"]) == (422, direct["detail"])


def test_the_sdk_tries_again_when_the_model_api_asks_for_it(groups: dict[str, list[Pair]]) -> None:
    for pair in groups["retried"]:
        assert "error" not in pair.behind
        assert pair.behind == pair.direct
        assert [(item["status"], item["retry_after"]) for item in pair.behind["seen"]] == [
            (429, "1"),
            (503, None),
            (200, None),
        ]
        direct, behind = (
            [parse_exactly(request.body) for request in server.received]
            for server in (pair.direct_server, pair.behind_server)
        )
        assert behind == direct
        assert len(behind) == 3


def test_without_retries_the_sdk_asks_once(groups: dict[str, list[Pair]]) -> None:
    for pair in groups["once"]:
        assert [answer["status"] for answer in pair.behind["seen"]] == [429]
        error = pair.behind["error"]
        assert {**pair.behind, "error": {**error, "body": flat_error(error["body"])}} == pair.direct
        assert len(pair.behind_server.received) == 1


async def test_an_answer_that_does_not_come_in_time_is_given_up_down_to_the_model_api() -> None:
    jobs = [asked(STALLED, **kind, options=LATE) for kind in ({}, STREAM, VERTEX)]
    for pair in await both_ways(*jobs, until_gone=True):
        assert pair.behind["error"]["name"] == "RequestTimeoutError"
        assert pair.behind == pair.direct


async def test_a_stream_that_stalls_keeps_its_chunks_and_is_given_up_down_to_the_model_api() -> None:
    jobs = [asked(STALLED_STREAM, **kind, options=LATE) for kind in (STREAM, VERTEX_STREAM)]
    for pair in await both_ways(*jobs, until_gone=True):
        assert [event["data"]["id"] for event in pair.behind["events"]] == ["1"]
        assert pair.behind["error"]["name"] == "TimeoutError"
        assert pair.behind == pair.direct


async def test_a_stream_that_the_caller_leaves_ends_at_the_model_api() -> None:
    jobs = [asked(STALLED_STREAM, **kind, stop_after=1) for kind in (STREAM, VERTEX_STREAM)]
    for pair in await both_ways(*jobs, until_gone=True):
        assert len(pair.behind["events"]) == 1
        assert "error" not in pair.behind


def test_a_broken_stream_is_an_error_behind_its_chunks(groups: dict[str, list[Pair]]) -> None:
    for pair in groups["broken streams"]:
        assert [event["data"]["id"] for event in pair.behind["events"]] == ["1", "1"]
        assert pair.behind["error"]["name"]
