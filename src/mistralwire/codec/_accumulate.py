"""The chunks of a stream put together into one response.

It works on the JSON of the chunks, so that what is not documented takes part like the rest. That JSON is
written anew for each chunk: what is kept of it is changed in place.
"""

import dataclasses
from collections.abc import Iterable
from typing import Any, Generic, TypeVar

from mistralwire.codec._convert import to_document
from mistralwire.codec._limits import DEFAULT_LIMITS
from mistralwire.codec._parse import is_unicode
from mistralwire.codec._plan import plan_for
from mistralwire.codec._read import read_document
from mistralwire.errors import EncodeError
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
# So many calls are looked at closely for each piece: more are hardly ever under way at a time.
_CALLS_SEARCHED = 64
# What servers send for a tool call without an identifier.
_NO_ID = (None, "", "null")
# Merging one of these changes nothing.
_EMPTY: tuple[Any, ...] = (None, "", [], {})
# The key of a choice that is no object, in place of an index.
_NO_OBJECT = ()


class _Pieces(list[str]):
    """A string that is still growing: joined once, at the end."""


class _Calls(list[Any]):
    """The tool calls of a message.

    Attributes:
        earlier: Places of those that are not among the last, by identifier.
    """

    def __init__(self) -> None:
        super().__init__()
        self.earlier: dict[str, int] = {}
        self._indexed = 0

    def index_earlier(self) -> None:
        """Index the calls that are no longer among the last."""
        end = len(self) - _CALLS_SEARCHED
        while self._indexed < end:
            self._indexed += 1
            self.index_call(self._indexed - 1)

    def index_call(self, at: int) -> None:
        """Index a call that is not among the last; of several with one identifier, the last counts."""
        if at < self._indexed and _has_id(self[at]):
            self.earlier[self[at]["id"]] = max(at, self.earlier.get(self[at]["id"], 0))


@dataclasses.dataclass(slots=True)
class _Choice:
    """What is known of one choice so far.

    Attributes:
        members: Its members beside the message; whatever stands in its place if that is no object.
        has_delta: Whether there was a delta, be it null.
        message: The deltas together.
    """

    members: Any = dataclasses.field(default_factory=dict)
    has_delta: bool = False
    message: Any = None


class Accumulator(Generic[R]):
    """Puts the chunks of one stream together, one at a time.

    Text is concatenated for each choice; lists of content are joined in order, the end of one and the
    beginning of the next merged where both are text or reasoning, unless the reasoning was closed. Tool calls
    are merged by index; where servers give none, by identifier; where they give neither, pieces without
    another name belong to the last calls, in order. Pieces in one chunk are never merged with each other. Log
    probabilities are appended. The last usage that is not null counts. Null never replaces a value. Members
    that are not documented are kept: inside a delta strings are concatenated, lists joined and objects
    merged, elsewhere the last value counts. Where no chunk says what the `object` is, it is
    `chat.completion`.

    Choices stand in the order of the chunk that began them all, otherwise by index.

    Args:
        response_type: ChatCompletionResponse or FIMCompletionResponse.
    """

    def __init__(self, response_type: type[R] = ChatCompletionResponse) -> None:  # type: ignore[assignment]
        if response_type not in (ChatCompletionResponse, FIMCompletionResponse):
            raise TypeError(f"expected a type of response, not {response_type!r}")
        self._response_type: type[R] = response_type
        self._chunk_plan = plan_for(CompletionChunk)
        self._members: dict[str, Any] = {}
        self._choices: dict[tuple[Any, int], _Choice] = {}
        self._starts = 0

    def add(self, chunk: CompletionChunk) -> None:
        """Add the next chunk, which stays as it is.

        Raises:
            EncodeError: If the chunk has no JSON form; it is not added.
            TypeError: If it is no chunk.
        """
        if not isinstance(chunk, CompletionChunk):
            raise TypeError(f"expected a CompletionChunk, not {type(chunk).__name__}")
        document = to_document(self._chunk_plan, chunk.SerializeToString())
        for name, value in document.items():
            if name == "choices" and type(value) is list:
                self._members.setdefault("choices", [])
                self._add_choices(value)
            elif name in _CONSTANT:
                _keep_first(self._members, name, value)
            else:
                _keep_last(self._members, name, value)

    def result(self) -> R:
        """Give the response so far; more chunks may follow.

        Raises:
            EncodeError: If members without a field are nested deeper than the stack has room for.
        """
        try:
            return self._result()
        except RecursionError:
            raise EncodeError("nesting that the stack has no room for; call from a shallower one") from None

    def _result(self) -> R:
        document = dict(self._members)
        if self._choices:
            document["choices"] = [_finish_choice(choice) for choice in self._ordered_choices()]
        if self._members and document.get("object") in (None, CHUNK_OBJECT):
            document["object"] = RESPONSE_OBJECT
        plan = plan_for(self._response_type)
        wire = read_document(plan, _join(document), validate=False, limits=DEFAULT_LIMITS)
        response: R = self._response_type.FromString(wire)
        return response

    def _add_choices(self, choices: list[Any]) -> None:
        occurrences: dict[Any, int] = {}
        known = len(self._choices)
        for item in choices:
            index = _hashable(item.get("index")) if type(item) is dict else _NO_OBJECT
            occurrence = occurrences[index] = occurrences.get(index, -1) + 1
            choice = self._choices.setdefault((index, occurrence), _Choice())
            if index == _NO_OBJECT:
                choice.members = item
            else:
                _add_choice(choice, item)
        self._starts += len(self._choices) > known

    def _ordered_choices(self) -> list[_Choice]:
        if self._starts == 1:
            return list(self._choices.values())
        return [self._choices[key] for key in sorted(self._choices, key=_order)]


