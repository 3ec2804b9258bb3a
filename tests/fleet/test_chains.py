"""A gateway, a relay and a service between a caller and a model API, in all pairings of contracts.

All of them write for revision 1, which is the default: nothing is lost. The model API judges its requests
itself, so that nothing is refused either; a strict service refuses nothing that the oldest contract accepts.
"""

import json
from collections.abc import Callable

import pytest

from tests.fleet.documents import ANSWERS, NEWEST_ANSWER, REQUESTS, STREAMS, Request, told
from tests.fleet.fleet import CHAINS, CONTRACTS, Chain, Fleet
from tests.fleet.model_api import ModelApi
from tests.fleet.processes import NEW, Gateway, events

pytestmark = pytest.mark.process


def name_of(chain: Chain) -> str:
    return "-".join(filter(None, chain))


@pytest.fixture(scope="module")
def started(fleet: Fleet) -> Fleet:
    fleet.start()
    return fleet


@pytest.mark.parametrize("chain", CHAINS, ids=name_of)
def test_every_answer_comes_back_equal(chain: Chain, started: Fleet, api: ModelApi) -> None:
    check_answers(started.gateway_of(chain), api)


@pytest.mark.parametrize("chain", CHAINS, ids=name_of)
def test_every_request_reaches_the_model_api_equal(chain: Chain, started: Fleet, api: ModelApi) -> None:
    check_requests(started.gateway_of(chain), api)


@pytest.mark.parametrize("service", CONTRACTS)
@pytest.mark.parametrize("gateway", CONTRACTS)
def test_a_strict_service_accepts_what_the_oldest_contract_accepts(
    gateway: str, service: str, fleet: Fleet, api: ModelApi
) -> None:
    target = fleet.service(service, strict=True).address
    check_requests(fleet.gateway(gateway, target), api, is_accepted_by(service))


@pytest.mark.parametrize("contract", CONTRACTS)
def test_a_gateway_with_the_service_in_its_process_does_the_same(
    contract: str, fleet: Fleet, api: ModelApi
) -> None:
    gateway = fleet.embedded(contract)
    check_answers(gateway, api)
    check_requests(gateway, api)
    check_requests(fleet.embedded(contract, strict=True), api, is_accepted_by(contract))


def is_accepted_by(contract: str, strictest: int = 1) -> Callable[[Request], bool]:
    """Return whether a strict service of a contract accepts a request.

    Args:
        contract: The service's.
        strictest: The revision that it is set to: what only older ones accept is refused.
    """
    return lambda request: (request.old and strictest == 1) or (contract == NEW and request.new)


def check_answers(gateway: Gateway, api: ModelApi) -> None:
    """Ask for each answer in one piece, and for each stream."""
    for answer in ANSWERS:
        api.answers["m"] = answer
        status, body, _ = gateway.post(REQUESTS[1].text)
        assert (status, told(body)) == (200, told(answer))
    for stream in STREAMS:
        api.answers["m"] = stream
        status, body, _ = gateway.post(streamed(REQUESTS[1].text))
        assert (status, [told(chunk) for chunk in events(body)]) == (200, [told(chunk) for chunk in stream])


def check_requests(
    gateway: Gateway, api: ModelApi, is_accepted: Callable[[Request], bool] = lambda _: True
) -> None:
    """Send each request, in both forms; look at what the model API is asked.

    Args:
        gateway: Where to send it.
        api: The model API behind it.
        is_accepted: Returns whether the service accepts a request.
    """
    for request in REQUESTS:
        for text, answer in ((request.text, NEWEST_ANSWER), (streamed(request.text), STREAMS[0])):
            api.answers["m"] = answer
            status, body, request_id = gateway.post(text)
            assert status == (200 if is_accepted(request) else 422), (request.name, body)
            asked = api.asked.get(request_id)
            assert (asked is not None) == is_accepted(request), request.name
            if asked is not None:
                assert told(asked) == told(text), request.name


def streamed(text: str) -> str:
    """Return a request that asks for a stream."""
    return json.dumps({**json.loads(text), "stream": True})


def test_the_requests_have_each_combination_of_acceptances() -> None:
    found = {(request.old, request.new) for request in REQUESTS}
    assert found == {(True, True), (True, False), (False, True), (False, False)}
