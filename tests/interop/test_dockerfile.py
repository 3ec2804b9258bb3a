"""The steps of deploy/Dockerfile, run in fresh folders: they build a program that runs, without Docker."""

import os
import pathlib
import re
import shutil
import subprocess
import sys

import pytest

from tools.downloads import RegistryError, download, note_not_run

ROOT = pathlib.Path(__file__).parents[2]
BUILD_S = 900
# They change the machine: programs of Debian, which this machine has, and a user.
_SKIPPED = re.compile("apt-get|useradd")
_NOT_COPIED = shutil.ignore_patterns("target", "fuzz", ".site", "__pycache__")


class Stages:
    """What the stages of a Dockerfile leave, each in a folder of its own.

    Args:
        folder: Where the folders are made.
    """

    def __init__(self, folder: pathlib.Path) -> None:
        self.stages: list[pathlib.Path] = []
        self._folder = folder
        self._workdir = pathlib.PurePosixPath("/")

    def run(self, keyword: str, arguments: str) -> None:
        """Run an instruction; those that only describe the image do nothing."""
        match keyword:
            case "FROM":
                name = arguments.partition(" AS ")[2] or "image"
                self.stages.append(self._folder / name)
            case "WORKDIR":
                self._workdir = pathlib.PurePosixPath(arguments)
                self._inside(self._workdir).mkdir(parents=True)
            case "COPY":
                self._copy(*arguments.split())
            case "RUN" if not _SKIPPED.search(arguments):
                self._run(arguments)

    def _inside(self, path: pathlib.PurePosixPath | str, stage: int = -1) -> pathlib.Path:
        return self.stages[stage] / str(self._workdir / path).lstrip("/")

    def _copy(self, *arguments: str) -> None:
        *sources, target = arguments
        if sources[0].startswith("--from="):
            stage = self._folder / sources.pop(0).removeprefix("--from=")
            found = [stage / source.lstrip("/") for source in sources]
        else:
            found = [ROOT / source for source in sources]
        for path in found:
            place = self._inside(target) / ("" if target.startswith("/") or path.is_dir() else path.name)
            if path.is_dir():
                shutil.copytree(path, place, ignore=_NOT_COPIED, symlinks=True)
            else:
                shutil.copy2(path, place)

    def _run(self, script: str) -> None:
        inside = re.sub(r"(?<![\w.*])/(?=(?:src|wheels|opt)\b)", f"{self.stages[-1]}/", script)
        environment = {
            **{name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
            "PATH": os.pathsep.join([f"{sys.prefix}/bin", os.environ["PATH"]]),
            # The dependencies of the native engine may be those of an earlier build.
            "CARGO_TARGET_DIR": str(ROOT / "native" / "target"),
        }
        download(["/bin/sh", "-c", inside], cwd=self._inside(""), env=environment, timeout_s=BUILD_S)


@pytest.mark.interop
@pytest.mark.skipif(shutil.which("cargo") is None, reason="cargo is not installed")
def test_the_steps_build_a_program_with_the_native_engine(tmp_path: pathlib.Path) -> None:
    text = re.sub(r"^#.*\n", "", (ROOT / "deploy" / "Dockerfile").read_text(), flags=re.MULTILINE)
    stages = Stages(tmp_path)
    try:
        for line in re.sub(r"\\\n\s*", "", text).splitlines():
            stages.run(*line.partition(" ")[::2])
    except RegistryError as error:
        note_not_run(f"deploy/Dockerfile: {error}")
        pytest.skip(str(error))

    engine, package, image = stages.stages
    assert [path.name for path in (engine / "wheels").iterdir()] == [
        path.name for path in (package / "wheels").iterdir()
    ]
    # Of the stage that made the environment: it does not move.
    program = package / "opt" / "mistralwire" / "bin" / "mistralwire"
    assert (image / "opt" / "mistralwire" / "bin" / "mistralwire").is_file()
    version = subprocess.run(
        [program, "--version"],
        env={"MISTRALWIRE_ENGINE": "native"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "native" in version.stdout
    assert not (program.parent / "pip").exists()
