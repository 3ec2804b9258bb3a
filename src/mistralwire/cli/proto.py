"""The command `mistralwire proto`: the contract as a folder for other languages."""

import contextlib
import importlib.metadata
import importlib.resources
import pathlib
import re
from collections.abc import Iterator
from importlib.resources.abc import Traversable

import click

from mistralwire.cli._output import open_output
from mistralwire.v1 import CONTRACT_REVISION

_DESCRIPTOR_SET = "mistralwire.v1.binpb"
# The files of the contract, by their path below the root; vectors may be files of any kind.
_PATTERN = re.compile(r"mistralwire/.+\.proto|README\.md|buf\.yaml|buf\.gen\.yaml|vectors/.+")

_PROTO_HELP = """Write the contract as a folder that can be vendored unchanged.

DIR is the include path for protoc and a module for buf. It has the .proto files in mistralwire/v1,
buf.yaml, buf.gen.yaml, the conformance vectors, LICENSE, VERSION with the release and the revision of the
contract, and README.md with one command for each language. DIR/mistralwire.v1.binpb is a
google.protobuf.FileDescriptorSet of all files with their imports and comments, for tools that use no
compiler, such as grpcurl.

Prints the path of each file that it wrote. If a file exists and differs, nothing is written, unless
--force is given.

\b
Examples:
  mistralwire proto --out contract
  protoc -Icontract --java_out=src contract/mistralwire/v1/*.proto
  grpcurl -protoset contract/mistralwire.v1.binpb describe mistralwire.v1.ChatCompletionService

\b
Exit codes:
  0  the files are written, or up to date
  1  a file exists and differs, or DIR can't be written
  2  the command line was invalid
"""


@click.command(help=_PROTO_HELP)
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=pathlib.Path),
    required=True,
    metavar="DIR",
    help="Folder to write to; it is created if it does not exist.",
)
@click.option("--force", is_flag=True, help="Overwrite files that differ.")
def proto(*, out: pathlib.Path, force: bool) -> None:
    """Write the files that the options name."""
    contents = {out / name: data for name, data in _contract_files().items()}
    differing = [path for path, data in contents.items() if path.exists() and not _has(path, data)]
    if differing and not force:
        names = "".join(f"\n  {path}" for path in differing)
        raise click.ClickException(
            f"these files exist and differ; nothing was written, --force overwrites them:{names}"
        )
    changed = [path for path in contents if path in differing or not path.exists()]
    _write_all({path: contents[path] for path in changed})
    for path in changed:
        click.echo(path)
    if not changed:
        click.echo(f"all {len(contents)} files in {out} are up to date", err=True)


def _write_all(contents: dict[pathlib.Path, bytes]) -> None:
    """Write all files or none: they get their names when the content of all of them is on the disk."""
    made: list[pathlib.Path] = []
    try:
        with contextlib.ExitStack() as files:
            for path, data in contents.items():
                for folder in reversed([path.parent, *path.parent.parents]):
                    if not folder.exists():
                        folder.mkdir()
                        made.append(folder)
                stream = files.enter_context(open_output(str(path)))
                stream.write(data)
                stream.flush()
    except BaseException:
        for folder in reversed(made):
            with contextlib.suppress(OSError):  # something else put a file into it
                folder.rmdir()
        raise


def _has(path: pathlib.Path, data: bytes) -> bool:
    return path.is_file() and path.read_bytes() == data


def _contract_files() -> dict[str, bytes]:
    """Return the content of each file of the folder, by its path below the folder."""
    package = importlib.resources.files("mistralwire")
    # An installed package contains the files; a source checkout has them beside its src folder.
    roots = [package.joinpath("proto")]
    if isinstance(package, pathlib.Path):
        roots.append(package.parents[1] / "proto")
    root = next((root for root in roots if root.joinpath("mistralwire", "v1").is_dir()), None)
    distribution = importlib.metadata.distribution("mistralwire")
    license_text = distribution.read_text("licenses/LICENSE")
    if root is None or license_text is None:
        raise click.ClickException(f"files of the package {package} are missing; install it again")
    files = {name: file.read_bytes() for name, file in _files_in(root, "") if _PATTERN.fullmatch(name)}
    files["LICENSE"] = license_text.encode()
    files["VERSION"] = f"release: {distribution.version}\nrevision: {CONTRACT_REVISION}\n".encode()
    files[_DESCRIPTOR_SET] = package.joinpath("v1", "descriptor_set.binpb").read_bytes()
    return files


def _files_in(folder: Traversable, prefix: str) -> Iterator[tuple[str, Traversable]]:
    """Yield all files in a folder, each with its path below the root."""
    for item in sorted(folder.iterdir(), key=lambda item: item.name):
        if item.is_dir():
            yield from _files_in(item, f"{prefix}{item.name}/")
        else:
            yield f"{prefix}{item.name}", item
