"""Bearer tokens that callers may use, from a file."""

import hashlib
import hmac
import logging
import pathlib
import re
from collections.abc import Iterable, Sequence

from mistralwire._files import Watched, file_error, is_open_to_all, read_file, uncommented_lines
from mistralwire._metadata import AUTHORIZATION
from mistralwire.errors import MistralwireError, Reason

TOKENS_MAX = 1000
"""Tokens in a file: a call's token is compared with each of them."""

CHECK_S = 1.0
"""Seconds within which a change of the file is noticed."""

_SHORT_TOKEN_CHARS = 16
# https://www.rfc-editor.org/rfc/rfc6750#section-2.1, which every gRPC language can send.
_TOKEN_LINE = re.compile(r"[A-Za-z0-9\-._~+/]+=*")

_logger = logging.getLogger(__name__)


class TokenFile:
    """The tokens in a file, one a line; `#` begins a comment.

    The file is checked once a second at most, and read again when it has changed. While it is invalid the
    previous tokens stay in use, and the log says why once. At first that is a MistralwireError with the code
    FAILED_PRECONDITION.
    """

    def __init__(self, path: pathlib.Path) -> None:
        self._path = path
        self._digests = Watched([path], self._read, f"tokens in {path}", _logger, check_s=CHECK_S)
        if is_open_to_all(path):
            _logger.warning("token_file: every user of this machine may read %s; change its mode", path)

    def check(self, metadata: Iterable[tuple[str, str | bytes]]) -> None:
        """Check the token in the metadata of a call, whose names are in lower case.

        Raises:
            MistralwireError: If there is no token, or an unknown one, with the code UNAUTHENTICATED and the
                reason TOKEN_MISSING or TOKEN_INVALID.
        """
        values = [value for name, value in metadata if name == AUTHORIZATION]
        if len(values) > 1:
            raise _unauthenticated(Reason.TOKEN_INVALID, f"found {len(values)} of them")
        self.check_value(values[0] if values else None)

    def check_value(self, value: str | bytes | None) -> None:
        """Check a caller's `authorization`, None if there is none; see `check`."""
        if value is None:
            raise _unauthenticated(Reason.TOKEN_MISSING, "found none")
        scheme, _, token = value.partition(" ") if isinstance(value, str) else ("", "", "")
        if scheme.lower() != "bearer":
            raise _unauthenticated(Reason.TOKEN_MISSING, "found another scheme")
        if not self._has(token.strip(" ")):
            raise _unauthenticated(Reason.TOKEN_INVALID, "found one that the service does not know")

    def digests(self) -> Sequence[bytes]:
        """Return the digests of the tokens; see `token_digest`."""
        return self._digests.current()

    def _has(self, token: str) -> bool:
        """Look a token up in constant time."""
        digest = token_digest(token.encode(errors="replace"))
        found = False
        for known in self._digests.current():
            found |= hmac.compare_digest(digest, known)
        return found

    def _read(self) -> list[bytes]:
        tokens = parse_tokens(self._path, read_file("token_file", self._path))
        short = sum(len(token) < _SHORT_TOKEN_CHARS for token in tokens)
        if short:
            _logger.warning(
                "token_file: %d in %s with fewer than %d characters, which can be guessed",
                short,
                self._path,
                _SHORT_TOKEN_CHARS,
            )
        # Digests have one length, and a memory dump reveals no token.
        return [token_digest(token.encode()) for token in tokens]


def parse_tokens(path: pathlib.Path, data: bytes) -> list[str]:
    """Parse the content of a token file, whose path is for errors.

    A MistralwireError for no tokens, too many, or an invalid one names only the number of the line.
    """
    tokens = []
    for number, token in uncommented_lines(data):
        if not _TOKEN_LINE.fullmatch(token):
            message = f"expected one token of letters, digits and -._~+/= in line {number} of {path}"
            raise file_error("token_file", f"{message}, found something else")
        tokens.append(token)
    if not tokens:
        raise file_error("token_file", f"expected a token a line in {path}, found none")
    if len(tokens) > TOKENS_MAX:
        raise file_error("token_file", f"expected at most {TOKENS_MAX} tokens in {path}, found {len(tokens)}")
    return tokens


def token_digest(token: bytes) -> bytes:
    """Return what stands for a token, which it does not reveal."""
    return hashlib.sha256(token).digest()


def _unauthenticated(reason: str, found: str) -> MistralwireError:
    message = f"expected `authorization: Bearer <token>` with a token that is known here, {found}"
    return MistralwireError(message, code="UNAUTHENTICATED", reason=reason)
