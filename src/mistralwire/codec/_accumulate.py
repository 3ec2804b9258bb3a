"""The chunks of a stream put together into one response, whichever server it comes from.

It works on the JSON of the chunks, so that what is not documented takes part like the rest. That JSON is
written anew for each chunk: what is kept of it is changed in place.
"""

import collections
import dataclasses
from collections.abc import Iterable
from typing import Any, Generic, TypeVar

from mistralwire.codec._convert import to_document
from mistralwire.codec._limits import DEFAULT_LIMITS
from mistralwire.codec._merge import EMPTY, Pieces, join, keep_first, keep_last, keep_last_usage, merge
from mistralwire.codec._plan import plan_for
from mistralwire.codec._read import read_document
from mistralwire.codec._tool_calls import ToolCalls, index_key
from mistralwire.errors import EncodeError
from mistralwire.v1 import ChatCompletionResponse, CompletionChunk, FIMCompletionResponse

R = TypeVar("R", ChatCompletionResponse, FIMCompletionResponse)

RESPONSE_OBJECT = "chat.completion"
CHUNK_OBJECT = "chat.completion.chunk"

# Members of a chunk that say the same in every chunk: the first value counts.
_CONSTANT = frozenset(("id", "object", "created", "model"))
# Members of a delta that come in one piece: the last value counts.
_REPLACED = frozenset(("role", "tool_call_id", "index", "metadata"))
# What says nothing of these, `created` included.
_NOTHING = (*EMPTY, 0)
# The key of a choice that is no object, in place of an index.
_NO_OBJECT = ()


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

    Streams of all servers are read by the same rules, within a chunk as across chunks:

        ====================  ================================================================================
        What                  Rule
        ====================  ================================================================================
        Nothing               null, "", [] and {}; of a call's id and name also "null"; of `created` also 0; a
                              usage in which no number is above 0. It never replaces what says something.
        Chunk                 Of `id`, `object`, `created` and `model` the first value that says something
                              stays. Of `usage` and what is undocumented the last one stays. An `object` that
                              no chunk has, or that is `chat.completion.chunk`, becomes `chat.completion`. A
                              `usage` that no chunk has becomes {}.
        Choice                Pieces with one index are one choice. A piece without an index continues the
                              choice at its place among such pieces of its chunk; a choice that began without
                              an index takes the first new index that a later chunk brings.
        Members of a choice   Log probabilities are appended. Of `index` the first value stays; of
                              `finish_reason` and all others the last one that says something. A `message`
                              beside the deltas is dropped: they add up to it.
        Order of choices      That of the chunk that began them all, otherwise by index.
        Delta                 Of `role`, `tool_call_id`, `index` and `metadata` the last value that says
                              something stays. A `role` that is "" in all of them is dropped.
        Content               Strings are concatenated. Lists are joined, and a string beside a list is a
                              piece of text; the end of one and the beginning of the next become one piece
                              where both are text or reasoning, unless that was closed.
        Call, open index      A piece at the index of a call continues the last call there, or an earlier one
                              that has its id. A piece with a name and an id begins a new one where the call
                              has a name and another id.
        Call, new index       A piece whose id a call has continues that, unless the piece has a name and the
                              call another index. Otherwise it continues the call at that position, or the
                              last one to be continued, if that has no index yet, and the piece has no name or
                              neither another name nor another id. Otherwise it begins a call.
        Call, id alone        A piece without an index continues the call that has its id.
        Call, neither         With no index, and no id that a call has, a name begins a call, unless the last
                              one has no name yet, and no other id. A piece without a name continues the call
                              that was begun or continued last.
        Name of a call        Pieces are joined, before and after arguments. A piece that equals the whole
                              name so far is not appended.
        Arguments of a call   Strings are concatenated, and objects merged. Where one kind follows the other,
                              the last value that says something stays.
        Members of a call     Of `id`, `type` and `index` the first value that says something stays.
        Order of calls        By index; one without an index follows the one that it began behind.
        Undocumented          Inside a delta, strings are concatenated, lists joined and objects merged. Of
                              anything else the last value stays.
        Undocumented objects  Of `id`, `type`, `format`, `object`, `role`, and names such as `item_id`, the
                              first string that says something stays. `name`, `signature`, and names such as
                              `thought_signature`, are joined as the name of a call is.
        Undocumented lists    Objects with one integer as their `index` are merged, unless their `type`
                              differs.
        ====================  ================================================================================

    The response keeps the contract where all chunks did, each choice had a `finish_reason`, and no delta a
    `role` other than `assistant` or a `prefix`, which is documented for messages alone.

    Args:
        response_type: ChatCompletionResponse or FIMCompletionResponse.
    """

    def __init__(self, response_type: type[R] = ChatCompletionResponse) -> None:  # type: ignore[assignment]
        if response_type not in (ChatCompletionResponse, FIMCompletionResponse):
            raise TypeError(f"expected a type of response, not {response_type!r}")
        self._response_type: type[R] = response_type
        self._chunk_plan = plan_for(CompletionChunk)
        self._members: dict[str, Any] = {}
        self._choices: list[_Choice] = []
        # By index; those without one by their place among the others of a chunk, too.
        self._by_key: dict[tuple[Any, int], _Choice] = {}
        # Positions of the choices that have no index yet.
        self._unindexed: collections.deque[int] = collections.deque()
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
                if not self._members.get(name):
                    keep_first(self._members, name, value, nothing=_NOTHING)
            elif name == "usage":
                keep_last_usage(self._members, name, value)
            else:
                keep_last(self._members, name, value)

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
        if document.get("object") == CHUNK_OBJECT:
            document["object"] = RESPONSE_OBJECT
        complete_response(document)
        plan = plan_for(self._response_type)
        wire = read_document(plan, join(document), validate=False, limits=DEFAULT_LIMITS)
        response: R = self._response_type.FromString(wire)
        return response

    def _add_choices(self, items: list[Any]) -> None:
        known = len(self._choices)
        # How many items of the chunk have no index, and how many are no objects.
        counts = {None: 0, _NO_OBJECT: 0}
        for item in items:
            index = index_key(item.get("index")) if type(item) is dict else _NO_OBJECT
            key = (index, counts.get(index, 0))
            if index in counts:
                counts[index] += 1
            choice = self._by_key.get(key) or self._begin_choice(key, known)
            if index == _NO_OBJECT:
                choice.members = item
            else:
                _add_choice(choice, item)
        self._starts += len(self._choices) > known

    def _begin_choice(self, key: tuple[Any, int], known: int) -> _Choice:
        """Return the choice of an index that is new: one of those before the chunk, or a new one."""
        index, occurrence = key
        choice: _Choice | None = None
        if index is None and occurrence < known:
            choice = self._choices[occurrence]
        elif index is not None and self._unindexed and self._unindexed[0] < known:
            choice = self._choices[self._unindexed.popleft()]
        if choice is None or type(choice.members) is not dict:
            choice = _Choice()
            self._choices.append(choice)
            if index is None:
                self._unindexed.append(len(self._choices) - 1)
        self._by_key[key] = choice
        return choice

    def _ordered_choices(self) -> list[_Choice]:
        return self._choices if self._starts == 1 else sorted(self._choices, key=_order)


def complete_response(document: dict[str, Any]) -> None:
    """Add what a response has to have and a stream need not have."""
    if document:
        document["object"] = RESPONSE_OBJECT if document.get("object") is None else document["object"]
        document["usage"] = {} if document.get("usage") is None else document["usage"]


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


def _order(choice: _Choice) -> tuple[bool, int, str]:
    index = index_key(choice.members.get("index") if type(choice.members) is dict else _NO_OBJECT)
    is_number = type(index) is int
    return not is_number, index if is_number else 0, str(index)


def _add_choice(choice: _Choice, item: dict[str, Any]) -> None:
    for name, value in item.items():
        if name == "delta":
            choice.has_delta = True
            choice.message = _merge_delta(choice.message, value)
        elif name in ("logprobs", "prompt_logprobs"):
            choice.members[name] = merge(choice.members.get(name), value)
        elif name == "index":
            if choice.members.get(name) is None:
                keep_first(choice.members, name, value)
        else:
            keep_last(choice.members, name, value)


def _merge_delta(message: Any, delta: Any) -> Any:
    if type(delta) is not dict or type(message) not in (dict, type(None)):
        return message if delta in EMPTY and message is not None else delta
    message = {} if message is None else message
    for name, value in delta.items():
        if name == "content":
            message[name] = _merge_content(message.get(name), value)
        elif (
            name == "tool_calls"
            and type(value) is list
            and type(message.get(name)) in (ToolCalls, type(None))
        ):
            calls = message[name] = message.get(name) or ToolCalls()
            for piece in value:
                calls.add(piece)
        elif name in _REPLACED:
            keep_last(message, name, value)
        else:
            message[name] = merge(message.get(name), value, name)
    return message


def _merge_content(old: Any, new: Any) -> Any:
    if type(old) is Pieces and type(new) is str:
        old.append(new)
        return old
    if old is None:
        return new
    if new in EMPTY:
        return old
    if type(new) is list and isinstance(old, str | Pieces):
        return _join_content(_as_list("".join(old)), new)
    if type(old) is list and isinstance(new, str):
        return _join_content(old, _as_list(new))
    if type(old) is list and type(new) is list:
        return _join_content(old, new)
    return merge(old, new)


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
            last[name] = merge(last[name], value)
        elif name == "thinking":
            last[name] = _join_content(last[name], value)
        else:
            keep_last(last, name, value)


def _goes_on(last: Any, first: Any) -> bool:
    if type(last) is not dict or type(first) is not dict or last.get("type") != first.get("type"):
        return False
    if first.get("type") == "text":
        return isinstance(last.get("text"), str | Pieces) and isinstance(first.get("text"), str)
    if first.get("type") == "thinking":
        lists = type(last.get("thinking")) is list and type(first.get("thinking")) is list
        return lists and (last.get("closed") is not True or first["thinking"] == [])
    return False


def _finish_choice(choice: _Choice) -> Any:
    if not choice.has_delta:
        return choice.members
    message = choice.message
    if type(message) is dict:
        # Joined below, with the rest.
        message = {name: value for name, value in message.items() if name != "role" or value != ""}
        if type(message.get("tool_calls")) is ToolCalls:
            message["tool_calls"] = message["tool_calls"].ordered()
    return choice.members | {"message": message}
