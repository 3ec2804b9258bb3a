"""What an acknowledgement of NATS means: a setting that its servers have to prove."""

import asyncio
import http.client
import json
import logging
import urllib.request
from collections.abc import Sequence
from typing import Literal, NamedTuple, TypeAlias

from mistralwire.log._nats._connection import Connection, NoAnswerError
from mistralwire.log._rules import not_opened

_logger = logging.getLogger(__name__)

Durability: TypeAlias = Literal["synced", "replicated"]

_REPLICAS_MIN = 3
_MONITOR_TIMEOUT_S = 5.0
_MONITOR_PORT = 8222
# The servers of a stream hear of each other every second.
_SILENT_S = 5.0
# Until a server that was just lost counts as away.
_PROOF_S = 2 * _SILENT_S
_RETRY_S = 0.5
# What a monitoring URL without an answer raises, or one of something else.
_MONITOR_ERRORS = (OSError, ValueError, LookupError, TypeError, AttributeError, http.client.HTTPException)
_SYNCED = "`sync_interval: always` in the jetstream block"


class _Members(NamedTuple):
    """The servers of a stream, by name."""

    leader: str
    present: set[str]
    away: set[str]


class _SilentMonitor(NamedTuple):
    """A monitoring URL without an answer that proves anything."""

    url: str
    error: Exception


class DurabilityProof:
    """The proof that what is acknowledged is stored as the setting says.

    Each server that has the events proves it by its monitoring. One of a cluster that is away is asked once
    it is back: the others go on without it.

    Args:
        connection: To the servers.
        durability: The setting.
        replicas: How many servers have each event.
        monitor_urls: Where the servers' monitoring is; port 8222 of the servers of the connection if empty.
    """

    def __init__(
        self, connection: Connection, durability: Durability, replicas: int, monitor_urls: Sequence[str]
    ) -> None:
        self._connection = connection
        self._durability = durability
        self._replicas = replicas
        self._urls = monitor_urls or [f"http://{host}:{_MONITOR_PORT}" for host in connection.hosts]
        self._proved: set[str] = set()
        self._away: set[str] = set()

    @property
    def is_complete(self) -> bool:
        """Whether no server that is away has to prove anything."""
        return not self._away

    async def start(self) -> None:
        """Ask the servers for the first time.

        Raises:
            MistralwireError: RESPONSE_LOG.
            NoAnswerError: Without an answer of the stream.
        """
        if self._durability == "replicated":
            if self._replicas < _REPLICAS_MIN:
                raise not_opened(
                    "expected 3 replicas for events that are replicated and not synced, found "
                    f"{self._replicas}; set the replicas to 3, or the durability to synced"
                )
            _logger.warning(
                "acknowledged events survive the loss of one NATS server, and kills of all of them, but not "
                "a power loss that all share: set `sync_interval: always` there and the durability `synced`"
            )
            return
        deadline_s = asyncio.get_running_loop().time() + _PROOF_S
        while True:
            members = await self._members()
            failures = await self._ask()
            unproved = members.present - self._proved
            # One that has just been lost is taken for present for a while.
            is_final = members.leader in unproved or not failures
            if not unproved or is_final or asyncio.get_running_loop().time() > deadline_s:
                self._judge(members, failures)
                return
            await asyncio.sleep(_RETRY_S)

    async def check(self) -> None:
        """Ask the servers again: they may have been restarted with other settings.

        One that has proved it, and whose monitoring is silent now, is believed until it has been away.

        Raises:
            MistralwireError: RESPONSE_LOG.
            NoAnswerError: Without an answer of the stream.
        """
        if self._durability == "synced":
            members = await self._members()
            self._proved -= members.away
            self._judge(members, await self._ask())

    async def _members(self) -> _Members:
        info = await self._connection.info()
        cluster = (info or {}).get("cluster", {})
        leader = cluster.get("leader", "")
        if not leader:
            raise NoAnswerError("the stream has no leader")
        present, away = {leader}, set[str]()
        for each in cluster.get("replicas", ()):
            is_heard = 0 < each.get("active", 0) < _SILENT_S * 1e9 and not each.get("offline")
            (present if is_heard else away).add(each["name"])
        return _Members(leader, present, away)

    async def _ask(self) -> Sequence[_SilentMonitor]:
        found = await asyncio.gather(*map(_asked, self._urls))
        self._proved.update(each for each in found if isinstance(each, str))
        return [each for each in found if isinstance(each, _SilentMonitor)]

    def _judge(self, members: _Members, failures: Sequence[_SilentMonitor]) -> None:
        unproved = members.present - self._proved
        or_replicated = ", or set log_durability to replicated" if self._replicas >= _REPLICAS_MIN else ""
        if unproved and failures:
            url, error = failures[0]
            raise not_opened(
                f"expected the monitoring of NATS at {url} to prove {_SYNCED}, found no answer ({error}); "
                f'let the server listen there with `http: "HOST:PORT"`, or name its URL in log_monitors'
                f"{or_replicated}"
            ) from error
        if unproved:
            raise not_opened(
                f"expected proof of {_SYNCED} from every server of the stream, found none for "
                f"{', '.join(sorted(unproved))}; name its monitoring URL (`http` of the server) in "
                "log_monitors, too"
            )
        away = members.away - self._proved
        if away - self._away:
            _logger.warning(
                "servers of NATS are away, and prove %s once they are back: %s",
                _SYNCED,
                ", ".join(sorted(away)),
            )
        self._away = away


async def _asked(url: str) -> str | _SilentMonitor:
    try:
        return await asyncio.to_thread(_synced_server, url)
    except _MONITOR_ERRORS as error:
        return _SilentMonitor(url, error)


def _synced_server(url: str) -> str:
    """Return the name of the server at a monitoring URL.

    Raises:
        MistralwireError: If it does not sync.
    """
    if not url.startswith(("http://", "https://")):
        raise not_opened(f"expected a monitoring URL such as http://host:8222, found {url}")
    with urllib.request.urlopen(f"{url.rstrip('/')}/varz", timeout=_MONITOR_TIMEOUT_S) as answer:  # noqa: S310
        found = json.load(answer)
    name = str(found["server_name"])
    if not found["jetstream"].get("config", {}).get("sync_always"):
        raise not_opened(
            f"expected {_SYNCED} of the server {name} at {url}, found another interval; a power loss could "
            "lose its events. Set it in the server's configuration, or set log_durability to replicated"
        )
    return name
