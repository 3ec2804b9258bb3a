"""The stream of a log: created as the log needs it, and checked for what it promises."""

import asyncio
import json
from collections.abc import Mapping
from typing import Any

from mistralwire.log._nats._connection import EXPECTED_LAST, Connection, NoAnswerError, RefusedError
from mistralwire.log._rules import not_opened

_VERSION_MIN = (2, 12)
_START_TIMEOUT_S = 20.0
_RETRY_S = 0.5


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
            flag, instead = "", ""
            if key == "num_replicas":
                flag, instead = f" --replicas {value}", f", or set log_replicas to {found.get(key)}"
            raise not_opened(
                f"expected {key} of the stream {name} to be {json.dumps(value)}, found "
                f"{json.dumps(found.get(key))}; change it with `nats stream edit {name}{flag}`{instead}"
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
        # The answer of this node comes after what the server has refused by then.
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
