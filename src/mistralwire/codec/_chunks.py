"""Between the chunks of a stream and one response: `Accumulator`, `accumulate` and `explode`.

Both directions work on the JSON of the messages, so that undocumented members take part like all others. The
JSON of each chunk is converted for the accumulator alone, which changes it in place.
"""

import collections
import dataclasses
import itertools
from collections.abc import Iterable
from typing import Any, Generic, TypeVar

from mistralwire.codec._convert import from_document, to_document
from mistralwire.codec._merge import (
    EMPTY,
    ToolCalls,
    index_key,
    join,
    keep_first,
    keep_last,
    keep_last_usage,
    merge,
    merge_delta,
)
from mistralwire.codec._plan import plan_for
from mistralwire.codec._python import nesting_error
from mistralwire.errors import EncodeError
from mistralwire.v1 import (
    ChatCompletionResponse,
    CompletionChunk,
    CompletionResponseStreamChoice,
    FIMCompletionResponse,
)

CompletionT = TypeVar("CompletionT", ChatCompletionResponse, FIMCompletionResponse)

_RESPONSE_OBJECT = "chat.completion"
_CHUNK_OBJECT = "chat.completion.chunk"

# Members that are the same in every chunk: the first value counts.
_CHUNK_CONSTANTS = ("id", "object", "created", "model")
# Their empty values; 0 is that of `created`.
_EMPTY_CONSTANTS = (*EMPTY, 0)
# The key of a choice that is not an object, in place of an index.
_NO_OBJECT = ()


@dataclasses.dataclass(slots=True)
class _Choice:
    """The state of one choice."""

    members: Any = dataclasses.field(default_factory=dict)
    """Its members beside the message; the value itself if it is not an object."""
    has_delta: bool = False
    """Whether there was a delta, even a null."""
    message: Any = None
    """The merged deltas."""


class Accumulator(Generic[CompletionT]):
    """Merges the chunks of one stream into a response, one chunk at a time.

    The same rules apply to the streams of all servers, within a chunk and across chunks:

        ====================  ================================================================================
        Part                  Rule
        ====================  ================================================================================
        Empty values          null, "", [] and {}; for a call's id and name also "null"; for `created` also 0;
                              a usage in which no number is above 0. They never replace other values.
        Chunk                 Of `id`, `object`, `created` and `model` the first non-empty value counts; of
                              `usage` and undocumented members the last one. An `object` that no chunk has, or
                              that is `chat.completion.chunk`, becomes `chat.completion`. A `usage` that no
                              chunk has becomes {}.
        Choice                Pieces with one index are one choice. A piece without an index continues the
                              choice at its position among such pieces of its chunk; a choice that began
                              without an index takes the first new index of a later chunk.
        Members of a choice   Log probabilities are appended. Of `index` the first value counts; of
                              `finish_reason` and all others the last non-empty one. A `message` beside the
                              deltas is dropped: they add up to it.
        Order of choices      That of the chunk that began them all, otherwise by index.
        Delta                 Of `role`, `tool_call_id`, `index` and `metadata` the last non-empty value
                              counts. A `role` that is "" in all of them is dropped.
        Content               Strings are concatenated. Lists are joined, and a string beside a list is a
                              piece of text; the last piece of one and the first of the next become one where
                              both are text or reasoning, unless that was closed.
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
        Arguments of a call   Strings are concatenated, and objects merged. Where one type follows the other,
                              the last non-empty value counts.
        Members of a call     Of `id`, `type` and `index` the first non-empty value counts.
        Order of calls        By index; one without an index follows the one that it began after.
        Undocumented          Inside a delta, strings are concatenated, lists joined and objects merged. Of
                              anything else the last value counts.
        Undocumented objects  Of `id`, `type`, `format`, `object`, `role`, and names such as `item_id`, the
                              first non-empty string counts. `name`, `signature`, and names such as
                              `thought_signature`, are joined as the name of a call is.
        Undocumented lists    Objects with one integer as their `index` are merged, unless their `type`
                              differs.
        ====================  ================================================================================

    The response keeps the contract where all chunks did, each choice had a `finish_reason`, and no delta a
    `role` other than `assistant` or a `prefix`, which is documented for messages only.

    Args:
        response_type: ChatCompletionResponse or FIMCompletionResponse.
    """

    def __init__(self, response_type: type[CompletionT] = ChatCompletionResponse) -> None:  # type: ignore[assignment]
        if response_type not in (ChatCompletionResponse, FIMCompletionResponse):
            raise TypeError(f"expected a response class, not {response_type!r}")
        self._response_type: type[CompletionT] = response_type
        self._chunk_plan = plan_for(CompletionChunk)
        self._members: dict[str, Any] = {}
        self._choices: list[_Choice] = []
        # By index and, for those without one, by their position among such pieces of a chunk.
        self._by_key: dict[tuple[Any, int], _Choice] = {}
        # Positions of the choices that have no index yet.
        self._unindexed: collections.deque[int] = collections.deque()
        self._starts = 0

    def add(self, chunk: CompletionChunk) -> None:
        """Add the next chunk, which is not changed.

        Raises:
            EncodeError: If the chunk has no JSON form; it is not added.
            TypeError: If it is not a chunk.
        """
        if not isinstance(chunk, CompletionChunk):
            raise TypeError(f"expected a CompletionChunk, not {type(chunk).__name__}")
        document = to_document(self._chunk_plan, chunk.SerializeToString())
        for name, value in document.items():
            if name == "choices" and type(value) is list:
                self._members.setdefault("choices", [])
                self._add_choices(value)
            elif name in _CHUNK_CONSTANTS:
                if not self._members.get(name):
                    keep_first(self._members, name, value, empty=_EMPTY_CONSTANTS)
            elif name == "usage":
                keep_last_usage(self._members, name, value)
            else:
                keep_last(self._members, name, value)

    def result(self) -> CompletionT:
        """Return the response so far; more chunks may follow.

        Raises:
            EncodeError: If undocumented members are nested deeper than the stack has room for.
        """
        try:
            return self._result()
        except RecursionError:
            raise nesting_error() from None

    def _result(self) -> CompletionT:
        document = dict(self._members)
        if self._choices:
            choices = self._choices if self._starts == 1 else sorted(self._choices, key=_order)
            document["choices"] = [_finish_choice(choice) for choice in choices]
        if document.get("object") == _CHUNK_OBJECT:
            document["object"] = _RESPONSE_OBJECT
        _complete_response(document)
        return from_document(self._response_type, join(document))

    def _add_choices(self, items: list[Any]) -> None:
        known = len(self._choices)
        # The number of items in the chunk without an index, and of those that are not objects.
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
        """Return the choice of a new index: one from before the chunk, or a new one."""
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


