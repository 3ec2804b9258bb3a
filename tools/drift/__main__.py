"""`make drift`: compare the contract with the types of Mistral's SDKs.

Exits with 0 if every difference is known, with 1 if one is unknown or a known one is gone, with 2 if a source
can't be read.
"""

import pathlib
import sys
import tempfile
from collections.abc import Sequence

import click

from tools.drift.compare import find_drift
from tools.drift.contract import contract_types
from tools.drift.known import judge, load_known
from tools.drift.report import render
from tools.drift.sources import SOURCES, DriftError, NodeMissingError, Reading, Source


@click.command()
@click.option("--all", "needs_all", is_flag=True, help="Fail if a source can't be read for want of Node.js.")
@click.option(
    "--with",
    "requirements",
    metavar="PACKAGE@VERSION",
    multiple=True,
    help="Compare with this version of an SDK alone, from a throw-away folder: mistralai@3.6.0, "
    "@mistralai/mistralai@2.6.4. May be given several times.",
)
def main(needs_all: bool, requirements: tuple[str, ...]) -> None:
    """Compare the contract with the types of Mistral's SDKs."""
    try:
        sys.exit(compare(SOURCES, needs_all=needs_all, versions=_parsed(requirements)))
    except DriftError as error:
        click.echo(error, err=True)
        sys.exit(2)


def compare(sources: Sequence[Source], *, needs_all: bool, versions: dict[str, str]) -> int:
    """Print the report of all sources, and return the exit code.

    Args:
        sources: What to compare the contract with.
        needs_all: Whether a source that needs Node.js may not be skipped.
        versions: Versions by package; if there are any, only these packages are compared.

    Raises:
        DriftError: If a source can't be read.
    """
    contract = contract_types()
    readings: dict[str, Reading] = {}
    skipped: dict[str, str] = {}
    with tempfile.TemporaryDirectory(prefix="drift-") as folder:
        for source in sources:
            if versions and source.distribution not in versions:
                continue
            try:
                installed = _installed(source, versions, pathlib.Path(folder))
                readings[source.name] = source.read(contract, installed)
            except NodeMissingError as error:
                if needs_all:
                    raise
                skipped[source.name] = str(error)
    drift = {
        source.name: find_drift(readings[source.name].types, contract, has_integers=source.has_integers)
        for source in sources
        if source.name in readings
    }
    verdict = judge(drift, load_known())
    click.echo(render(readings, skipped, verdict))
    return 0 if verdict.is_clean else 1


def _installed(source: Source, versions: dict[str, str], parent: pathlib.Path) -> pathlib.Path | None:
    """Install the version that was asked for, and return its folder; None if none was."""
    if source.distribution not in versions:
        return None
    folder = parent / source.distribution.replace("/", "+")
    if not folder.exists():
        source.install(versions[source.distribution], folder)
    return folder


def _parsed(requirements: Sequence[str]) -> dict[str, str]:
    """Return versions by package."""
    packages = sorted({source.distribution for source in SOURCES})
    versions = {}
    for requirement in requirements:
        package, _, version = requirement.rpartition("@")
        if package not in packages or not version:
            expected = " or ".join(f"{name}@VERSION" for name in packages)
            raise DriftError(f"--with {requirement}: expected {expected}")
        versions[package] = version
    return versions


if __name__ == "__main__":
    main()
