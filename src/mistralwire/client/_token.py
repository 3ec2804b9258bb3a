"""The bearer token of a client: one that stays, or a file that is read again when it changes."""

import functools
import logging
import os
import pathlib
import re
from collections.abc import Callable

from mistralwire._files import Watched, open_file

_BYTES_MAX = 64 * 1024
# Source: https://www.rfc-editor.org/rfc/rfc6750#section-2.1
_TOKEN = re.compile(r"[A-Za-z0-9._~+/-]{1,4096}=*")

_logger = logging.getLogger(__name__)


def fixed_token(token: str) -> Callable[[], str]:
    """Return what returns a token that stays the same.

    Args:
        token: The token.

    Raises:
        TypeError: If it is no string.
        ValueError: If it is none that can be sent. The message does not quote it.
    """
    if not isinstance(token, str):
        raise TypeError(f"token must be a string, not a {type(token).__name__}")
    if not _TOKEN.fullmatch(token):
        raise ValueError(
            "token must be 1 to 4096 letters, digits and characters of ._~+/- without spaces, and = at "
            "its end; found another length or other characters"
        )
    return lambda: token


def token_in(path: str | os.PathLike[str]) -> Callable[[], str]:
    """Return what returns the token in a file as it is now.

    It is the first line that is neither blank nor a comment; # begins a comment. A file that can't be read
    any more, or has no token in it while it is being written, changes nothing: the token before stays, and
    the log says so once.

    Args:
        path: The file.

    Raises:
        OSError: If it can't be read.
        ValueError: If there is no token in it.
    """
    file = pathlib.Path(path)
    return Watched([file], functools.partial(_read, file), f"token in {file}", _logger).current


def _read(path: pathlib.Path) -> str:
    with open_file(path) as stream:
        data = stream.read(_BYTES_MAX)
    # As the service reads its file of tokens: one file can serve both.
    lines = (line.partition("#")[0].strip() for line in data.decode("utf-8-sig", "replace").splitlines())
    token = next(filter(None, lines), "")
    if not _TOKEN.fullmatch(token):
        raise ValueError(f"{path}: expected a bearer token on the first line that is no comment, found none")
    return token
