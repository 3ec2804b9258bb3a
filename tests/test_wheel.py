"""The wheel as users get it, in an environment that has nothing else."""

import importlib.util
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import venv
import zipapp
import zipfile

import pytest
from google.protobuf import descriptor_pb2

from tests.downloads import skipped_without_answer
from tools.downloads import download

pytestmark = pytest.mark.process

ROOT = pathlib.Path(__file__).parents[1]
TIMEOUT_S = 300
DOCUMENT = ROOT / "tests" / "data" / "cli" / "response.json"


def environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}


def run(*command: str | pathlib.Path, cwd: pathlib.Path) -> str:
    result = subprocess.run(
        list(map(str, command)),
        cwd=cwd,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
        timeout=TIMEOUT_S,
    )
    assert result.returncode == 0, f"{command}\n{result.stdout}\n{result.stderr}"
    return result.stdout


def run_module(*command: str | pathlib.Path, folder: pathlib.Path) -> None:
    """Run a module of this Python that downloads."""
    with skipped_without_answer("tests of the wheel"):
        download([sys.executable, "-m", *map(str, command)], cwd=folder, env=environment())


def install(package: str | pathlib.Path, binaries: pathlib.Path) -> None:
    options = ("--disable-pip-version-check", "--python", binaries / "python")
    run_module("pip", *options, "install", "--quiet", package, folder=binaries)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    return tmp_path_factory.mktemp("wheel")


@pytest.fixture(scope="module")
def binaries(folder: pathlib.Path) -> pathlib.Path:
    """Build the wheel, install it with its dependencies, and return the folder of its commands."""
    isolation = ["--no-isolation"] if importlib.util.find_spec("hatchling") else []
    run_module("build", "--wheel", *isolation, "--outdir", folder, ROOT, folder=folder)
    (wheel,) = folder.glob("mistralwire-*.whl")
    venv.create(folder / "venv", with_pip=False)
    binaries = folder / "venv" / "bin"
    install(wheel, binaries)
    return binaries


def test_a_document_survives_the_round_trip(binaries: pathlib.Path, folder: pathlib.Path) -> None:
    program = f"""
import json, pathlib, mistralwire
from mistralwire.v1 import ChatCompletionResponse
assert "venv" in mistralwire.__file__, mistralwire.__file__
text = pathlib.Path({str(DOCUMENT)!r}).read_bytes()
message = mistralwire.from_json(ChatCompletionResponse, text)
again = mistralwire.to_json(ChatCompletionResponse.FromString(message.SerializeToString()))
print(json.loads(text) == json.loads(again))
"""
    assert run(binaries / "python", "-c", program, cwd=folder) == "True\n"


def test_type_checkers_find_the_stubs(binaries: pathlib.Path, folder: pathlib.Path) -> None:
    program = "import mistralwire; print(mistralwire.__path__[0])"
    installed = pathlib.Path(run(binaries / "python", "-c", program, cwd=folder).strip())
    source = ROOT / "src" / "mistralwire"
    stubs = {path.relative_to(source) for path in source.rglob("*.pyi")}
    assert {path.relative_to(installed) for path in installed.rglob("*.pyi")} == stubs != set()
    assert (installed / "py.typed").is_file()


def test_the_gateways_documentation_comes_with_it(binaries: pathlib.Path, folder: pathlib.Path) -> None:
    program = """
import importlib.metadata, importlib.resources, json
files = importlib.resources.files("mistralwire") / "gateway"
document = json.loads((files / "openapi.json").read_bytes())
print(document["info"]["version"] == importlib.metadata.version("mistralwire"))
print((files / "docs.html").read_text()[:15])
"""
    assert run(binaries / "python", "-c", program, cwd=folder) == "True\n<!doctype html>\n"


def test_importing_the_package_imports_neither_grpc_nor_click(
    binaries: pathlib.Path, folder: pathlib.Path
) -> None:
    program = "import sys, mistralwire; print(sorted({'grpc', 'click', 'asyncio'} & sys.modules.keys()))"
    assert run(binaries / "python", "-c", program, cwd=folder) == "[]\n"


def test_the_command_converts(binaries: pathlib.Path, folder: pathlib.Path) -> None:
    run(binaries / "mistralwire", "convert", DOCUMENT, "-o", "response.binpb", cwd=folder)
    back = ["response.binpb", "--type", "ChatCompletionResponse", "--names", "camel"]
    assert '"finishReason":"tool_calls"' in run(binaries / "mistralwire", "convert", *back, cwd=folder)


def test_the_demonstration_comes_with_it(binaries: pathlib.Path, folder: pathlib.Path) -> None:
    shown = run(binaries / "mistralwire", "demo", cwd=folder)
    assert re.findall("(7 changed) +(0 changed)", shown)
    assert f"{binaries.relative_to(folder)}/mistralwire gateway" in shown


