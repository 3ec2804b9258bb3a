"""Reading documents that are as they should be, by what was compiled for the shapes of their objects.

The shape of an object is its member names in their order. Real traffic has few: once a shape was seen some
times, a function for just these members is compiled from the plan (see `_compile_shape`), which gives the
protobuf wire form of the object. Anything else, and anything wrong, is a `Bail`: the complete engine in
`_read` then reads the document again.
"""

from typing import Any

import orjson

from mistralwire.codec._compile import NOT_FAST, Bail
from mistralwire.codec._compile_shape import Read, compile_shape, make_union, varints
from mistralwire.codec._limits import DEFAULT_LIMITS, Limits
from mistralwire.codec._parse import SMALL_BYTES, as_bytes, check_limits
from mistralwire.codec._plan import FieldPlan, Form, MessagePlan

# A shape is compiled when it was seen this often. Compiling takes as long as some fifty readings by the
# complete engine, so once a library was full, and shapes are ever new, it takes more to convince it.
SIGHTINGS = 8
SIGHTINGS_ONCE_FULL = 100
SHAPES_SEEN_MAX = 256
SHAPE_MEMBERS_MAX = 64
SHAPE_CHARACTERS_MAX = 1_024
# Bound on the members of all compiled shapes of a library, which take about 500 bytes each; a shape counts
# for some more, and so do long names.
LIBRARY_MEMBERS_MAX = 16_384
_SHAPE_MEMBERS = 4
_MEMBER_CHARACTERS = 64
# A document of this size is worth compiling the shapes that occur in it once, but not more than so many.
LONG_BYTES = 65_536
_LONG_SHAPES_MAX = 8
# Up to this size of a document no part of its wire form is longer than the list of sizes: JSON grows by less
# than five times on its way, as `-1,` does, which is 13 bytes as an element of a union.
_SHORT_BYTES = 2_048
_SIZES_MAX = 8 * _SHORT_BYTES


