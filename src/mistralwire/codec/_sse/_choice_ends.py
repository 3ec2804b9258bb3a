"""The choices of a stream that have begun and ended: once all have, the stream may lack its `[DONE]`."""

from collections.abc import Iterable
from typing import Any

from mistralwire.codec._limits import DEFAULT_LIMITS
from mistralwire.codec._plan import plan_for
from mistralwire.codec._python import parse

_CHOICES_MAX = 1024


class ChoiceEnds:
    """The choices of one stream by index, up to a bound: beyond it, they never count as all ended."""

    def __init__(self) -> None:
        self._begun: set[int] = set()
        self._ended: set[int] = set()

    @property
    def all_ended(self) -> bool:
        """Whether there was a choice, and each had a finish reason."""
        return 0 < len(self._begun) <= _CHOICES_MAX and self._begun <= self._ended

    def observe(self, choices: Iterable[Any]) -> None:
        """Record the choices of a chunk."""
        for choice in choices:
            index = choice.index
            if index not in self._begun:
                self.begin((index,))
            if choice.finish_reason and finish_reason_of(choice):
                self.end((index,))

    def begin(self, indexes: Iterable[int]) -> None:
        """Record choices that have begun, by index."""
        for index in indexes:
            if len(self._begun) <= _CHOICES_MAX:
                self._begun.add(index)

    def end(self, indexes: Iterable[int]) -> None:
        """Record choices whose finish reason is not empty, by index."""
        for index in indexes:
            if len(self._ended) <= _CHOICES_MAX:
                self._ended.add(index)


def finish_reason_of(choice: Any) -> str:
    """Return the string of a finish reason that is set, documented or not."""
    member = plan_for(type(choice)).by_name["finish_reason"]
    string = member.fields[0].enum_strings.get(choice.finish_reason)
    if string is None:
        # A reason that the enum does not list, or not in the readers' revision.
        string = str(parse(choice.json_extra.members, DEFAULT_LIMITS)["finish_reason"])
    return string
