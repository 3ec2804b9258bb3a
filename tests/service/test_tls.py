"""TLS: who gets a connection, and what happens when files change or can't be used."""

import asyncio
import datetime
import logging
import os
import pathlib
import resource
import ssl

import grpc
import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from grpc_health.v1 import health_pb2, health_pb2_grpc

from mistralwire._serving.tls_files import TlsFiles, validity
from mistralwire.client import Client
from mistralwire.errors import CallError, MistralwireError
from mistralwire.service import Server, ServerConfig, create_server
from mistralwire.v1 import ChatCompletionResponse
from tests.service.certificates import Files, issue, trust
from tests.service.upstreams import REQUEST, HeldUpstream

LOGGER = "mistralwire._serving.tls_files"
NOW = datetime.datetime.now(datetime.UTC)
DAY = datetime.timedelta(days=1)


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="session")
def stranger() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def files(authority: trustme.CA, tmp_path: pathlib.Path) -> Files:
    return issue(authority, tmp_path)


def serve(files: Files, client_ca: pathlib.Path | None = None) -> Server:
    config = ServerConfig(
        port=0, tls_certificate=files.certificate, tls_key=files.key, tls_client_ca=client_ca
    )
    return create_server(HeldUpstream(), config)


async def check(server: Server, credentials: grpc.ChannelCredentials) -> None:
    """Open a connection and make a call."""
    # Otherwise grpc would reuse the connection of an earlier channel with the same arguments.
    options = [("grpc.use_local_subchannel_pool", 1)]
    target = f"localhost:{server.port}"
    async with grpc.aio.secure_channel(target, credentials, options) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        await stub.Check(health_pb2.HealthCheckRequest(), timeout=30)


def shown(server: Server) -> bytes:
    """Return the certificate that the server presents to a new connection."""
    return ssl.PEM_cert_to_DER_cert(ssl.get_server_certificate(("127.0.0.1", server.port), timeout=30))


