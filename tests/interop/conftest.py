"""The programs of other languages, built once a run at most."""

import os
import pathlib

import pytest

from tests.downloads import skipped_without_answer
from tests.interop.languages import CONTRACT, LANGUAGES, Language, build, write_contract
from tools.downloads import note_not_run


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
    """A language whose programs are built; one without its toolchain is skipped, but fails in CI."""
    found: Language = request.param
    if found.missing_tools():
        if os.environ.get("CI"):
            pytest.fail(f"{_reason(found)}: CI needs every language")
        note_not_run(_reason(found))
        pytest.skip(_reason(found))
    with skipped_without_answer(found.name):
        build(found)
    return found
