"""Whom a response belongs to."""

import hashlib
from collections.abc import Iterable

import grpc

from mistralwire._metadata import AUTHORIZATION, CALLER, Metadata

_DIGEST_BYTES = 16


def owner_of(metadata: Metadata, identities: Iterable[bytes] = (), *, has_tokens: bool = False) -> str:
    """Return the owner of the responses of a call: 32 hexadecimal digits, or an empty string for nobody.

    Args:
        metadata: Those of the call.
        identities: The names in the caller's certificate, which TLS has verified.
        has_tokens: Whether the service has checked the token of the call, which then counts instead.
    """
    texts = [value for name, value in metadata if has_tokens and name == AUTHORIZATION]
    # The word before the token may be written in any case.
    parts = [b"token " + _encoded(text).rpartition(b" ")[2] for text in texts]
    parts = parts or [b"certificate " + identity for identity in sorted(identities)]
    parts += [b"caller " + _encoded(value) for name, value in metadata if name == CALLER]
    if not parts:
        return ""
    # With their lengths: a name may contain anything.
    data = b"".join(len(part).to_bytes(4) + part for part in parts)
    return hashlib.blake2b(data, digest_size=_DIGEST_BYTES).hexdigest()


def owner_of_call(context: grpc.aio.ServicerContext, metadata: Metadata, *, has_tokens: bool) -> str:
    """Return the owner of the responses of a call that arrived over gRPC; see `owner_of`."""
    identities = () if has_tokens else context.peer_identities() or ()
    return owner_of(metadata, identities, has_tokens=has_tokens)


def _encoded(value: str | bytes) -> bytes:
    return value.encode() if isinstance(value, str) else value
