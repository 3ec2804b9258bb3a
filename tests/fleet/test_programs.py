"""Programs that make and read messages: clients, stubs, and upstreams of their own."""

import json

import pytest

from tests.fleet.documents import NEWEST_ANSWER, NEWS, REQUESTS, STREAMS, told
from tests.fleet.fleet import CONTRACTS, Fleet
from tests.fleet.model_api import ModelApi
from tests.fleet.processes import NEW, OLD, events
from tests.fleet.test_chains import streamed

pytestmark = pytest.mark.process

TEXTS = {request.name: request.text for request in REQUESTS}
PLAIN_REQUEST = TEXTS["nothing newer"]


@pytest.mark.parametrize("gateway", CONTRACTS)
def test_what_a_program_makes_of_newer_messages_reaches_every_caller(gateway: str, fleet: Fleet) -> None:
    target = fleet.author(NEW)
    status, body, _ = fleet.gateway(gateway, target).post(PLAIN_REQUEST)
    answer = json.loads(body)
    (choice,) = answer["choices"]
    assert status == 200
    check_news(answer, choice, choice["message"])

    status, body, _ = fleet.gateway(gateway, target).post(streamed(PLAIN_REQUEST))
    last = list(map(json.loads, events(body)))[-1]
    assert status == 200
    check_news(last, last["choices"][0], last["choices"][0]["delta"])


def check_news(answer: dict[str, object], choice: dict[str, object], message: dict[str, object]) -> None:
    assert answer["generation_report"] == {"region": "eu"}
    assert choice["finish_reason"] == "content_filter"
    content = message["content"]
    assert isinstance(content, list)
    assert content[-1] == {"type": "video_url", "video_url": "https://example.com/v"}
    assert message["tool_calls"] == [{"id": {"value": "c-1"}, "function": {"name": "f", "arguments": ["a"]}}]


@pytest.mark.parametrize("revision", [1, 2])
def test_a_program_of_the_newer_contract_gets_a_newer_answer_typed(revision: int, fleet: Fleet) -> None:
    answer = fleet.worker(NEW).ask("complete", target=fleet.author(NEW, revision), text=PLAIN_REQUEST)
    assert [news for news in NEWS if news not in answer["seen"]] == []
    chunks = fleet.worker(NEW).ask("stream", target=fleet.author(NEW, revision), text=PLAIN_REQUEST)
    assert [news for news in NEWS if news not in chunks[-1]["seen"]] == []


def test_a_program_of_the_older_contract_sees_that_there_is_something(fleet: Fleet) -> None:
    answer = fleet.worker(OLD).ask("complete", target=fleet.author(NEW), text=PLAIN_REQUEST)
    assert [news for news in NEWS if news in answer["seen"]] == []
    assert "finish_reason: FINISH_REASON_UNLISTED" in answer["seen"]
    assert "content_filter" in answer["seen"]
    assert "unknown_json:" in answer["seen"]
    document = json.loads(answer["json"])
    check_news(document, document["choices"][0], document["choices"][0]["message"])


@pytest.mark.parametrize("service", CONTRACTS)
def test_a_program_of_the_newer_contract_gets_what_a_service_passes_on_typed(
    service: str, fleet: Fleet, api: ModelApi
) -> None:
    target = fleet.service(service).address
    api.answers["m"] = NEWEST_ANSWER
    answer = fleet.worker(NEW).ask("complete", target=target, text=PLAIN_REQUEST)
    assert told(answer["json"]) == told(NEWEST_ANSWER)
    assert [news for news in NEWS if news not in answer["seen"]] == []

    api.answers["m"] = STREAMS[0]
    chunks = fleet.worker(NEW).ask("stream", target=target, text=PLAIN_REQUEST)
    assert [told(chunk["json"]) for chunk in chunks] == list(map(told, STREAMS[0]))
    seen = " ".join(chunk["seen"] for chunk in chunks)
    assert [news for news in NEWS if news not in seen] == []


