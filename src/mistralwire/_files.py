"""Files that are replaced while the server runs: reading them, and seeing that they have changed."""

import pathlib
from collections.abc import Sequence

from mistralwire.errors import MistralwireError, Reason

FILE_BYTES_MAX = 1024 * 1024
"""Bytes of a file: 1 MiB, far more than certificates or tokens take."""

# What the system knows of a file without reading it; None if there is none to be known of.
Stamp = tuple[int, ...] | None

_OTHERS_READ = 0o004


def file_error(setting: str, message: str) -> MistralwireError:
    """Give the error of a file that a setting names.

    Args:
        setting: Name of the setting; in upper case, it is the reason, such as `TOKEN_FILE`.
        message: What was expected, found and is to be done; nothing of the file's text.
    """
    return MistralwireError(
        f"{setting}: {message}", code="FAILED_PRECONDITION", reason=Reason[setting.upper()]
    )


def stamps_of(paths: Sequence[pathlib.Path]) -> tuple[Stamp, ...]:
    """Give what changes when a file is written, replaced, or its link set elsewhere, one for each file."""
    return tuple(map(_stamp_of, paths))


def _stamp_of(path: pathlib.Path) -> Stamp:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def read_file(setting: str, path: pathlib.Path) -> bytes:
    """Read a file that a setting names.

    Args:
        setting: Name of the setting.
        path: Where the file is.

    Raises:
        MistralwireError: If it can't be read or is too large, with the code FAILED_PRECONDITION.
    """
    try:
        with path.open("rb") as file:
            data = file.read(FILE_BYTES_MAX + 1)
    except FileNotFoundError:
        raise file_error(setting, f"expected a file, found none at {path}; check the path") from None
    except PermissionError:
        message = f"expected a file that this user may read, found {path}, which it may not; change its mode"
        raise file_error(setting, message) from None
    except OSError as error:
        found = (error.strerror or type(error).__name__).lower()
        raise file_error(setting, f"expected a file to read, found {path}: {found}") from None
    if len(data) > FILE_BYTES_MAX:
        raise file_error(setting, f"expected at most {FILE_BYTES_MAX} bytes, found more in {path}")
    return data


def is_open_to_all(path: pathlib.Path) -> bool:
    """Say whether every user of this machine may read a file, as far as its mode says."""
    try:
        return bool(path.stat().st_mode & _OTHERS_READ)
    except OSError:
        return False
