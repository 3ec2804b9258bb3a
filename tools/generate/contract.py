"""The contract as its descriptor set has it, with comments: what the writers read."""

import pathlib
import runpy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
    FileDescriptorSet,
    ServiceDescriptorProto,
)

from tools.generate.text import clean

PACKAGE = "mistralwire.v1"
SCALARS: Mapping[int, str] = {
    FieldDescriptorProto.TYPE_BOOL: "bool",
    FieldDescriptorProto.TYPE_BYTES: "bytes",
    FieldDescriptorProto.TYPE_DOUBLE: "float",
    FieldDescriptorProto.TYPE_FLOAT: "float",
    FieldDescriptorProto.TYPE_INT32: "int",
    FieldDescriptorProto.TYPE_INT64: "int",
    FieldDescriptorProto.TYPE_STRING: "str",
    FieldDescriptorProto.TYPE_UINT32: "int",
    FieldDescriptorProto.TYPE_UINT64: "int",
}
# Numbers of the fields of descriptors that a path in the source is made of.
_MESSAGE, _ENUM, _SERVICE, _EXTENSION, _SYNTAX = 4, 5, 6, 7, 12
_FIELD, _ONEOF, _VALUE, _METHOD = 2, 8, 2, 2


@dataclass(frozen=True)
class Field:
    """A field or an extension."""

    name: str
    comment: str
    type: str
    """A type of Python, or the name of a message or an enum."""
    is_message: bool
    is_enum: bool
    repeated: bool
    presence: bool
    oneof: str | None
    extended: str | None
    """The message of google.protobuf that an extension extends."""


@dataclass(frozen=True)
class Oneof:
    """A oneof; not those that protobuf makes for optional fields."""

    name: str
    comment: str
    fields: Sequence[str]


@dataclass(frozen=True)
class Message:
    """A message."""

    name: str
    comment: str
    fields: Sequence[Field]
    oneofs: Sequence[Oneof]


@dataclass(frozen=True)
class Value:
    """A value of an enum."""

    name: str
    number: int
    comment: str


@dataclass(frozen=True)
class Enum:
    """An enum."""

    name: str
    comment: str
    values: Sequence[Value]


@dataclass(frozen=True)
class Method:
    """A method of a service."""

    name: str
    comment: str
    request: str
    response: str
    takes_stream: bool
    """Whether it has a stream of requests; always with one of responses."""
    streams: bool
    """Whether it has a stream of responses."""


@dataclass(frozen=True)
class Service:
    """A service."""

    name: str
    comment: str
    methods: Sequence[Method]


@dataclass(frozen=True)
class File:
    """A file of the contract."""

    name: str
    comment: str
    enums: Sequence[Enum]
    messages: Sequence[Message]
    extensions: Sequence[Field]
    services: Sequence[Service]

    @property
    def module(self) -> str:
        """The name of its Python module in the package."""
        return pathlib.PurePath(self.name).stem + "_pb2"

    @property
    def types(self) -> Sequence[str]:
        """The names of its messages and enums."""
        return [*(message.name for message in self.messages), *(enum.name for enum in self.enums)]


@dataclass(frozen=True)
class Contract:
    """All files of the contract."""

    files: Sequence[File]
    revision: int
    """The highest `since` of its fields and enum values, at least 1."""

    @property
    def modules(self) -> Mapping[str, str]:
        """The module of each message and enum."""
        return {name: file.module for file in self.files for name in file.types}


def read_contract(descriptor_set: pathlib.Path, options: pathlib.Path) -> Contract:
    """Read the contract.

    Args:
        descriptor_set: Its descriptor set, with comments.
        options: The module of its options. It is run and not imported, since its package may not be
            importable while it is being generated.
    """
    extensions = runpy.run_path(str(options))  # before the options are parsed, which needs their types
    files = FileDescriptorSet.FromString(descriptor_set.read_bytes()).file
    ours = [file for file in files if file.package == PACKAGE]
    return Contract([_Reader(file).file() for file in ours], max([1, *_since(ours, extensions)]))


