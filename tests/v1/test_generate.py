"""The generator writes what is in the package, and refuses what it has no stubs for."""

import ast
import pathlib

import pytest
from google.protobuf import descriptor_pb2

import mistralwire.v1
from tools.generate.contract import Contract, read_contract
from tools.generate.files import additions, written_files
from tools.generate.text import WIDTH, attribute_docstring, clean, docstring, string, wrap

PACKAGE = pathlib.Path(mistralwire.v1.__file__).parent
OPTIONS = PACKAGE / "json_options_pb2.py"


@pytest.fixture(scope="module")
def contract() -> Contract:
    return read_contract(PACKAGE / "descriptor_set.binpb", OPTIONS)


def test_the_package_has_what_the_generator_writes(contract: Contract) -> None:
    texts = written_files(contract)
    assert {name: (PACKAGE / name).read_text() for name in texts} == texts
    for name, text in additions(contract).items():
        assert (PACKAGE / name).read_text().endswith(text)


def test_the_package_has_no_file_beside_those_of_protoc_and_of_the_generator(contract: Contract) -> None:
    files = {path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*") if path.is_file()}
    of_protoc = {f"{file.module}.py" for file in contract.files} | {"descriptor_set.binpb"}
    present = {name for name in files if "__pycache__" not in name}
    assert present == {*written_files(contract), *additions(contract), *of_protoc}


def test_written_lines_fit(contract: Contract) -> None:
    texts = {**written_files(contract), **additions(contract)}
    lines = [(name, line) for name, text in texts.items() for line in text.splitlines()]
    assert [each for each in lines if len(each[1]) > WIDTH or each[1] != each[1].rstrip()] == []


def test_the_public_names_are_sorted_and_there() -> None:
    names = mistralwire.v1.__all__
    assert names == sorted(set(names))
    assert {"CONTRACT_REVISION", "Reason", "ChatCompletionRequest", "FinishReason"} <= set(names)
    assert [name for name in names if not hasattr(mistralwire.v1, name)] == []


def test_the_revision_is_the_highest_of_fields_and_values(tmp_path: pathlib.Path) -> None:
    from mistralwire.v1 import json_options_pb2 as options

    files = descriptor_pb2.FileDescriptorSet.FromString((PACKAGE / "descriptor_set.binpb").read_bytes())
    (file,) = (file for file in files.file if file.name.endswith("/completion.proto"))
    file.enum_type[0].value[1].options.Extensions[options.json_value].since = 3
    file.message_type[0].field[0].options.Extensions[options.json_field].since = 2
    path = tmp_path / "descriptor_set.binpb"
    path.write_bytes(files.SerializeToString())
    assert read_contract(path, OPTIONS).revision == 3


@pytest.mark.parametrize(
    ("declaration", "error"),
    [
        ('nested_type { name: "Inner" }', "has types of its own"),
        ('field { name: "any" type: TYPE_MESSAGE type_name: ".google.protobuf.Any" }', "not of the package"),
    ],
)
def test_what_has_no_stub_is_refused(tmp_path: pathlib.Path, declaration: str, error: str) -> None:
    from google.protobuf import text_format

    text = (
        f'file {{ name: "a.proto" package: "mistralwire.v1" message_type {{ name: "Outer" {declaration} }} }}'
    )
    files = text_format.Parse(text, descriptor_pb2.FileDescriptorSet())
    path = tmp_path / "descriptor_set.binpb"
    path.write_bytes(files.SerializeToString())
    with pytest.raises(SystemExit, match=error):
        read_contract(path, OPTIONS)


def test_a_comment_loses_its_margin_and_directives_to_linters() -> None:
    assert clean(" First.\n\n buf:lint:ignore COMMENT_FIELD\n") == "First."
    assert clean(" A list:\n   - one\n") == "A list:\n- one"


def test_paragraphs_and_lists_are_wrapped_apart() -> None:
    text = "One two three\nfour:\n- five six\nseven\n- eight\n\nNine."
    assert wrap(text, 14) == ["One two three", "four:", "- five six", "  seven", "- eight", "", "Nine."]


@pytest.mark.parametrize(
    "text",
    ['ends with a "quote"', 'has """ in it', r"a \ud800 backslash\\", "x" * 200, '"', "word " * 40 + '"'],
)
def test_any_text_survives_in_a_docstring_and_in_a_string(text: str) -> None:
    code = "\n".join(["def function():", *docstring(text, "    ")])
    body = ast.parse(code).body[0]
    assert isinstance(body, ast.FunctionDef)
    assert (ast.get_docstring(body) or "").split() == text.split()
    assert ast.literal_eval("\n".join(string("", [text]))) == text
    attribute = ast.parse("\n".join(["if True:", "    A = 1", *attribute_docstring(text, "    ")])).body[0]
    assert isinstance(attribute, ast.If)
    assert isinstance(attribute.body[1], ast.Expr)
    assert ast.literal_eval(attribute.body[1].value).split() == text.split()
