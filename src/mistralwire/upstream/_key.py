"""The key of an upstream: where it comes from, and that it is never shown."""

import functools
import logging
import os
import pathlib
import re
from typing import Self

from mistralwire._files import Watched, open_file
from mistralwire.errors import MistralwireError, Reason
from mistralwire.upstream._error_text import is_secret

_KEY_BYTES_MAX = 4096
_logger = logging.getLogger(__name__)
_KEY = re.compile("[!-~]+")


class Key:
    """A key that an upstream wants, from an environment variable or a file; never shown.

    A file is read again when it has changed. If there is no key in it then, or it can't be read, the key from
    before is still used: it may be in the middle of being written.

    Examples:
        >>> key = Key.from_environment("MISTRAL_API_KEY")
        >>> key = Key.from_file("/run/secrets/mistral")
    """

    def __init__(self, value: str, source: str, file: Watched[str] | None = None) -> None:
        self._value = value
        self._source = source
        self._file = file

    @classmethod
    def from_environment(cls, name: str) -> Self:
        """Take the key from an environment variable, as it is now.

        Args:
            name: Name of the variable.

        Raises:
            MistralwireError: If it is not set, or holds no key; with the code FAILED_PRECONDITION.
        """
        shown = _shown(name)
        return cls(_checked(os.environ.get(name, ""), f"the environment variable {shown}"), shown)

    @classmethod
    def from_file(cls, path: str | os.PathLike[str]) -> Self:
        """Take the key from a file that has nothing else in it but blanks and newlines.

        Args:
            path: Where the file is; at most 4 KiB.

        Raises:
            MistralwireError: If it can't be read, or holds no key; with the code FAILED_PRECONDITION.
        """
        file = pathlib.Path(path)
        shown = _shown_path(file)
        return cls("", shown, Watched([file], functools.partial(_read, file), f"key in {shown}", _logger))

    def read(self) -> str:
        """Return the key as it is now."""
        return self._value if self._file is None else self._file.current()

    @property
    def source(self) -> str:
        """Where it comes from: the name of the variable, or the path of the file."""
        return self._source

    def __repr__(self) -> str:
        return f"Key(from {self._source})"


def _read(path: pathlib.Path) -> str:
    try:
        with open_file(path) as file:
            data = file.read(_KEY_BYTES_MAX + 1)
    except OSError as error:
        found = (error.strerror or type(error).__name__).lower()
        raise _error(f"expected a file with a key at {_shown_path(path)}, found: {found}") from None
    return _checked(data.decode("latin-1"), _shown_path(path))


def _shown(name: str) -> str:
    """Give a name as messages may have it: the key itself may stand where its name should."""
    return "[redacted]" if is_secret(name) else name


def _shown_path(path: pathlib.Path) -> str:
    return str(path.parent / _shown(path.name))


def _checked(text: str, source: str) -> str:
    value = text.strip()
    if not value:
        raise _error(f"expected a key in {source}, found none")
    if len(value) > _KEY_BYTES_MAX or not _KEY.fullmatch(value):
        raise _error(
            f"expected a key in {source}: up to {_KEY_BYTES_MAX} printable ASCII characters without blanks, "
            "found something else"
        )
    return value


def _error(message: str) -> MistralwireError:
    return MistralwireError(message, code="FAILED_PRECONDITION", reason=Reason.UPSTREAM_KEY)
