"""The relay of one process: its log, its limits, and the producers that it holds."""

import asyncio
from collections.abc import Mapping
from typing import Self

from mistralwire.log import MemoryLog, ResponseLog
from mistralwire.service._config import RelayConfig
from mistralwire.service._relay._publish import REPLACED, Publishers
from mistralwire.service._relay._recording import FOLLOWED, UNFOLLOWED, Recorder
from mistralwire.service._relay._responses import CANCEL, Responses
from mistralwire.service._relay._rules import Holder, RelayCounts
from mistralwire.service._relay._subscribe import Followers
from mistralwire.service._relay._sweeper import Sweeper


class Relay:
    """Keeps the responses of a service in a log; an async context manager, which opens and closes the log.

    It belongs to one event loop. Open it before the service listens, and close it after the last call.

    Args:
        log: Where the responses are stored; it is not open yet.
        config: The limits.

    Attributes:
        log: The log.
        config: The limits.
        holders: What produces the running responses of this process, by their ids in the log.
        counts: Counts what happens.
        publishers: The responses that others publish.
        responses: All responses, for their owners.
        recorder: Stores the responses of calls.
        followers: The consumers.
    """

    def __init__(self, log: ResponseLog, config: RelayConfig) -> None:
        self.log = log
        self.config = config
        self.holders: dict[str, Holder] = {}
        self.counts = RelayCounts()
        self.publishers = Publishers(log, config, self.holders, self.counts)
        self.responses = Responses(log, self.holders, self.counts)
        self.recorder = Recorder(log, config, self.holders, self.counts)
        self.followers = Followers(self.recorder, self.counts)
        self._sweeper = Sweeper(log, config, self.publishers, self.recorder, self.holders)
        self.counts.ended.append(self._sweeper.ended)
        self._sweeping: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Open the log, and take over what processes before this one have left in it.

        Raises:
            MistralwireError: With the code FAILED_PRECONDITION and the reason RESPONSE_LOG if it can't be
                opened, or can't promise what was asked for.
        """
        await self.log.start()
        self.log.serve(self._answer)
        try:
            await self._sweeper.take_orphans()
        except BaseException:
            await self.log.close()
            raise
        self._sweeping = asyncio.create_task(self._sweeper.run())

    async def close(self) -> None:
        """Store what was appended, and close the log."""
        if self._sweeping is not None:
            self._sweeping.cancel()
            await asyncio.wait([self._sweeping])
        await self.publishers.close()
        await self.recorder.close()
        await self.log.close()

    def figures(self) -> Mapping[str, int]:
        """Return what it counts, for metrics: what was stored since its start, and what there is now."""
        return {
            "events": self.counts.events,
            "followers": self.counts.followers,
            "responses_running": len(self.holders),
            "responses_not_stored": self.counts.not_stored,
        }

    async def _answer(self, request: bytes) -> bytes:
        """Answer another node."""
        what, _, rest = request.decode().partition(" ")
        if what == CANCEL:
            return b"1" if self.responses.cancel_held(rest) else b"0"
        detail, _, id_ = rest.partition(" ")
        if what == REPLACED:
            self.publishers.replaced(id_, int(detail))
        elif (recording := self.recorder.held(id_)) is not None:
            if what == FOLLOWED:
                recording.follow(detail)
            elif what == UNFOLLOWED:
                recording.unfollow(detail)
        return b"1"

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


def create_log(config: RelayConfig) -> ResponseLog | None:
    """Create the log that the settings describe, which is not open yet; None if nothing is stored.

    Raises:
        MistralwireError: If the package that it needs is missing: EXTRA_MISSING.
    """
    if config.data is not None:
        from mistralwire.log import SqliteLog  # noqa: PLC0415 - with the module sqlite3

        return SqliteLog(config.data)
    if config.log == "memory":
        return MemoryLog()
    if config.log is None:
        return None
    from mistralwire.log import NatsLog  # noqa: PLC0415 - of an extra

    return NatsLog(
        config.log,
        durability=config.log_durability,
        replicas=config.log_replicas,
        monitor_urls=config.monitor_urls,
    )


def create_relay(config: RelayConfig) -> Relay:
    """Create a relay, which is not open yet.

    Raises:
        ValueError: If the settings store nothing; see `RelayConfig.stores`.
        MistralwireError: If the package that the log needs is missing: EXTRA_MISSING.
    """
    log = create_log(config)
    if log is None:
        raise ValueError(
            "expected data or log, found neither: a relay stores responses; to store none, leave it out"
        )
    return Relay(log, config)
