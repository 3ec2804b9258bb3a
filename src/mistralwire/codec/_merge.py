"""Merges the values of several chunks by nothing but their names and types."""

from typing import Any

from mistralwire.codec._python import is_unicode

# Strings that are the same each time, as are those with names such as `item_id`: the first one counts.
_CONSTANT_STRINGS = frozenset(("id", "type", "format", "object", "role"))
# Strings that some servers repeat and others split into pieces.
_REPEATED_STRINGS = frozenset(("name", "signature"))
EMPTY: tuple[Any, ...] = (None, "", [], {})
"""Values that change nothing when merged."""


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
    """Keep the last non-empty value."""
    if value is None:
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
    match value:
        case Pieces():
            text = "".join(value)
            if is_unicode(text):
                return text
            # A character beyond the 16-bit range may be split into its two surrogates.
            return text.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")
        case dict():
            return {name: join(item) for name, item in value.items()}
        case list():
            return [join(item) for item in value]
        case _:
            return value
