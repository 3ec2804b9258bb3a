"""The logs that the tests of this folder run on, each by a function that makes one for a folder."""

import pathlib
import secrets
from collections.abc import AsyncIterator, Callable, Iterator

import pytest

from mistralwire.log import MemoryLog, NatsLog, ResponseLog, SqliteLog
from tests.log.nats_servers import NatsServer, running

LOGS: dict[str, Callable[[pathlib.Path], ResponseLog]] = {
    "memory": lambda _: MemoryLog(),
    "sqlite": lambda folder: SqliteLog(folder / "log"),
}


# Those that need a server.
ON_NATS = pytest.param("nats", marks=pytest.mark.process)


@pytest.fixture(scope="session")
def nats_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsServer]:
    """A server that syncs always; each log has a stream of its own."""
    with running(NatsServer(tmp_path_factory.mktemp("nats"))) as server:
        yield server


def nats_log(server: NatsServer, stream: str | None = None) -> NatsLog:
    """Return a log in a new stream, or in one that others use, too."""
    return NatsLog(
        server.url,
        monitor_urls=[server.monitor_url],
        stream=stream or f"s{secrets.token_hex(8)}",
        lease_s=0.5,
    )


@pytest.fixture(params=[*LOGS, ON_NATS])
async def log(request: pytest.FixtureRequest, tmp_path: pathlib.Path) -> AsyncIterator[ResponseLog]:
    """A log that has been started, of each kind in turn."""
    if request.param == "nats":
        made: ResponseLog = nats_log(request.getfixturevalue("nats_server"))
    else:
        made = LOGS[request.param](tmp_path)
    await made.start()
    yield made
    await made.close()
