import importlib.metadata
import pathlib
import re
import shutil

import click.testing
import pytest
from google.protobuf import descriptor_pb2

from mistralwire.cli import main
from mistralwire.v1 import CONTRACT_REVISION

from .commands import run_in_shell

ROOT = pathlib.Path(__file__).parents[2]
SOURCE = ROOT / "proto"
MADE = {"LICENSE", "VERSION", "mistralwire.v1.binpb"}


def proto(*arguments: str | pathlib.Path) -> click.testing.Result:
    return click.testing.CliRunner().invoke(main, ["proto", *map(str, arguments)])


def files_in(folder: pathlib.Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_every_file_of_the_contract_is_written_in_its_folder(tmp_path: pathlib.Path) -> None:
    out = tmp_path / "new" / "contract"
    result = proto("--out", out)
    assert result.exit_code == 0, result.output
    sources = files_in(SOURCE) - {"released.binpb"}
    assert {"README.md", "buf.yaml", "buf.gen.yaml", "mistralwire/v1/error.proto"} <= sources
    for name in sources:
        assert (out / name).read_bytes() == (SOURCE / name).read_bytes()
    assert files_in(out) == sources | MADE
    assert set(result.output.splitlines()) == {str(out / name) for name in sources | MADE}


@pytest.mark.process
def test_vectors_of_any_kind_are_written(tmp_path: pathlib.Path) -> None:
    checkout = tmp_path / "checkout"
    shutil.copytree(ROOT / "src", checkout / "src", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(SOURCE, checkout / "proto")
    vectors = tmp_path / "checkout" / "proto" / "vectors" / "streams"
    vectors.mkdir(parents=True, exist_ok=True)
    (vectors / "one of tomorrow.json").write_bytes(b'{"a":1}\n')
    (tmp_path / "checkout" / "proto" / "notes.txt").write_text("not of the contract")

    status, _, stderr = run_in_shell(
        f"PYTHONPATH={checkout}/src $mistralwire proto --out $1", tmp_path / "out"
    )

    assert (status, stderr) == (0, "")
    written = tmp_path / "out" / "vectors" / "streams" / "one of tomorrow.json"
    assert written.read_bytes() == b'{"a":1}\n'
    assert "notes.txt" not in files_in(tmp_path / "out")


def test_the_version_is_that_of_the_package_and_of_its_contract(tmp_path: pathlib.Path) -> None:
    proto("--out", tmp_path)
    release = importlib.metadata.version("mistralwire")
    assert (tmp_path / "VERSION").read_text() == f"release: {release}\nrevision: {CONTRACT_REVISION}\n"
    assert (tmp_path / "LICENSE").read_bytes() == (ROOT / "LICENSE").read_bytes()


def test_the_descriptor_set_holds_every_file_that_is_written(tmp_path: pathlib.Path) -> None:
    proto("--out", tmp_path)
    data = (tmp_path / "mistralwire.v1.binpb").read_bytes()
    names = {file.name for file in descriptor_pb2.FileDescriptorSet.FromString(data).file}
    assert {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.proto")} <= names


def test_writing_again_changes_nothing_and_says_so(tmp_path: pathlib.Path) -> None:
    proto("--out", tmp_path)
    result = proto("--out", tmp_path)
    assert result.exit_code == 0
    assert result.output == f"all {len(files_in(tmp_path))} files in {tmp_path} are up to date\n"


def test_a_file_that_differs_is_left_alone_and_nothing_is_written(tmp_path: pathlib.Path) -> None:
    folder = tmp_path / "mistralwire" / "v1"
    folder.mkdir(parents=True)
    (folder / "error.proto").write_text("// mine\n")
    result = proto("--out", tmp_path)
    assert result.exit_code == 1
    assert str(folder / "error.proto") in result.output
    assert "--force" in result.output
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [folder / "error.proto"]
    assert (folder / "error.proto").read_text() == "// mine\n"


def test_force_overwrites_and_writes_only_what_differs(tmp_path: pathlib.Path) -> None:
    proto("--out", tmp_path)
    (tmp_path / "mistralwire" / "v1" / "error.proto").write_text("// mine\n")
    result = proto("--out", tmp_path, "--force")
    assert result.exit_code == 0
    assert result.output == f"{tmp_path / 'mistralwire' / 'v1' / 'error.proto'}\n"
    assert b"ErrorResponse" in (tmp_path / "mistralwire" / "v1" / "error.proto").read_bytes()


@pytest.mark.parametrize(
    ("file", "exit_code"), [("out", 2), ("out/mistralwire", 1)], ids=["the folder", "one in it"]
)
def test_a_file_in_place_of_a_folder_is_an_error(tmp_path: pathlib.Path, file: str, exit_code: int) -> None:
    (tmp_path / file).parent.mkdir(exist_ok=True)
    (tmp_path / file).write_text("")
    result = proto("--out", tmp_path / "out")
    assert result.exit_code == exit_code
    assert "Error: " in result.output
    assert "Traceback" not in result.output


def test_the_folder_has_to_be_named() -> None:
    result = proto()
    assert result.exit_code == 2
    assert "--out" in result.output


@pytest.mark.alone
@pytest.mark.process
@pytest.mark.parametrize("existing", [(), ("--force",)], ids=["a new folder", "an older contract"])
def test_without_room_for_all_files_nothing_is_written(
    tmp_path: pathlib.Path, existing: tuple[str, ...]
) -> None:
    out = tmp_path / "new" / "contract"
    if existing:
        assert proto("--out", out).exit_code == 0
        (out / "VERSION").write_text("old")
        (out / "mistralwire.v1.binpb").write_text("old")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    # No file may have more than 4096 bytes: writing more fails as on a full disk.
    status, stdout, stderr = run_in_shell(
        f"ulimit -f 4; $mistralwire proto --out $1 {' '.join(existing)}", out
    )
    assert (status, stdout) == (1, "")
    assert re.fullmatch(rf"Error: {out}/\S+: File too large\n", stderr)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
    assert (tmp_path / "new").exists() is bool(existing)
