"""The folder that `mistralwire proto` writes, in the hands of protoc and buf."""

import pathlib
import re
import shutil
import subprocess
from collections.abc import Mapping

import pytest

from tests.interop.languages import (
    BIN,
    CONTRACT,
    LANGUAGES,
    ROOT,
    Language,
    environment_of,
    readme_command,
)

BUF = BIN / "buf"
GO = next(language for language in LANGUAGES if language.name == "go")
MANAGED = """
version: v2
managed:
  enabled: true
plugins:
  - protoc_builtin: java
    out: java
  - protoc_builtin: csharp
    out: csharp
"""
MANAGED_GO = """
version: v2
managed:
  enabled: true
plugins:
  - local: protoc-gen-go
    out: managed
  - local: protoc-gen-go-grpc
    out: managed
"""

pytestmark = pytest.mark.interop


def run(*command: str | pathlib.Path, cwd: pathlib.Path, env: Mapping[str, str] | None = None) -> str:
    result = subprocess.run(
        command, cwd=cwd, env=env, capture_output=True, text=True, check=False, timeout=300
    )
    assert result.returncode == 0, f"{command}\n{result.stdout}\n{result.stderr}"
    return result.stdout + result.stderr


def files_in(folder: pathlib.Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): path.read_text() for path in folder.rglob("*") if path.is_file()
    }


@pytest.mark.parametrize("arguments", [("lint",), ("build",), ("format", "--diff", "--exit-code")])
def test_buf_accepts_it_as_a_module(contract: pathlib.Path, arguments: tuple[str, ...]) -> None:
    assert run(BUF, *arguments, cwd=contract) == ""


@pytest.mark.parametrize("arguments", [("lint",), ("build",)])
def test_buf_accepts_it_as_a_module_of_a_workspace(
    contract: pathlib.Path, tmp_path: pathlib.Path, arguments: tuple[str, ...]
) -> None:
    shutil.copytree(contract, tmp_path / "third_party" / "mistralwire")
    (tmp_path / "buf.yaml").write_text("version: v2\nmodules:\n  - path: third_party/mistralwire\n")
    assert run(BUF, *arguments, cwd=tmp_path) == ""


@pytest.mark.parametrize("by", ["protoc", "buf's managed mode"])
def test_java_has_one_package_and_no_class_that_hides_one_of_the_language(
    contract: pathlib.Path, tmp_path: pathlib.Path, by: str
) -> None:
    if by == "protoc":
        (tmp_path / "java").mkdir()
        protos = [path.relative_to(contract) for path in contract.rglob("*.proto")]
        run(BIN / "protoc", "-I.", f"--java_out={tmp_path}/java", *protos, cwd=contract)
    else:
        run(BUF, "generate", "--template", MANAGED, "-o", tmp_path, cwd=contract, env=environment_of(GO))
    sources = files_in(tmp_path / "java")
    classes = {pathlib.PurePath(path).stem for path in sources}
    assert {str(pathlib.PurePath(path).parent) for path in sources} == {"com/mistralwire/v1"}
    assert {"ChatCompletionRequest", "ErrorReason", "Function", "ToolsProto"} <= classes
    assert not classes & {"Error", "Exception", "Object", "String", "Override"}


@pytest.mark.parametrize("by", ["protoc", "buf's managed mode"])
def test_csharp_has_one_namespace(contract: pathlib.Path, tmp_path: pathlib.Path, by: str) -> None:
    if by == "protoc":
        (tmp_path / "csharp").mkdir()
        protos = [path.relative_to(contract) for path in contract.rglob("*.proto")]
        run(BIN / "protoc", "-I.", f"--csharp_out={tmp_path}/csharp", *protos, cwd=contract)
    else:
        run(BUF, "generate", "--template", MANAGED, "-o", tmp_path, cwd=contract, env=environment_of(GO))
    text = "".join(files_in(tmp_path / "csharp").values())
    assert set(re.findall(r"^namespace (\S+)", text, re.MULTILINE)) == {"Mistralwire.V1"}


@pytest.mark.parametrize("language", [GO], ids=["go"], indirect=True)
def test_go_compiles_what_managed_mode_generates(language: Language) -> None:
    gen = language.folder / "gen"
    shutil.rmtree(gen / "managed", ignore_errors=True)
    run(BUF, "generate", "--template", MANAGED_GO, "-o", gen, cwd=CONTRACT, env=environment_of(language))
    managed, stubs = files_in(gen / "managed"), files_in(gen / "stubs")
    assert managed.keys() == stubs.keys()
    assert all("\npackage mistralwirev1\n" in source for source in managed.values())
    run("go", "build", "./gen/managed/...", cwd=language.folder, env=environment_of(language))


def plugins_of(heading: str) -> str:
    """Return a template with the plugins that buf.gen.yaml has for a language."""
    head, *sections = re.split(r"^  # (?=.*[.,:])", (CONTRACT / "buf.gen.yaml").read_text(), flags=re.M)
    [section] = [each for each in sections if each.startswith(heading)]
    return f"{head}  # {section}"


@pytest.mark.parametrize(
    "language",
    [language for language in LANGUAGES if language.heading],
    ids=lambda language: language.name,
    indirect=True,
)
def test_buf_and_protoc_generate_the_same_stubs(language: Language, tmp_path: pathlib.Path) -> None:
    assert language.heading is not None
    template, environment = plugins_of(language.heading), environment_of(language)
    run(BUF, "generate", "--template", template, "-o", tmp_path, cwd=CONTRACT, env=environment)
    [out] = tmp_path.iterdir()
    stubs = language.folder / "gen" / "stubs" / "mistralwire"
    assert files_in(out / "mistralwire").keys() == files_in(stubs).keys() != set()


def test_the_command_for_python_makes_stubs_that_can_be_imported(
    contract: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    tools = ROOT / ".venv-generate" / "bin"
    environment = {"PATH": f"{tools}:/usr/bin:/bin", "OUT": str(tmp_path)}
    run("sh", "-euc", readme_command("Python"), cwd=contract, env=environment)
    program = (
        "from mistralwire.v1 import chat_completion_service_pb2_grpc as g; print(g.ChatCompletionServiceStub)"
    )
    run(tools / "python", "-c", program, cwd=tmp_path, env={})


def test_the_readme_names_every_file_and_every_language_of_the_templates(contract: pathlib.Path) -> None:
    readme = (contract / "README.md").read_text()
    template = (contract / "buf.gen.yaml").read_text()
    names = {path.name for path in contract.iterdir()} - {"README.md", "mistralwire"}
    assert not [name for name in names if name not in readme]
    sections = re.findall(r"^### (.+)$", readme, re.MULTILINE)
    assert sections == ["Go", "Java", "TypeScript and JavaScript", "Rust", "C#", "Python"]
    assert all(readme_command(section).count("\n") == 1 for section in sections)
    assert not [section for section in sections if f"  # {section}" not in template]
