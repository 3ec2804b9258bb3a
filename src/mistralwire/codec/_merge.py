"""Values of several chunks merged into one, where nothing but their names and shapes tells how."""

from typing import Any

from mistralwire.codec._parse import is_unicode

# Strings that say the same each time, as do those with names such as `item_id`: the first one counts.
_CONSTANT = frozenset(("id", "type", "format", "object", "role"))
# Strings that come whole each time from some servers, and in pieces from others.
_REPEATED = frozenset(("name", "signature"))
# Merging one of these changes nothing.
EMPTY: tuple[Any, ...] = (None, "", [], {})


class Pieces(list[str]):
    """A string that is still growing: joined once, at the end."""


class WholePieces(Pieces):
    """A growing string that is not concatenated with itself.

    Attributes:
        size: Its length so far.
    """

    def __init__(self, text: str) -> None:
        super().__init__((text,))
        self.size = len(text)

    def add(self, text: str) -> None:
        """Append a piece, unless it repeats the whole so far; in time linear in the piece, on average."""
        if len(text) == self.size:
            self[:] = ("".join(self),)
            if self[0] == text:
                return
        self.append(text)
        self.size += len(text)


class Entries(list[Any]):
    """A growing list whose objects go by their `index`, and by their `type` where both have one."""

    def __init__(self, entries: list[Any]) -> None:
        super().__init__()
        self._at: dict[tuple[int, Any], int] = {}
        self.add(entries)

    def add(self, entries: list[Any]) -> None:
        """Merge entries into those with the same index; append the others."""
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
    """Return the first value of a member, ready to be merged with others; the value is used up."""
    if type(value) is dict:
        for name, item in value.items():
            if type(item) in (dict, list):
                value[name] = begin(item)
    elif type(value) is list and any(type(item) is dict and type(item.get("index")) is int for item in value):
        return Entries(value)
    return value


def merge(old: Any, new: Any, name: str = "") -> Any:
    """Merge what two chunks say of one member; both values are used up.

    Args:
        old: The value so far.
        new: What the next chunk says.
        name: Name of the member, which tells how strings are merged.
    """
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
    """Merge two strings; where the first is empty, or the name says that both are the same, one counts."""
    kind = name.rpartition("_")[2]
    if kind in _CONSTANT:
        return old or new
    if kind in _REPEATED:
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


def keep_first(members: dict[str, Any], name: str, value: Any, *, nothing: tuple[Any, ...] = EMPTY) -> None:
    """Keep the first value that says something.

    Args:
        members: Where the value is kept.
        name: The member.
        value: What the next chunk says.
        nothing: Values that say nothing, those that say least first.
    """
    if name not in members or _rank(value, nothing) > _rank(members[name], nothing):
        members[name] = value


def keep_last(members: dict[str, Any], name: str, value: Any) -> None:
    """Keep the last value that says something."""
    if value is None:
        members.setdefault(name)
    elif name not in members or _rank(value, EMPTY) >= _rank(members[name], EMPTY):
        members[name] = value


def keep_last_usage(members: dict[str, Any], name: str, value: Any) -> None:
    """Keep the last usage that counts anything."""
    if _counts_something(value) or not _counts_something(members.get(name)):
        keep_last(members, name, value)


def _counts_something(usage: Any) -> bool:
    if type(usage) is dict:
        return any(map(_counts_something, usage.values()))
    return usage not in (*EMPTY, 0)


def _rank(value: Any, nothing: tuple[Any, ...]) -> int:
    return nothing.index(value) if value in nothing else len(nothing)


def join(value: Any) -> Any:
    """Copy a value with its growing strings joined."""
    match value:
        case Pieces():
            text = "".join(value)
            # A character beyond the 16-bit range may come cut in two halves.
            return (
                text
                if is_unicode(text)
                else text.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")
            )
        case dict():
            return {name: join(item) for name, item in value.items()}
        case list():
            return [join(item) for item in value]
        case _:
            return value
