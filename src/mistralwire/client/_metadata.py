"""The metadata of a caller's own that a call sends beside its request."""

import re
from collections.abc import Mapping

from mistralwire._metadata import CONTRACT_REVISION_NAME, REQUEST_ID

# What HTTP/2 and gRPC take: https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md
_NAME = re.compile(r"[0-9a-z_.-]+")
_TEXT = re.compile(r"(?:[!-~](?:[ -~]*[!-~])?)?")
_OF_THE_PROTOCOL = frozenset(("content-type", "host", "te", "user-agent"))


def checked_metadata(metadata: Mapping[str, str | bytes]) -> list[tuple[str, str | bytes]]:
    """Check a caller's own metadata, which gRPC itself would refuse without a word of what is wrong.

    Args:
        metadata: Values by name.

    Returns:
        The same as pairs.

    Raises:
        TypeError: If it is no mapping, or a value has another type than its name asks for.
        ValueError: If a name or a value can't be sent. The message never quotes a value.
    """
    if not isinstance(metadata, Mapping):
        raise TypeError(f"metadata must be a mapping of names to values, not a {type(metadata).__name__}")
    for name, value in metadata.items():
        _check_name(name)
        _check_value(name, value)
    return list(metadata.items())


def _check_name(name: str) -> None:
    if not isinstance(name, str):
        raise TypeError(f"a name of metadata must be a string, not a {type(name).__name__}")
    if not _NAME.fullmatch(name):
        raise ValueError(
            f"a name of metadata must consist of lower-case letters, digits and the characters _ - . , "
            f"not {name!r}"
        )
    if name == REQUEST_ID:
        raise ValueError(f"{REQUEST_ID} is sent by the client; pass it as request_id")
    if name == CONTRACT_REVISION_NAME:
        raise ValueError(f"{name} is sent by the client; leave it out")
    if name.startswith("grpc-") or name in _OF_THE_PROTOCOL:
        raise ValueError(f"{name!r} is a name of the protocol's own; take another for metadata")


def _check_value(name: str, value: str | bytes) -> None:
    expected = bytes if name.endswith("-bin") else str
    if not isinstance(value, expected):
        raise TypeError(
            f"the metadata {name!r} must be {'bytes' if expected is bytes else 'a string'}, not a "
            f"{type(value).__name__}; names that end in -bin have bytes, others strings"
        )
    if isinstance(value, str) and not _TEXT.fullmatch(value):
        raise ValueError(
            f"the metadata {name!r} must be printable ASCII without spaces around it; a name that ends in "
            "-bin can have any bytes"
        )
