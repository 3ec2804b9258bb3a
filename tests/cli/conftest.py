"""What all tests of the command line share."""

import pytest


@pytest.fixture(autouse=True)
def buffered_streams(monkeypatch: pytest.MonkeyPatch) -> None:
    """Start programs with the buffers that they have by default: else much that can fail does not."""
    monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)
