"""The chunks of a stream put together into one response.

It works on the JSON of the chunks, so that what is not documented takes part like the rest.
"""

import dataclasses
from collections.abc import Iterable
from typing import Any, Generic, TypeVar

from mistralwire.codec._limits import DEFAULT_LIMITS
from mistralwire.codec._plan import plan_for
from mistralwire.codec._read import read_document
from mistralwire.codec._write import write_document
from mistralwire.v1 import ChatCompletionResponse, CompletionChunk, FIMCompletionResponse

R = TypeVar("R", ChatCompletionResponse, FIMCompletionResponse)

RESPONSE_OBJECT = "chat.completion"
CHUNK_OBJECT = "chat.completion.chunk"

# Members of a chunk that say the same in every chunk: the first value counts.
_CONSTANT = frozenset(("id", "object", "created", "model"))
# Members of a tool call that come in one piece: the first value counts.
_WHOLE = frozenset(("id", "type", "index", "name"))
# Members of a delta that come in one piece: the last value counts.
_REPLACED = frozenset(("role", "tool_call_id", "index", "metadata"))
# What servers send for a tool call without an identifier.
_NO_ID = (None, "", "null")


class _Pieces(list[str]):
    """A string that is still growing: joined once, at the end."""


@dataclasses.dataclass(slots=True)
class _Choice:
    """What is known of one choice so far."""

    members: dict[str, Any]
    has_delta: bool = False
    message: dict[str, Any] | None = None


class Accumulator(Generic[R]):
    """Puts the chunks of one stream together, one at a time.

    Text is concatenated for each choice; lists of content are joined in order, the end of one and the
    beginning of the next merged where both are text or reasoning; tool calls are merged by index, or by
    order and identifier where servers give none; log probabilities are appended. The last usage that is not
    null counts. Null never replaces a value. Members that are not documented are kept: inside a delta strings
    are concatenated and lists joined, elsewhere the last value counts.

    Choices stand in the order of the chunk that began them all, otherwise by index.

    Args:
        response_type: ChatCompletionResponse or FIMCompletionResponse.
    """

    def __init__(self, response_type: type[R] = ChatCompletionResponse) -> None:  # type: ignore[assignment]
        self._response_type: type[R] = response_type
        self._chunk_plan = plan_for(CompletionChunk)
        self._members: dict[str, Any] = {}
        self._choices: dict[tuple[Any, int], _Choice] = {}
        self._starts = 0

    def add(self, chunk: CompletionChunk) -> None:
        """Add the next chunk.

        Raises:
            EncodeError: If the chunk has no JSON form.
        """
        document = write_document(self._chunk_plan, chunk, camel=False)
        for name, value in document.items():
            if name == "choices" and type(value) is list:
                self._members.setdefault("choices", [])
                self._add_choices(value)
            elif name in _CONSTANT:
                _keep_first(self._members, name, value)
            else:
                _keep_last(self._members, name, value)

    def result(self) -> R:
        """Give the response so far; more chunks may follow."""
        document = dict(self._members)
        if self._choices:
            document["choices"] = [_finish_choice(choice) for choice in self._ordered_choices()]
        if document.get("object") == CHUNK_OBJECT:
            document["object"] = RESPONSE_OBJECT
        plan = plan_for(self._response_type)
        arguments = read_document(plan, _join(document), validate=False, limits=DEFAULT_LIMITS)
        response: R = self._response_type(**arguments)
        return response

    def _add_choices(self, choices: list[dict[str, Any]]) -> None:
        occurrences: dict[Any, int] = {}
        known = len(self._choices)
        for item in choices:
            index = _hashable(item.get("index"))
            occurrence = occurrences[index] = occurrences.get(index, -1) + 1
            choice = self._choices.setdefault((index, occurrence), _Choice({}))
            _add_choice(choice, item)
        self._starts += len(self._choices) > known

    def _ordered_choices(self) -> list[_Choice]:
        if self._starts == 1:
            return list(self._choices.values())
        keys = sorted(
            self._choices, key=lambda key: (not isinstance(key[0], int), str(key[0]).zfill(20), key[1])
        )
        return [self._choices[key] for key in keys]


def accumulate(chunks: Iterable[CompletionChunk]) -> ChatCompletionResponse:
    """Put the chunks of one stream together into one response.

    Args:
        chunks: The chunks, in order.

    Returns:
        The response: see `Accumulator` for what becomes of each member.

    Raises:
        EncodeError: If a chunk has no JSON form.
    """
    accumulator = Accumulator(ChatCompletionResponse)
    for chunk in chunks:
        accumulator.add(chunk)
    return accumulator.result()


def _keep_first(members: dict[str, Any], name: str, value: Any) -> None:
    if members.get(name) is None:
        members[name] = value


def _keep_last(members: dict[str, Any], name: str, value: Any) -> None:
    if value is not None or name not in members:
        members[name] = value


