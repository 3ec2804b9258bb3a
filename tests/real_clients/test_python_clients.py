"""Clients for Python, unmodified, in an environment of their own, which `make test` makes."""

import asyncio

import pytest

from tests.real_clients.matrix import PYTHON, PYTHON_COMMAND, Call, Ended, ask, calls_of, check, write_keys

CALLS = calls_of(PYTHON)

pytestmark = [
    pytest.mark.process,
    pytest.mark.skipif(
        not PYTHON_COMMAND[0].exists(), reason="the clients for Python are missing: `make test` installs them"
    ),
]


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> dict[Call, Ended]:
    """What came of all calls: one process makes them all at one time, and each test looks at its own."""
    return asyncio.run(ask(PYTHON_COMMAND, CALLS, write_keys(tmp_path_factory.mktemp("keys"))))


@pytest.mark.parametrize("call", CALLS, ids=str)
def test_a_client_gets_what_it_needs(ended: dict[Call, Ended], call: Call) -> None:
    check(call, ended[call])
