"""The project's own documents, one for each thing that documents do, keep the contract and come back."""

import json

import pytest

from mistralwire.codec import binary_to_json, from_dict, from_json, json_to_binary, to_dict
from tests.codec import engines
from tests.documents import DOCUMENTS, Document
from tests.json_equality import meaning, parse_exactly


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: document.name)
def test_a_document_comes_back_exactly(document: Document) -> None:
    message_type, text = document.message_type, document.text
    message = engines.read(message_type, text)
    written = engines.write(message)
    assert parse_exactly(written) == parse_exactly(text)
    assert message == engines.read(message_type, text, validate=False)
    assert binary_to_json(message_type, json_to_binary(message_type, text)) == written


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: document.name)
def test_a_document_comes_back_from_camel_case_and_from_python(document: Document) -> None:
    message = from_json(document.message_type, document.text)
    camel = engines.write(message, camel=True)
    assert meaning(document.message_type, camel) == meaning(document.message_type, document.text)
    assert engines.read(document.message_type, camel) == message
    assert from_dict(document.message_type, to_dict(message)) == message
    assert from_dict(document.message_type, json.loads(document.text)) == message
