"""`mistralwire health` against a real service and a real HTTP server, in a thread of the tests."""

import asyncio
import contextlib
import http.server
import pathlib
import socket
import ssl
import threading
from collections.abc import Iterator

import pytest
import trustme
from click.testing import CliRunner, Result

from mistralwire.cli import main
from mistralwire.service import ServerConfig, create_server
from tests.service.upstreams import HeldUpstream

from .test_help import loaded_by

LOCAL = "127.0.0.1"


def probe(*arguments: str | pathlib.Path) -> Result:
    return CliRunner().invoke(main, ["health", *map(str, arguments)])


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers 200 to /healthz and to whoever has the token, else 503."""

    def do_GET(self) -> None:
        is_well = (
            self.path in ("/healthz", "/ready?full=1") or self.headers["authorization"] == "Bearer s3cret"
        )
        self.send_response(200 if is_well else 503)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Print nothing."""


@contextlib.contextmanager
def http_server(context: ssl.SSLContext | None = None) -> Iterator[int]:
    with http.server.ThreadingHTTPServer((LOCAL, 0), Handler) as server:
        if context is not None:
            server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()


@contextlib.contextmanager
def listener() -> Iterator[socket.socket]:
    """A port that accepts connections, and answers nothing."""
    with socket.create_server((LOCAL, 0)) as server:
        yield server


async def test_a_service_that_takes_calls_is_well() -> None:
    config = ServerConfig(port=0)
    async with create_server(HeldUpstream(), config) as server:
        result = await asyncio.to_thread(probe, "--target", server.address)
        assert (result.exit_code, result.output) == (0, f"{server.address} accepts requests\n")
        whole = await asyncio.to_thread(probe, "--target", server.address, "--service", "")
        assert whole.exit_code == 0
        other = await asyncio.to_thread(probe, "--target", server.address, "--service", "other.Service")
    assert (other.exit_code, other.stdout) == (1, "")
    assert other.stderr == (
        f"Error: {server.address} does not accept requests: its health check ended with NOT_FOUND\n"
    )


async def test_a_service_that_wants_a_token_gets_it(tmp_path: pathlib.Path) -> None:
    token = tmp_path / "token"
    token.write_text("s3cret\n")
    config = ServerConfig(port=0, token_file=token)
    async with create_server(HeldUpstream(), config) as server:
        arguments = ("--target", server.address)
        without = await asyncio.to_thread(probe, *arguments)
        with_it = await asyncio.to_thread(probe, *arguments, "--token-file", token)
    assert (without.exit_code, with_it.exit_code) == (1, 0)
    assert without.stderr.endswith("does not accept requests: it refuses the token of its caller\n")


@pytest.mark.parametrize("option", ["--target", "--url"])
def test_a_closed_port_is_one_line(option: str, closed_port: int) -> None:
    place = f"{'http://' if option == '--url' else ''}{LOCAL}:{closed_port}"
    result = probe(option, place)
    assert result.exit_code == 1
    assert result.stderr == f"Error: {place} does not accept requests: connection refused\n"


@pytest.mark.parametrize("option", ["--target", "--url"])
def test_a_server_that_does_not_answer_times_out(option: str) -> None:
    with listener() as server:
        place = f"{'http://' if option == '--url' else ''}{LOCAL}:{server.getsockname()[1]}"
        result = probe(option, place, "--timeout", "0.2")
    assert result.exit_code == 1
    assert result.stderr == f"Error: {place} does not accept requests: timed out\n"


@pytest.mark.parametrize(
    ("answer", "cause"), [(b"", "connection closed"), (b"+PONG\r\n", "it does not speak HTTP")]
)
def test_what_is_not_a_gateway_is_told_apart(answer: bytes, cause: str) -> None:
    def serve() -> None:
        peer, _ = server.accept()
        with peer:
            peer.recv(65_536)
            peer.sendall(answer)

    with listener() as server:
        thread = threading.Thread(target=serve)
        thread.start()
        place = f"http://{LOCAL}:{server.getsockname()[1]}"
        result = probe("--url", place)
        thread.join()
    assert result.stderr == f"Error: {place} does not accept requests: {cause}\n"


