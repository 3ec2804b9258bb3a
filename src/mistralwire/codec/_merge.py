"""Merges the deltas of chunks: content, tool calls, and all other values by their names and types.

See `Accumulator` for the rules.
"""

from typing import Any

# Strings that are the same each time, as are those with names such as `item_id`: the first one counts.
_CONSTANT_STRINGS = frozenset(("id", "type", "format", "object", "role"))
# Strings that some servers repeat and others split into pieces.
_REPEATED_STRINGS = frozenset(("name", "signature"))
EMPTY: tuple[Any, ...] = (None, "", [], {})
"""Values that change nothing when merged."""
_JOINABLE = (dict, list)
# Members of a delta that are never split: the last value counts.
_REPLACED = frozenset(("role", "tool_call_id", "index", "metadata"))
# What servers send for a piece of a tool call without an id or a name.
_EMPTY_IN_CALL = (*EMPTY, "null")


class Pieces(list[str]):
    """A string that is still growing: joined once, at the end."""


class WholePieces(Pieces):
    """A growing string to which a repetition of the whole string is not appended; `size` is its length."""

    def __init__(self, text: str) -> None:
        super().__init__((text,))
        self.size = len(text)

    def add(self, text: str) -> None:
        """Append a piece unless it repeats the whole string; in amortized time linear in the piece."""
        if len(text) == self.size:
            self[:] = ("".join(self),)
            if self[0] == text:
                return
        self.append(text)
        self.size += len(text)


class Entries(list[Any]):
    """A growing list whose objects are merged by `index`, and by `type` where both have one."""

    def __init__(self, entries: list[Any]) -> None:
        super().__init__()
        self._at: dict[tuple[int, Any], int] = {}
        self.add(entries)

    def add(self, entries: list[Any]) -> None:
        """Merge entries into those with the same index, and append the others."""
        for entry in entries:
            index = entry.get("index") if type(entry) is dict else None
            if type(index) is not int:
                self.append(begin(entry))
                continue
            kind = entry.get("type")
            kind = kind if isinstance(kind, str) else None
            at = self._find(index, kind)
            if at is None:
                at = len(self)
                self.append(begin(entry))
            else:
                merge(self[at], entry)
            self._at[index, kind] = self._at[index, None] = at

    def _find(self, index: int, kind: str | None) -> int | None:
        at = self._at.get((index, kind))
        if at is None and kind is not None:
            at = self._at.get((index, None))
            if at is not None and self[at].get("type") not in EMPTY:
                return None
        return at


def begin(value: Any) -> Any:
    """Prepare the first value of a member for merging, in place."""
    if type(value) is dict:
        for name, item in value.items():
            if type(item) in (dict, list):
                value[name] = begin(item)
    elif type(value) is list and any(type(item) is dict and type(item.get("index")) is int for item in value):
        return Entries(value)
    return value


def merge(old: Any, new: Any, name: str = "") -> Any:
    """Merge the values of a member in two chunks, by its name where they are strings; both may be changed."""
    if old is None:
        return begin(new)
    if new in EMPTY:
        return old
    if isinstance(new, str) and isinstance(old, str | Pieces):
        return merge_strings(old, new, name)
    if type(old) in (list, Entries) and type(new) is list:
        return _merge_lists(old, new)
    if type(old) is dict and type(new) is dict:
        for member, value in new.items():
            old[member] = merge(old.get(member), value, member)
        return old
    return begin(new)


def merge_strings(old: str | Pieces, new: str, name: str = "") -> str | Pieces:
    """Merge two strings: by the name of the member, they are concatenated, or one of them counts."""
    kind = name.rpartition("_")[2]
    if kind in _CONSTANT_STRINGS:
        return old or new
    if kind in _REPEATED_STRINGS:
        if not old:
            return new
        whole = old if isinstance(old, WholePieces) else WholePieces("".join(old))
        whole.add(new)
        return whole
    pieces = old if isinstance(old, Pieces) else Pieces((old,))
    pieces.append(new)
    return pieces


