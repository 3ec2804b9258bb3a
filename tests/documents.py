"""The documents of tests/data/documents: each file is named after its message type and what it shows."""

import pathlib
from typing import NamedTuple

from google.protobuf.message import Message

import mistralwire.v1


class Document(NamedTuple):
    """One document.

    Attributes:
        name: Its file, without the extension.
        message_type: What it is.
        text: The JSON.
    """

    name: str
    message_type: type[Message]
    text: bytes


DOCUMENTS = [
    Document(path.stem, getattr(mistralwire.v1, path.stem.partition(".")[0]), path.read_bytes())
    for path in sorted(pathlib.Path(__file__).parent.joinpath("data", "documents").glob("*.json"))
]
