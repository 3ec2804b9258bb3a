"""Whatever is done to a log, each consumer sees what was acknowledged: a prefix, in order, once."""

import asyncio
import dataclasses
import pathlib
import shutil
import tempfile
import time
from collections.abc import Coroutine
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from mistralwire.errors import Reason, ResponseError
from mistralwire.log import Batch, End, MemoryLog, Opening, Query, ResponseLog, SqliteLog, Usage
from tests.log.exchanges import CANCELLED, FAILED, FINISHED, Follower, append, append_of, events, read

IDS = st.sampled_from(["r", "r", "r", "s"])
# Events that are sent again; below 0 some are missing.
AGAIN = st.sampled_from([0, 0, 0, 1, 2, 3, -1])
STATES = st.sampled_from([None, b"1", b"2"])
ENDS = st.sampled_from([FINISHED, CANCELLED, FAILED])
OWNER = "o"
WAIT_S = 10.0


@dataclasses.dataclass
class Expected:
    """A response as it was acknowledged."""

    epoch: int
    texts: list[str] = dataclasses.field(default_factory=list)
    end: End | None = None
    state: bytes = b""


@dataclasses.dataclass
class Consumer:
    """A consumer, who resumes where a follower ended with the log."""

    response: Expected
    id: str
    after: int
    before: list[str] = dataclasses.field(default_factory=list)

    def start(self, log: ResponseLog) -> None:
        self.follower = Follower(log, self.id, self.after + len(self.before))

    @property
    def texts(self) -> list[str]:
        return [*self.before, *self.follower.texts]


