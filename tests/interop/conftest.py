"""The programs of other languages, built once a run at most."""

import os
import pathlib

import pytest

from tests.interop.languages import CONTRACT, LANGUAGES, Language, build, write_contract


def pytest_report_header() -> list[str]:
    """List the languages whose toolchain is missing, one line each: the summary has a line a test."""
    return [_reason(language) for language in LANGUAGES if language.missing_tools()]


def _reason(language: Language) -> str:
    return f"{language.name}: {', '.join(language.missing_tools())} not installed"


@pytest.fixture(scope="session")
def contract() -> pathlib.Path:
    """The folder that `mistralwire proto --out` writes."""
    write_contract()
    return CONTRACT


@pytest.fixture(scope="session", params=LANGUAGES, ids=lambda language: language.name)
def language(request: pytest.FixtureRequest, contract: pathlib.Path) -> Language:
    """A language whose programs are built; one without its toolchain is skipped, unless all are required."""
    found: Language = request.param
    if found.missing_tools():
        if os.environ.get("INTEROP_REQUIRED"):
            pytest.fail(f"{_reason(found)}, and INTEROP_REQUIRED is set")
        pytest.skip(_reason(found))
    build(found)
    return found
