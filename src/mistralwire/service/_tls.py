"""TLS of the gRPC server: what the files hold, for each handshake."""

import grpc

from mistralwire._tls_files import TlsFiles, TlsMaterial


def server_credentials(files: TlsFiles) -> grpc.ServerCredentials:
    """Return credentials for one start of a server, which follow the files from now on.

    Args:
        files: The files.
    """
    given = files.current()

    def fetch() -> grpc.ServerCertificateConfiguration | None:
        """Return what the files hold if it has changed; grpc asks before each handshake, in its threads."""
        nonlocal given
        material = files.current()
        if material is given:
            return None
        given = material
        return _configuration(material)

    return grpc.dynamic_ssl_server_credentials(
        _configuration(given), fetch, require_client_authentication=given.authorities is not None
    )


def _configuration(material: TlsMaterial) -> grpc.ServerCertificateConfiguration:
    return grpc.ssl_server_certificate_configuration([(material.key, material.chain)], material.authorities)
