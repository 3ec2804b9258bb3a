"""What producers were told is stored, what consumers got, and how the two differ."""

import dataclasses
import json
import os
import time
from collections.abc import Callable, Sequence


def content(response: str, epoch: int, sequence: int) -> str:
    """Return the content of an event, which no other event has."""
    return f"{response} {epoch} {sequence}"


@dataclasses.dataclass(frozen=True)
class Result:
    """What came of a scenario.

    Attributes:
        acknowledged: Events that producers were told are stored.
        delivered: Events that consumers got, all consumers together.
        lost: Events that a consumer did not get: between others, or at the end of what was acknowledged.
        doubled: Events that a consumer got more than once.
        recovery_s: The longest time from a fault until an event that was made later is acknowledged, in
            seconds, of all producers.
        violations: What else is wrong.
    """

    acknowledged: int
    delivered: int
    lost: int
    doubled: int
    recovery_s: float
    violations: Sequence[str]


class Consumer:
    """What one consumer of a response got; its position is `last`.

    Attributes:
        response: The response.
        due: How many events it must get; None for all that are acknowledged in the end.
        contents: The events, in order.
        has_ended: Whether it got the end.
    """

    def __init__(self, response: str, due: int | None = None) -> None:
        self.response = response
        self.due = due
        self.contents: list[str] = []
        self.has_ended = False
        self.doubled = 0
        self.missing = 0
        self.last = 0

    def got(self, first: int, contents: Sequence[str]) -> None:
        """Note events, and the number of the first."""
        known = max(0, self.last + 1 - first)
        self.doubled += min(known, len(contents))
        new = contents[known:]
        if new:
            self.missing += first + known - self.last - 1
            self.contents += new
            self.last = first + len(contents) - 1


class PrintedLedger:
    """Prints what a process has to tell a ledger, a line of JSON each; `programs` reads it.

    At once: what a process that is killed has not written yet was not acknowledged to anybody.
    """

    def send(self, response: str, sequence: int) -> None:
        self._print("send", response, sequence)

    def acknowledge(self, response: str, last: int, *, epoch: int = 0, is_end: bool = False) -> None:
        self._print("acknowledge", response, last, epoch, is_end)

    def error(self, reason: str) -> None:
        self._print("error", reason)

    def _print(self, *words: str | int) -> None:
        os.write(1, f"{json.dumps(words)}\n".encode())


class Ledger:
    """Compares what was acknowledged with what was delivered.

    Args:
        scenario: Its name in the table of `make chaos`.

    Attributes:
        content: Returns the content of an event, as `content` does.
    """

    def __init__(self, scenario: str) -> None:
        self.scenario = scenario
        self.content: Callable[[str, int, int], str] = content
        self.consumers: list[Consumer] = []
        self._acknowledged: dict[str, list[str]] = {}
        self._ended: set[str] = set()
        self._fault_s = 0.0
        self._sent: dict[str, int] = {}
        # The events that show that their responses go on after the fault.
        self._waiting: dict[str, int] = {}
        self._recovery_s = 0.0

    @property
    def acknowledged_count(self) -> int:
        """Number of acknowledged events."""
        return sum(map(len, self._acknowledged.values()))

    @property
    def has_recovered(self) -> bool:
        """Whether events of each response were made and acknowledged since the last fault."""
        return not self._waiting

    def has_acknowledged(self, count: int) -> bool:
        """Check whether so many events are acknowledged."""
        return self.acknowledged_count >= count

    @property
    def responses(self) -> Sequence[str]:
        """The responses of which something was acknowledged."""
        return sorted(self._acknowledged)

    def send(self, response: str, sequence: int) -> None:
        """Note that a producer has made events up to `sequence`."""
        self._sent[response] = max(sequence, self._sent.get(response, 0))

    def acknowledge(self, response: str, last: int, *, epoch: int = 0, is_end: bool = False) -> None:
        """Note that a producer was told that events are stored, up to `last`, and perhaps the end."""
        contents = self._acknowledged.setdefault(response, [])
        contents += [self.content(response, epoch, number) for number in range(len(contents) + 1, last + 1)]
        if is_end:
            self._ended.add(response)
        self.send(response, last)
        if response in self._waiting and (is_end or last >= self._waiting[response]):
            del self._waiting[response]
            self._recovery_s = max(self._recovery_s, time.monotonic() - self._fault_s)

    def fault(self) -> None:
        """Note that something fails now: all responses that run have to recover."""
        self._fault_s = time.monotonic()
        running = self._acknowledged.keys() - self._ended
        self._waiting = {response: self._sent[response] + 1 for response in running}

    def consumer(self, response: str) -> Consumer:
        """Return a new consumer of a response."""
        self.consumers.append(Consumer(response))
        return self.consumers[-1]

    def reader(self, response: str) -> Consumer:
        """Return a new consumer that reads what is stored now, and does not wait for the rest."""
        self.consumers.append(Consumer(response, len(self._acknowledged[response])))
        return self.consumers[-1]

    def result(self) -> Result:
        """Compare, once nothing goes on: each consumer has what it will ever get."""
        lost = 0
        violations = []
        longest: dict[str, list[str]] = {}
        for consumer in self.consumers:
            if len(consumer.contents) > len(longest.get(consumer.response, ())):
                longest[consumer.response] = consumer.contents
        for number, consumer in enumerate(self.consumers):
            acknowledged = self._acknowledged.get(consumer.response, [])
            name = f"consumer {number} of {consumer.response}"
            due = len(acknowledged) if consumer.due is None else consumer.due
            lost += consumer.missing + max(0, due - consumer.last)
            if not consumer.missing:
                # Beyond what was acknowledged, and its acknowledgement lost, all see the same.
                expected = (acknowledged + longest.get(consumer.response, [])[len(acknowledged) :])[
                    : consumer.last
                ]
                if consumer.contents != expected:
                    violations.append(f"{name}: the events are others, or in another order")
            else:
                violations.append(f"{name}: {consumer.missing} events are missing between others")
            if consumer.response in self._ended and consumer.due is None and not consumer.has_ended:
                violations.append(f"{name}: it has not ended")
            if consumer.response in self._ended and consumer.last > len(acknowledged):
                violations.append(f"{name}: events after the end")
        return Result(
            acknowledged=self.acknowledged_count,
            delivered=sum(len(consumer.contents) for consumer in self.consumers),
            lost=lost,
            doubled=sum(consumer.doubled for consumer in self.consumers),
            recovery_s=self._recovery_s,
            violations=violations,
        )

    def check(self) -> Result:
        """Check that nothing was lost, doubled or mixed up, and that it went on after each fault."""
        result = self.check_stored()
        assert self.has_recovered, f"{sorted(self._waiting)} have not recovered"
        return result

    def check_stored(self) -> Result:
        """Check the same where nobody goes on after the last fault."""
        result = self.result()
        assert not result.violations, result.violations[:10]
        assert (result.lost, result.doubled) == (0, 0), result
        assert result.acknowledged
        assert result.delivered
        return result