def _merge_lists(old: list[Any], new: list[Any]) -> list[Any]:
    if not isinstance(old, Entries):
        if not any(type(item) is dict and type(item.get("index")) is int for item in new):
            old.extend(new)
            return old
        old = Entries(old)
    old.add(new)
    return old


def keep_first(members: dict[str, Any], name: str, value: Any, *, empty: tuple[Any, ...] = EMPTY) -> None:
    """Keep the first non-empty value of a member; of the empty values, later ones replace earlier ones."""
    if name not in members or _rank(value, empty) > _rank(members[name], empty):
        members[name] = value


def keep_last(members: dict[str, Any], name: str, value: Any) -> None:
    if value:
        members[name] = value
    elif value is None:
        members.setdefault(name)
    elif name not in members or _rank(value, EMPTY) >= _rank(members[name], EMPTY):
        members[name] = value


def keep_last_usage(members: dict[str, Any], name: str, value: Any) -> None:
    """Keep the last usage with a number above 0."""
    if _has_counts(value) or not _has_counts(members.get(name)):
        keep_last(members, name, value)


def _has_counts(usage: Any) -> bool:
    if type(usage) is dict:
        return any(map(_has_counts, usage.values()))
    return usage not in (*EMPTY, 0)


def _rank(value: Any, empty: tuple[Any, ...]) -> int:
    return empty.index(value) if value in empty else len(empty)


def join(value: Any) -> Any:
    """Copy a value, with the pieces of growing strings joined."""
    # Most values are strings and numbers, which are not worth a call.
    if isinstance(value, dict):
        return {name: join(item) if isinstance(item, _JOINABLE) else item for name, item in value.items()}
    if not isinstance(value, list):
        return value
    if not isinstance(value, Pieces):
        return [join(item) if isinstance(item, _JOINABLE) else item for item in value]
    text = "".join(value)
    if text.isascii():
        return text
    # A character beyond the 16-bit range may be split into its two surrogates.
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")


def merge_delta(message: Any, delta: Any) -> Any:
    """Merge a delta into the message so far, None before the first one; both are used up."""
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
    """Append a list of content; the first new piece may continue the last old one."""
    if old and new and _continues(old[-1], new[0]):
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


def _continues(last: Any, first: Any) -> bool:
    if type(last) is not dict or type(first) is not dict or last.get("type") != first.get("type"):
        return False
    if first.get("type") == "text":
        return isinstance(last.get("text"), str | Pieces) and isinstance(first.get("text"), str)
    if first.get("type") == "thinking":
        lists = type(last.get("thinking")) is list and type(first.get("thinking")) is list
        return lists and (last.get("closed") is not True or first["thinking"] == [])
    return False