def _add_choice(choice: _Choice, item: dict[str, Any]) -> None:
    for name, value in item.items():
        if name == "delta":
            choice.has_delta = True
            if type(value) is dict:
                choice.message = choice.message or {}
                _add_delta(choice.message, value)
            elif value is not None:
                choice.members[name] = value
        elif name in ("logprobs", "prompt_logprobs"):
            choice.members[name] = _merge(choice.members.get(name), value)
        else:
            _keep_last(choice.members, name, value)


def _add_delta(message: dict[str, Any], delta: dict[str, Any]) -> None:
    for name, value in delta.items():
        if name == "content":
            message[name] = _merge_content(message.get(name), value)
        elif name == "tool_calls" and type(value) is list and type(message.get(name)) in (list, type(None)):
            message[name] = _merge_tool_calls(message.get(name) or [], value)
        elif name in _REPLACED:
            _keep_last(message, name, value)
        else:
            message[name] = _merge(message.get(name), value)


def _merge(old: Any, new: Any) -> Any:
    """Merge what two deltas say of one member; the new value is never changed."""
    match old, new:
        case _, None:
            return old
        case _Pieces(), str():
            old.append(new)
            return old
        case str(), str():
            return _Pieces((old, new))
        case list(), list():
            return [*old, *new]
        case dict(), dict():
            merged = dict(old)
            for name, value in new.items():
                merged[name] = _merge(merged.get(name), value)
            return merged
        case _:
            return new


def _merge_content(old: Any, new: Any) -> Any:
    if new is None or old is None:
        return new if old is None else old
    if type(new) is list:
        return _join_content(_as_list(old), new)
    if type(old) is list and isinstance(new, str):
        return _join_content(old, [{"type": "text", "text": new}]) if new else old
    return _merge(old, new)


def _as_list(content: Any) -> list[Any]:
    if type(content) is list:
        return content
    text = "".join(content)
    return [{"type": "text", "text": text}] if text else []


def _join_content(old: list[Any], new: list[Any]) -> list[Any]:
    """Append a list of content; the last old and the first new piece become one if they go on."""
    if not old or not new or not _goes_on(old[-1], new[0]):
        old.extend(new)
        return old
    last, first = dict(old[-1]), new[0]
    for name, value in first.items():
        if name == "text":
            last[name] = _merge(last[name], value)
        elif name == "thinking":
            last[name] = _join_content(list(last[name]), value)
        else:
            _keep_last(last, name, value)
    old[-1] = last
    old.extend(new[1:])
    return old


def _goes_on(last: Any, first: Any) -> bool:
    if type(last) is not dict or type(first) is not dict or last.get("type") != first.get("type"):
        return False
    if first.get("type") == "text":
        return isinstance(last.get("text"), str | _Pieces) and isinstance(first.get("text"), str)
    if first.get("type") == "thinking":
        lists = type(last.get("thinking")) is list and type(first.get("thinking")) is list
        return lists and (last.get("closed") is not True or first["thinking"] == [])
    return False


def _merge_tool_calls(calls: list[dict[str, Any]], pieces: list[dict[str, Any]]) -> list[dict[str, Any]]:
    calls = list(calls)
    begun = len(calls)
    taken: set[int] = set()
    for piece in pieces:
        position = next((at for at in range(begun) if at not in taken and _continues(calls[at], piece)), None)
        if position is None:
            calls.append(piece)
            continue
        taken.add(position)
        calls[position] = _merge_tool_call(calls[position], piece)
    return calls


def _continues(call: Any, piece: Any) -> bool:
    if type(call) is not dict or type(piece) is not dict:
        return False
    known, given = call.get("id"), piece.get("id")
    if known not in _NO_ID and given not in _NO_ID and known != given:
        return False
    if piece.get("index") is None:
        # Without an index, a piece with an identifier of its own begins a call.
        return given in _NO_ID or known == given
    return bool(call.get("index") == piece["index"])


def _merge_tool_call(call: dict[str, Any], piece: dict[str, Any]) -> dict[str, Any]:
    merged = dict(call)
    for name, value in piece.items():
        if name == "function" and type(value) is dict and type(merged.get(name)) is dict:
            merged[name] = _merge_tool_call(merged[name], value)
        elif name in _WHOLE:
            if merged.get(name) in _NO_ID:
                merged[name] = value
        else:
            merged[name] = _merge(merged.get(name), value)
    return merged


def _finish_choice(choice: _Choice) -> dict[str, Any]:
    members = dict(choice.members)
    if choice.has_delta:
        members["message"] = choice.message
    return members


def _join(value: Any) -> Any:
    """Copy a value with its growing strings joined."""
    match value:
        case _Pieces():
            return "".join(value)
        case dict():
            return {name: _join(item) for name, item in value.items()}
        case list():
            return [_join(item) for item in value]
        case _:
            return value


def _hashable(value: Any) -> Any:
    return value if isinstance(value, int | str | None) else repr(value)
