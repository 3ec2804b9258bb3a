"""TLS with real certificates."""

import contextlib
import pathlib
from collections.abc import AsyncIterator

import grpc
import pytest
import trustme

from mistralwire.client import Client
from mistralwire.errors import CallError
from tests.client.peers import ANSWER, server_of
from tests.service.upstreams import REQUEST


@pytest.fixture
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def files(authority: trustme.CA, tmp_path: pathlib.Path) -> dict[str, pathlib.Path]:
    own = authority.issue_cert("caller@example.com")
    paths = {name: tmp_path / f"{name}.pem" for name in ("tls_ca", "tls_certificate", "tls_key")}
    authority.cert_pem.write_to_path(paths["tls_ca"])
    paths["tls_certificate"].write_bytes(b"".join(blob.bytes() for blob in own.cert_chain_pems))
    own.private_key_pem.write_to_path(paths["tls_key"])
    return paths


@contextlib.asynccontextmanager
async def secure_service(authority: trustme.CA, *, is_mutual: bool) -> AsyncIterator[str]:
    async def answer(context: grpc.aio.ServicerContext) -> None:
        await context.write(ANSWER)

    certificate = authority.issue_cert("localhost", "127.0.0.1")
    pair = (certificate.private_key_pem.bytes(), certificate.cert_chain_pems[0].bytes())
    roots = authority.cert_pem.bytes() if is_mutual else None
    server = server_of(answer)
    port = server.add_secure_port(
        "127.0.0.1:0", grpc.ssl_server_credentials([pair], roots, require_client_auth=is_mutual)
    )
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(None)


async def test_a_file_of_authorities_is_what_the_service_must_come_from(
    authority: trustme.CA, files: dict[str, pathlib.Path]
) -> None:
    async with secure_service(authority, is_mutual=False) as target:
        async with Client(target, tls_ca=files["tls_ca"], token="t0ken") as client:
            assert (await client.complete(REQUEST)).id == "answer"
        trustme.CA().cert_pem.write_to_path(files["tls_ca"])
        async with Client(target, tls_ca=files["tls_ca"], attempts_max=1) as client:
            with pytest.raises(CallError) as caught:
                await client.complete(REQUEST)

    assert caught.value.code == "UNAVAILABLE"


async def test_mutual_tls_needs_a_certificate_of_the_callers_own(
    authority: trustme.CA, files: dict[str, pathlib.Path]
) -> None:
    async with secure_service(authority, is_mutual=True) as target:
        async with Client(target, **files) as client:  # type: ignore[arg-type]
            assert (await client.complete(REQUEST)).id == "answer"
        async with Client(target, tls_ca=files["tls_ca"], attempts_max=1) as client:
            with pytest.raises(CallError) as caught:
                await client.complete(REQUEST)

    assert caught.value.code == "UNAVAILABLE"


async def test_plain_text_where_tls_is_spoken_is_unavailable(authority: trustme.CA) -> None:
    async with (
        secure_service(authority, is_mutual=False) as target,
        Client(target, attempts_max=1) as client,
    ):
        with pytest.raises(CallError) as caught:
            await client.complete(REQUEST)

    assert caught.value.code == "UNAVAILABLE"


def test_files_that_do_not_go_together_are_refused(files: dict[str, pathlib.Path]) -> None:
    with pytest.raises(ValueError, match="tls_certificate and tls_key go together"):
        Client("127.0.0.1:1", tls_certificate=files["tls_certificate"])
    with pytest.raises(ValueError, match="expected insecure or credentials, found both"):
        Client("127.0.0.1:1", insecure=True, tls_ca=files["tls_ca"])
    with pytest.raises(ValueError, match="expected credentials or TLS files, found both"):
        Client("127.0.0.1:1", credentials=grpc.ssl_channel_credentials(), tls_ca=files["tls_ca"])


def test_files_that_are_not_there_or_no_pem_are_refused(tmp_path: pathlib.Path) -> None:
    with pytest.raises(FileNotFoundError):
        Client("127.0.0.1:1", tls_ca=tmp_path / "none")
    (tmp_path / "der").write_bytes(b"\x30\x82")
    with pytest.raises(ValueError, match="tls_ca must be a PEM file"):
        Client("127.0.0.1:1", tls_ca=tmp_path / "der")
