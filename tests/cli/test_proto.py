import pathlib

import click.testing
import pytest
from google.protobuf import descriptor_pb2

from mistralwire.cli import main

SOURCE = pathlib.Path(__file__).parents[2] / "proto"


def proto(*arguments: str | pathlib.Path) -> click.testing.Result:
    return click.testing.CliRunner().invoke(main, ["proto", *map(str, arguments)])


def test_every_file_of_the_contract_is_written_in_its_folder(tmp_path: pathlib.Path) -> None:
    result = proto("--out", tmp_path / "new" / "contract")
    assert result.exit_code == 0, result.output
    for source in SOURCE.rglob("*.proto"):
        written = tmp_path / "new" / "contract" / source.relative_to(SOURCE)
        assert written.read_bytes() == source.read_bytes()
        assert str(written) in result.output.splitlines()


def test_the_descriptor_set_holds_every_file_that_is_written(tmp_path: pathlib.Path) -> None:
    proto("--out", tmp_path)
    data = (tmp_path / "mistralwire.v1.binpb").read_bytes()
    names = {file.name for file in descriptor_pb2.FileDescriptorSet.FromString(data).file}
    assert {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.proto")} <= names


def test_writing_again_changes_nothing_and_says_so(tmp_path: pathlib.Path) -> None:
    proto("--out", tmp_path)
    result = proto("--out", tmp_path)
    assert result.exit_code == 0
    assert result.output == f"all {len(list(SOURCE.rglob('*.proto'))) + 1} files in {tmp_path} are current\n"


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
def test_a_file_where_a_folder_is_due_is_an_error(tmp_path: pathlib.Path, file: str, exit_code: int) -> None:
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
