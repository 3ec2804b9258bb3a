"""Credentials: the key of an upstream, and what in a text looks like a key and is redacted."""

import collections
import functools
import logging
import os
import pathlib
import re
from typing import Self

from mistralwire._files import Watched, file_problem, open_file
from mistralwire.errors import MistralwireError, Reason

_REDACTED = "[redacted]"
_CANDIDATE = re.compile(r"""[^\s"'`<>()\[\]{},;:=]+""")
_KEY_PREFIX = re.compile(r"[spr]k[-_]|AIza|ya29\.|eyJ")
_OPAQUE = re.compile(r"(?=[A-Za-z]*[0-9])(?=[0-9]*[A-Za-z])[A-Za-z0-9]{16,}|[A-Za-z0-9]{32,}")
_CREDENTIAL_WORD = re.compile(
    r"(.*[-_.])?(api)?(key|token|secret|password|credentials?|authorization|bearer|basic)", re.IGNORECASE
)
_KEY_LIKE = re.compile(r"(?=.*[A-Za-z*])(?=.*[0-9*]).{6,}|.{16,}", re.ASCII)

_KEY_BYTES_MAX = 4096
_VALID_KEY = re.compile("[!-~]+")

_logger = logging.getLogger(__name__)


def is_secret(word: str) -> bool:
    """Check whether a single word looks like a credential.

    It begins like the keys of well-known services, or contains 16 letters and digits in a row that form no
    word. Model names never match, long as they are: their parts are short.
    """
    return bool(_KEY_PREFIX.match(word) or any(map(_OPAQUE.fullmatch, re.split("[^A-Za-z0-9]+", word))))


def redact(text: str) -> str:
    """Replace everything that looks like a credential, by itself or because a word before it announces one.

    An upstream quotes a key by accident and unaltered, so looks are enough. False positives are accepted: the
    reason, the code and the type of the error still tell what happened.
    """
    before: collections.deque[bool] = collections.deque(maxlen=2)

    def replace(match: re.Match[str]) -> str:
        word = match[0]
        # Two words: `key is ...`, `key provided: ...`.
        is_announced = any(before) and bool(_KEY_LIKE.fullmatch(word))
        before.append(bool(_CREDENTIAL_WORD.fullmatch(word)))
        return _REDACTED if is_announced or is_secret(word) else word

    return _CANDIDATE.sub(replace, text)


class Key:
    """An API key for an upstream, from an environment variable or a file; never shown.

    A file is read again when it has changed. If it holds no key then, or can't be read, the previous key
    stays in use: the file may be in the middle of a write.

    Attributes:
        source: The name of the variable, or the path of the file.

    Examples:
        >>> key = Key.from_environment("MISTRAL_API_KEY")
        >>> key = Key.from_file("/run/secrets/mistral")
    """

    def __init__(self, value: str, source: str, file: Watched[str] | None = None) -> None:
        self._value = value
        self.source = source
        self._file = file

    @classmethod
    def from_environment(cls, name: str) -> Self:
        """Read the key from an environment variable, once.

        Raises:
            MistralwireError: If it is not set, or holds no key; with the code FAILED_PRECONDITION.
        """
        source = _redacted_name(name)
        return cls(_checked_key(os.environ.get(name, ""), f"the environment variable {source}"), source)

    @classmethod
    def from_file(cls, path: str | os.PathLike[str]) -> Self:
        """Read the key from a file of at most 4 KiB that contains nothing else but whitespace.

        Raises:
            MistralwireError: If it can't be read, or holds no key; with the code FAILED_PRECONDITION.
        """
        file = pathlib.Path(path)
        source = _redacted_path(file)
        watched = Watched([file], functools.partial(_read_key, file), f"key in {source}", _logger)
        return cls("", source, watched)

    def read(self) -> str:
        """Return the current key."""
        return self._value if self._file is None else self._file.current()

    def __repr__(self) -> str:
        return f"Key(from {self.source})"


def _read_key(path: pathlib.Path) -> str:
    try:
        with open_file(path) as file:
            data = file.read(_KEY_BYTES_MAX + 1)
    except OSError as error:
        found = file_problem(error)
        raise _key_error(f"expected a file with a key at {_redacted_path(path)}, found: {found}") from None
    return _checked_key(data.decode("latin-1"), _redacted_path(path))


def _redacted_name(name: str) -> str:
    """Redact a name for messages: somebody may have put the key itself where its name belongs."""
    return _REDACTED if is_secret(name) else name


def _redacted_path(path: pathlib.Path) -> str:
    return str(path.parent / _redacted_name(path.name))


def _checked_key(text: str, source: str) -> str:
    value = text.strip()
    if not value:
        raise _key_error(f"expected a key in {source}, found none")
    if len(value) > _KEY_BYTES_MAX or not _VALID_KEY.fullmatch(value):
        raise _key_error(
            f"expected a key in {source}: up to {_KEY_BYTES_MAX} printable ASCII characters without spaces, "
            "found something else"
        )
    return value


def _key_error(message: str) -> MistralwireError:
    return MistralwireError(message, code="FAILED_PRECONDITION", reason=Reason.UPSTREAM_KEY)