def test_the_timeout_is_for_the_whole_answer() -> None:
    """The server sends its head byte by byte, for ten seconds."""

    def serve() -> None:
        peer, _ = server.accept()
        with peer, contextlib.suppress(OSError):
            for _ in range(500):
                if is_over.wait(0.02):
                    return
                peer.sendall(b"H")

    is_over = threading.Event()
    with listener() as server:
        thread = threading.Thread(target=serve)
        thread.start()
        result = probe("--url", f"http://{LOCAL}:{server.getsockname()[1]}", "--timeout", "0.3")
        is_over.set()
        thread.join()
    assert result.stderr.endswith("does not accept requests: timed out\n")


def test_a_name_that_is_none_is_not_found() -> None:
    result = probe("--url", f"http://{'a' * 64}.example")
    assert result.exit_code == 1
    assert result.stderr.endswith("does not accept requests: its name can't be resolved\n")


def test_a_gateway_is_asked_at_the_path_of_the_url_or_at_healthz(tmp_path: pathlib.Path) -> None:
    token = tmp_path / "token"
    token.write_text("# of the gateway\ns3cret\n")
    with http_server() as port:
        url = f"http://{LOCAL}:{port}"
        assert probe("--url", url).exit_code == 0
        assert probe("--url", f"{url}/ready?full=1").exit_code == 0
        result = probe("--url", f"{url}/other")
        assert probe("--url", f"{url}/other", "--token-file", token).exit_code == 0
    assert result.exit_code == 1
    assert result.stderr == f"Error: {url}/other does not accept requests: it answered with status 503\n"


def test_a_gateway_with_tls_is_checked_by_its_name_and_may_want_a_certificate(tmp_path: pathlib.Path) -> None:
    authority = trustme.CA()
    files = {name: tmp_path / name for name in ("ca", "certificate", "key")}
    own = authority.issue_cert("probe@example.com")
    authority.cert_pem.write_to_path(files["ca"])
    own.cert_chain_pems[0].write_to_path(files["certificate"])
    own.private_key_pem.write_to_path(files["key"])
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    authority.configure_trust(context)
    context.verify_mode = ssl.CERT_REQUIRED
    options = [f"--tls-{name}={path}" for name, path in files.items()]
    with http_server(context) as port:
        assert probe("--url", f"https://localhost:{port}", *options).exit_code == 0
        unknown = probe("--url", f"https://localhost:{port}")
        other_name = probe("--url", f"https://{LOCAL}:{port}", *options)
    assert (unknown.exit_code, other_name.exit_code) == (1, 1)
    assert "does not accept requests: bad certificate: " in unknown.stderr
    assert "does not accept requests: bad certificate: IP address mismatch" in other_name.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--target", "a:1", "--url", "http://a"], "expected --target or --url, found both"),
        (["--url", "ftp://a"], "expected a URL such as http://127.0.0.1:8080, found 'ftp://a'"),
        (["--url", "http://a:99999"], "found 'http://a:99999'"),
        (["--url", "http://a/ b"], "found 'http://a/ b'"),
        (["--url", "http://a", "--service", "x"], "--service is for gRPC; leave it out with --url"),
        (["--url", "http://a", "--tls-ca", __file__], "TLS files need a URL with https"),
        (["--url", "https://a", "--tls-ca", __file__], "the TLS files can't be used: expected PEM"),
        (["--url", "https://a", "--tls-key", __file__], "--tls-certificate and --tls-key go together"),
        (["--url", "http://example.com", "--token-file", __file__], "--token-file: "),
        (["--target", "a b"], "target must"),
        (["--timeout", "0"], "expected seconds above 0"),
    ],
)
def test_an_invalid_command_line_is_a_usage_error(arguments: list[str], said: str) -> None:
    result = probe(*arguments)
    assert result.exit_code == 2, result.output
    assert said in " ".join(result.stderr.split())


def test_a_token_is_not_sent_in_plaintext_to_another_machine(tmp_path: pathlib.Path) -> None:
    (tmp_path / "token").write_text("s3cret")
    result = probe("--url", "http://example.com", "--token-file", tmp_path / "token")
    assert result.exit_code == 2
    assert "a token needs https" in result.stderr
    assert "s3cret" not in result.output


@pytest.mark.process
def test_a_url_is_asked_without_grpc_and_protobuf() -> None:
    heavy = {"google.protobuf", "grpc", "mistralwire.codec", "starlette"}
    loaded = loaded_by(f"""
import contextlib, click
from mistralwire.cli import main
with contextlib.suppress(click.ClickException):
    main(['health', '--url', 'http://{LOCAL}:1'], standalone_mode=False)
""")
    assert "http.client" in loaded
    assert loaded & heavy == set()
