"""The type stubs against the modules that they describe."""

import ast
import importlib
import inspect
import pathlib
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.internal.enum_type_wrapper import EnumTypeWrapper
from google.protobuf.message import Message

import mistralwire.v1
from mistralwire.v1 import ChatCompletionResponse, FinishReason, StringList
from mistralwire.v1 import chat_completion_service_pb2_grpc as service_grpc
from tests.cases import each_case

PACKAGE = pathlib.Path(mistralwire.v1.__file__).parent
STUBS = sorted(PACKAGE.glob("*_pb2.pyi"))
SCALARS = {
    FieldDescriptor.TYPE_BOOL: "bool",
    FieldDescriptor.TYPE_BYTES: "bytes",
    FieldDescriptor.TYPE_DOUBLE: "float",
    FieldDescriptor.TYPE_INT32: "int",
    FieldDescriptor.TYPE_INT64: "int",
    FieldDescriptor.TYPE_STRING: "str",
    FieldDescriptor.TYPE_UINT32: "int",
}
# Names that modules have for other reasons than the contract.
OWN_NAMES = {"DESCRIPTOR"}


def parse(path: pathlib.Path) -> tuple[Any, ast.Module]:
    return importlib.import_module(f"mistralwire.v1.{path.stem}"), ast.parse(path.read_text())


def classes(tree: ast.Module) -> dict[str, ast.ClassDef]:
    return {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}


def attributes(node: ast.Module | ast.ClassDef) -> dict[str, str]:
    """Return the type of each variable and property that a stub declares."""
    found = {}
    for each in node.body:
        if isinstance(each, ast.AnnAssign) and isinstance(each.target, ast.Name):
            found[each.target.id] = ast.unparse(each.annotation)
        elif isinstance(each, ast.FunctionDef) and is_property(each) and each.returns:
            found[each.name] = ast.unparse(each.returns)
    return found


def is_property(function: ast.FunctionDef) -> bool:
    return "property" in map(ast.unparse, function.decorator_list)


def methods(node: ast.ClassDef) -> list[ast.FunctionDef]:
    return [each for each in node.body if isinstance(each, ast.FunctionDef) and not is_property(each)]


def accepted(function: ast.FunctionDef) -> list[str]:
    """Return the names that the Literal of a function's last parameter accepts."""
    annotation = function.args.args[-1].annotation
    assert annotation
    return [
        each.value
        for each in ast.walk(annotation)
        if isinstance(each, ast.Constant) and isinstance(each.value, str)
    ]


def messages() -> Iterator[tuple[ast.ClassDef, type[Message]]]:
    for path in STUBS:
        module, tree = parse(path)
        for name, node in classes(tree).items():
            if not isinstance(getattr(module, name), EnumTypeWrapper):
                yield node, getattr(module, name)


MESSAGES = [pytest.param(*each, id=each[0].name) for each in messages()]
each_message = each_case(("stub", "message_type"), MESSAGES)


@each_case("path", STUBS, ids=str)
def test_a_module_has_what_its_stub_declares_and_nothing_else_of_the_contract(path: pathlib.Path) -> None:
    module, tree = parse(path)
    declared = {*classes(tree), *attributes(tree)}
    public = {name for name in declared if not name.startswith("_")}
    of_contract = {
        name
        for name, value in vars(module).items()
        if isinstance(value, int | EnumTypeWrapper | FieldDescriptor)
        or (inspect.isclass(value) and issubclass(value, Message))
    }
    assert public - OWN_NAMES == {name for name in of_contract if not name.startswith("_")}


@each_message
def test_a_message_has_the_fields_that_its_stub_declares(stub: ast.ClassDef, message_type: Any) -> None:
    declared = attributes(stub)
    numbers = {name: declared.pop(name) for name in list(declared) if name.endswith("_FIELD_NUMBER")}
    assert declared == {field.name: expected_type(field) for field in message_type.DESCRIPTOR.fields}
    assert {name: getattr(message_type, name) for name in numbers} == {
        f"{field.name.upper()}_FIELD_NUMBER": field.number for field in message_type.DESCRIPTOR.fields
    }


