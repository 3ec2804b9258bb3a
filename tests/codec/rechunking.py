"""Responses cut into the chunks of streams, in all the ways that servers are known to cut them."""

import copy
import itertools
import random
from collections.abc import Iterator
from typing import Any, NamedTuple

from tests.codec.chunks import Json

# Where calls have their indexes, what pieces behind the first have as id, and how names come.
_INDEXES = ("from zero", "from one", "with gaps", "missing", "late", "all zero", "all minus one")
_IDS = ("first", "first, then empty", "first, then null", "repeated", "new on every piece", "none")
_NAMES = ("first", "first, then empty", "whole each time", "in pieces", "in pieces, then whole")
_NOTHING_BEHIND: dict[str, Json] = {
    "first": {},
    "first, then empty": {"id": ""},
    "first, then null": {"id": None},
    "none": {},
}


class Mode(NamedTuple):
    """How tool calls are cut.

    Attributes:
        indexes: Which indexes they have.
        ids: What the pieces behind the first have as id.
        names: How names come.
    """

    indexes: str
    ids: str
    names: str

    @property
    def may_interleave(self) -> bool:
        """Whether the pieces of different calls may come in any order."""
        return self.ids == "repeated" or self.indexes in ("from zero", "from one", "with gaps")

    @property
    def is_decidable(self) -> bool:
        """Whether a reader can tell which pieces belong together."""
        if self.ids == "repeated":
            return True
        names_once = self.names in ("first", "first, then empty")
        if self.ids == "new on every piece" or self.indexes in ("missing", "late"):
            return names_once
        return self.ids != "none" or not self.indexes.startswith("all")


MODES = tuple(
    mode for mode in itertools.starmap(Mode, itertools.product(_INDEXES, _IDS, _NAMES)) if mode.is_decidable
)
"""All modes in which a reader can tell which pieces belong together."""


class Stream(NamedTuple):
    """A stream, and what it stands for.

    Attributes:
        chunks: The chunks.
        response: The response that they add up to.
    """

    chunks: list[Json]
    response: Json


def rechunk(response: Json, mode: Mode, chance: random.Random) -> Stream:
    """Cut a response into chunks.

    Args:
        response: A valid response whose choices have messages, and whose calls have ids, all different.
        mode: How its tool calls are cut.
        chance: Decides the rest.
    """
    expected = copy.deepcopy(response)
    choices = expected["choices"]
    pieces: list[list[Json]] = []
    is_alone = len(choices) == 1
    for choice in choices:
        pieces.append([*_pieces_of(choice, mode, chance)])
        if is_alone and chance.random() < 0.2:
            # The first piece of the only choice may lack its index.
            del pieces[-1][0]["index"]
    # Choices that begin in one chunk keep its order.
    events = [cut[0] for cut in pieces] + _interleaved([cut[1:] for cut in pieces], chance)
    chunks = [*_grouped(events, chance)]
    _add_heads(chunks, expected, chance)
    return Stream(chunks, expected)


def _pieces_of(choice: Json, mode: Mode, chance: random.Random) -> Iterator[Json]:
    """Cut a choice; its calls are changed to what the pieces say of them."""
    message = dict(choice["message"])
    calls, content = message.pop("tool_calls", None), message.pop("content", None)
    deltas: list[Json] = [message | _role(message, chance, is_first=True)]
    if content is not None:
        deltas += ({"content": part} for part in _content_parts(content, chance))
    elif "content" in choice["message"]:
        deltas.append({"content": None})
    if calls:
        _number(calls, mode)
        deltas += ({"tool_calls": pieces} for pieces in _call_pieces(calls, mode, chance))
    elif "tool_calls" in choice["message"]:
        deltas[0]["tool_calls"] = calls
    for delta in deltas[1:]:
        delta.update(_role(message, chance, is_first=False))
    rest = {
        name: value for name, value in choice.items() if name not in ("message", "finish_reason", "index")
    }
    index, reason = choice["index"], choice["finish_reason"]
    for at, delta in enumerate(deltas):
        piece = {"index": index, "delta": delta, "finish_reason": chance.choice((None, None, ""))}
        yield piece | (rest if at == 0 else {})
    yield {"index": index, "delta": {}, "finish_reason": reason}
    if chance.random() < 0.2:
        yield {"index": index, "delta": {}, "finish_reason": chance.choice((None, ""))}


def _role(message: Json, chance: random.Random, *, is_first: bool) -> Json:
    if message.get("role") is None:
        return {}
    choices: list[Json] = [{}, {"role": ""}, {"role": None}, {"role": message["role"]}]
    return {"role": message["role"]} if is_first else chance.choice(choices)


def _content_parts(content: Any, chance: random.Random) -> list[Any]:
    if isinstance(content, str):
        return _cut(content, chance)
    types = [item.get("type") for item in content]
    if any(first == second for first, second in itertools.pairwise(types)):
        # Their end could not be told from a cut.
        return [content]
    return [part for item in content for part in _item_parts(item, chance)]


def _item_parts(item: Json, chance: random.Random) -> list[Any]:
    if item.get("type") == "text":
        return [[item | {"text": part}] for part in _cut(item["text"], chance)]
    return [[item]]