def accumulate(chunks: Iterable[CompletionChunk]) -> ChatCompletionResponse:
    """Put the chunks of one stream together into one response.

    Args:
        chunks: The chunks, in order.

    Returns:
        The response: see `Accumulator` for what becomes of each member.

    Raises:
        EncodeError: If a chunk has no JSON form.
        TypeError: If one is no chunk.
    """
    accumulator = Accumulator(ChatCompletionResponse)
    for chunk in chunks:
        accumulator.add(chunk)
    return accumulator.result()


def _hashable(value: Any) -> Any:
    return value if isinstance(value, int | str | None) else repr(value)


def _order(key: tuple[Any, int]) -> tuple[bool, int, str, int]:
    index, occurrence = key
    is_number = isinstance(index, int)
    return not is_number, index if is_number else 0, str(index), occurrence


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
            choice.message = _merge_delta(choice.message, value)
        elif name in ("logprobs", "prompt_logprobs"):
            choice.members[name] = _merge(choice.members.get(name), value)
        else:
            _keep_last(choice.members, name, value)


def _merge_delta(message: Any, delta: Any) -> Any:
    if type(delta) is not dict or type(message) not in (dict, type(None)):
        return message if delta in _EMPTY and message is not None else delta
    message = {} if message is None else message
    for name, value in delta.items():
        if name == "content":
            message[name] = _merge_content(message.get(name), value)
        elif name == "tool_calls" and type(value) is list and type(message.get(name)) in (_Calls, type(None)):
            message[name] = _merge_tool_calls(message.get(name) or _Calls(), value)
        elif name in _REPLACED:
            _keep_last(message, name, value)
        else:
            message[name] = _merge(message.get(name), value)
    return message


def _merge(old: Any, new: Any) -> Any:
    """Merge what two deltas say of one member; the old value is used up."""
    if old is None:
        return new
    if new in _EMPTY:
        return old
    if isinstance(new, str) and isinstance(old, str | _Pieces):
        pieces = old if isinstance(old, _Pieces) else _Pieces((old,))
        pieces.append(new)
        return pieces
    if type(old) is list and type(new) is list:
        old.extend(new)
        return old
    if type(old) is dict and type(new) is dict:
        for name, value in new.items():
            old[name] = _merge(old.get(name), value)
        return old
    return new


def _merge_content(old: Any, new: Any) -> Any:
    if old is not None and new in _EMPTY:
        return old
    if type(new) is list and isinstance(old, str | _Pieces):
        return _join_content(_as_list("".join(old)), new)
    if type(old) is list and isinstance(new, str):
        return _join_content(old, _as_list(new))
    if type(old) is list and type(new) is list:
        return _join_content(old, new)
    return _merge(old, new)