@pytest.mark.parametrize("gateway", CONTRACTS)
def test_an_upstream_of_the_newer_contract_is_handed_typed_requests(gateway: str, fleet: Fleet) -> None:
    asking = fleet.gateway(gateway, fleet.author(NEW))
    assert "thinking_budget: 5" in handed(asking.post(TEXTS["a new field"]))
    assert 'labels: "b"' in handed(asking.post(TEXTS["a new field"]))
    assert "thinking_budget: 5" in handed(asking.post(TEXTS["a new field in the other spelling"]))
    assert "video_url { video_url:" in handed(asking.post(TEXTS["a new alternative"]))
    odd = handed(asking.post(TEXTS["a new field of another JSON type"]))
    assert "thinking_budget:" not in odd
    assert "much" in odd


def handed(answered: tuple[int, bytes, str]) -> str:
    """Return the request that an upstream was handed, which it says in its answer."""
    status, body, _ = answered
    assert status == 200, body
    text = json.loads(body)["choices"][0]["message"]["content"][0]["text"]
    assert isinstance(text, str)
    return text


def test_an_upstream_of_the_older_contract_is_handed_everything(fleet: Fleet) -> None:
    asking = fleet.gateway(NEW, fleet.author(OLD))
    for name in ("a new field", "a new alternative", "a new field of another JSON type"):
        assert "json_extra {" in handed(asking.post(TEXTS[name])) or "unknown_json" in handed(
            asking.post(TEXTS[name])
        )


def test_a_client_of_the_newer_contract_calls_an_older_service(fleet: Fleet, api: ModelApi) -> None:
    """What it writes for revision 1 is a request with members that are not documented."""
    for caller in CONTRACTS:
        answer = fleet.worker(caller).ask("complete", target=fleet.author(OLD), text=TEXTS["a new field"])
        assert "thinking_budget" in answer["seen"]
    status = fleet.worker(NEW).answer("complete", target=fleet.author(OLD), text=TEXTS["the new form of it"])
    assert status["error"]["code"] == "INVALID_ARGUMENT"


def test_stubs_of_both_contracts_call_services_of_both(fleet: Fleet, api: ModelApi) -> None:
    api.answers["m"] = NEWEST_ANSWER
    for caller in CONTRACTS:
        for service in CONTRACTS:
            for target in (
                fleet.service(service).address,
                fleet.relay(OLD, service),
                fleet.relay(NEW, service),
            ):
                answer = fleet.worker(caller).ask("stub", target=target, text=PLAIN_REQUEST)
                assert told(answer["json"]) == told(NEWEST_ANSWER)
    answer = fleet.worker(NEW).ask("stub", target=fleet.author(NEW), text=TEXTS["all"])
    seen = json.loads(answer["json"])["choices"][0]["message"]["content"][0]["text"]
    assert "thinking_budget: 5" in seen
    assert "id_object {" in seen


@pytest.mark.parametrize("writer", CONTRACTS)
def test_stored_streams_are_replayed_by_both_contracts(writer: str, fleet: Fleet, api: ModelApi) -> None:
    for stream in STREAMS:
        api.answers["m"] = stream
        target = fleet.service(writer).address
        batches = fleet.worker(writer).ask("batches", target=target, text=PLAIN_REQUEST)
        for reader in CONTRACTS:
            chunks = [chunk for data in batches for chunk in fleet.worker(reader).ask("batch", data=data)]
            assert list(map(told, chunks)) == list(map(told, stream))


@pytest.mark.parametrize("writer", CONTRACTS)
def test_published_responses_are_followed_by_both_contracts(writer: str, fleet: Fleet) -> None:
    target = fleet.storing(OLD).address
    texts = STREAMS[0]
    assert fleet.worker(writer).ask("publish", target=target, response_id=writer, texts=texts) == len(texts)
    for reader in CONTRACTS:
        found = fleet.worker(reader).ask("follow", target=target, response_id=writer)
        assert [told(event["json"]) for event in found] == list(map(told, STREAMS[0]))
    seen = " ".join(event["seen"] for event in found)
    assert [news for news in NEWS if news not in seen] == []
