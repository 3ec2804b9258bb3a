"""What mypy and pyright see of contract and client, without type stubs of other packages and with them."""

import importlib.util
import os
import pathlib
import shutil
import subprocess
import sys
from typing import Any

import pytest

from tests.v1 import checkers

pytestmark = pytest.mark.process

PROGRAMS = pathlib.Path(__file__).parent / "programs"
SETUP = """\
from mistralwire.v1 import (
    AssistantMessage, ChatCompletionChoice, ChatCompletionRequest, ChatCompletionResponse, ChatMessage,
    FinishReason, UsageInfo,
)
from mistralwire.v1.chat_completion_service_pb2_grpc import ChatCompletionServiceServicer
response = ChatCompletionResponse(choices=[ChatCompletionChoice()])
choice = response.choices[0]
message: AssistantMessage = choice.message
usage = response.usage
"""
MISTAKES = {
    'ChatCompletionRequest(modle="m")': ValueError,
    'ChatCompletionRequest("m")': TypeError,
    "ChatCompletionRequest(model=1)": TypeError,
    'UsageInfo(total_tokens="3")': TypeError,
    'ChatMessage(user="Bonjour")': TypeError,
    'ChatCompletionChoice(finish_reason="STOP")': ValueError,
    "print(response.choises)": AttributeError,
    'response.modle = "m"': AttributeError,
    "response.choices = []": AttributeError,
    "response.choices[0] = choice": TypeError,
    "response.choices.append(usage)": TypeError,
    "choice.message = message": AttributeError,
    'usage.total_tokens = "3"': TypeError,
    'choice.HasField("messages")': ValueError,
    'message.HasField("contents")': ValueError,
    'message.ClearField("contents")': ValueError,
    'message.WhichOneof("contents")': ValueError,
    'usage.WhichOneof("content")': ValueError,
    "print(FinishReason.FINISH_REASON_STOPPED)": AttributeError,
    "FinishReason(1)": TypeError,
    'ChatCompletionResponse.FromString("")': TypeError,
    "print(ChatCompletionServiceServicer().ChatComplete)": AttributeError,
}
needs_mypy = pytest.mark.skipif(
    importlib.util.find_spec("mypy") is None, reason="mypy is a tool of the development environment"
)
needs_pyright = pytest.mark.skipif(
    shutil.which("node") is None or not checkers.PYRIGHT.exists(),
    reason="pyright is missing: run `npm ci --ignore-scripts` in tests/v1/pyright, with Node.js",
)


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """Copy the programs to a folder of their own, with one of mistakes."""
    folder = tmp_path_factory.mktemp("programs")
    for path in PROGRAMS.glob("*.py"):
        shutil.copy(path, folder)
    # Each in a function of its own, since checkers take over what an assignment says of a variable.
    mistakes = [f"def mistake_{number}() -> None: {mistake}" for number, mistake in enumerate(MISTAKES)]
    (folder / "mistakes.py").write_text(SETUP + "\n".join([*mistakes, ""]))
    return folder


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """Make an environment without stubs of other packages."""
    return checkers.make_environment(tmp_path_factory.mktemp("bare"))


@pytest.fixture(scope="module")
def with_stubs(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """Make an environment with types-protobuf."""
    return checkers.make_environment(tmp_path_factory.mktemp("with_stubs"), "google-stubs")


def mistakes_not_found(errors: list[checkers.Error]) -> list[str]:
    first = SETUP.count("\n") + 1
    found = {line for _, line, _ in errors}
    assert min(found, default=first) >= first, errors
    return [mistake for line, mistake in enumerate(MISTAKES, first) if line not in found]


@needs_mypy
def test_mypy_sees_concrete_types_without_further_packages(
    bare: pathlib.Path, programs: pathlib.Path
) -> None:
    assert checkers.mypy(bare, [programs / name for name in ("client.py", "messages.py", "service.py")]) == []


@needs_mypy
def test_mypy_finds_mistakes_without_further_packages(bare: pathlib.Path, programs: pathlib.Path) -> None:
    assert mistakes_not_found(checkers.mypy(bare, [programs / "mistakes.py"])) == []


@needs_mypy
def test_mypy_sees_the_same_types_and_protobufs_own_message_with_types_protobuf(
    with_stubs: pathlib.Path, programs: pathlib.Path
) -> None:
    good = ["client.py", "messages.py", "service.py", "nominal.py"]
    assert checkers.mypy(with_stubs, [programs / name for name in good]) == []
    assert mistakes_not_found(checkers.mypy(with_stubs, [programs / "mistakes.py"])) == []


@needs_pyright
def test_pyright_sees_concrete_types_and_protobufs_own_message(
    bare: pathlib.Path, programs: pathlib.Path
) -> None:
    good = ["client.py", "messages.py", "service.py", "nominal.py"]
    assert checkers.pyright(bare, [programs / name for name in good]) == []


@needs_pyright
def test_pyright_finds_mistakes(bare: pathlib.Path, programs: pathlib.Path) -> None:
    assert mistakes_not_found(checkers.pyright(bare, [programs / "mistakes.py"])) == []


@pytest.mark.parametrize("program", sorted(PROGRAMS.glob("*.py")), ids=lambda path: path.stem)
@pytest.mark.parametrize("implementation", ["upb", "python"])
def test_what_the_checkers_accept_runs(program: pathlib.Path, implementation: str) -> None:
    environment = os.environ | {"PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION": implementation}
    command = [sys.executable, "-W", "error", str(program)]
    run = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)
    assert run.returncode == 0, run.stderr


@pytest.mark.parametrize(("mistake", "error"), MISTAKES.items())
def test_what_the_checkers_refuse_fails(mistake: str, error: type[Exception]) -> None:
    names: dict[str, Any] = {}
    exec(SETUP, names)
    with pytest.raises(error):
        exec(mistake, names)