class LogMachine(RuleBasedStateMachine):
    """A log, and what it has acknowledged. Subclasses say which log."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.expected: dict[str, Expected] = {}
        self.consumers: list[Consumer] = []
        self.made = 0

    def make_log(self) -> ResponseLog:
        raise NotImplementedError

    def run(self, made: Coroutine[Any, Any, Any]) -> Any:
        return self.loop.run_until_complete(asyncio.wait_for(made, WAIT_S))

    @initialize()
    def begin(self) -> None:
        self.start()
        self.follow("r", 0)

    def start(self) -> None:
        self.log = self.make_log()
        self.run(self.log.start())

    def teardown(self) -> None:
        if hasattr(self, "log"):
            self.run(self._settled())
            self.run(self._stopped())
            self.run(self.log.close())
        self.loop.close()

    def new_texts(self, count: int) -> list[str]:
        self.made += count
        return [str(number) for number in range(self.made - count, self.made)]

    @rule(name=IDS, epoch=st.integers(0, 2))
    def open(self, name: str, epoch: int) -> None:
        opening = Opening(id=name, owner=OWNER, epoch=epoch)
        expected = self.expected.setdefault(name, Expected(epoch))
        if expected.end is None and epoch < expected.epoch:
            self.refused(self.log.open(opening), Reason.STALE_EPOCH)
            return
        if expected.end is None:
            expected.epoch = epoch
        response = self.run(self.log.open(opening))
        assert (response.last, response.end, response.epoch) == (
            len(expected.texts),
            expected.end,
            expected.epoch,
        )

    # What runs may depend on a crash: so the rules do not depend on it, as Hypothesis repeats them.
    @rule(name=IDS, again=AGAIN, new=st.integers(1, 3), state=STATES, times=st.integers(1, 2))
    def append(self, name: str, again: int, new: int, state: bytes | None, times: int) -> None:
        if name not in self.expected:
            self.open(name, 0)
        elif self.expected[name].end is not None:
            self.delete(name)
            self.open(name, 0)
        self.store(name, again, new, state=state, times=times)

    @rule(name=IDS, again=AGAIN, new=st.integers(0, 2), end=ENDS, times=st.integers(1, 2))
    def end(self, name: str, again: int, new: int, end: End, times: int) -> None:
        self.store(name, again, new, end=end, times=times)

    @rule(name=IDS, again=AGAIN, new=st.integers(0, 2), epoch=st.integers(-1, 1), end=st.none() | ENDS)
    def try_to_append(self, name: str, again: int, new: int, epoch: int, end: End | None) -> None:
        self.store(name, again, new, epoch=epoch, end=end)

    def store(
        self,
        name: str,
        again: int,
        new: int,
        *,
        epoch: int = 0,
        end: End | None = None,
        state: bytes | None = None,
        times: int = 1,
    ) -> None:
        """Append, and again if the acknowledgement is lost, as often as asked for; or be refused."""
        expected = self.expected.get(name)
        known = [] if expected is None else expected.texts
        again = min(again, len(known))
        first = len(known) - again + 1
        texts = [*known[first - 1 :], *self.new_texts(new)]
        fields = {"end": end, "state": state, "epoch": epoch + (0 if expected is None else expected.epoch)}
        for _ in range(times):
            reason = self._refusal(expected, first, len(texts), epoch, end)
            if expected is None or reason is not None:
                self.refused(append(self.log, name, first, *texts, **fields), reason)
                return
            if len(texts) > again:
                expected.texts = [*known[: first - 1], *texts]
            assert self.run(append(self.log, name, first, *texts, **fields)) == len(expected.texts)
            known, again = expected.texts, len(texts)
            expected.epoch, epoch = expected.epoch + epoch, 0
            expected.end = end or expected.end
            expected.state = expected.state if state is None else state

    def _refusal(
        self, expected: Expected | None, first: int, count: int, epoch: int, end: End | None
    ) -> str | None:
        if expected is None:
            return Reason.RESPONSE_NOT_FOUND
        following = len(expected.texts) + 1
        if epoch < 0:
            return Reason.STALE_EPOCH
        if first > following or (epoch > 0 and first != following):
            return Reason.SEQUENCE_GAP
        if expected.end is not None and (first + count > following or end not in (None, expected.end)):
            return Reason.RESPONSE_ENDED
        return None

    def refused(self, made: Coroutine[Any, Any, Any], reason: str | None) -> None:
        with pytest.raises(ResponseError) as caught:
            self.run(made)
        assert caught.value.reason == reason

    @rule(name=IDS)
    def delete(self, name: str) -> None:
        if self.expected.pop(name, None) is None:
            self.refused(self.log.delete(name), Reason.RESPONSE_NOT_FOUND)
        else:
            self.run(self.log.delete(name))

    @rule()
    def expire(self) -> None:
        query = Query(is_running=False, ended_before_s=time.time() + 60, oldest_first=True)
        for response in self.run(self.log.list(query)):
            assert self.expected.pop(response.id).end is not None
            self.run(self.log.delete(response.id))

    @rule(name=IDS, size=st.integers(1, 4))
    def fold(self, name: str, size: int) -> None:
        expected = self.expected.get(name)
        if expected is None or expected.end is None:
            return
        last = len(expected.texts)
        self.run(
            self.log.fold(
                name,
                [
                    Batch(first, min(first + size - 1, last), 0, events(*expected.texts[first - 1 :][:size]))
                    for first in range(1, last + 1, size)
                ],
            )
        )

    @rule(name=IDS, after=st.integers(0, 9))
    def follow(self, name: str, after: int) -> None:
        if name not in self.expected:
            self.open(name, 0)
        expected = self.expected[name]
        self.run(self._follow(Consumer(expected, name, min(after, len(expected.texts)))))

    async def _follow(self, consumer: Consumer) -> None:
        consumer.start(self.log)
        self.consumers.append(consumer)

    @rule()
    def restart(self) -> None:
        if isinstance(self.log, MemoryLog):
            return
        self.run(self.log.close())
        self.start()
        self.run(self._resumed())

    async def _resumed(self) -> None:
        """Let all consumers go on whose log is gone."""
        consumers, self.consumers = self.consumers, []
        for consumer in consumers:
            [outcome] = await asyncio.gather(consumer.follower.task, return_exceptions=True)
            if isinstance(outcome, ResponseError):
                assert outcome.reason in (Reason.LOG_UNAVAILABLE, Reason.RESPONSE_NOT_FOUND)
            if consumer.follower.end is None and self.expected.get(consumer.id) is consumer.response:
                consumer.before = consumer.texts
                await self._follow(consumer)
            else:
                self.consumers.append(consumer)

    @rule()
    def settle(self) -> None:
        self.run(self._settled())

    async def _settled(self) -> None:
        for consumer in self.consumers:
            if self.expected.get(consumer.id) is not consumer.response:
                continue
            rest = consumer.response.texts[consumer.after + len(consumer.before) :]
            await consumer.follower.has(*rest)
            if consumer.response.end is not None:
                await consumer.follower.ended()
                assert consumer.follower.end == consumer.response.end

    async def _stopped(self) -> None:
        for consumer in self.consumers:
            consumer.follower.task.cancel()
        await asyncio.gather(*(each.follower.task for each in self.consumers), return_exceptions=True)

    @invariant()
    def each_consumer_saw_a_prefix_of_what_was_acknowledged(self) -> None:
        for consumer in self.consumers:
            texts = consumer.texts
            assert texts == consumer.response.texts[consumer.after :][: len(texts)]

    @precondition(lambda self: hasattr(self, "log"))
    @invariant()
    def the_log_has_what_was_acknowledged(self) -> None:
        for name, expected in self.expected.items():
            response = self.run(self.log.describe(name))
            assert (response.last, response.end, response.epoch) == (
                len(expected.texts),
                expected.end,
                expected.epoch,
            )
            assert response.state == expected.state
            assert self.run(read(self.log, name)) == expected.texts
        ends = [expected.end for expected in self.expected.values()]
        stored_bytes = sum(len(events(*expected.texts)) for expected in self.expected.values())
        assert self.run(self.log.usage(OWNER)) == Usage(ends.count(None), stored_bytes, len(ends))
        for is_running in (True, False):
            found = {response.id for response in self.run(self.log.list(Query(is_running=is_running)))}
            assert found == {name for name, each in self.expected.items() if (each.end is None) is is_running}


class MemoryMachine(LogMachine):
    def make_log(self) -> ResponseLog:
        return MemoryLog()


class SqliteMachine(LogMachine):
    """Crashes, too: what is left is the files as they are at any time."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = pathlib.Path(tempfile.mkdtemp(dir=self.memory_disk()))
        self.crashes = 0

    @staticmethod
    def memory_disk() -> str | None:
        return "/dev/shm" if pathlib.Path("/dev/shm").is_dir() else None

    def make_log(self) -> ResponseLog:
        return SqliteLog(self.folder / str(self.crashes))

    @rule(name=IDS, appends=st.integers(0, 3), count=st.integers(1, 2), end=st.none() | ENDS)
    def crash(self, name: str, appends: int, count: int, end: End | None) -> None:
        """Lose the process, with appends that it has not acknowledged: each is stored whole, or not."""
        possible = self.run(self._crash(name, appends, count, end))
        self.start()
        expected = self.expected.get(name)
        if expected is not None:
            response = self.run(self.log.describe(name))
            texts = self.run(read(self.log, name))
            assert (texts, response.end) in possible
            expected.texts[:], expected.end = texts, response.end
        self.run(self._resumed())

    async def _crash(
        self, name: str, appends: int, count: int, end: End | None
    ) -> list[tuple[list[str], End | None]]:
        expected = self.expected.get(name)
        pending: list[asyncio.Future[int]] = []
        possible = [] if expected is None else [(expected.texts, expected.end)]
        if expected is not None and expected.end is None:
            for number in range(appends):
                texts, its_end = self.new_texts(count), end if number == appends - 1 else None
                first = len(possible[-1][0]) + 1
                made, future = append_of(name, first, *texts, epoch=expected.epoch, end=its_end)
                self.log.append([made])
                pending.append(future)
                possible.append(([*possible[-1][0], *texts], its_end))
        before, self.crashes = self.folder / str(self.crashes), self.crashes + 1
        after = self.folder / str(self.crashes)
        after.mkdir()
        for file in ("responses.db", "responses.db-wal"):
            shutil.copy(before / file, after / file)
        # A process that is gone tells nobody anything.
        await self._stopped()
        await self.log.close()
        await asyncio.gather(*pending)
        return possible

    def teardown(self) -> None:
        super().teardown()
        shutil.rmtree(self.folder)


def _case(machine: type[LogMachine], examples: int) -> type:
    made: type = machine.TestCase
    made.settings = settings(  # type: ignore[attr-defined]
        max_examples=examples,
        stateful_step_count=40,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        phases=set(Phase) - {Phase.explain},
    )
    return made


TestMemory = _case(MemoryMachine, 60)
TestSqlite = pytest.mark.slow(_case(SqliteMachine, 40))
