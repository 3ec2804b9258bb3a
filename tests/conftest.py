"""What all tests share: how long the property tests search, and whether each run searches elsewhere."""

import logging
import os
import pathlib
import platform
import signal
import socket
import sys
from collections.abc import Iterator
from importlib import metadata

import pytest
from hypothesis import HealthCheck, settings

from mistralwire.codec import ENGINE, _counts
from tests.fleet.next_year import make_next_year

for name, max_examples in (("default", 100), ("short", 20), ("long", 5_000)):
    settings.register_profile(
        name,
        max_examples=max_examples,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow],
        # Where a change is judged, the same change gets the same verdict; on a desk each run looks elsewhere.
        derandomize="CI" in os.environ and name != "long",
    )
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))

# Processes inherit which signals are ignored: by nohup, say, or in the background of a script.
signal.signal(signal.SIGHUP, signal.SIG_DFL)
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


# The test that runs, if it may start no process: `-m` leaves out those that may.
_without_processes: list[pytest.Item] = []


def _refuse_processes(event: str, _: tuple[object, ...]) -> None:
    if _without_processes and event in ("subprocess.Popen", "os.fork", "os.posix_spawn"):
        raise RuntimeError(f"{_without_processes[0].nodeid} starts a process: expected the marker `process`")


sys.addaudithook(_refuse_processes)


def pytest_report_header() -> list[str]:
    versions = [f"{name} {metadata.version(name)}" for name in ("protobuf", "grpcio", "orjson")]
    return [f"Python {platform.python_version()}, {', '.join(versions)}", f"codec: {ENGINE} engine"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run long tests first, so that no process of a parallel run is left alone with one at the end."""
    items.sort(key=lambda item: not (item.get_closest_marker("slow") or item.get_closest_marker("process")))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Refuse processes of tests without the marker `process`, in runs that leave these out."""
    if "not process" in item.config.option.markexpr:
        _without_processes.append(item)
    try:
        return (yield)
    finally:
        _without_processes.clear()


def _is_of_a_test(record: logging.LogRecord) -> bool:
    """Whether a record is not what the poller of grpcio, shared by all loops, may log: grpc/grpc#25364."""
    return record.name != "asyncio" or "PollerCompletionQueue" not in record.getMessage()


@pytest.fixture
def caplog(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    caplog.handler.addFilter(_is_of_a_test)
    yield caplog
    caplog.handler.removeFilter(_is_of_a_test)


@pytest.fixture
def closed_port() -> Iterator[int]:
    """A port of 127.0.0.1 that refuses connections: it is bound, so that nobody else can listen on it."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]


@pytest.fixture
def no_losses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Count the losses of one test alone: the counts belong to the process."""
    monkeypatch.setattr(_counts, "_losses", _counts.BoundedCounts(_counts.OTHER_PLACE))


@pytest.fixture
def no_dropped_events(monkeypatch: pytest.MonkeyPatch) -> None:
    """Count the dropped events of one test alone."""
    monkeypatch.setattr(_counts, "_dropped_events", _counts.BoundedCounts(_counts.OTHER_EVENT))


@pytest.fixture(scope="session")
def next_year(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """Next year's contract as a package: the folder for PYTHONPATH."""
    return make_next_year(tmp_path_factory.mktemp("next_year"))
