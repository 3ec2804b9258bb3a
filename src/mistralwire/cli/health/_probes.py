"""The checks of a service over gRPC, and of a URL with the standard library alone, which starts fast."""

import contextlib
import http.client
import pathlib
import socket
import ssl
import threading
import urllib.parse
from typing import Any

import click

from mistralwire._addresses import is_loopback
from mistralwire._serving.tokens import parse_tokens
from mistralwire.errors import MistralwireError


def probe_target(target: str, service: str | None, *, timeout_s: float, **options: Any) -> str | None:
    """Return why a service accepts no calls; None if it accepts calls.

    The arguments are the options of the command, as those of `probe_url` are.

    Raises:
        click.UsageError: If the target or the options are invalid.
    """
    import asyncio  # noqa: PLC0415 - not for a URL

    from mistralwire.client import Client  # noqa: PLC0415 - with grpc

    async def why_not() -> str | None:
        async with client:
            try:
                async with asyncio.timeout(timeout_s):
                    return await client.why_not_serving(service=service)
            except TimeoutError:
                return "timed out"

    try:
        client = Client(target, deadline_s=timeout_s, attempts_max=1, **options)
    except (ValueError, MistralwireError) as error:
        raise click.UsageError(str(error)) from error
    return asyncio.run(why_not())


def probe_url(
    url: str,
    *,
    timeout_s: float,
    token_file: str | None,
    tls_ca: str | None,
    tls_certificate: str | None,
    tls_key: str | None,
    insecure: bool | None,
) -> str | None:
    """Return why a URL does not answer with 200; None if it does.

    Raises:
        click.UsageError: If the URL or the options are invalid.
    """
    parts = _split_url(url)
    is_tls, host = parts.scheme == "https", str(parts.hostname)
    if not is_tls and (tls_ca or tls_certificate or tls_key):
        raise click.UsageError("TLS files need a URL with https")
    headers = {} if token_file is None else {"authorization": f"Bearer {_first_token(token_file)}"}
    if headers and not (is_tls or insecure or is_loopback(host)):
        raise click.UsageError("a token needs https, as the URL is not this machine's; --insecure allows it")
    if is_tls:
        context = _tls_context(tls_ca, tls_certificate, tls_key)
        connection: http.client.HTTPConnection = http.client.HTTPSConnection(
            host, parts.port, timeout=timeout_s, context=context
        )
    else:
        connection = http.client.HTTPConnection(host, parts.port, timeout=timeout_s)
    path = f"{parts.path or '/healthz'}{'?' if parts.query else ''}{parts.query}"
    causes: list[str | None] = []

    def run() -> None:
        with contextlib.closing(connection):
            causes.append(_get(connection, path, headers))

    # The timeout of a socket is for each step. A daemon, since nothing interrupts the search for a name.
    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(timeout_s)
    return causes[0] if causes else "timed out"


def _split_url(url: str) -> urllib.parse.SplitResult:
    problem = f"expected a URL such as http://127.0.0.1:8080, found {url!r}"
    try:
        parts = urllib.parse.urlsplit(url)
        is_valid = parts.port != 0 and parts.scheme in ("http", "https") and bool(parts.hostname)
    except ValueError as error:
        raise click.UsageError(f"{problem}: {error}") from error
    if not is_valid or parts.username is not None or not url.isascii() or not url.isprintable() or " " in url:
        raise click.UsageError(problem)
    return parts


def _first_token(file: str) -> str:
    path = pathlib.Path(file)
    try:
        return parse_tokens(path, path.read_bytes())[0]
    except MistralwireError as error:
        raise click.UsageError(f"--token-file: {error.message}") from error


def _tls_context(ca: str | None, certificate: str | None, key: str | None) -> ssl.SSLContext:
    if (certificate is None) != (key is None):
        raise click.UsageError("--tls-certificate and --tls-key go together")
    try:
        context = ssl.create_default_context(cafile=ca)
        if certificate is not None:
            context.load_cert_chain(certificate, key)
    except (ssl.SSLError, OSError) as error:
        raise click.UsageError(f"the TLS files can't be used: expected PEM, found {error}") from error
    return context


def _get(connection: http.client.HTTPConnection, path: str, headers: dict[str, str]) -> str | None:
    try:
        connection.request("GET", path, headers=headers)
        status = connection.getresponse().status
    except ssl.SSLCertVerificationError as error:
        return f"bad certificate: {error.verify_message}"
    except ssl.SSLError:
        return "the TLS handshake failed"
    except (socket.gaierror, UnicodeError):  # the latter for a name that is none
        return "its name can't be resolved"
    except TimeoutError:
        return "timed out"
    except OSError as error:
        # One without a text is RemoteDisconnected, which is an HTTPException too.
        return (error.strerror or "connection closed").lower()
    except http.client.HTTPException:
        return "it does not speak HTTP"
    return None if status == http.HTTPStatus.OK else f"it answered with status {status}"
