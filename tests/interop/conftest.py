"""The programs of other languages, built once a run at most."""

import os

import pytest

from tests.interop.languages import LANGUAGES, Language, build, write_contract


@pytest.fixture(scope="session")
def _contract() -> None:
    write_contract()


@pytest.fixture(scope="session", params=LANGUAGES, ids=lambda language: language.name)
def language(request: pytest.FixtureRequest) -> Language:
    """A language whose programs are built; one without its toolchain is skipped, unless all are required."""
    found: Language = request.param
    if missing := found.missing_tools():
        reason = f"{found.name}: {', '.join(missing)} not installed"
        if os.environ.get("INTEROP_REQUIRED"):
            pytest.fail(f"{reason}, and INTEROP_REQUIRED is set")
        pytest.skip(reason)
    request.getfixturevalue("_contract")
    build(found)
    return found
