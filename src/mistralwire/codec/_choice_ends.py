"""Which choices of a stream have begun, and which have ended: once all have, it may lack its `[DONE]`."""

from collections.abc import Iterable
from typing import Any

from mistralwire.codec._limits import DEFAULT_LIMITS
from mistralwire.codec._parse import parse
from mistralwire.codec._plan import plan_for

_CHOICES_MAX = 1024


class ChoiceEnds:
    """The choices of one stream, by index; of very many it is never known that all have ended."""

    def __init__(self) -> None:
        self._begun: set[int] = set()
        self._ended: set[int] = set()

    @property
    def all_ended(self) -> bool:
        """Whether there was a choice, and each had a finish reason."""
        return 0 < len(self._begun) <= _CHOICES_MAX and self._begun <= self._ended

    def observe(self, choices: Iterable[Any]) -> None:
        """Take the choices of a chunk."""
        for choice in choices:
            index = choice.index
            if index not in self._begun:
                self.begin((index,))
            if choice.finish_reason and finish_reason_of(choice):
                self.end((index,))

    def begin(self, indexes: Iterable[int]) -> None:
        """Take the indexes of choices."""
        for index in indexes:
            if len(self._begun) <= _CHOICES_MAX:
                self._begun.add(index)

    def end(self, indexes: Iterable[int]) -> None:
        """Take the indexes of choices whose finish reason is not empty."""
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
