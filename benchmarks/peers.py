"""The contenders for converting a document: the codec and its peers, each as functions of that document."""

import dataclasses
import functools
import importlib.util
import json
import pathlib
import subprocess
import sys
import tempfile
from typing import Any

import orjson
from google.protobuf import descriptor_pb2, descriptor_pool, json_format, message_factory, struct_pb2
from google.protobuf.message import Message
from mistralai.client import models
from pydantic import BaseModel, ValidationError

from benchmarks.documents import MESSAGE_TYPES, Document
from benchmarks.measure import Run
from mistralwire.codec import binary_to_json, from_json, json_to_binary, to_json

JSON_TO_BINARY, FROM_JSON, BINARY_TO_JSON, TO_JSON = (
    "json_to_binary",
    "from_json",
    "binary_to_json",
    "to_json",
)
LOADS, DUMPS = "orjson.loads", "orjson.dumps"
JSON_FORMAT, SDK, PROTOBUF_PY = "json_format", "mistralai SDK", "protobuf-py"

_SDK_MODELS: dict[str, type[BaseModel]] = {
    "response": models.ChatCompletionResponse,
    "chunk": models.CompletionChunk,
    "request": models.ChatCompletionRequest,
}
_PEER_NAMES = {"response": "Completion", "chunk": "Completion", "request": "Request"}
_PEER_PROTO = pathlib.Path(__file__).parent / "peer.proto"


@dataclasses.dataclass(frozen=True, slots=True)
class Contest:
    """The functions of each contender for one document.

    Attributes:
        document: The document.
        read: What reads the JSON, by name.
        write: What writes it.
    """

    document: Document
    read: dict[str, Run]
    write: dict[str, Run]


def contest(document: Document) -> Contest:
    """Return the functions of the codec and of orjson for a document."""
    message_type, text = MESSAGE_TYPES[document.kind], document.text
    message, value = from_json(message_type, text), orjson.loads(text)
    wire = message.SerializeToString()
    read: dict[str, Run] = {
        JSON_TO_BINARY: functools.partial(json_to_binary, message_type, text),
        FROM_JSON: functools.partial(from_json, message_type, text),
        LOADS: functools.partial(orjson.loads, text),
    }
    write: dict[str, Run] = {
        BINARY_TO_JSON: functools.partial(binary_to_json, message_type, wire),
        TO_JSON: functools.partial(to_json, message),
        DUMPS: functools.partial(orjson.dumps, value),
    }
    return Contest(document, read, write)


class Peers:
    """The third-party contenders: json_format and protobuf-py by peer.proto, and the SDK's models."""

    def __init__(self) -> None:
        image = _buf("build", "-o", "-")
        pool = descriptor_pool.DescriptorPool()
        pool.AddSerializedFile(struct_pb2.DESCRIPTOR.serialized_pb)
        for file in descriptor_pb2.FileDescriptorSet.FromString(image).file:
            if file.package == "mistralwire.benchmarks":
                pool.Add(file)
        names = {kind: f"mistralwire.benchmarks.{name}" for kind, name in _PEER_NAMES.items()}
        self._classes = {
            kind: message_factory.GetMessageClass(pool.FindMessageTypeByName(name))
            for kind, name in names.items()
        }
        module = _protobuf_py_module()
        self._protobuf_py = {kind: getattr(module, name) for kind, name in _PEER_NAMES.items()}

    def join(self, contest: Contest) -> None:
        """Add the functions of each peer that can read the document to a contest."""
        self._add_json_format(contest)
        self._add_protobuf_py(contest)
        self._add_sdk(contest)

    def _add_json_format(self, contest: Contest) -> None:
        peer_class, text = self._classes[contest.document.kind], contest.document.text

        def parse() -> Message:
            return json_format.Parse(text, peer_class(), ignore_unknown_fields=True)

        try:
            message = parse()
        except json_format.ParseError:
            return  # a union that this schema has no field for
        contest.read[JSON_FORMAT] = parse
        # By default it indents.
        contest.write[JSON_FORMAT] = functools.partial(json_format.MessageToJson, message, indent=None)

    def _add_protobuf_py(self, contest: Contest) -> None:
        peer_class, text = self._protobuf_py[contest.document.kind], contest.document.text

        def convert() -> bytes:
            wire: bytes = peer_class.from_json(text, ignore_unknown_fields=True).to_binary()
            return wire

        try:
            wire = convert()
        except (TypeError, ValueError):
            return  # as for json_format
        contest.read[PROTOBUF_PY] = convert
        contest.write[PROTOBUF_PY] = lambda: peer_class.from_binary(wire).to_json()

    @staticmethod
    def _add_sdk(contest: Contest) -> None:
        model, text = _SDK_MODELS[contest.document.kind], contest.document.text
        try:
            parsed: Any = model.model_validate_json(text)
        except ValidationError:
            return  # an alternative that this version of the SDK does not know
        contest.read[SDK] = functools.partial(model.model_validate_json, text)
        contest.write[SDK] = parsed.model_dump_json


def _buf(command: str, *options: str) -> bytes:
    buf = str(pathlib.Path(sys.executable).parent / "buf")
    arguments = [buf, command, str(_PEER_PROTO), *options]
    return subprocess.run(arguments, check=True, capture_output=True).stdout


def _protobuf_py_module() -> Any:
    """Generate protobuf-py's classes of peer.proto, and import them."""
    with tempfile.TemporaryDirectory() as folder:
        plugin = [sys.executable, "-c", "import protoc_gen_py; protoc_gen_py.main()"]
        template = {"version": "v2", "plugins": [{"local": plugin, "out": folder}]}
        _buf("generate", "--template", json.dumps(template))
        spec = importlib.util.spec_from_file_location("peer_pb", pathlib.Path(folder) / "peer_pb.py")
        if spec is None or spec.loader is None:
            raise ImportError("protobuf-py generated no classes")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module