def _since(files: Sequence[FileDescriptorProto], extensions: Mapping[str, Any]) -> Iterator[int]:
    for file in files:
        for message in file.message_type:
            yield from (field.options.Extensions[extensions["json_field"]].since for field in message.field)
        for enum in file.enum_type:
            yield from (value.options.Extensions[extensions["json_value"]].since for value in enum.value)


class _Reader:
    """Reads one file."""

    def __init__(self, file: FileDescriptorProto) -> None:
        places = file.source_code_info.location
        self._comments = {tuple(place.path): clean(place.leading_comments) for place in places}
        self._file = file

    def file(self) -> File:
        file = self._file
        return File(
            file.name,
            self._comment(_SYNTAX),
            [self._enum(enum, at) for at, enum in enumerate(file.enum_type)],
            [self._message(message, at) for at, message in enumerate(file.message_type)],
            [self._field(field, None, _EXTENSION, at) for at, field in enumerate(file.extension)],
            [self._service(service, at) for at, service in enumerate(file.service)],
        )

    def _comment(self, *path: int) -> str:
        return self._comments.get(path, "")

    def _enum(self, enum: EnumDescriptorProto, at: int) -> Enum:
        values = [
            Value(value.name, value.number, self._comment(_ENUM, at, _VALUE, index))
            for index, value in enumerate(enum.value)
        ]
        return Enum(enum.name, self._comment(_ENUM, at), values)

    def _message(self, message: DescriptorProto, at: int) -> Message:
        if message.nested_type or message.enum_type or message.extension:
            raise SystemExit(
                f"{message.name} has types of its own, which are not supported: move them out of it"
            )
        fields = [
            self._field(field, message, _MESSAGE, at, _FIELD, index)
            for index, field in enumerate(message.field)
        ]
        oneofs = [
            Oneof(oneof.name, self._comment(_MESSAGE, at, _ONEOF, index), names)
            for index, oneof in enumerate(message.oneof_decl)
            if (names := [field.name for field in fields if field.oneof == oneof.name])
        ]
        return Message(message.name, self._comment(_MESSAGE, at), fields, oneofs)

    def _field(self, field: FieldDescriptorProto, message: DescriptorProto | None, *path: int) -> Field:
        is_message = field.type == FieldDescriptorProto.TYPE_MESSAGE
        is_enum = field.type == FieldDescriptorProto.TYPE_ENUM
        repeated = field.label == FieldDescriptorProto.LABEL_REPEATED
        in_oneof = field.HasField("oneof_index") and not field.proto3_optional
        return Field(
            name=field.name,
            comment=self._comment(*path),
            type=_local(field.type_name) if is_message or is_enum else SCALARS[field.type],
            is_message=is_message,
            is_enum=is_enum,
            repeated=repeated,
            presence=not repeated and (is_message or field.HasField("oneof_index")),
            oneof=message.oneof_decl[field.oneof_index].name if message and in_oneof else None,
            extended=field.extendee.removeprefix(".google.protobuf.") or None,
        )

    def _service(self, service: ServiceDescriptorProto, at: int) -> Service:
        methods = []
        for index, method in enumerate(service.method):
            if method.client_streaming and not method.server_streaming:
                raise SystemExit(f"{method.name} has only a stream of requests, which is not supported")
            comment = self._comment(_SERVICE, at, _METHOD, index)
            types = _local(method.input_type), _local(method.output_type)
            streams = method.client_streaming, method.server_streaming
            methods.append(Method(method.name, comment, *types, *streams))
        return Service(service.name, self._comment(_SERVICE, at), methods)


def _local(full_name: str) -> str:
    name = full_name.removeprefix(f".{PACKAGE}.")
    if "." in name:
        raise SystemExit(f"{full_name} is not of the package {PACKAGE}, which is not supported")
    return name
