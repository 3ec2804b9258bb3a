"""Libraries that are preloaded into a process: for a disk that is slow, and for a clock that jumps.

A program that makes its own system calls, such as one in Go, does not notice them.
"""

import pathlib
import struct
import subprocess


def slow_fsync(folder: pathlib.Path, delay_ms: float) -> dict[str, str]:
    """Return the environment of a process whose every fsync takes longer.

    Args:
        folder: Where the library is built, unless it is there.
        delay_ms: Milliseconds that are added.
    """
    return {"LD_PRELOAD": _built("slow_fsync", folder), "SLOW_FSYNC_MS": str(delay_ms)}


class WallClock:
    """The clock of the day of a process.

    Args:
        folder: Where the library is built, and the file with the time.

    Attributes:
        env: The environment of the process.
    """

    def __init__(self, folder: pathlib.Path) -> None:
        self._ahead = folder / "ahead"
        self._ahead.write_bytes(struct.pack("d", 0))
        self.env = {"LD_PRELOAD": _built("wall_clock", folder), "WALL_CLOCK_AHEAD": str(self._ahead)}

    def jump(self, ahead_s: int) -> None:
        """Set the clock, while the process runs, so many seconds ahead of the right time."""
        with self._ahead.open("rb+", buffering=0) as file:
            file.write(struct.pack("d", ahead_s))


def _built(name: str, folder: pathlib.Path) -> str:
    library = folder / f"{name}.so"
    if not library.exists():
        source = pathlib.Path(__file__).with_name(f"{name}.c")
        subprocess.run(
            ["cc", "-shared", "-fPIC", "-O2", "-Wall", "-Werror", "-o", library, source], check=True
        )
    return str(library)
