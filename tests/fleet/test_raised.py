"""Fleets that write for revision 2: all of next year's contract, or raised too early."""

import json

import pytest

from tests.fleet.documents import NEWEST_ANSWER, NEWEST_REQUEST, NEWS, REQUESTS, STREAMS, told
from tests.fleet.fleet import Fleet
from tests.fleet.model_api import ModelApi
from tests.fleet.processes import NEW, OLD, events
from tests.fleet.test_chains import check_answers, check_requests, is_accepted_by, streamed

pytestmark = pytest.mark.process

PLAIN_REQUEST = REQUESTS[1].text
PLAIN_ANSWER = '{"id":"r","object":"chat.completion","model":"m","usage":{},"choices":[]}'
TOO_EARLY = "requests are written for 2; lower contract_revision"


@pytest.mark.parametrize(("of_gateway", "of_service"), [(1, 2), (2, 1), (2, 2)])
def test_nothing_is_lost_while_the_setting_is_raised_and_lowered_process_by_process(
    of_gateway: int, of_service: int, fleet: Fleet, api: ModelApi
) -> None:
    gateway = fleet.gateway(NEW, fleet.service(NEW, of_service).address, of_gateway)
    check_answers(gateway, api)
    check_requests(gateway, api)
    strict = fleet.service(NEW, of_service, strict=True).address
    check_requests(fleet.gateway(NEW, strict, of_gateway), api, is_accepted_by(NEW, of_service))


def test_what_is_written_for_revision_2_is_typed_on_the_wire(fleet: Fleet, api: ModelApi) -> None:
    api.answers["m"] = NEWEST_ANSWER
    seen = {
        revision: fleet.worker(NEW).ask(
            "stub", target=fleet.service(NEW, revision).address, text=PLAIN_REQUEST
        )["seen"]
        for revision in (1, 2)
    }
    assert [news for news in NEWS if news in seen[1]] == []
    assert [news for news in NEWS if news not in seen[2]] == []


@pytest.mark.parametrize("relay", ["", OLD, NEW])
def test_an_older_service_refuses_what_it_does_not_know_and_the_edge_blames_itself(
    relay: str, fleet: Fleet, api: ModelApi
) -> None:
    target = fleet.relay(relay, OLD) if relay else fleet.service(OLD).address
    gateway = fleet.gateway(NEW, target, 2)
    for request in REQUESTS:
        if not request.new:
            continue
        members = told(request.text)
        # What is null or empty is a note in json_extra.
        has_news = any(members.get(name) for name in ("thinking_budget", "labels"))
        has_news = has_news or "video_url" in request.text or not request.old
        for text in (request.text, streamed(request.text)):
            api.answers["m"] = STREAMS[0] if "stream" in json.loads(text) else NEWEST_ANSWER
            status, body, request_id = gateway.post(text)
            assert status == (500 if has_news else 200), (request.name, body)
            assert (request_id in api.asked) == (not has_news)
            if has_news:
                error = json.loads(body)
                assert error["type"] == "contract_newer"
                assert "upgrade the service" in error["message"]


def test_a_gateway_says_once_that_its_service_is_older_than_what_it_writes(
    fleet: Fleet, api: ModelApi
) -> None:
    process = fleet.gateway_process(NEW, fleet.service(OLD).address, 2)
    gateway = fleet.gateway(NEW, fleet.service(OLD).address, 2)
    api.answers["m"] = PLAIN_ANSWER
    for text in (PLAIN_REQUEST, NEWEST_REQUEST.text, PLAIN_REQUEST):
        gateway.post(text)
    assert process.log().count(TOO_EARLY) == 1


def test_an_older_gateway_delivers_what_it_knows_and_counts_the_rest(fleet: Fleet, api: ModelApi) -> None:
    process = fleet.gateway_process(OLD, fleet.service(NEW, 2).address)
    gateway = fleet.gateway(OLD, fleet.service(NEW, 2).address)
    for _ in range(2):
        api.answers["m"] = NEWEST_ANSWER
        status, body, _ = gateway.post(PLAIN_REQUEST)
        answer = json.loads(body)
        (choice,) = answer["choices"]
        assert status == 200
        assert "generation_report" not in answer
        assert choice["finish_reason"] == "unrecognized"
        assert [piece["type"] for piece in choice["message"]["content"]] == ["text", "reference"]
        assert choice["message"]["tool_calls"] == [{"type": "function", "function": {"name": "f"}}]

        api.answers["m"] = STREAMS[0]
        status, body, _ = gateway.post(streamed(PLAIN_REQUEST))
        chunks = list(map(json.loads, events(body)))
        assert (status, len(chunks)) == (200, len(STREAMS[0]))
        assert chunks[2]["choices"][0]["delta"]["content"] == [{"type": "text", "text": "t"}]
        assert chunks[4]["choices"][0]["finish_reason"] == "unrecognized"

    page = gateway.get("/metrics")
    counts = {
        ("ChatCompletionResponse", 8): 2,
        ("ChatCompletionChoice", 3): 2,
        # One in each answer, one in each stream.
        ("ContentChunk", 10): 4,
        ("ToolCall", 6): 4,
        ("FunctionCall", 5): 4,
        ("IntegerOrString", 3): 2,
        ("CompletionResponseStreamChoice", 4): 2,
        # Twice an object; null is a note, and a string a member without a field.
        ("CompletionChunk", 8): 4,
    }
    for (message, field), count in counts.items():
        assert f'mistralwire_contract_losses_total{{field="{field}",message="{message}"}} {count}.0\n' in page
        assert process.log().count(f"was lost: field {field} of {message}; upgrade this process") == 1


@pytest.mark.parametrize("call", ["complete", "stream"])
def test_a_client_that_writes_too_early_is_told_and_says_so_once(
    call: str, fleet: Fleet, api: ModelApi
) -> None:
    target = fleet.author(OLD)
    logs = []
    for _ in range(2):
        answer = fleet.worker(NEW).answer(call, target=target, text=NEWEST_REQUEST.text, revision=2)
        logs += answer["logs"]
        error = answer["error"]
        assert (error["code"], error["reason"]) == ("FAILED_PRECONDITION", "CONTRACT_NEWER")
        assert error["metadata"]["contract_revision"] == "1"
        assert "upgrade the service" in error["message"]
    # The worker has one client for each target and revision.
    assert len([log for log in logs if TOO_EARLY in log]) == (1 if call == "complete" else 0)


def test_a_stub_of_the_newer_contract_is_refused_by_an_older_service(fleet: Fleet) -> None:
    new = fleet.worker(NEW)
    error = new.answer("stub", target=fleet.author(OLD), text=NEWEST_REQUEST.text)["error"]
    assert (error["code"], error["reason"]) == ("FAILED_PRECONDITION", "CONTRACT_NEWER")
    assert error["metadata"]["contract_revision"] == error["trailing"]["x-contract-revision"] == "1"


@pytest.mark.parametrize(("contract", "revision"), [(OLD, "1"), (NEW, "2")])
def test_each_service_says_its_revision(contract: str, revision: str, fleet: Fleet) -> None:
    for caller in (OLD, NEW):
        answer = fleet.worker(caller).ask("stub", target=fleet.author(contract), text=PLAIN_REQUEST)
        assert answer["trailing"]["x-contract-revision"] == revision
