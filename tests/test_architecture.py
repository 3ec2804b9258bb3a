"""Imports go one way, the codec stays free of I/O, and the public names are the ones that were meant."""

import ast
import importlib.metadata
import inspect
import os
import pathlib
import subprocess
import sys
import types
from typing import Any, get_type_hints

import pytest

import mistralwire
import mistralwire.codec
from mistralwire import Accumulator, SseDecoder
from mistralwire.client import Client, SyncClient
from tests.cases import each_case

ROOT = pathlib.Path(mistralwire.__file__).parent
# What each room may import of this package. `mistralwire` is the package itself, which re-exports.
_CONTRACT = {"errors", "v1"}
_SHARED = {
    "_addresses",
    "_engine",
    "_files",
    "_lazy",
    "_metadata",
    "_methods",
    "_offload",
    "_response_stream",
    "_serving",
    "_settings",
    "_status",
    "_timeouts",
    "_trace_context",
    "_protobuf",
}
_BELOW_SERVICE = _CONTRACT | {"codec", "log", "upstream"}
MAY_IMPORT = {
    "v1": {"v1"},
    "errors": {"v1"},
    "codec": _CONTRACT | {"_engine", "_lazy", "_protobuf"},
    "log": _CONTRACT | {"codec", "_lazy", "_protobuf"},
    "upstream": _CONTRACT
    | {"codec", "log", "_files", "_metadata", "_offload", "_response_stream", "_timeouts"}
    | {"_methods", "_settings", "_protobuf"},
    "service": _BELOW_SERVICE | _SHARED,
    "client": _BELOW_SERVICE | _SHARED,
    "gateway": _BELOW_SERVICE | _SHARED | {"client"},
    "mistralwire": _CONTRACT | {"_lazy", "codec"},
    "cli": _BELOW_SERVICE | _SHARED | {"service", "client", "gateway", "mistralwire"},
    "__main__": {"cli"},
    "_pyinstaller": set(),
    "_addresses": set(),
    "_engine": set(),
    "_files": {"errors"},
    "_lazy": set(),
    "_metadata": {"errors", "v1"},
    "_methods": {"v1"},
    "_offload": {"codec"},
    "_response_stream": {"errors", "_protobuf"},
    "_serving": {"errors", "_addresses", "_files", "_metadata"},
    "_settings": {"_addresses"},
    "_status": {"errors", "v1", "_metadata", "_protobuf"},
    "_timeouts": set(),
    "_trace_context": set(),
    "_protobuf": set(),
}
NOT_IN_THE_CODEC = {
    "aiohttp",
    "asyncio",
    "click",
    "grpc",
    "http",
    "select",
    "socket",
    "ssl",
    "time",
    "urllib",
}

FILES = sorted(path for path in ROOT.rglob("*.py") if "v1" not in path.relative_to(ROOT).parts)


def _room(path: pathlib.Path) -> str:
    first = path.relative_to(ROOT).parts[0].removesuffix(".py")
    return "mistralwire" if first == "__init__" else first


def _imported_modules(path: pathlib.Path) -> list[str]:
    modules = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            modules += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name}: imports are absolute"
            if node.module == "mistralwire":
                modules += [f"mistralwire.{alias.name}" for alias in node.names]
            else:
                modules.append(node.module or "")
    return modules


def _rooms_imported(path: pathlib.Path) -> set[str]:
    rooms = set()
    for module in _imported_modules(path):
        package, _, rest = module.partition(".")
        if package == "mistralwire":
            name = rest.partition(".")[0]
            is_room = (ROOT / name).is_dir() or (ROOT / f"{name}.py").is_file()
            rooms.add(name if name and is_room else "mistralwire")
    return rooms


@each_case("path", FILES, ids=str)
def test_imports_go_one_way(path: pathlib.Path) -> None:
    room = _room(path)
    assert room in MAY_IMPORT, f"say in MAY_IMPORT what {room} may import"
    beyond = _rooms_imported(path) - MAY_IMPORT[room] - {room}
    assert not beyond, f"{room} may not import {', '.join(sorted(beyond))}"


@each_case("path", sorted((ROOT / "codec").rglob("*.py")), ids=str)
def test_the_codec_does_no_input_and_output(path: pathlib.Path) -> None:
    packages = {module.partition(".")[0] for module in _imported_modules(path)}
    assert not packages & NOT_IN_THE_CODEC


def _loaded_by(module: str) -> set[str]:
    code = f"import sys, {module}; print(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return {name.partition(".")[0] for name in run.stdout.split()}


@pytest.mark.process
@pytest.mark.parametrize(
    "module", ["mistralwire", "mistralwire.codec", "mistralwire.v1", "mistralwire.errors"]
)
def test_importing_the_codec_needs_protobuf_and_orjson_alone(module: str) -> None:
    assert not _loaded_by(module) & {
        "aiohttp",
        "asyncio",
        "click",
        "grpc",
        "nats",
        "starlette",
    }


