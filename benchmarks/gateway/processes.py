"""Figures of other processes on Linux: processor time, children, and which process holds a connection."""

import pathlib
import time
from collections.abc import Iterable

_PROC = pathlib.Path("/proc")
_ESTABLISHED = "01"


def tree(pids: Iterable[int]) -> tuple[int, ...]:
    """Return processes and all their descendants."""
    found: list[int] = []
    for pid in pids:
        children = [
            int(child) for path in _PROC.glob(f"{pid}/task/*/children") for child in path.read_text().split()
        ]
        found += pid, *tree(children)
    return tuple(found)


def cpu_s(pids: Iterable[int]) -> float:
    """Return the processor time of processes with all their threads, in seconds.

    A process has a clock, whose id is made from its own (clock_getcpuclockid in the C library); it counts in
    nanoseconds, where /proc counts in hundredths of a second.
    """
    return sum(time.clock_gettime(~pid << 3 | 2) for pid in pids)


def holders(port: int, pids: Iterable[int]) -> dict[int, int]:
    """Return which process holds the connections to a port, by the port of the peer.

    Args:
        port: The port, on IPv4.
        pids: The processes that may hold them.
    """
    peers = {}
    for line in (_PROC / "net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if fields[3] == _ESTABLISHED and _port_of(fields[1]) == port:
            peers[f"socket:[{fields[9]}]"] = _port_of(fields[2])
    links = [(pid, str(link.readlink())) for pid in pids for link in (_PROC / str(pid) / "fd").iterdir()]
    return {peers[link]: pid for pid, link in links if link in peers}


def _port_of(address: str) -> int:
    return int(address.rpartition(":")[2], 16)
