"""Bearer tokens in a file: who may call."""

import hashlib
import hmac
import logging
import pathlib
import re
from collections.abc import Iterable

from mistralwire._files import Watched, file_error, is_open_to_all, read_file
from mistralwire.errors import MistralwireError, Reason

TOKENS_MAX = 1000
"""Tokens in a file: each of them is compared with the one of a call."""

_TOKEN_BYTES_SHORT = 16
CHECK_S = 1.0
"""How long in seconds it may take until a change of the file is seen."""

# https://www.rfc-editor.org/rfc/rfc6750#section-2.1, which every gRPC language can send.
_TOKEN = re.compile(r"[A-Za-z0-9\-._~+/]+=*")

_logger = logging.getLogger(__name__)

Metadata = Iterable[tuple[str, str | bytes]]


class TokenFile:
    """The tokens in a file, one a line; `#` begins a comment.

    The file is looked at once a second at most, and read again when it has changed. One that can't be used
    leaves the tokens as they were, and is logged once.

    Args:
        path: Where the file is.

    Raises:
        MistralwireError: If the file can't be used, with the code FAILED_PRECONDITION.
    """

    def __init__(self, path: pathlib.Path) -> None:
        self._path = path
        self._digests = Watched([path], self._read, f"tokens in {path}", _logger, check_s=CHECK_S)
        if is_open_to_all(path):
            _logger.warning("token_file: every user of this machine may read %s; change its mode", path)

    def check(self, metadata: Metadata) -> None:
        """Let a call pass, or not.

        Args:
            metadata: What the caller sent beside the request.

        Raises:
            MistralwireError: If there is no token, or none of these, with the code UNAUTHENTICATED and the
                reason TOKEN_MISSING or TOKEN_INVALID.
        """
        values = [value for name, value in metadata if name == "authorization"]
        if len(values) > 1:
            raise _refusal(Reason.TOKEN_INVALID, f"found {len(values)} of them")
        self.check_value(values[0] if values else None)

    def check_value(self, value: str | bytes | None) -> None:
        """Let a call pass, or not; as `check`.

        Args:
            value: What the caller sent as `authorization`; None if nothing.

        Raises:
            MistralwireError: As for `check`.
        """
        if value is None:
            raise _refusal(Reason.TOKEN_MISSING, "found none")
        scheme, _, token = value.partition(" ") if isinstance(value, str) else ("", "", "")
        if scheme.lower() != "bearer":
            raise _refusal(Reason.TOKEN_MISSING, "found another scheme")
        if not self._has(token.strip(" ")):
            raise _refusal(Reason.TOKEN_INVALID, "found one that the service does not know")

    def _has(self, token: str) -> bool:
        """Look for a token in a time that says nothing of those that there are."""
        digest = _digest(token)
        found = False
        for known in self._digests.current():
            found |= hmac.compare_digest(digest, known)
        return found

    def _read(self) -> list[bytes]:
        tokens = parse_tokens(self._path, read_file("token_file", self._path))
        short = sum(len(token) < _TOKEN_BYTES_SHORT for token in tokens)
        if short:
            _logger.warning(
                "token_file: %d in %s with fewer than %d characters, which can be guessed",
                short,
                self._path,
                _TOKEN_BYTES_SHORT,
            )
        # Digests have one length, and a dump of memory that shows them shows no token.
        return [_digest(token) for token in tokens]


def parse_tokens(path: pathlib.Path, data: bytes) -> list[str]:
    """Give the tokens of a file.

    Args:
        path: Where it is, for the error.
        data: What is in it.

    Raises:
        MistralwireError: If there are none, too many, or a line that is none. It names the line by its
            number alone.
    """
    tokens = []
    for number, line in enumerate(data.decode("utf-8-sig", errors="replace").splitlines(), 1):
        token = line.partition("#")[0].strip()
        if not token:
            continue
        if not _TOKEN.fullmatch(token):
            message = f"expected one token of letters, digits and -._~+/= in line {number} of {path}"
            raise file_error("token_file", f"{message}, found something else")
        tokens.append(token)
    if not tokens:
        raise file_error("token_file", f"expected a token a line in {path}, found none")
    if len(tokens) > TOKENS_MAX:
        raise file_error("token_file", f"expected at most {TOKENS_MAX} tokens in {path}, found {len(tokens)}")
    return tokens


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode(errors="replace")).digest()


def _refusal(reason: str, found: str) -> MistralwireError:
    message = f"expected `authorization: Bearer <token>` with a token that is known here, {found}"
    return MistralwireError(message, code="UNAUTHENTICATED", reason=reason)
