"""What all tests share: how long the property tests search, and whether each run searches elsewhere."""

import os
import pathlib
import signal

import pytest
from hypothesis import HealthCheck, settings

from mistralwire.codec import _dropped_events, _losses
from mistralwire.codec._counts import BoundedCounts
from tests.fleet.next_year import make_next_year
from tools.engine import engine_line

for name, max_examples in (("default", 100), ("long", 5_000)):
    settings.register_profile(
        name,
        max_examples=max_examples,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow],
        # Where a change is judged, the same change gets the same verdict; on a desk each run looks elsewhere.
        derandomize="CI" in os.environ and name == "default",
    )
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))

# Processes inherit which signals are ignored: by nohup, say, or in the background of a script.
signal.signal(signal.SIGHUP, signal.SIG_DFL)
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_report_header() -> str:
    return engine_line()


@pytest.fixture
def no_losses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Count the losses of one test alone: the counts belong to the process."""
    monkeypatch.setattr(_losses, "_counts", BoundedCounts(_losses.OTHER_PLACE))


@pytest.fixture
def no_dropped_events(monkeypatch: pytest.MonkeyPatch) -> None:
    """Count the dropped events of one test alone."""
    monkeypatch.setattr(_dropped_events, "_counts", BoundedCounts(_dropped_events.OTHER_EVENT))


@pytest.fixture(scope="session")
def next_year(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """Next year's contract as a package: the folder for PYTHONPATH."""
    return make_next_year(tmp_path_factory.mktemp("next_year"))
