"""The metadata that a call is sent with: the caller's own, the bearer token, and what the client adds."""

import functools
import logging
import os
import pathlib
import re
from collections.abc import Callable, Mapping

from mistralwire._addresses import is_loopback_target
from mistralwire._files import Watched, open_file, uncommented_lines
from mistralwire._metadata import (
    ACCEPT_ENCODING,
    AUTHORIZATION,
    CONTRACT_REVISION_NAME,
    OWN_REVISION,
    REQUEST_ID,
    Metadata,
)
from mistralwire._trace_context import injected

_TOKEN_FILE_BYTES_MAX = 64 * 1024
# Source: https://www.rfc-editor.org/rfc/rfc6750#section-2.1
_SENDABLE_TOKEN = re.compile(r"[A-Za-z0-9._~+/-]{1,4096}=*")
# What HTTP/2 and gRPC take: https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md
_METADATA_KEY = re.compile(r"[0-9a-z_.-]+")
_METADATA_TEXT = re.compile(r"(?:[!-~](?:[ -~]*[!-~])?)?")
_RESERVED_KEYS = frozenset(("content-type", "host", "te", "user-agent"))

_logger = logging.getLogger(__name__)


class CallMetadata:
    """Puts the metadata of each call together; for arguments and errors see `Client`."""

    def __init__(
        self,
        target: str,
        *,
        is_secure: bool,
        is_compressed: bool,
        token: str | None,
        token_file: str | os.PathLike[str] | None,
    ) -> None:
        self._target = target
        self._may_authorize = is_secure or is_loopback_target(target)
        self._wishes = ((ACCEPT_ENCODING, "gzip"),) if is_compressed else ()
        self._token: Callable[[], str] | None = None
        if token is not None and token_file is not None:
            raise ValueError("expected token or token_file, found both")
        if token is not None:
            self._token = _fixed_token(token)
        elif token_file is not None:
            self._token = token_in(token_file)
        if self._token is not None:
            self._refuse_plaintext()

    @property
    def has_token(self) -> bool:
        return self._token is not None

    def of_call(self, request_id: str, metadata: Mapping[str, str | bytes]) -> Metadata:
        """Return the metadata of a call, with the caller's own; an error never quotes a value of it."""
        own = _checked_metadata(metadata) if metadata or not isinstance(metadata, dict) else ()
        pairs = [*own, *injected(metadata), *self._wishes, (REQUEST_ID, request_id), OWN_REVISION]
        if AUTHORIZATION in metadata:
            if self._token is not None:
                raise ValueError(f"expected a token or the metadata {AUTHORIZATION!r}, found both")
            self._refuse_plaintext()
        elif self._token is not None:
            pairs.append((AUTHORIZATION, f"Bearer {self._token()}"))
        return tuple(pairs)

    def _refuse_plaintext(self) -> None:
        if not self._may_authorize:
            raise ValueError(
                f"a token for {self._target!r} would be sent in plaintext to another machine; leave out "
                "insecure, or connect to a loopback address"
            )


def _checked_metadata(metadata: Mapping[str, str | bytes]) -> list[tuple[str, str | bytes]]:
    """Check a caller's own metadata, which gRPC itself would reject without naming the cause."""
    if not isinstance(metadata, Mapping):
        raise TypeError(f"metadata must be a mapping of keys to values, not a {type(metadata).__name__}")
    for key, value in metadata.items():
        _check_key(key)
        _check_value(key, value)
    return list(metadata.items())


def _check_key(key: str) -> None:
    if not isinstance(key, str):
        raise TypeError(f"a metadata key must be a string, not a {type(key).__name__}")
    if not _METADATA_KEY.fullmatch(key):
        raise ValueError(
            f"a metadata key must consist of lower-case letters, digits, _, - and ., not {key!r}"
        )
    if key == REQUEST_ID:
        raise ValueError(f"{REQUEST_ID} is sent by the client; pass it as request_id")
    if key == CONTRACT_REVISION_NAME:
        raise ValueError(f"{key} is sent by the client; leave it out")
    if key.startswith("grpc-") or key in _RESERVED_KEYS:
        raise ValueError(f"the metadata key {key!r} is reserved by gRPC; use another")


def _check_value(key: str, value: str | bytes) -> None:
    expected = bytes if key.endswith("-bin") else str
    if not isinstance(value, expected):
        raise TypeError(
            f"the value of metadata {key!r} must be {'bytes' if expected is bytes else 'a string'}, not a "
            f"{type(value).__name__}; keys that end in -bin have bytes, others strings"
        )
    if isinstance(value, str) and not _METADATA_TEXT.fullmatch(value):
        raise ValueError(
            f"the value of metadata {key!r} must be printable ASCII without spaces around it; use a key that "
            "ends in -bin for other bytes"
        )


def _fixed_token(token: str) -> Callable[[], str]:
    if not isinstance(token, str):
        raise TypeError(f"token must be a string, not a {type(token).__name__}")
    if not _SENDABLE_TOKEN.fullmatch(token):
        # Without the token itself.
        raise ValueError(
            "token must be 1 to 4096 letters, digits and characters of ._~+/- without spaces, and = at "
            "its end; found another length or other characters"
        )
    return lambda: token


def token_in(path: str | os.PathLike[str]) -> Callable[[], str]:
    """Return a function that returns the token in a file, which is read again when it changes.

    The token is the first line that is neither blank nor a comment; # begins a comment. While the file is
    unreadable or has no token, the previous token stays in use, and that is logged once. At first that is an
    OSError or a ValueError.
    """
    file = pathlib.Path(path)
    return Watched([file], functools.partial(_read_token, file), f"token in {file}", _logger).current


def _read_token(path: pathlib.Path) -> str:
    with open_file(path) as stream:
        data = stream.read(_TOKEN_FILE_BYTES_MAX)
    # The same format as the service's file of tokens: one file can serve both.
    _, token = next(uncommented_lines(data), (0, ""))
    if not _SENDABLE_TOKEN.fullmatch(token):
        raise ValueError(f"{path}: expected a bearer token on the first line that is no comment, found none")
    return token