def records(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    return [record for record in caplog.records if record.name == LOGGER]


def on_disk(files: Files) -> bytes:
    text = files.certificate.read_text()
    end = "-----END CERTIFICATE-----"
    return ssl.PEM_cert_to_DER_cert(text[: text.index(end) + len(end)])


async def test_a_completion_comes_over_tls(authority: trustme.CA, files: Files) -> None:
    upstream = HeldUpstream()
    upstream.items.put_nowait(ChatCompletionResponse(id="1"))
    config = ServerConfig(port=0, tls_certificate=files.certificate, tls_key=files.key)
    async with (
        create_server(upstream, config) as server,
        Client(f"localhost:{server.port}", credentials=trust(authority)) as client,
    ):
        assert (await client.complete(REQUEST)).id == "1"


async def test_an_address_beyond_this_machine_needs_no_more_than_tls(
    authority: trustme.CA, files: Files
) -> None:
    config = ServerConfig(host="0.0.0.0", port=0, tls_certificate=files.certificate, tls_key=files.key)
    async with create_server(HeldUpstream(), config) as server:
        await check(server, trust(authority))


async def test_who_does_not_trust_the_authority_gets_no_connection(
    stranger: trustme.CA, files: Files
) -> None:
    async with serve(files) as server:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await check(server, trust(stranger))
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_plain_text_gets_no_connection(files: Files) -> None:
    async with (
        serve(files) as server,
        Client(server.address, insecure=True, attempts_max=1) as client,
    ):
        with pytest.raises(CallError) as caught:
            await client.complete(REQUEST, deadline_s=30)
    assert caught.value.code == "UNAVAILABLE"


async def test_a_certificate_is_asked_of_callers_where_their_authority_is_set(
    authority: trustme.CA, stranger: trustme.CA, files: Files, tmp_path: pathlib.Path
) -> None:
    callers, client_ca = trustme.CA(), tmp_path / "callers.pem"
    client_ca.write_bytes(b"# callers of the caf\xe9\n" + callers.cert_pem.bytes())
    async with serve(files, client_ca) as server:
        await check(server, trust(authority, caller_of=callers))
        for caller_of in (None, stranger):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await check(server, trust(authority, caller_of=caller_of))
            assert caught.value.code() is grpc.StatusCode.UNAVAILABLE

        client_ca.write_bytes(stranger.cert_pem.bytes())
        await check(server, trust(authority, caller_of=stranger))
        with pytest.raises(grpc.aio.AioRpcError):
            await check(server, trust(authority, caller_of=callers))


async def test_a_new_certificate_is_shown_to_the_next_connection(
    authority: trustme.CA, files: Files, tmp_path: pathlib.Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, LOGGER)
    async with serve(files) as server:
        first = on_disk(files)
        assert await asyncio.to_thread(shown, server) == first

        issue(authority, tmp_path)
        second = await asyncio.to_thread(shown, server)
        assert second == on_disk(files) != first
        await check(server, trust(authority))

    (record,) = records(caplog)
    assert record.getMessage().endswith(": reloaded")


async def test_a_connection_outlives_the_change_of_the_certificate(
    authority: trustme.CA, files: Files, tmp_path: pathlib.Path
) -> None:
    async with (
        serve(files) as server,
        grpc.aio.secure_channel(f"localhost:{server.port}", trust(authority)) as channel,
    ):
        stub = health_pb2_grpc.HealthStub(channel)
        await stub.Check(health_pb2.HealthCheckRequest(), timeout=30)
        issue(trustme.CA(), tmp_path)
        await asyncio.to_thread(shown, server)
        await stub.Check(health_pb2.HealthCheckRequest(), timeout=30)


async def test_a_link_to_another_folder_is_a_change(authority: trustme.CA, tmp_path: pathlib.Path) -> None:
    folders = [tmp_path / "1", tmp_path / "2"]
    for folder in folders:
        folder.mkdir()
        issue(authority, folder)
    link = tmp_path / "now"
    link.symlink_to(folders[0])
    files = Files(link / "server.pem", link / "server.key")
    async with serve(files) as server:
        first = await asyncio.to_thread(shown, server)
        (tmp_path / "next").symlink_to(folders[1])
        os.replace(tmp_path / "next", link)
        assert await asyncio.to_thread(shown, server) == on_disk(files) != first


@pytest.mark.parametrize("what", ["half", "other key", "garbage", "gone"])
async def test_files_that_can_not_be_used_leave_the_old_ones_and_are_logged_once(
    what: str, authority: trustme.CA, files: Files, caplog: pytest.LogCaptureFixture
) -> None:
    async with serve(files) as server:
        first = await asyncio.to_thread(shown, server)
        good = files.certificate.read_bytes(), files.key.read_bytes()
        if what == "half":
            files.certificate.write_bytes(good[0][: len(good[0]) // 4])
        elif what == "other key":
            other = trustme.CA().issue_cert("localhost").private_key_pem.bytes()
            files.key.write_bytes(other)
        elif what == "garbage":
            files.key.write_bytes(b"-----BEGIN PRIVATE KEY-----\nMIIB\n-----END PRIVATE KEY-----\n")
        else:
            files.certificate.unlink()

        for _ in range(3):
            assert await asyncio.to_thread(shown, server) == first
        (record,) = records(caplog)
        assert ": the previous content stays in use: tls_" in record.getMessage()
        assert "MIIB" not in caplog.text

        files.certificate.write_bytes(good[0])
        files.key.write_bytes(good[1])
        await check(server, trust(authority))
        renewed = issue(authority, files.certificate.parent)
        assert await asyncio.to_thread(shown, server) == on_disk(renewed) != first


def test_changed_files_that_could_not_be_read_at_once_are_read_later(
    files: Files, authority: trustme.CA, caplog: pytest.LogCaptureFixture
) -> None:
    tls = TlsFiles(*files)
    first = tls.current()
    issue(authority, files.certificate.parent)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
    try:
        assert tls.current() is first
        assert tls.current() is first
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    (record,) = records(caplog)
    assert ": the previous content stays in use: tls_certificate" in record.getMessage()

    renewed = tls.current()
    assert renewed.chain != first.chain
    assert tls.current() is renewed


def pem(key: PrivateKeyTypes, encryption: serialization.KeySerializationEncryption) -> bytes:
    form = serialization.PrivateFormat.PKCS8
    return key.private_bytes(serialization.Encoding.PEM, form, encryption)


async def _start(certificate: pathlib.Path, key: pathlib.Path, ca: pathlib.Path | None = None) -> str:
    with pytest.raises(MistralwireError) as caught:
        await serve(Files(certificate, key), ca).start()
    assert caught.value.code == "FAILED_PRECONDITION"
    return f"{caught.value.reason} {caught.value.message}"


async def test_a_file_that_is_not_there_is_named(files: Files, tmp_path: pathlib.Path) -> None:
    none = tmp_path / "none.pem"
    assert await _start(none, files.key) == (
        f"TLS_CERTIFICATE tls_certificate: expected a file, found none at {none}; check the path"
    )
    assert (await _start(files.certificate, none)).startswith("TLS_KEY tls_key: expected a file, found none")
    message = await _start(*files, ca=none)
    assert message.startswith("TLS_CLIENT_CA tls_client_ca: expected a file, found none")


async def test_a_folder_is_no_file(files: Files, tmp_path: pathlib.Path) -> None:
    message = await _start(files.certificate, tmp_path)
    assert message == f"TLS_KEY tls_key: expected a file to read, found {tmp_path}: is a directory"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
async def test_a_file_that_may_not_be_read_is_named(files: Files) -> None:
    files.key.chmod(0)
    message = await _start(*files)
    assert message.startswith("TLS_KEY tls_key: expected a file that this user may read")


async def test_a_key_of_another_certificate_is_an_error(files: Files) -> None:
    files.key.write_bytes(trustme.CA().issue_cert("localhost").private_key_pem.bytes())
    message = await _start(*files)
    assert message.startswith("TLS_KEY tls_key: expected the private key of the first certificate in")


async def test_files_that_are_not_pem_are_errors(files: Files, tmp_path: pathlib.Path) -> None:
    other = tmp_path / "other"
    other.write_bytes(bytes(range(256)))
    assert "expected a PEM certificate in" in await _start(other, files.key)
    assert "expected a PEM private key in" in await _start(files.certificate, other)
    assert "expected PEM certificates of authorities in" in await _start(*files, ca=other)
    assert "expected a PEM private key in" in await _start(files.certificate, files.certificate)


async def test_damaged_pem_is_an_error_that_quotes_nothing(files: Files) -> None:
    text = files.certificate.read_text().splitlines()
    text[3] = "SECRET" + text[3][6:]
    files.certificate.write_text("\n".join(text))
    message = await _start(*files)
    assert "found what OpenSSL can't use" in message
    assert "SECRET" not in message


async def test_an_encrypted_key_is_an_error_and_asks_nobody(files: Files) -> None:
    key = serialization.load_pem_private_key(files.key.read_bytes(), None)
    files.key.write_bytes(pem(key, serialization.BestAvailableEncryption(b"passphrase")))
    message = await _start(*files)
    assert "expected a private key without a passphrase" in message


async def test_a_key_that_grpc_does_not_know_is_not_taken_for_an_address_in_use(files: Files) -> None:
    # OpenSSL supports this curve; BoringSSL, which grpc uses, does not.
    key = ec.generate_private_key(ec.SECP256K1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1, NOW - DAY, NOW + DAY)
    certificate = builder.sign(key, hashes.SHA256())
    files.certificate.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    files.key.write_bytes(pem(key, serialization.NoEncryption()))
    message = await _start(*files)
    assert message.startswith("TLS_KEY expected a certificate and key that gRPC can use")


async def test_a_huge_file_is_an_error(files: Files) -> None:
    with files.key.open("ab") as file:
        file.truncate(2**31)
    assert "expected at most 1048576 bytes, found more in" in await _start(*files)


@pytest.mark.parametrize(
    ("begins", "message"),
    [(NOW - 2 * DAY, "expired at"), (NOW + DAY, "is not valid yet")],
)
async def test_a_certificate_out_of_its_time_is_warned_of_once(
    begins: datetime.datetime,
    message: str,
    authority: trustme.CA,
    tmp_path: pathlib.Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    files = issue(authority, tmp_path, not_before=begins, not_after=begins + DAY)
    async with serve(files) as server:
        for _ in range(2):
            await asyncio.to_thread(shown, server)
    (record,) = records(caplog)
    assert message in record.getMessage()
    assert record.levelno == logging.WARNING


@pytest.mark.slow
async def test_a_certificate_that_expires_while_the_server_runs_is_warned_of(
    authority: trustme.CA, tmp_path: pathlib.Path, caplog: pytest.LogCaptureFixture
) -> None:
    ends = datetime.datetime.now(datetime.UTC).replace(microsecond=0) + datetime.timedelta(seconds=2)
    files = issue(authority, tmp_path, not_after=ends)
    async with asyncio.timeout(30), serve(files) as server:
        await asyncio.to_thread(shown, server)
        assert records(caplog) == []
        while not records(caplog):
            await asyncio.to_thread(shown, server)
    assert "expired at" in caplog.text


async def test_a_key_that_everybody_may_read_is_warned_of(
    files: Files, caplog: pytest.LogCaptureFixture
) -> None:
    files.key.chmod(0o644)
    async with serve(files):
        pass
    assert f"every user of this machine may read {files.key}" in caplog.text


def test_the_validity_is_what_openssl_says(files: Files) -> None:
    decoded = ssl._ssl._test_decode_cert(str(files.certificate))  # type: ignore[attr-defined]
    expected = [ssl.cert_time_to_seconds(decoded[name]) for name in ("notBefore", "notAfter")]
    assert list(validity(on_disk(files))) == expected


def test_the_validity_beyond_2050_has_another_form(authority: trustme.CA, tmp_path: pathlib.Path) -> None:
    ends = datetime.datetime(2080, 1, 2, 3, 4, 5, tzinfo=datetime.UTC)
    files = issue(authority, tmp_path, not_after=ends)
    assert validity(on_disk(files))[1] == ends.timestamp()


def test_files_at_rest_are_read_once(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    tls = TlsFiles(*files)
    first = tls.current()
    monkeypatch.setattr(pathlib.Path, "open", None)
    assert tls.current() is first
