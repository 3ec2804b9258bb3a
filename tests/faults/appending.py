"""A process that appends to a log without an end, and prints what is acknowledged.

`python -m tests.faults.appending LOG PRODUCERS`, where LOG is what `open_log` takes, as JSON. A producer goes
on a little after an error.
"""

import asyncio
import json
import random
import sqlite3
import sys
from collections.abc import Mapping
from typing import Any

from mistralwire.errors import MistralwireError, ResponseError
from mistralwire.log import Append, NatsLog, Opening, ResponseLog, SqliteLog, framed
from tests.faults.ledger import PrintedLedger, content

_APPENDED_EVENTS_MAX = 8
_LEDGER = PrintedLedger()


class _UnsafeConnection(sqlite3.Connection):
    """One that does not sync each commit."""

    def execute(self, sql: str, *parameters: Any) -> sqlite3.Cursor:
        return super().execute(sql.replace("synchronous=full", "synchronous=normal"), *parameters)


def open_log(target: Mapping[str, Any]) -> ResponseLog:
    """Return a log, which is not open yet.

    Args:
        target: The arguments of a NatsLog, or those of a SqliteLog and perhaps `is_unsafe`: then commits are
            not synced.
    """
    if "url" in target:
        return NatsLog(**target)
    if target.get("is_unsafe"):
        connect = sqlite3.connect
        sqlite3.connect = lambda *args, **options: connect(*args, factory=_UnsafeConnection, **options)  # type: ignore[assignment]
    return SqliteLog(target["folder"])


async def _produce(log: ResponseLog, response: str) -> None:
    while True:
        try:
            last = (await log.open(Opening(id=response, is_published=True))).last
            while True:
                last = await _append(log, response, last)
                _LEDGER.acknowledge(response, last)
        except ResponseError as error:
            _LEDGER.error(error.reason)
            await asyncio.sleep(0.1)


async def _append(log: ResponseLog, response: str, last: int) -> int:
    """Append a few events, and return the number of the last one that is stored."""
    done: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    def on_done(last: int, error: MistralwireError | None) -> None:
        if error is None:
            done.set_result(last)
        else:
            done.set_exception(error)

    count = random.randint(1, _APPENDED_EVENTS_MAX)
    contents = [content(response, 0, number).encode() for number in range(last + 1, last + count + 1)]
    data = b"".join(map(framed, contents))
    log.append([Append(id=response, epoch=0, first=last + 1, count=count, data=data, on_done=on_done)])
    return await done


async def _main(target: Mapping[str, Any], producers: int) -> None:
    log = open_log(target)
    await log.start()
    await asyncio.gather(*(_produce(log, f"r{number}") for number in range(producers)))


if __name__ == "__main__":
    asyncio.run(_main(json.loads(sys.argv[1]), int(sys.argv[2])))