def _complete_response(document: dict[str, Any]) -> None:
    """Add the members that a response must have and a stream may lack."""
    if document:
        document["object"] = _RESPONSE_OBJECT if document.get("object") is None else document["object"]
        document["usage"] = {} if document.get("usage") is None else document["usage"]


def accumulate(chunks: Iterable[CompletionChunk]) -> ChatCompletionResponse:
    """Merge the chunks of one stream, in order, into a response; see `Accumulator` for the rules.

    Raises:
        EncodeError: If a chunk has no JSON form.
        TypeError: If one is not a chunk.
    """
    return _accumulated(ChatCompletionResponse, chunks)


def _accumulated(response_type: type[CompletionT], chunks: Iterable[CompletionChunk]) -> CompletionT:
    accumulator = Accumulator(response_type)
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
            if not choice.has_delta:
                choice.has_delta = True
                # Where the message will be, if it is one without a field.
                choice.members.setdefault("message", None)
            choice.message = merge_delta(choice.message, value)
        elif name in ("logprobs", "prompt_logprobs"):
            choice.members[name] = merge(choice.members.get(name), value)
        elif name == "index":
            if choice.members.get(name) is None:
                keep_first(choice.members, name, value)
        else:
            keep_last(choice.members, name, value)


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


def explode(
    response: ChatCompletionResponse | FIMCompletionResponse, *, exact: bool = True
) -> list[CompletionChunk]:
    """Split a response into the one or two chunks of a stream: the messages, then finish reasons and usage.

    Accumulating the chunks gives an equal response, with `object` and `usage` filled in where it has none.

    Args:
        response: The response.
        exact: Whether to refuse what no stream can carry. Otherwise the chunks carry what they can, for
            clients that asked for a stream.

    Raises:
        EncodeError: If the response has no JSON form, or, if `exact`, has what no stream can carry: choices,
            tool calls or undocumented objects that `Accumulator` would merge, such as two choices with the
            same index; tool calls that are not in the order of their indexes; a member `delta` beside the
            message; an `object` that is that of a chunk; a camelCase name that only the deltas of chunks
            have, such as `toolCallId`.
        TypeError: If it is not a response.
    """
    if not isinstance(response, ChatCompletionResponse | FIMCompletionResponse):
        raise TypeError(f"expected a response, not {type(response).__name__}")
    document = to_document(plan_for(type(response)), response.SerializeToString())
    chunks = [from_document(CompletionChunk, part) for part in _split(document)]
    if exact:
        _check_exact(type(response), document, chunks)
    return chunks


def _check_exact(response_type: type[Any], document: dict[str, Any], chunks: list[CompletionChunk]) -> None:
    response = _accumulated(response_type, chunks)
    _complete_response(document)
    if to_document(plan_for(response_type), response.SerializeToString()) != document:
        message = "expected a response that a stream can carry, found one that its chunks would change"
        remedy = "number choices and tool calls in order, and remove `delta` and names that only chunks know"
        raise EncodeError(f"{message}; {remedy}")


def _split(document: dict[str, Any]) -> list[dict[str, Any]]:
    head = dict(document)
    if head.get("object") == _RESPONSE_OBJECT:
        head["object"] = _CHUNK_OBJECT
    choices = head.get("choices")
    if type(choices) is not list or not choices or not all(type(choice) is dict for choice in choices):
        return [head]
    constant = {name: head[name] for name in _CHUNK_CONSTANTS if name in head}
    # A usage that is not an object is among the members without a field, and stays there.
    usage = {"usage": head.pop("usage")} if type(head.get("usage")) is dict else {}
    first = head | {"choices": [_first_piece(choice) for choice in choices]}
    last = constant | {"choices": [_last_piece(choice) for choice in choices]} | usage
    return [first, last]


def _first_piece(choice: dict[str, Any]) -> dict[str, Any]:
    piece = {
        "delta" if name == "message" else name: value
        for name, value in choice.items()
        if name != "delta" or "message" not in choice
    }
    reason = piece.get("finish_reason")
    fields = plan_for(CompletionResponseStreamChoice).by_name
    if isinstance(reason, str) and (
        reason in fields["finish_reason"].fields[0].enum_numbers
        # One that is not documented stays in its place behind other members without a field.
        or all(name in fields for name in itertools.takewhile(lambda name: name != "finish_reason", piece))
    ):
        piece["finish_reason"] = None
    return piece


def _last_piece(choice: dict[str, Any]) -> dict[str, Any]:
    piece: dict[str, Any] = {name: choice[name] for name in ("index", "finish_reason") if name in choice}
    if type(choice.get("message")) is dict:
        piece["delta"] = {}
    return piece
