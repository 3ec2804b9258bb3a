"""What the contract's files say of its messages, members and values, for those who see JSON alone."""

import importlib.resources
import re
from collections.abc import Iterator, Mapping
from typing import Any

from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet

_PACKAGE = "mistralwire.v1"
# What says how protobuf holds a value, and nothing of the JSON.
_PROTOBUF_ONLY = re.compile(
    r"(?: A string (?:outside the enum|that is not listed here) (?:is kept|stays) in json_extra[^.]*\."
    r"|, as the text of a JSON object|, as JSON text|(?<=object), in JSON text| In JSON: \w+\.)"
)
# Numbers of the fields of descriptors that a path in the source is made of.
_MESSAGE, _ENUM, _FIELD, _VALUE, _ONEOF = 4, 5, 2, 2, 8


def read_comments() -> Mapping[str, str]:
    """Read the comments of the contract from the descriptor set that the package brings along.

    Returns:
        The comment on each message, field, oneof, enum and enum value that has one, by full name; values and
        fields below what they are in.
    """
    path = importlib.resources.files(_PACKAGE).joinpath("descriptor_set.binpb")
    files = FileDescriptorSet.FromString(path.read_bytes()).file
    return dict(pair for file in files if file.package == _PACKAGE for pair in _comments_of(file))


def _comments_of(file: FileDescriptorProto) -> Iterator[tuple[str, str]]:
    names = dict(_names_of(file))
    for location in file.source_code_info.location:
        name = names.get(tuple(location.path))
        if name is not None and location.leading_comments:
            text = " ".join(location.leading_comments.split())
            yield name, _PROTOBUF_ONLY.sub("", text)


def _names_of(file: FileDescriptorProto) -> Iterator[tuple[tuple[int, ...], str]]:
    """Give the full name of what stands at each path of the source."""
    for kind, described, parts in (
        (_MESSAGE, file.message_type, (("field", _FIELD), ("oneof_decl", _ONEOF))),
        (_ENUM, file.enum_type, (("value", _VALUE),)),
    ):
        things: Any = described
        for at, thing in enumerate(things):
            name = f"{file.package}.{thing.name}"
            yield (kind, at), name
            for attribute, number in parts:
                for index, part in enumerate(getattr(thing, attribute)):
                    yield (kind, at, number, index), f"{name}.{part.name}"
