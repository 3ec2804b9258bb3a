"""Tokens that read one response for a while: for a browser's EventSource, which sends no headers.

A token is signed with the key of the caller who asked for it, so all gateways with the same keys know it, and
it ends with that key. It holds no key and no owner.
"""

import base64
import hashlib
import hmac
from collections.abc import Iterable
from typing import NamedTuple

from mistralwire.errors import MistralwireError, Reason

LIFETIME_S = 600
"""Seconds for which a token is valid."""

_EXPIRY_DIGITS_MAX = 12
_PURPOSE = b"mistralwire read token"


class ReadToken(NamedTuple):
    """A token, and when it expires, in seconds since 1970."""

    text: str
    expires_s: int


def make_read_token(key_digest: bytes, response_id: str, now_s: float) -> ReadToken:
    """Make a token for a response; the digest is that of the caller's key, empty where there are no keys."""
    expires_s = int(now_s) + LIFETIME_S
    return ReadToken(f"{expires_s}.{_signature(key_digest, response_id, expires_s)}", expires_s)


def find_signer(key_digests: Iterable[bytes], response_id: str, token: str, now_s: float) -> bytes:
    """Return the digest of the key that signed a token for a response.

    Raises:
        MistralwireError: READ_TOKEN_INVALID (UNAUTHENTICATED) if none did, or the token has expired.
    """
    expiry, _, signature = token.partition(".")
    if expiry.isascii() and expiry.isdecimal() and len(expiry) <= _EXPIRY_DIGITS_MAX:
        found = signature.encode(errors="replace")
        for digest in key_digests:
            if hmac.compare_digest(_signature(digest, response_id, int(expiry)).encode(), found):
                if int(expiry) <= now_s:
                    raise _invalid("one that has expired")
                return digest
    raise _invalid("one for another response, or of a key that this gateway does not know")


def _signature(key_digest: bytes, response_id: str, expires_s: int) -> str:
    # Not the digest itself, which has other uses.
    key = hmac.digest(key_digest, _PURPOSE, hashlib.sha256)
    mac = hmac.digest(key, f"{expires_s}.{response_id}".encode(errors="replace"), hashlib.sha256)
    return base64.urlsafe_b64encode(mac[:24]).decode()


def _invalid(found: str) -> MistralwireError:
    message = f"expected a token for reading this response, found {found}; ask for a new one"
    return MistralwireError(message, code="UNAUTHENTICATED", reason=Reason.READ_TOKEN_INVALID)
