"""What a test needs of the machine; where it is missing, the test is skipped, and `make check` lists it."""

import ctypes.util
import importlib.util
import os
import shutil
import subprocess

import pytest

from tools.downloads import note_not_run


def fuse() -> None:
    """Need `disks.power_disk`."""
    if importlib.util.find_spec("mfusepy") is None:
        _skip("mfusepy is not installed")
    if not os.access("/dev/fuse", os.R_OK | os.W_OK):
        _skip("/dev/fuse can't be opened: there is no FUSE here")
    if not (ctypes.util.find_library("fuse3") or ctypes.util.find_library("fuse")):
        _skip("libfuse is not installed")
    if not (shutil.which("fusermount3") or shutil.which("fusermount")):
        _skip("fusermount is not installed")


def mounts() -> None:
    """Need `disks.small_disk`."""
    if os.geteuid():
        _skip("only root may mount a disk")
    if not _works("unshare", "--mount", "mount", "-t", "tmpfs", "none", "/mnt"):
        _skip("tmpfs can't be mounted here")


def namespaces() -> None:
    """Need `networks.namespace`."""
    if os.geteuid():
        _skip("only root may make a network namespace")
    if shutil.which("ip") is None:
        _skip("iproute2 is not installed")
    if not _works("unshare", "--net", "ip", "link", "add", "type", "veth"):
        _skip("network namespaces can't be made here")


def compiler() -> None:
    """Need `preloads`."""
    if shutil.which("cc") is None:
        _skip("cc is not installed")


def _works(*command: str) -> bool:
    is_there = shutil.which(command[0]) is not None
    return is_there and subprocess.run(command, check=False, capture_output=True).returncode == 0


def _skip(reason: str) -> None:
    note_not_run(f"tests of faults: {reason}")
    pytest.skip(reason)