def expected_type(field: FieldDescriptor) -> str:
    of = field.message_type or field.enum_type
    value = of.name if of else SCALARS[field.type]
    if not field.is_repeated:
        return value
    return f"RepeatedMessage[{value}]" if field.message_type else f"RepeatedScalar[{value}]"


@each_message
def test_a_message_takes_what_its_stub_lets_it_be_made_of(stub: ast.ClassDef, message_type: Any) -> None:
    (init,) = (each for each in methods(stub) if each.name == "__init__")
    names = [each.arg for each in init.args.kwonlyargs]
    assert names == [field.name for field in message_type.DESCRIPTOR.fields]
    assert message_type(**dict.fromkeys(names)) == message_type()


@each_message
def test_fields_and_oneofs_are_asked_for_by_the_names_in_the_stub(
    stub: ast.ClassDef, message_type: Any
) -> None:
    functions = methods(stub)
    has, clear = ({each.name: each for each in functions}[name] for name in ("HasField", "ClearField"))
    descriptor: Descriptor = message_type.DESCRIPTOR
    oneofs = [oneof for oneof in descriptor.oneofs if not oneof.name.startswith("_")]
    names = [oneof.name for oneof in oneofs]
    assert accepted(has) == [field.name for field in descriptor.fields if field.has_presence] + names
    assert accepted(clear) == [field.name for field in descriptor.fields] + names
    message = message_type()
    assert not any(message.HasField(name) for name in accepted(has))
    for name in accepted(clear):
        message.ClearField(name)

    which = [each for each in functions if each.name == "WhichOneof"]
    results = [[ast.literal_eval(each) for each in literals(function.returns)] for function in which]
    assert [accepted(each) for each in which] == ([[name] for name in names] or [[]])
    assert results == ([[field.name for field in oneof.fields] for oneof in oneofs] or [[]])
    assert [message.WhichOneof(name) for name in names] == [None] * len(names)


def literals(annotation: ast.expr | None) -> list[ast.Constant]:
    assert annotation
    constants = [each for each in ast.walk(annotation) if isinstance(each, ast.Constant)]
    return [each for each in constants if each.value is not None]


@each_case("path", STUBS, ids=str)
def test_an_enum_has_the_values_that_its_stub_declares(path: pathlib.Path) -> None:
    module, tree = parse(path)
    for name, node in classes(tree).items():
        enum = getattr(module, name)
        if isinstance(enum, EnumTypeWrapper):
            values = enum.keys()
            assert attributes(node) == dict.fromkeys(values, f"ClassVar[{name}]")
            assert {value: attributes(tree)[value] for value in values} == dict.fromkeys(values, name)
            (names,) = (
                each
                for each in tree.body
                if isinstance(each, ast.AnnAssign) and ast.unparse(each.target) == f"_{name}Name"
            )
            assert [each.value for each in literals(names.value)] == values


@pytest.mark.parametrize(
    ("module", "name", "thing"),
    [
        ("messages", "Message", ChatCompletionResponse()),
        ("containers", "RepeatedScalar", StringList().items),
        ("containers", "RepeatedMessage", ChatCompletionResponse().choices),
        ("enums", "EnumTypeWrapper", FinishReason),
    ],
)
def test_what_messages_repeated_fields_and_enums_share_is_there(
    module: str, name: str, thing: object
) -> None:
    stub = classes(ast.parse((PACKAGE / "_typing" / f"{module}.pyi").read_text()))[name]
    declared = [*attributes(stub), *(each.name for each in methods(stub))]
    assert len(declared) > 3
    assert [each for each in declared if not hasattr(thing, each)] == []


def test_the_stub_of_the_service_declares_what_is_there() -> None:
    stubs = classes(ast.parse((PACKAGE / "chat_completion_service_pb2_grpc.pyi").read_text()))
    names = [f"ChatCompletionService{kind}" for kind in ("Stub", "AsyncStub", "Servicer")]
    assert list(stubs) == names
    with grpc.insecure_channel("localhost:1") as channel:
        for name in names[:2]:
            declared = set(attributes(stubs[name]))
            assert declared == set(vars(getattr(service_grpc, name)(channel)))
    servicer = service_grpc.ChatCompletionServiceServicer
    functions = {each.name for each in methods(stubs[names[2]])}
    assert functions == {name for name in vars(servicer) if not name.startswith("_")} == declared
