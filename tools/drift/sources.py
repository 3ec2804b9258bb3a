"""The SDKs that the contract is compared with, and how their types are read.

A reader is a process of its own: it is given the names of the contract's types, and prints those that the SDK
has with everything reachable from them. So it can read the installed SDK or any version in a folder.
"""

import dataclasses
import importlib.util
import json
import os
import pathlib
import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence

from tools.drift.vocabulary import Types, types_from_json

ROOT = pathlib.Path(__file__).parents[2]
NODE_READER = pathlib.Path(__file__).with_name("read_types.mjs")
NODE_SDKS = ROOT / "tests" / "sdk_node"
READ_TIMEOUT_S = 120
INSTALL_TIMEOUT_S = 600


class DriftError(Exception):
    """The comparison can't be made; the message names the remedy."""


class NodeMissingError(DriftError):
    """Node.js, or a package for it, is not installed."""


@dataclasses.dataclass(frozen=True)
class Reading:
    """The types of one source.

    Attributes:
        version: Version of the SDK.
        types: Its types.
    """

    version: str
    types: Types


@dataclasses.dataclass(frozen=True)
class PythonSource:
    """The pydantic models of an SDK for Python.

    Attributes:
        name: Name of the source.
        distribution: What pip installs.
        package: The package with the modules `models` and `errors`.
        has_integers: Whether the types distinguish integers from other numbers.
    """

    name: str
    distribution: str
    package: str
    has_integers: bool = True

    def read(self, names: Iterable[str], folder: pathlib.Path | None = None) -> Reading:
        """Read the types of these names and what is reachable from them.

        Args:
            names: Names of types.
            folder: Where pip put the SDK and its dependencies; None for the environment of this process.

        Raises:
            DriftError: If the SDK is not installed, or can't be read.
        """
        if folder is None and importlib.util.find_spec(self.package.partition(".")[0]) is None:
            raise DriftError(f"{self.distribution} is not installed: `make drift` does it")
        # -S: `mistralai` is a namespace package, which the installed version would otherwise be merged into.
        isolation = [] if folder is None else ["-S"]
        path = os.pathsep.join(str(entry) for entry in (folder, ROOT) if entry is not None)
        command = [sys.executable, *isolation, "-m", "tools.drift.read_models", self.package]
        return _read(self.name, command, names, os.environ | {"PYTHONPATH": path})

    def install(self, version: str, folder: pathlib.Path) -> None:
        """Install a version of the SDK into a folder.

        Raises:
            DriftError: If pip can't.
        """
        options = ["--quiet", "--disable-pip-version-check", "--target", str(folder)]
        requirement = f"{self.distribution}[gcp]=={version}"
        _run([sys.executable, "-m", "pip", "install", *options, requirement], INSTALL_TIMEOUT_S)


@dataclasses.dataclass(frozen=True)
class TypeScriptSource:
    """The TypeScript types of an SDK for Node.js.

    Attributes:
        name: Name of the source, which is the name of the package.
        has_integers: Whether the types distinguish integers from other numbers.
    """

    name: str
    has_integers: bool = False

    @property
    def distribution(self) -> str:
        """What npm installs."""
        return self.name

    def read(self, names: Iterable[str], folder: pathlib.Path | None = None) -> Reading:
        """Read the types of these names and what is reachable from them.

        Args:
            names: Names of types.
            folder: Where npm put the SDK; None for the folder of the tests that use it.

        Raises:
            NodeMissingError: If Node.js, the SDK or the TypeScript compiler is not installed.
            DriftError: If the types can't be read.
        """
        node = _program("node")
        folder = folder or NODE_SDKS
        for place, package in ((folder, self.name), (NODE_READER.parent, "typescript")):
            if not (place / "node_modules" / package).is_dir():
                remedy = f"`make drift` does it, or `npm ci` in {place}"
                raise NodeMissingError(f"{package} is not installed: {remedy}")
        return _read(self.name, [node, str(NODE_READER), str(folder), self.name], names, os.environ)

    def install(self, version: str, folder: pathlib.Path) -> None:
        """Install a version of the SDK into a folder.

        Raises:
            NodeMissingError: If Node.js is not installed.
            DriftError: If npm can't.
        """
        options = ["--prefix", str(folder), "--ignore-scripts", "--no-audit", "--no-fund", "--silent"]
        _run([_program("npm"), "install", *options, f"{self.name}@{version}"], INSTALL_TIMEOUT_S)


Source = PythonSource | TypeScriptSource

SOURCES: Sequence[Source] = (
    PythonSource("mistralai", "mistralai", "mistralai.client"),
    PythonSource("mistralai.gcp", "mistralai", "mistralai.gcp.client"),
    TypeScriptSource("@mistralai/mistralai"),
    TypeScriptSource("@mistralai/mistralai-gcp"),
)


def _program(name: str) -> str:
    path = shutil.which(name)
    if path is None:
        raise NodeMissingError(f"{name} is not installed: install Node.js 20 or newer, with npm")
    return path


def _read(name: str, command: list[str], names: Iterable[str], environment: Mapping[str, str]) -> Reading:
    output = _run(command, READ_TIMEOUT_S, json.dumps(sorted(names)), environment)
    document = json.loads(output)
    if not document["types"]:
        raise DriftError(f"{name} {document['version']} has no type of the contract: was it reorganized?")
    return Reading(document["version"], types_from_json(document["types"]))


def _run(
    command: list[str], timeout_s: float, text: str = "", environment: Mapping[str, str] | None = None
) -> str:
    try:
        done = subprocess.run(
            command,
            input=text,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            env=environment,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise DriftError(f"{' '.join(command)} did not end in {timeout_s:.0f} seconds") from error
    if done.returncode:
        raise DriftError(f"{' '.join(command)} failed:\n{(done.stderr or done.stdout).rstrip()}")
    return done.stdout
