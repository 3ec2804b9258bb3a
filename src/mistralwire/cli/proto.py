"""`mistralwire proto`: the contract's files, for other languages."""

import pathlib

import click

import mistralwire
from mistralwire.cli._output import open_output

_DESCRIPTOR_SET = "mistralwire.v1.binpb"


@click.command()
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=pathlib.Path),
    required=True,
    metavar="DIR",
    help="Folder to write to; it is made if it does not exist.",
)
@click.option("--force", is_flag=True, help="Overwrite files that differ.")
def proto(*, out: pathlib.Path, force: bool) -> None:
    """Write the .proto files and the descriptor set, as this version of the package uses them.

    The .proto files go to DIR/mistralwire/v1, so that DIR is the include path for protoc and a module for
    buf. DIR/mistralwire.v1.binpb is a google.protobuf.FileDescriptorSet of all of them with their imports
    and comments, for tools that need no compiler, such as grpcurl.

    Prints the path of each file that it wrote. A file that is there already and differs is left alone, and
    nothing is written, unless --force is given.

    \b
    Examples:
      mistralwire proto --out contract
      protoc -Icontract --java_out=src contract/mistralwire/v1/*.proto
      grpcurl -protoset contract/mistralwire.v1.binpb describe mistralwire.v1.ChatCompletionService

    \b
    Exit codes:
      0  the files are there
      1  a file that differs is in the way, or DIR can't be written
      2  the command line was wrong
    """  # noqa: D301 - click's mark for lines that stay as they are is the character itself
    contents = {out / name: data for name, data in _contract_files().items()}
    differing = [path for path, data in contents.items() if path.exists() and not _has(path, data)]
    if differing and not force:
        names = "".join(f"\n  {path}" for path in differing)
        raise click.ClickException(
            f"these files are there and differ; --force overwrites them, nothing was written:{names}"
        )
    changed = [path for path in contents if path in differing or not path.exists()]
    for path in changed:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open_output(str(path)) as stream:
            stream.write(contents[path])
        click.echo(path)
    if not changed:
        click.echo(f"all {len(contents)} files in {out} are current", err=True)


def _has(path: pathlib.Path, data: bytes) -> bool:
    return path.is_file() and path.read_bytes() == data


def _contract_files() -> dict[str, bytes]:
    """Give the content of each file of the contract, by its path below the folder to write to."""
    package = pathlib.Path(mistralwire.__file__).parent
    # A wheel has the files inside of the package, a source checkout beside its src folder.
    roots = (package / "proto", package.parents[1] / "proto")
    root = next((root for root in roots if (root / "mistralwire" / "v1").is_dir()), None)
    if root is None:
        raise click.ClickException(
            f"the .proto files are missing beside {package}; install the package again"
        )
    files = {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*.proto"))}
    files[_DESCRIPTOR_SET] = (package / "v1" / "descriptor_set.binpb").read_bytes()
    return files