def test_the_package_names_its_version() -> None:
    assert mistralwire.__version__ == importlib.metadata.version("mistralwire")
    assert "__version__" in dir(mistralwire)


@pytest.mark.parametrize("owner", [mistralwire, Client, SyncClient, SseDecoder, Accumulator])
def test_what_public_functions_return_has_a_type(owner: object) -> None:
    names = [name for name in dir(owner) if not name.startswith("_")]
    functions = {name: value for name in names if inspect.isfunction(value := getattr(owner, name))}
    assert functions
    assert [name for name, function in functions.items() if get_type_hints(function)["return"] is Any] == []


def test_the_public_names_of_the_package_are_these() -> None:
    assert sorted(mistralwire.__all__) == [
        "Accumulator",
        "CONTRACT_REVISION",
        "DecodeError",
        "EncodeError",
        "Limits",
        "MistralwireError",
        "SseDecoder",
        "SseDone",
        "SseError",
        "SseEvent",
        "SseMessage",
        "Violation",
        "accumulate",
        "binary_to_json",
        "check",
        "clear_member",
        "encode_sse",
        "explode",
        "from_dict",
        "from_json",
        "json_to_binary",
        "lift",
        "losses",
        "lower",
        "text_of",
        "to_dict",
        "to_json",
        "tool_calls_of",
    ]


def test_the_public_names_of_the_codec_are_these() -> None:
    assert sorted(mistralwire.codec.__all__) == [
        "Accumulator",
        "DEFAULT_LIMITS",
        "DEPTH_MAX",
        "DOCUMENT_BYTES_MAX",
        "ENGINE",
        "Limits",
        "MEMBERS_MAX",
        "SSE_BUFFER_BYTES_MAX",
        "SseBatch",
        "SseBatchDecoder",
        "SseDecoder",
        "SseDone",
        "SseError",
        "SseEvent",
        "SseMessage",
        "ToolCalls",
        "VALUES_MAX",
        "VIOLATIONS_MAX",
        "accumulate",
        "batch_to_sse",
        "binary_to_json",
        "check",
        "check_answer",
        "check_request",
        "clear_member",
        "dropped_events",
        "encode_sse",
        "explode",
        "from_dict",
        "from_json",
        "is_error_body",
        "json_to_binary",
        "lift",
        "losses",
        "lower",
        "newer_content",
        "read_error_body",
        "read_request",
        "request_to_json",
        "text_of",
        "to_dict",
        "to_json",
        "tool_calls_of",
    ]


@pytest.mark.parametrize("module", [mistralwire, mistralwire.codec], ids=lambda module: module.__name__)
def test_every_public_name_is_there_and_explained(module: object) -> None:
    for name in vars(module)["__all__"]:
        value = getattr(module, name)
        assert value.__doc__ or not isinstance(value, type | types.FunctionType), name


_ROUND_TRIP = r"""
from google.protobuf.internal import api_implementation
assert api_implementation.Type() == "python", api_implementation.Type()
from mistralwire import DecodeError, binary_to_json, from_json, json_to_binary, to_json
from mistralwire.v1 import AssistantMessage, ChatCompletionRequest, TextChunk, UsageInfo
text = (
    b'{"model":"m","messages":['
    b'{"content":[{"text":"h\xc3\xa9 \xf0\x9f\x98\x80","type":"text"}],"role":"user"},'
    b'{"role":"assistant","content":null,"tool_calls":['
    b'{"function":{"name":"f","arguments":{"n":18446744073709551616}},"index":-1}]},{"role":"new"}],'
    b'"temperature":0.1,"stop":["a"],"metadata":null,"tools":[],"prompt_mode":"x","p":[1.5]}'
)
for _ in range(10):
    message = from_json(ChatCompletionRequest, text)
    assert to_json(message) == text, to_json(message)
    assert binary_to_json(ChatCompletionRequest, json_to_binary(ChatCompletionRequest, text)) == text
    odd = b'{"prompt_tokens":"x","total_tokens":9223372036854775808,"a":"\\ud800","promptTokens":[]}'
    assert to_json(from_json(UsageInfo, odd, validate=False)) == odd
    try:
        from_json(AssistantMessage, b'{"role":"user","tool_calls":[{}]}')
    except DecodeError as error:
        assert len(error.violations) == 2, error
    else:
        raise AssertionError("the violations went unseen")
    for bad in (b"\x12\x01\xff", b"\xff\xff\xff"):
        try:
            binary_to_json(TextChunk, bad)
        except DecodeError as error:
            assert error.reason == "NOT_PROTOBUF", error
        else:
            raise AssertionError("bad wire bytes went unseen")
"""


@pytest.mark.process
def test_the_codec_works_on_protobuf_in_pure_python() -> None:
    environment = {**os.environ, "PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION": "python"}
    run = subprocess.run(
        [sys.executable, "-c", _ROUND_TRIP], capture_output=True, text=True, env=environment, check=False
    )
    assert run.returncode == 0, run.stderr
