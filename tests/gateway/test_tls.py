"""TLS of the gateway: certificates that are replaced while it runs."""

import asyncio
import contextlib
import pathlib
import ssl
from collections.abc import AsyncIterator, Callable

import pytest
import trustme
import uvloop

from mistralwire.gateway import GatewayConfig
from tests.service.certificates import Files, issue
from tests.service.upstreams import HeldUpstream

from .test_protocol import serving

HEALTH = b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n"


@pytest.fixture
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def files(authority: trustme.CA, tmp_path: pathlib.Path) -> Files:
    return issue(authority, tmp_path)


def on_disk(files: Files) -> bytes:
    text = files.certificate.read_text()
    end = "-----END CERTIFICATE-----\n"
    return ssl.PEM_cert_to_DER_cert(text[: text.index(end) + len(end)])


@contextlib.asynccontextmanager
async def connected(
    port: int, authority: trustme.CA, name: str | None = "localhost"
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter, bytes]]:
    """Connect, and yield the streams with the certificate that the server has shown."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = name is not None
    authority.configure_trust(context)
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname=name or "")
    try:
        yield reader, writer, writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            await writer.wait_closed()


async def ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
    writer.write(HEALTH)
    return (await reader.readuntil(b"\r\n")).strip()


@pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_a_new_certificate_is_shown_to_the_next_connection(
    authority: trustme.CA,
    files: Files,
    caplog: pytest.LogCaptureFixture,
    new_loop: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(replace_certificates(authority, files, caplog))


async def replace_certificates(authority: trustme.CA, files: Files, caplog: pytest.LogCaptureFixture) -> None:
    config = GatewayConfig(port=0, tls_certificate=files.certificate, tls_key=files.key)
    async with asyncio.timeout(60), serving(HeldUpstream(), config) as (server, _):
        first = on_disk(files)
        async with connected(server.port, authority) as (reader, writer, shown):
            assert shown == first
            issue(authority, files.key.parent)
            second = on_disk(files)
            assert second != first
            for name in ("localhost", None):
                async with connected(server.port, authority, name) as (others, other, now_shown):
                    assert now_shown == second
                    assert await ask(others, other) == b"HTTP/1.1 200 OK"
            # The connection from before goes on.
            assert await ask(reader, writer) == b"HTTP/1.1 200 OK"

        good = files.key.read_bytes()
        files.key.write_text("no key")
        for _ in range(2):
            async with connected(server.port, authority) as (_, _, shown):
                assert shown == second
        (warning,) = [record for record in caplog.records if record.levelname == "WARNING"]
        assert ": the previous content stays in use: tls_key: expected " in warning.getMessage()
        files.key.write_bytes(good)
        async with connected(server.port, authority) as (reader, writer, shown):
            assert shown == second
            assert await ask(reader, writer) == b"HTTP/1.1 200 OK"
