"""Where reading says that a text is no JSON, and what it says is there."""

import contextlib
import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mistralwire.codec import from_json
from mistralwire.errors import DecodeError
from mistralwire.v1 import UsageInfo
from tests.cases import each_case
from tests.strategies import free_form_objects, to_json_text

_CASES = [
    ("", "nothing", "", 0, 0),
    (" \n", "nothing", "", 0, 0),
    ("{", "the end of the text instead of a name in double quotes", "", 1, 2),
    ('{"a"', "the end of the text instead of a colon", "", 1, 5),
    ('{"a":', "the end of the text instead of a value", "a", 1, 6),
    ('{"a":[1,', "the end of the text instead of a value", "a[1]", 1, 9),
    ('{"a":[1', "the end of the text instead of a comma or a closing bracket", "a", 1, 8),
    ('{"a":1,', "the end of the text instead of a name in double quotes", "", 1, 8),
    ('{"a":{"b":"x', "a string without its closing quote", "a.b", 1, 11),
    ('{"a":{"b', "a string without its closing quote", "a", 1, 7),
    ('{"a":1,}', "a trailing comma", "", 1, 7),
    ('{"a":[{"b":[1,2 ,\n ]}]}', "a trailing comma", "a[0].b", 1, 17),
    ('{"a":{"b":1 ,\n}}', "a trailing comma", "a", 1, 13),
    ('{"a":"\\ud83d","b":[1,],"c":1e400}', "a trailing comma", "b", 1, 21),
    ('{"a":,}', "a comma instead of a value", "a", 1, 6),
    ('{"a":[1,,2]}', "a comma instead of a value", "a[1]", 1, 9),
    ("{,}", "a comma instead of a name in double quotes", "", 1, 2),
    ('{"a" 1}', "a number instead of a colon", "", 1, 6),
    ('{"a"="b"}', "the character = instead of a colon", "", 1, 5),
    ('{"a":1 "b":2}', "a string instead of a comma or a closing bracket", "", 1, 8),
    ('{"a":[1 2]}', "a number instead of a comma or a closing bracket", "a", 1, 9),
    ('{"a":[1}', "a closing brace instead of a comma or a closing bracket", "a", 1, 8),
    ("{'a':1}", "a single quote instead of a name in double quotes", "", 1, 2),
    ("{\"a\":'b'}", "a single quote instead of a value", "a", 1, 6),
    ('{"a":\u201cb\u201d}', "the character U+201C instead of a value", "a", 1, 6),
    ('{"a":\xa01}', "the character U+00A0 instead of a value", "a", 1, 6),
    ("{a:1}", "a word instead of a name in double quotes", "", 1, 2),
    ("{1:1}", "a number instead of a name in double quotes", "", 1, 2),
    ("// c\n{}", "a comment instead of a value", "", 1, 1),
    ('{"a":1 /* c */}', "a comment instead of a comma or a closing bracket", "", 1, 8),
    ('{\n  # c\n  "a":1}', "a comment instead of a name in double quotes", "", 2, 3),
    ('{"a":True}', "True instead of a value", "a", 1, 6),
    ('{"a":undefined}', "undefined instead of a value", "a", 1, 6),
    ('{"a":secret}', "a word instead of a value", "a", 1, 6),
    ('{"a":"N","b":[1,NaN]}', "NaN, which JSON does not have", "b[1]", 1, 17),
    ('{"I":"\\"NaN","b":-Infinity}', "-Infinity, which JSON does not have", "b", 1, 18),
    ('{"a":01}', "a number that is not in JSON's form", "a", 1, 6),
    ('{"a":[1,-12.]}', "a number that is not in JSON's form", "a[1]", 1, 9),
    ('{"a":1e}', "a number that is not in JSON's form", "a", 1, 6),
    ('{"a":0x1F}', "a number that is not in JSON's form", "a", 1, 6),
    ('{"a":1_000}', "a number that is not in JSON's form", "a", 1, 6),
    ('{"a":+1}', "the character + instead of a value", "a", 1, 6),
    ('{"a":.5}', "the character . instead of a value", "a", 1, 6),
    ('{"a":-}', "the character - instead of a value", "a", 1, 6),
    ('{"a":"\t"}', "a tab unescaped in a string", "a", 1, 7),
    ('{"a":"x\ny"}', "a newline unescaped in a string", "a", 1, 8),
    ('{"a":"\x00"}', "the character U+0000 unescaped in a string", "a", 1, 7),
    ('{"a":"x\\x41"}', "an invalid escape", "a", 1, 8),
    ('{"a":"\\u12"}', "an invalid escape", "a", 1, 7),
    ('{"a":"\\u12g4"}', "an invalid escape", "a", 1, 7),
    ('{"a":["x,[{:\\q"]}', "an invalid escape", "a[0]", 1, 13),
    ('{"a":{"x,[{:\t":1}}', "a tab unescaped in a string", "a", 1, 13),
    ("{}{}", "an opening brace after the document", "", 1, 3),
    ('{"a":[1]]}', "a closing bracket instead of a comma or a closing bracket", "", 1, 9),
    ("{}\n\n x", "a word after the document", "", 3, 2),
    ("data: {}", "a word instead of a value", "", 1, 1),
    ("<html>", "the character < instead of a value", "", 1, 1),
    ("\ufeff\ufeff{}", "a byte order mark instead of a value", "", 1, 1),
    ("\ufeff{,", "a comma instead of a name in double quotes", "", 1, 2),
    ('{"\xe9\U0001f600":\n{"odd name":[true,[]],"b":tru}}', "a word instead of a value", '["é😀"].b', 2, 27),
    ('{"odd name":[[0],[1,{"x":tru}]]}', "a word instead of a value", '["odd name"][1][1].x', 1, 26),
]


