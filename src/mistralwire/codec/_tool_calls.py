"""The tool calls of one message, put together from pieces of every kind."""

from typing import Any

from mistralwire.codec._merge import EMPTY, Pieces, keep_first, merge, merge_strings

# What servers send for a piece of a tool call without an identifier, or without a name.
_NOTHING = (*EMPTY, "null")


class ToolCalls(list[Any]):
    """Tool calls in the order in which they began; see `Accumulator` for the rules."""

    def __init__(self) -> None:
        super().__init__()
        # Position of the last call at each index, and of the call that each identifier belongs to.
        self._at_index: dict[Any, int] = {}
        self._at_id: dict[str, int] = {}
        # Position of the call that was begun or continued last.
        self._last = 0

    def add(self, piece: Any) -> None:
        """Add a piece to its call, or begin one with it."""
        if type(piece) is not dict:
            self._last = len(self)
            self.append(piece)
            return
        at = self._find(piece)
        if at is None:
            at = len(self)
            self.append(piece)
        else:
            _extend(self[at], piece)
        self._last = at
        index, id_ = index_key(piece.get("index")), _id(piece)
        if index is not None:
            self._at_index[index] = at
        if id_:
            self._at_id[id_] = at

    def ordered(self) -> list[Any]:
        """Return the calls by index; one without an index stays behind the one that it followed."""
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
        at, id_ = self._at_index[index], _id(piece)
        known = self._at_id.get(id_)
        if known is not None and index_key(self[known].get("index")) == index:
            return known
        has_another_id = id_ and _id(self[at]) and id_ != _id(self[at])
        return None if has_another_id and _name(piece) and _name(self[at]) else at

    def _find_for_new_index(self, index: Any, piece: dict[str, Any]) -> int | None:
        """Find the call of a piece at an index that nothing had yet: it may have begun without one."""
        known = self._at_id.get(_id(piece))
        if known is not None:
            return known if not _name(piece) or self[known].get("index") is None else None
        places = [index] if type(index) is int and 0 <= index < len(self) else []
        return next((at for at in (*places, self._last) if self._may_take_index(at, piece)), None)

    def _may_take_index(self, at: int, piece: dict[str, Any]) -> bool:
        call = self[at] if self else None
        if type(call) is not dict or call.get("index") is not None:
            return False
        name = _name(piece)
        return not name or (not (_id(call) and _id(piece)) and "".join(_name(call)) in ("", name))

    def _find_unindexed(self, piece: dict[str, Any]) -> int | None:
        """Find the call of a piece without an index."""
        id_ = _id(piece)
        if id_ and id_ in self._at_id:
            return self._at_id[id_]
        if not self or type(self[self._last]) is not dict:
            return None
        last = self[self._last]
        if not _name(piece):
            return self._last
        return self._last if not _name(last) and not (id_ and _id(last)) else None


def index_key(value: Any) -> Any:
    """Return the index of a piece as something to look it up by; None if it has none."""
    return value if type(value) in (int, str) or value is None else repr(value)


def _id(call: dict[str, Any]) -> str:
    """Return the identifier of a call; the empty string if it has none."""
    value = call.get("id")
    return value if isinstance(value, str) and value not in _NOTHING else ""


def _name(call: dict[str, Any]) -> Any:
    function = call.get("function")
    name = function.get("name") if type(function) is dict else None
    return name if isinstance(name, str | Pieces) and name not in _NOTHING else ""


def _extend(call: dict[str, Any], piece: dict[str, Any]) -> None:
    for name, value in piece.items():
        known = call.get(name)
        if name == "function" and type(value) is dict and type(known) is dict:
            _extend_function(known, value)
        elif name in ("id", "type", "index"):
            keep_first(call, name, value, nothing=_NOTHING)
        else:
            call[name] = merge(known, value, name)


def _extend_function(function: dict[str, Any], piece: dict[str, Any]) -> None:
    for name, value in piece.items():
        known = function.get(name)
        if known is None and name == "arguments":
            # Whatever an object of arguments holds is the model's.
            function[name] = value
        elif name == "name" and (known in _NOTHING or value in _NOTHING):
            keep_first(function, name, value, nothing=_NOTHING)
        elif name == "name" and isinstance(value, str) and isinstance(known, str | Pieces):
            function[name] = merge_strings(known, value, name)
        else:
            function[name] = merge(known, value, name)
