"""Who takes part: the codec and its peers, each as functions of one document."""

import dataclasses
import pathlib
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import orjson
from google.protobuf import descriptor_pb2, descriptor_pool, json_format, message_factory, struct_pb2
from google.protobuf.message import Message
from mistralai.client import models
from pydantic import BaseModel, ValidationError

from benchmarks.documents import MESSAGE_TYPES, Document
from mistralwire import from_json, to_json

CODEC, JSON_FORMAT, SDK, ORJSON = "mistralwire", "json_format", "mistralai SDK", "orjson"
# MessageToJson breaks and indents lines unless it is told not to, which takes it more than the rest.
JSON_FORMAT_COMPACT = "json_format, compact"

Run = Callable[[], object]

_SDK_MODELS: dict[str, type[BaseModel]] = {
    "response": models.ChatCompletionResponse,
    "chunk": models.CompletionChunk,
    "request": models.ChatCompletionRequest,
}
_PEER_NAMES = {"response": "Completion", "chunk": "Completion", "request": "Request"}


@dataclasses.dataclass(frozen=True, slots=True)
class Contest:
    """What each contender does with one document.

    Attributes:
        document: The document.
        read: The readers, by name.
        write: The writers, by name.
    """

    document: Document
    read: dict[str, Run]
    write: dict[str, Run]


class Peers:
    """The contenders, with the schema of json_format built."""

    def __init__(self) -> None:
        here = pathlib.Path(__file__).parent
        buf = str(pathlib.Path(sys.executable).parent / "buf")
        command = [buf, "build", str(here / "peer.proto"), "-o", "-"]
        image = subprocess.run(command, check=True, capture_output=True).stdout
        pool = descriptor_pool.DescriptorPool()
        pool.AddSerializedFile(struct_pb2.DESCRIPTOR.serialized_pb)
        for file in descriptor_pb2.FileDescriptorSet.FromString(image).file:
            if file.package == "mistralwire.benchmarks":
                pool.Add(file)
        self._classes = {
            kind: message_factory.GetMessageClass(
                pool.FindMessageTypeByName(f"mistralwire.benchmarks.{name}")
            )
            for kind, name in _PEER_NAMES.items()
        }

    def contest(self, document: Document) -> Contest:
        """Give what each contender that can read the document does with it."""
        read: dict[str, Run] = {}
        write: dict[str, Run] = {}
        self._add_codec(document, read, write)
        self._add_json_format(document, read, write)
        self._add_sdk(document, read, write)
        text = document.text
        value = orjson.loads(text)
        read[ORJSON] = lambda: orjson.loads(text)
        write[ORJSON] = lambda: orjson.dumps(value)
        return Contest(document, read, write)

    @staticmethod
    def _add_codec(document: Document, read: dict[str, Run], write: dict[str, Run]) -> None:
        message_type, text = MESSAGE_TYPES[document.kind], document.text
        message = from_json(message_type, text)
        read[CODEC] = lambda: from_json(message_type, text)
        write[CODEC] = lambda: to_json(message)

    def _add_json_format(self, document: Document, read: dict[str, Run], write: dict[str, Run]) -> None:
        peer_class, text = self._classes[document.kind], document.text

        def parse() -> Message:
            return json_format.Parse(text, peer_class(), ignore_unknown_fields=True)

        try:
            message = parse()
        except json_format.ParseError:
            return  # a union that this schema has no field for
        read[JSON_FORMAT] = parse
        write[JSON_FORMAT] = lambda: json_format.MessageToJson(message)
        write[JSON_FORMAT_COMPACT] = lambda: json_format.MessageToJson(message, indent=None)

    @staticmethod
    def _add_sdk(document: Document, read: dict[str, Run], write: dict[str, Run]) -> None:
        model, text = _SDK_MODELS[document.kind], document.text
        try:
            parsed: Any = model.model_validate_json(text)
        except ValidationError:
            return  # an alternative that this version of the SDK does not know
        read[SDK] = lambda: model.model_validate_json(text)
        write[SDK] = parsed.model_dump_json