def _number(calls: list[Json], mode: Mode) -> None:
    """Set the index and the id of calls to those that their pieces have."""
    for at, call in enumerate(calls):
        numbers = {"from one": at + 1, "with gaps": 3 * at, "all zero": 0, "all minus one": -1}
        call["index"] = numbers.get(mode.indexes, at)
        if mode.indexes == "missing":
            del call["index"]
        if mode.ids == "none":
            call.pop("id", None)


def _call_pieces(calls: list[Json], mode: Mode, chance: random.Random) -> Iterator[list[Json]]:
    """Cut tool calls into pieces, and these into the lists of chunks."""
    cut = [[*_cut_call(call, mode, chance)] for call in calls]
    if mode.may_interleave:
        heads = [pieces[0] for pieces in cut]
        events = heads + _interleaved([pieces[1:] for pieces in cut], chance)
    else:
        events = [piece for pieces in cut for piece in pieces]
    while events:
        size = chance.choice((1, 1, 2, 3, len(events)))
        yield events[:size]
        del events[:size]


def _cut_call(call: Json, mode: Mode, chance: random.Random) -> Iterator[Json]:
    function = call["function"]
    arguments = function["arguments"]
    parts = _cut(arguments, chance) if isinstance(arguments, str) else [arguments, "", ""]
    names = _cut_name(function["name"], mode.names, chance)
    rest = {name: value for name, value in call.items() if name not in ("function", "id", "index")}
    for at, (part, name) in enumerate(itertools.zip_longest(parts, names)):
        piece: Json = {"function": {} if part is None else {"arguments": part}}
        if name is not None:
            piece["function"]["name"] = name
        if "index" in call and (at > 0 or mode.indexes != "late"):
            piece["index"] = call["index"]
        if at == 0:
            piece |= rest | ({"id": call["id"]} if "id" in call else {})
        elif mode.ids == "repeated":
            piece["id"] = call["id"]
        elif mode.ids == "new on every piece":
            piece["id"] = f"{call['id']}-{at}"
        else:
            piece |= _NOTHING_BEHIND[mode.ids]
        yield piece
    if mode.indexes == "late" and max(len(parts), len(names)) == 1:
        yield {"index": call["index"], "function": {"arguments": ""}}


def _cut_name(name: str, how: str, chance: random.Random) -> list[str | None]:
    if how in ("first", "whole each time", "first, then empty"):
        behind = {"first": None, "whole each time": name, "first, then empty": ""}[how]
        return [name, *[behind] * chance.randrange(4)]
    parts: list[str | None] = []
    for part in _cut(name, chance, blank=False):
        # A piece that equals all before it would be taken for the whole name again.
        if parts and part == "".join(filter(None, parts)):
            parts[-1] = f"{parts[-1]}{part}"
        else:
            parts.append(part)
    return [*parts, name] if how == "in pieces, then whole" else parts


def _cut(text: str, chance: random.Random, *, blank: bool = True) -> list[str]:
    """Cut a text into one to five pieces; some are empty if that is allowed."""
    places = sorted(chance.randrange(len(text) + 1) for _ in range(chance.randrange(5)))
    parts = [text[first:second] for first, second in itertools.pairwise([0, *places, len(text)])]
    return parts if blank else [part for part in parts if part] or [text]


def _interleaved(sequences: list[list[Json]], chance: random.Random) -> list[Json]:
    """Merge sequences at random; each keeps its order."""
    places = [at for at, sequence in enumerate(sequences) for _ in sequence]
    chance.shuffle(places)
    rest = [iter(sequence) for sequence in sequences]
    return [next(rest[at]) for at in places]


def _grouped(events: list[Json], chance: random.Random) -> Iterator[Json]:
    """Put pieces of choices into chunks; several of one choice may share a chunk."""
    at = 0
    while at < len(events):
        # A piece without an index begins the stream: the index comes in a later chunk.
        size = 1 if "index" not in events[at] else chance.choice((1, 1, 1, 2, 3))
        yield {"choices": events[at : at + size]}
        at += size


def _add_heads(chunks: list[Json], response: Json, chance: random.Random) -> None:
    """Add what is beside the choices."""
    usage = response.get("usage")
    rest = {name: value for name, value in response.items() if name not in ("choices", "usage")}
    rest["object"] = "chat.completion.chunk"
    nothing: Json = {"id": "", "object": "", "created": 0, "model": ""}
    known = {name: value for name, value in nothing.items() if name in rest}
    for chunk in chunks:
        later = {name: rest[name] for name in known}
        chunk.update(chance.choice((later, later, later, known)))
        chunk.update(chance.choice(({}, {"usage": None})))
    chunks[0].update(rest)
    if usage:
        at = chance.choice((chunks[-1], {"choices": []} | rest))
        at["usage"] = usage
        if at is not chunks[-1]:
            chunks.append(at)
        for _ in range(chance.randrange(3)):
            empty = chance.choice(({}, None, {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}))
            chunks.append({"choices": [], "usage": empty} | known)
    if chance.random() < 0.3:
        chunks.insert(0, {"choices": [], "prompt_filter_results": [{"prompt_index": 0}]} | known)
        response["prompt_filter_results"] = [{"prompt_index": 0}]
