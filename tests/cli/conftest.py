"""What all tests of the command line share."""

import pytest


@pytest.fixture(autouse=True)
def buffered_streams(monkeypatch: pytest.MonkeyPatch) -> None:
    """Start programs with their default buffering, without which some failures can't happen."""
    monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)