class ToolCalls(list[Any]):
    """Tool calls in the order in which they began."""

    def __init__(self) -> None:
        super().__init__()
        # Position of the last call at each index, and of the call with each id.
        self._at_index: dict[Any, int] = {}
        self._at_id: dict[str, int] = {}
        # Position of the call that was begun or continued last.
        self._last = 0

    def add(self, piece: Any) -> int:
        """Add a piece to its call, or begin one with it; return the call's position."""
        if type(piece) is not dict:
            self._last = len(self)
            self.append(piece)
            return self._last
        at = self._find(piece)
        if at is None:
            at = len(self)
            self.append(piece)
        else:
            _extend_call(self[at], piece)
        self._last = at
        index, id_ = index_key(piece.get("index")), _call_id(piece)
        if index is not None:
            self._at_index[index] = at
        if id_:
            self._at_id[id_] = at
        return at

    def name_size_at(self, position: int) -> int:
        """Return the length of the name of a call so far, in characters; it grows by whole pieces."""
        name = _call_name(self[position])
        return name.size if isinstance(name, WholePieces) else len(name)

    def ordered(self) -> list[Any]:
        """Return the calls by index; one without an index stays after the one that it followed."""
        keys, key = [], None
        for call in self:
            index = call.get("index") if type(call) is dict else None
            key = index if type(index) is int else key
            keys.append((key is not None, key or 0))
        order = sorted(range(len(self)), key=keys.__getitem__)
        return [self[at] for at in order]

    def _find(self, piece: dict[str, Any]) -> int | None:
        index = index_key(piece.get("index"))
        if index is None:
            return self._find_unindexed(piece)
        if index in self._at_index:
            return self._find_at(index, piece)
        return self._find_for_new_index(index, piece)

    def _find_at(self, index: Any, piece: dict[str, Any]) -> int | None:
        """Find the call of a piece at an index that is open."""
        at, id_ = self._at_index[index], _call_id(piece)
        known = self._at_id.get(id_)
        if known is not None and index_key(self[known].get("index")) == index:
            return known
        has_another_id = id_ and _call_id(self[at]) and id_ != _call_id(self[at])
        return None if has_another_id and _call_name(piece) and _call_name(self[at]) else at

    def _find_for_new_index(self, index: Any, piece: dict[str, Any]) -> int | None:
        """Find the call of a piece at a new index: it may have begun without one."""
        known = self._at_id.get(_call_id(piece))
        if known is not None:
            return known if not _call_name(piece) or self[known].get("index") is None else None
        places = [index] if type(index) is int and 0 <= index < len(self) else []
        return next((at for at in (*places, self._last) if self._may_take_index(at, piece)), None)

    def _may_take_index(self, at: int, piece: dict[str, Any]) -> bool:
        call = self[at] if self else None
        if type(call) is not dict or call.get("index") is not None:
            return False
        name = _call_name(piece)
        return not name or (
            not (_call_id(call) and _call_id(piece)) and "".join(_call_name(call)) in ("", name)
        )

    def _find_unindexed(self, piece: dict[str, Any]) -> int | None:
        id_ = _call_id(piece)
        if id_ and id_ in self._at_id:
            return self._at_id[id_]
        if not self or type(self[self._last]) is not dict:
            return None
        last = self[self._last]
        if not _call_name(piece):
            return self._last
        return self._last if not _call_name(last) and not (id_ and _call_id(last)) else None


def index_key(value: Any) -> Any:
    """Return the index of a piece as a key for lookups; None if it has none."""
    return value if type(value) in (int, str) or value is None else repr(value)


def _call_id(call: dict[str, Any]) -> str:
    """Return the id of a call; the empty string if it has none."""
    value = call.get("id")
    return value if isinstance(value, str) and value not in _EMPTY_IN_CALL else ""


def _call_name(call: dict[str, Any]) -> Any:
    function = call.get("function")
    name = function.get("name") if type(function) is dict else None
    return name if isinstance(name, str | Pieces) and name not in _EMPTY_IN_CALL else ""


def _extend_call(call: dict[str, Any], piece: dict[str, Any]) -> None:
    for name, value in piece.items():
        known = call.get(name)
        if name == "function" and type(value) is dict and type(known) is dict:
            _extend_function(known, value)
        elif name in ("id", "type", "index"):
            keep_first(call, name, value, empty=_EMPTY_IN_CALL)
        else:
            call[name] = merge(known, value, name)


def _extend_function(function: dict[str, Any], piece: dict[str, Any]) -> None:
    for name, value in piece.items():
        known = function.get(name)
        if known is None and name == "arguments":
            # Whatever an object of arguments holds is the model's.
            function[name] = value
        elif name == "name" and (known in _EMPTY_IN_CALL or value in _EMPTY_IN_CALL):
            keep_first(function, name, value, empty=_EMPTY_IN_CALL)
        elif name == "name" and isinstance(value, str) and isinstance(known, str | Pieces):
            function[name] = merge_strings(known, value, name)
        else:
            function[name] = merge(known, value, name)
