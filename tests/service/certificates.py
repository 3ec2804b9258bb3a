"""Certificate authorities and certificate files for tests."""

import datetime
import pathlib
from typing import NamedTuple

import grpc
import trustme


class Files(NamedTuple):
    """The files of one server."""

    certificate: pathlib.Path
    key: pathlib.Path


def issue(
    authority: trustme.CA,
    folder: pathlib.Path,
    name: str = "localhost",
    *,
    not_before: datetime.datetime | None = None,
    not_after: datetime.datetime | None = None,
) -> Files:
    """Write a new certificate of an authority, and its key, into a folder; existing files are replaced."""
    issued = authority.issue_cert(name, not_before=not_before, not_after=not_after)
    files = Files(folder / "server.pem", folder / "server.key")
    files.certificate.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
    files.key.write_bytes(issued.private_key_pem.bytes())
    files.key.chmod(0o600)
    return files


def trust(authority: trustme.CA, *, caller_of: trustme.CA | None = None) -> grpc.ChannelCredentials:
    """Return channel credentials that trust an authority, with a client certificate if one is named."""
    roots = authority.cert_pem.bytes()
    if caller_of is None:
        return grpc.ssl_channel_credentials(roots)
    issued = caller_of.issue_cert("caller@example.com")
    chain = b"".join(blob.bytes() for blob in issued.cert_chain_pems)
    return grpc.ssl_channel_credentials(roots, issued.private_key_pem.bytes(), chain)
