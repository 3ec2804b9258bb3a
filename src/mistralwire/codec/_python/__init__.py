"""The Python engine: complete, and the only one that builds errors.

`_parse` and `_number` convert between JSON text and parsed values, `_from_json` and `_to_json` between parsed
values and wire bytes, by the plans. `_describe` has the words for what is wrong with a document.
"""

from mistralwire.codec._python._describe import join_path
from mistralwire.codec._python._encoding import parse_embedded
from mistralwire.codec._python._from_json import document_to_binary
from mistralwire.codec._python._number import Number, exact_number
from mistralwire.codec._python._parse import parse, parse_any, to_indented_text, to_text
from mistralwire.codec._python._to_json import (
    binary_to_document,
    binary_to_document_and_errors,
    nesting_error,
)

__all__ = [
    "Number",
    "binary_to_document",
    "binary_to_document_and_errors",
    "document_to_binary",
    "exact_number",
    "join_path",
    "nesting_error",
    "parse",
    "parse_any",
    "parse_embedded",
    "to_indented_text",
    "to_text",
]