def test_the_contract_comes_with_it(binaries: pathlib.Path, folder: pathlib.Path) -> None:
    run(binaries / "mistralwire", "proto", "--out", "contract", cwd=folder)
    contract = folder / "contract"
    made = {pathlib.Path("LICENSE"), pathlib.Path("VERSION"), pathlib.Path("mistralwire.v1.binpb")}
    sources = files_in(ROOT / "proto") - {pathlib.Path("released.binpb")}
    assert files_in(contract) == sources | made
    assert (contract / "LICENSE").read_bytes() == (ROOT / "LICENSE").read_bytes()
    data = (contract / "mistralwire.v1.binpb").read_bytes()
    names = {file.name for file in descriptor_pb2.FileDescriptorSet.FromString(data).file}
    assert {str(path) for path in sources if path.suffix == ".proto"} <= names


def files_in(folder: pathlib.Path) -> set[pathlib.Path]:
    return {path.relative_to(folder) for path in folder.rglob("*") if path.is_file()}


def test_buf_builds_the_contract_that_comes_with_it(binaries: pathlib.Path, folder: pathlib.Path) -> None:
    beside = pathlib.Path(sys.executable).parent / "buf"
    buf = str(beside) if beside.exists() else shutil.which("buf")
    if buf is None:
        pytest.skip("buf is neither beside the interpreter nor on the PATH")
    run(binaries / "mistralwire", "proto", "--out", "buf-contract", cwd=folder)
    run(buf, "build", "buf-contract", "-o", "built.binpb", cwd=folder)
    built = descriptor_pb2.FileDescriptorSet.FromString((folder / "built.binpb").read_bytes())
    assert "mistralwire/v1/completion.proto" in {file.name for file in built.file}


@pytest.fixture(scope="module")
def archive(binaries: pathlib.Path, folder: pathlib.Path) -> pathlib.Path:
    """Put the package into a zip archive; what it depends on stays installed."""
    (wheel,) = folder.glob("mistralwire-*.whl")
    content, archive = folder / "archive", folder / "archived" / "mistralwire.pyz"
    archive.parent.mkdir()
    with zipfile.ZipFile(wheel) as files:
        files.extractall(content)
    zipapp.create_archive(content, archive, main="mistralwire.cli:main")
    shutil.rmtree(content)
    return archive


@pytest.fixture(scope="module")
def bare(binaries: pathlib.Path, archive: pathlib.Path, folder: pathlib.Path) -> pathlib.Path:
    """Return the interpreter of an environment with the dependencies alone."""
    copy = folder / "bare"
    shutil.copytree(folder / "venv", copy, symlinks=True)
    (packages,) = copy.glob("lib/python*/site-packages")
    shutil.rmtree(packages / "mistralwire")
    (metadata,) = packages.glob("mistralwire-*.dist-info")
    shutil.rmtree(metadata)
    return copy / "bin" / "python"


@pytest.fixture(scope="module")
def frozen(binaries: pathlib.Path, folder: pathlib.Path) -> pathlib.Path:
    """Freeze the command with PyInstaller, which finds the hook of the package."""
    install("pyinstaller", binaries)
    program = folder / "program.py"
    program.write_text("from mistralwire.cli import main\n\nmain()\n")
    options = ["--noconfirm", "--log-level", "ERROR", "--distpath", str(folder / "frozen")]
    run(binaries / "pyinstaller", *options, program, cwd=folder)
    return folder / "frozen" / "program" / "program"


@pytest.mark.parametrize("kind", ["archive", "frozen"])
def test_the_commands_work_from_an_archive_and_frozen(
    kind: str, folder: pathlib.Path, request: pytest.FixtureRequest
) -> None:
    if kind == "archive":
        command = [str(request.getfixturevalue("bare")), str(request.getfixturevalue("archive"))]
    else:
        command = [str(request.getfixturevalue("frozen"))]

    assert run(*command, "--version", cwd=folder).startswith("mistralwire 0.")
    run(*command, "convert", DOCUMENT, "-o", f"{kind}.binpb", cwd=folder)
    back = run(*command, "convert", f"{kind}.binpb", "--type", "ChatCompletionResponse", cwd=folder)
    assert json.loads(back) == json.loads(DOCUMENT.read_bytes())
    run(*command, "proto", "--out", f"{kind}-contract", cwd=folder)
    assert (folder / f"{kind}-contract" / "mistralwire" / "v1" / "completion.proto").is_file()

    with subprocess.Popen([*command, "serve", "--port", "0"], stdout=subprocess.PIPE, text=True) as service:
        assert service.stdout is not None
        address = service.stdout.readline().split()[2].rstrip(",")
        try:
            assert run(*command, "call", "--target", address, "What is the weather in Paris?", cwd=folder)
        finally:
            service.terminate()
        assert service.wait(TIMEOUT_S) == 0
