"""TLS of the edge: what the files hold, for each handshake."""

import ssl

from mistralwire._tls_files import TlsFiles


def server_context(files: TlsFiles) -> ssl.SSLContext:
    """Return the context of a server whose handshakes follow the files from now on.

    Args:
        files: The files.
    """
    context = files.current().context

    def choose(
        connection: ssl.SSLObject | ssl.SSLSocket, _name: str | None, _context: ssl.SSLContext
    ) -> None:
        # OpenSSL asks in each handshake, also where the caller names no host.
        connection.context = files.current().context

    context.sni_callback = choose
    return context
