"""The stream of a log: created as the log needs it, and checked for what it promises."""

import asyncio
import contextlib
import http.client
import json
import logging
import urllib.request
from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeAlias

from mistralwire.log._nats._connection import EXPECTED_LAST, Connection, NoAnswerError, RefusedError
from mistralwire.log._rules import not_opened

_logger = logging.getLogger(__name__)

Durability: TypeAlias = Literal["synced", "replicated"]

_VERSION_MIN = (2, 12)
_START_TIMEOUT_S = 20.0
_RETRY_S = 0.5
_MONITOR_TIMEOUT_S = 5.0
_MONITOR_PORT = 8222
# What a monitoring URL without an answer raises, or one of something else.
_NO_PROOF = (OSError, ValueError, LookupError, TypeError, AttributeError, http.client.HTTPException)
_SYNCED = "`sync_interval: always` in the jetstream block"


async def open_stream(connection: Connection, name: str, replicas: int) -> None:
    """Create the stream unless it exists; a cluster that has just started may need a while.

    Raises:
        MistralwireError: RESPONSE_LOG.
    """
    version = connection.version
    if tuple(int(part) for part in version.split(".")[:2]) < _VERSION_MIN:
        raise not_opened(f"expected nats-server 2.12 or newer, found {version}; upgrade it")
    wanted = {
        "name": name,
        "subjects": [f"{name}.>"],
        "storage": "file",
        "retention": "limits",
        "discard": "new",
        # No message may go, or have another subject, unless the log says so.
        "max_age": 0,
        "max_msgs_per_subject": -1,
        "subject_transform": None,
        "num_replicas": replicas,
        "allow_atomic": True,
        "allow_direct": True,
        "allow_msg_ttl": True,
        "allow_rollup_hdrs": True,
        "republish": {"src": f"{name}.>", "dest": f"{name}-live.>"},
    }
    deadline_s = asyncio.get_running_loop().time() + _START_TIMEOUT_S
    while True:
        try:
            info = await connection.info() or await connection.api("STREAM.CREATE", wanted)
            _check(name, wanted, info["config"])
            # The replicas of a new stream answer a moment later.
            await connection.batch({"seq": 1, "next_by_subj": f"{name}.i.*", "batch": 1})
        except (NoAnswerError, RefusedError) as error:
            _check_permitted(connection)
            if asyncio.get_running_loop().time() > deadline_s:
                raise not_opened(
                    f"expected JetStream to have the stream {name}, found: {error}; "
                    "check that it is enabled, and that most servers of its cluster run"
                ) from error
            await asyncio.sleep(_RETRY_S)
        else:
            return


def _check(name: str, wanted: Mapping[str, Any], found: Mapping[str, Any]) -> None:
    for key, value in wanted.items():
        if found.get(key) != value:
            raise not_opened(
                f"expected {key} of the stream {name} to be {json.dumps(value)}, found "
                f"{json.dumps(found.get(key))}; change it with `nats stream edit {name}`"
            )


async def check_permissions(connection: Connection, name: str, node: str) -> None:
    """Check that the account may use all subjects of the log.

    A server refuses each of them on its own and later: a message that it does not permit just gets no
    answer, and a follower no events.

    Raises:
        MistralwireError: RESPONSE_LOG.
        NoAnswerError: Without an answer.
    """
    following = await connection.subscribe(f"{name}-live.r.none", _ignore)
    # It is not stored, since there is no such message before it.
    await connection.publish(f"{name}.none", headers={EXPECTED_LAST: "1"})
    await connection.publish(f"{name}-live.none")
    await connection.publish(f"{name}-beat.{node}")
    try:
        # The answer of this node comes behind what the server has refused by then.
        await connection.request(f"{name}-node.{node}")
    except NoAnswerError:
        _check_permitted(connection)
        raise
    await connection.unsubscribe(following)
    _check_permitted(connection)


async def _ignore(_: object) -> None:
    pass


def _check_permitted(connection: Connection) -> None:
    if connection.not_permitted:
        raise not_opened(
            "expected a NATS account that may publish and subscribe to all that the log uses, found: "
            f"{connection.not_permitted}; add that to its permissions"
        )


async def check_durability(
    connection: Connection, durability: Durability, replicas: int, monitor_urls: Sequence[str]
) -> None:
    """Check that what is acknowledged is stored as the setting says.

    Raises:
        MistralwireError: RESPONSE_LOG.
    """
    if durability == "replicated":
        if replicas < 3:
            raise not_opened(
                "expected 3 replicas for events that are replicated and not synced, found "
                f"{replicas}; set the replicas to 3, or the durability to synced"
            )
        _logger.warning(
            "acknowledged events survive the loss of one NATS server, and kills of all of them, but not a "
            "power loss that all share: set `sync_interval: always` there and the durability `synced`"
        )
        return
    info = await connection.info()
    cluster = (info or {}).get("cluster", {})
    unproved = {cluster.get("leader", ""), *(each["name"] for each in cluster.get("replicas", ()))}
    for url in _monitors(connection, monitor_urls):
        try:
            unproved.discard(await asyncio.to_thread(_synced_server, url))
        except _NO_PROOF as error:
            raise not_opened(
                f"expected NATS' monitoring at {url} to prove {_SYNCED}, found no answer ({error}); set "
                "`http_port` there and name its URL in log_monitors, or set log_durability to replicated"
            ) from error
    if unproved:
        raise not_opened(
            f"expected proof of {_SYNCED} from every server of the stream, found none for "
            f"{', '.join(sorted(unproved))}; name its monitoring URL (`http_port` of the server) in "
            "log_monitors, too"
        )


async def check_durability_again(
    connection: Connection, durability: Durability, monitor_urls: Sequence[str]
) -> None:
    """Check the servers that run, which may have been restarted with other settings.

    Raises:
        MistralwireError: RESPONSE_LOG.
    """
    if durability == "synced":
        for url in _monitors(connection, monitor_urls):
            with contextlib.suppress(*_NO_PROOF):
                await asyncio.to_thread(_synced_server, url)


def _monitors(connection: Connection, urls: Sequence[str]) -> Sequence[str]:
    return urls or [f"http://{host}:{_MONITOR_PORT}" for host in connection.hosts]


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