@each_case(("text", "what", "path", "line", "column"), _CASES)
def test_a_mistake_is_named_with_its_place(text: str, what: str, path: str, line: int, column: int) -> None:
    found = what + (f", in {path}" if path else "")
    if line:
        lines = text.removeprefix("\ufeff").split("\n")
        at = sum(len(before) + 1 for before in lines[: line - 1]) + column - 1
        found += f": line {line} column {column} (char {at})"
    for data in (text, text.encode()):
        with pytest.raises(DecodeError) as caught:
            from_json(UsageInfo, data)
        assert str(caught.value) == f"document: expected JSON, found {found}"
        assert (caught.value.reason, caught.value.path) == ("NOT_JSON", "")


def test_the_path_is_left_out_far_behind_the_beginning() -> None:
    for size, place in ((60_000, ", in b[1]"), (70_000, "")):
        with pytest.raises(DecodeError) as caught:
            from_json(UsageInfo, f'{{"a":"{"x" * size}","b":[1,tru]}}')
        found = caught.value.violations[0].found
        assert found.startswith(f"a word instead of a value{place}: line 1 column {size + 16} ")


@given(free_form_objects, st.integers(0, 10_000), st.sampled_from(list("'x]}{[\":,/0-\t")))
def test_a_place_is_in_the_line_and_column_that_are_named(
    document: dict[str, object], at: int, character: str
) -> None:
    text = to_json_text(document).replace(",", ",\n")
    at %= len(text) + 1
    spoilt = text[:at] + character + text[at:]
    with contextlib.suppress(json.JSONDecodeError):
        json.loads(spoilt)
        return
    with pytest.raises(DecodeError) as caught:
        from_json(UsageInfo, spoilt, validate=False)
    found = re.search(r": line (\d+) column (\d+) \(char (\d+)\)$", caught.value.violations[0].found)
    assert found
    line, column, place = map(int, found.groups())
    assert spoilt.count("\n", 0, place) == line - 1
    assert place - spoilt.rfind("\n", 0, place) == column