class Shapes(dict[tuple[str, ...], Read]):
    """The compiled readers of one message, by shape.

    A reader takes the parsed object and the source: a list of the document's text, to which
    `check_exact` adds its finding. It gives the wire form.
    """

    def __init__(self, plan: MessagePlan, library: "Library") -> None:
        super().__init__()
        self._plan = plan
        self._library = library
        self._sightings: dict[tuple[str, ...], int] = {}

    def __missing__(self, shape: tuple[str, ...]) -> Read:
        raise Bail(self, shape)

    def note(self, shape: tuple[str, ...]) -> None:
        """Count a sighting, and compile a shape that was seen often enough."""
        if shape in self or not _is_ordinary(shape):
            return
        seen = self._sightings.get(shape, 0) + 1
        if seen >= self._library.sightings:
            self._sightings.pop(shape, None)
            self.add(shape)
            return
        if len(self._sightings) >= SHAPES_SEEN_MAX:
            self._sightings.clear()
        self._sightings[shape] = seen

    def add(self, shape: tuple[str, ...]) -> None:
        """Compile a shape."""
        self._library.make_room(len(shape) + _SHAPE_MEMBERS + _characters(shape) // _MEMBER_CHARACTERS)
        self[shape] = compile_shape(self._plan, shape, self._library)


def _is_ordinary(shape: tuple[str, ...]) -> bool:
    """Say whether a shape is of a size that is worth remembering."""
    return len(shape) <= SHAPE_MEMBERS_MAX and _characters(shape) <= SHAPE_CHARACTERS_MAX


def _characters(shape: tuple[str, ...]) -> int:
    return sum(map(len, shape))


class Library:
    """The shapes of all messages, in one of the two modes of reading.

    Args:
        validate: Whether the contract is enforced.
        sizes: Varints by length: a tuple is faster, but ends somewhere.

    Attributes:
        sightings: How often a shape must be seen before it is compiled.
        compiled: How many shapes were compiled so far.
    """

    def __init__(self, *, validate: bool, sizes: Any) -> None:
        self.validate = validate
        self.sizes = sizes
        self.sightings = SIGHTINGS
        self.compiled = 0
        self._members = 0
        self._shapes: dict[MessagePlan, Shapes] = {}
        self._unions: dict[MessagePlan, Read] = {}

    def shapes(self, plan: MessagePlan) -> Shapes:
        """Give the shapes of a message."""
        shapes = self._shapes.get(plan)
        if shapes is None:
            shapes = self._shapes.setdefault(plan, Shapes(plan, self))
        return shapes

    def make_room(self, members: int) -> None:
        """Make room for a shape of so many members, if need be by forgetting all shapes."""
        self.compiled += 1
        self._members += members
        if self._members > LIBRARY_MEMBERS_MAX:
            for shapes in list(self._shapes.values()):
                shapes.clear()
            self._members = members
            self.sightings = SIGHTINGS_ONCE_FULL

    def union(self, plan: MessagePlan) -> Read:
        """Give the reader of a union."""
        read = self._unions.get(plan)
        if read is None:
            read = self._unions.setdefault(plan, make_union(plan, self))
        return read

    def learn(self, plan: MessagePlan, value: dict[str, Any]) -> None:
        """Note the shapes of a document that the complete engine has read."""
        self.shapes(plan).note(tuple(value))
        for name, item in value.items():
            member = plan.by_name.get(name)
            if member is not None:
                for field in member.fields:
                    self._learn_field(field, item)

    def _learn_field(self, field: FieldPlan, item: Any) -> None:
        plan = field.message
        if plan is None:
            return
        if field.repeated or plan.form is Form.ARRAY:
            element = plan.item if plan.form is Form.ARRAY else field
            if type(item) is list and element is not None:
                for each in item:
                    self._learn_element(element, each)
        else:
            self._learn_element(field, item)

    def _learn_element(self, field: FieldPlan, item: Any) -> None:
        plan = field.message
        if plan is None or type(item) is not dict:
            return
        if plan.form is Form.OBJECT:
            self.learn(plan, item)
        elif plan.discriminator is not None:
            tag = item.get(plan.discriminator)
            alternative = plan.tags.get(tag) if isinstance(tag, str) else plan.untagged
            if alternative is not None and alternative.message is not None:
                self.learn(alternative.message, item)


_SIZES = (*map(chr, range(128)), *(chr(n & 0x7F | 0x80) + chr(n >> 7) for n in range(128, _SIZES_MAX)))


class FastReader:
    """The fast engine in one of its two modes.

    Args:
        validate: Whether the contract is enforced.
    """

    def __init__(self, *, validate: bool) -> None:
        self._short = Library(validate=validate, sizes=_SIZES)
        self._long = Library(validate=validate, sizes=varints)

    def read(self, plan: MessagePlan, data: bytes | str, limits: Limits) -> bytes | None:
        """Read a document into the wire form of a message.

        Returns:
            The wire form, or None if the complete engine is to read the document, or to say what is wrong.

        Raises:
            DecodeError: If the document is beyond a limit, or text that UTF-8 can't hold.
        """
        text = data if data.__class__ is bytes else as_bytes(data)
        size = len(text)
        if size > limits.document_bytes_max:
            return None
        try:
            shapes = (self._short if size <= _SHORT_BYTES else self._long).shapes(plan)
            item = orjson.loads(text)
            if size > SMALL_BYTES or limits is not DEFAULT_LIMITS:
                check_limits(item, text, limits, plan.name)
            if item.__class__ is dict:
                return shapes[(*item,)](item, [text]).encode("latin-1")
        except NOT_FAST:
            pass  # what this engine can't do is not an error yet
        return None

    def read_parsed(self, plan: MessagePlan, item: dict[str, Any], text: bytes) -> bytes | None:
        """Read a document that was parsed, and found within the limits, as `read` does.

        What it takes to read a long one is compiled at once.
        """
        library = self._short if len(text) <= _SHORT_BYTES else self._long
        root = library.shapes(plan)
        for _ in range(_LONG_SHAPES_MAX if len(text) >= LONG_BYTES else 1):
            try:
                return root[(*item,)](item, [text]).encode("latin-1")
            except Bail as bail:
                if not bail.args or not _is_ordinary(bail.args[1]):
                    return None
                shapes, shape = bail.args
                if len(text) >= LONG_BYTES:
                    shapes.add(shape)
            except NOT_FAST:
                return None
        return None

    def learn(self, plan: MessagePlan, value: dict[str, Any], size: int) -> bool:
        """Note the shapes of a document of so many bytes that this engine could not read.

        Returns:
            Whether it knows more shapes now, so that reading the document again may succeed.
        """
        library = self._short if size <= _SHORT_BYTES else self._long
        before = library.compiled
        library.learn(plan, value)
        return library.compiled > before


STRICT = FastReader(validate=True)
LAX = FastReader(validate=False)