def _as_list(text: str) -> list[Any]:
    return [{"type": "text", "text": text}] if text else []


def _join_content(old: list[Any], new: list[Any]) -> list[Any]:
    """Append a list of content; the last old and the first new piece become one if they go on."""
    if old and new and _goes_on(old[-1], new[0]):
        _extend_content(old[-1], new[0])
        new = new[1:]
    old.extend(new)
    return old


def _extend_content(last: dict[str, Any], first: dict[str, Any]) -> None:
    for name, value in first.items():
        if name == "text":
            last[name] = _merge(last[name], value)
        elif name == "thinking":
            last[name] = _join_content(last[name], value)
        else:
            _keep_last(last, name, value)


def _goes_on(last: Any, first: Any) -> bool:
    if type(last) is not dict or type(first) is not dict or last.get("type") != first.get("type"):
        return False
    if first.get("type") == "text":
        return isinstance(last.get("text"), str | _Pieces) and isinstance(first.get("text"), str)
    if first.get("type") == "thinking":
        lists = type(last.get("thinking")) is list and type(first.get("thinking")) is list
        return lists and (last.get("closed") is not True or first["thinking"] == [])
    return False


def _merge_tool_calls(calls: _Calls, pieces: list[Any]) -> _Calls:
    """Add pieces to their calls; from the end, so that those that do not say which belong to the last."""
    calls.index_earlier()
    taken: set[int] = set()
    begun = []
    # The last calls are looked at one by one, the earlier ones are found by their identifiers.
    recent = list(range(len(calls) - 1, max(-1, len(calls) - 1 - _CALLS_SEARCHED), -1))
    for piece in reversed(pieces):
        position = _find_call(calls, recent, taken, piece)
        if position is None:
            begun.append(piece)
            continue
        taken.add(position)
        if position in recent:
            recent.remove(position)
        _extend_tool_call(calls[position], piece)
        calls.index_call(position)
    calls.extend(reversed(begun))
    return calls


def _find_call(calls: _Calls, recent: list[int], taken: set[int], piece: Any) -> int | None:
    if type(piece) is not dict:
        return None
    for at in recent:
        if _continues(calls[at], at, piece):
            return at
    others = []
    index = piece.get("index")
    if type(index) is int and 0 <= index < len(calls):
        others.append(index)
    if _has_id(piece) and piece["id"] in calls.earlier:
        others.append(calls.earlier[piece["id"]])
    found = (at for at in others if at not in taken and _continues(calls[at], at, piece))
    return next(found, None)


def _has_id(call: Any) -> bool:
    return type(call) is dict and type(call.get("id")) is str and call["id"] not in _NO_ID


def _continues(call: Any, position: int, piece: Any) -> bool:
    if type(call) is not dict or type(piece) is not dict:
        return False
    known, given = call.get("id"), piece.get("id")
    if known not in _NO_ID and given not in _NO_ID and known != given:
        return False
    if piece.get("index") is not None:
        index = call.get("index")
        return bool(piece["index"] == (position if index is None else index))
    if given not in _NO_ID:
        return bool(known == given)
    return _name(piece) == _name(call) or "" in (_name(piece), _name(call))


def _name(call: dict[str, Any]) -> Any:
    function = call.get("function")
    return function.get("name") or "" if type(function) is dict else ""


def _extend_tool_call(call: dict[str, Any], piece: dict[str, Any]) -> None:
    for name, value in piece.items():
        known = call.get(name)
        if name == "function" and type(value) is dict and type(known) is dict:
            _extend_tool_call(known, value)
        elif name not in _WHOLE:
            call[name] = _merge(known, value)
        elif known is None or (known in _NO_ID and value not in _NO_ID):
            call[name] = value


def _finish_choice(choice: _Choice) -> Any:
    return choice.members | {"message": choice.message} if choice.has_delta else choice.members


def _join(value: Any) -> Any:
    """Copy a value with its growing strings joined."""
    match value:
        case _Pieces():
            text = "".join(value)
            # A character beyond the 16-bit range may come cut in two halves.
            return (
                text
                if is_unicode(text)
                else text.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")
            )
        case dict():
            return {name: _join(item) for name, item in value.items()}
        case list():
            return [_join(item) for item in value]
        case _:
            return value
