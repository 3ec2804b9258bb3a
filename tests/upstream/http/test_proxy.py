"""Proxies between the service and an upstream, as the environment names them."""

import asyncio
import base64
import contextlib
import os
import pathlib
import ssl
import sys
from collections.abc import AsyncIterator

import pytest
import trustme

from mistralwire import from_json
from mistralwire.errors import MistralwireError, UpstreamError
from mistralwire.upstream import CallContext, HttpSettings, Key, MistralUpstream
from mistralwire.v1 import ChatCompletionRequest
from tests.listeners import stop_listening
from tests.service.certificates import issue
from tests.upstream_server import CUT, STALL, Answer, UpstreamServer, json_answer

REQUEST = from_json(ChatCompletionRequest, b'{"model":"m","messages":[{"role":"user","content":"hi"}]}')
ANSWER = json_answer(b'{"id":"1","model":"m","choices":[{"index":0}]}')
PROXIED = json_answer(b'{"id":"proxied","model":"m","choices":[{"index":0}]}')
CONTEXT = CallContext()
ONCE = HttpSettings(attempts_max=1)
ASK = """
import asyncio, sys
from mistralwire import from_json
from mistralwire.upstream import CallContext, MistralUpstream
from mistralwire.v1 import ChatCompletionRequest

async def ask():
    upstream = MistralUpstream(sys.argv[1])
    request = from_json(ChatCompletionRequest, b'{"model":"m","messages":[]}')
    print((await upstream.complete(request, CallContext())).id)
    await upstream.close()

asyncio.run(ask())
"""


@pytest.fixture(autouse=True)
def _no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)


class Tunnel:
    """A proxy that does nothing but CONNECT.

    Attributes:
        url: Where it listens.
        heads: What it was asked, headers included.
    """

    def __init__(self) -> None:
        self.url = ""
        self.heads: list[str] = []

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator["Tunnel"]:
        async with contextlib.AsyncExitStack() as stack:
            self._stack = stack
            server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
            stack.push_async_callback(stop_listening, server)
            self.url = "http://{}:{}".format(*server.sockets[0].getsockname())
            yield self

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._stack.callback(writer.transport.abort)
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        self.heads.append(head)
        host, _, port = head.split(" ")[1].rpartition(":")
        up_reader, up_writer = await asyncio.open_connection(host, int(port))
        self._stack.callback(up_writer.transport.abort)
        writer.write(b"HTTP/1.1 200 Connected\r\n\r\n")
        await asyncio.gather(_pass_on(reader, up_writer), _pass_on(up_reader, writer))


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(65536):
            writer.write(data)
        writer.close()


@contextlib.asynccontextmanager
async def _tls(server: UpstreamServer, authority: trustme.CA, folder: pathlib.Path) -> AsyncIterator[str]:
    """Serve what a server serves behind TLS as well, and yield the URL."""
    files = issue(authority, folder)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(files.certificate, files.key)
    listener = await asyncio.start_server(server.accept, "127.0.0.1", 0, ssl=context)
    try:
        yield f"https://localhost:{listener.sockets[0].getsockname()[1]}"
    finally:
        await stop_listening(listener)


async def _asked(url: str, key: Key | None = None) -> str:
    upstream = MistralUpstream(url, key=key, settings=ONCE)
    try:
        return (await upstream.complete(REQUEST, CONTEXT)).id
    finally:
        await upstream.close()


async def _refused(url: str) -> UpstreamError:
    with pytest.raises(UpstreamError) as raised:
        await _asked(url)
    return raised.value


def _key(monkeypatch: pytest.MonkeyPatch) -> Key:
    monkeypatch.setenv("SOME_KEY", "the-key")
    return Key.from_environment("SOME_KEY")


@pytest.mark.parametrize("name", ["HTTP_PROXY", "http_proxy"])
@pytest.mark.parametrize("scheme", ["http://", ""])
async def test_http_goes_to_the_proxy_with_its_whole_address(
    name: str, scheme: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with UpstreamServer(PROXIED) as proxy:
        monkeypatch.setenv(name, scheme + proxy.url.removeprefix("http://"))
        upstream = MistralUpstream("http://upstream.invalid/v1", key=_key(monkeypatch), settings=ONCE)
        for _ in range(2):
            assert (await upstream.complete(REQUEST, CONTEXT)).id == "proxied"
        assert await upstream.probe() is None
        await upstream.close()
    call, _, probe = proxy.received
    assert (call.method, call.path) == ("POST", "http://upstream.invalid/v1/chat/completions")
    assert (call.headers["host"], call.headers["authorization"]) == ("upstream.invalid", "Bearer the-key")
    assert (probe.method, probe.path) == ("GET", "http://upstream.invalid/v1/models")
    assert proxy.connections == 1


@pytest.mark.parametrize(
    ("no_proxy", "is_proxied"),
    [
        ("127.0.0.1", False),
        ("*", False),
        ("internal.example, 127.0.0.1", False),
        ("127.0.0.1:{port}", False),
        ("127.0.0.1:1", True),
        ("internal.example", True),
        ("", True),
    ],
)
@pytest.mark.parametrize("name", ["NO_PROXY", "no_proxy"])
async def test_no_proxy_names_those_that_are_asked_directly(
    name: str, no_proxy: str, is_proxied: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with UpstreamServer(PROXIED) as proxy, UpstreamServer(ANSWER) as server:
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        monkeypatch.setenv(name, no_proxy.format(port=server.url.rpartition(":")[2]))
        assert await _asked(server.url) == ("proxied" if is_proxied else "1")
    assert len(proxy.received) == is_proxied
    assert len(server.received) == (not is_proxied)


async def test_the_proxy_for_https_is_not_that_for_http(monkeypatch: pytest.MonkeyPatch) -> None:
    async with UpstreamServer(PROXIED) as proxy, UpstreamServer(ANSWER) as server:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        assert await _asked(server.url) == "1"
    assert proxy.received == []


async def test_credentials_of_the_proxy_go_to_it_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    async with UpstreamServer(PROXIED) as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.url.replace("://", "://user:p%40ss@"))
        await _asked("http://upstream.invalid", _key(monkeypatch))
    (request,) = proxy.received
    expected = base64.b64encode(b"user:p@ss").decode()
    assert request.headers["proxy-authorization"] == f"Basic {expected}"
    assert request.headers["authorization"] == "Bearer the-key"
    assert "user" not in request.path


async def test_https_goes_through_a_tunnel_and_the_proxy_sees_no_key(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with UpstreamServer(ANSWER) as server, Tunnel().running() as proxy:
        async with _tls(server, trustme.CA(), tmp_path) as url:
            monkeypatch.setenv("HTTPS_PROXY", proxy.url)
            with pytest.raises(UpstreamError, match=r"its certificate is not trusted$"):
                await _asked(url, _key(monkeypatch))
        (head,) = proxy.heads
    assert head.startswith(f"CONNECT {url.removeprefix('https://')} HTTP/1.1\r\n")
    assert "the-key" not in head
    assert server.received == []


@pytest.mark.process
async def test_https_with_a_certificate_that_is_trusted_is_answered_through_a_tunnel(
    tmp_path: pathlib.Path,
) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    async with (
        UpstreamServer(ANSWER) as server,
        Tunnel().running() as proxy,
        _tls(server, authority, tmp_path) as url,
    ):
        environment = {"https_proxy": proxy.url, "SSL_CERT_FILE": str(tmp_path / "ca.pem")}
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", ASK, url),
            env={**os.environ, **environment},
            stdout=asyncio.subprocess.PIPE,
        )
        output, _ = await process.communicate()
    assert output == b"1\n"
    assert len(proxy.heads) == len(server.received) == 1


async def test_a_proxy_that_refuses_a_tunnel_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    async with UpstreamServer(Answer(403, {"content-length": "0"})) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        error = await _refused("https://upstream.invalid")
    assert (error.code, error.reason) == ("UNAVAILABLE", "UPSTREAM_UNREACHABLE")
    assert error.message == "the upstream can't be reached: the proxy refused to connect"


async def test_a_tunnel_is_asked_for_with_the_credentials_of_the_proxy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with UpstreamServer(json_answer(b"no, user:p@ss", 407)) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url.replace("://", "://user:p%40ss@"))
        error = await _refused("https://upstream.invalid:8443")
    (request,) = proxy.received
    assert (request.method, request.path) == ("CONNECT", "upstream.invalid:8443")
    expected = base64.b64encode(b"user:p@ss").decode()
    assert request.headers == {"host": "upstream.invalid:8443", "proxy-authorization": f"Basic {expected}"}
    assert error.message == "the upstream can't be reached: the proxy refused to connect"


@pytest.mark.parametrize(
    "answer",
    [b"garbage\r\n\r\n", b"HTTP/1.1 200", b"HTTP/1.1 101 Switching\r\n\r\n"],
    ids=["garbage", "half-a-head", "switch"],
)
async def test_a_proxy_that_answers_no_http_is_told(answer: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = Answer(pieces=[answer, CUT], headers={"content-length": "0"}, is_headless=True)
    async with UpstreamServer(broken) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        error = await _refused("https://upstream.invalid")
    assert error.message == "the upstream can't be reached: the proxy refused to connect"


async def test_a_proxy_that_is_silent_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    async with UpstreamServer(Answer(pieces=[STALL], is_headless=True)) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        settings = HttpSettings(attempts_max=1, connect_s=0.3)
        upstream = MistralUpstream("https://upstream.invalid", settings=settings)
        with pytest.raises(UpstreamError, match=r"no connection within 0\.3 s"):
            await upstream.complete(REQUEST, CONTEXT)
        await asyncio.wait_for(proxy.gone.wait(), 30)
        await upstream.close()


async def test_a_proxy_that_wants_credentials_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    async with UpstreamServer(json_answer(b"{}", 407)) as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        error = await _refused("http://upstream.invalid")
    assert (error.code, error.reason) == ("FAILED_PRECONDITION", "UPSTREAM_UNAUTHENTICATED")


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_a_proxy_that_is_not_there_is_told_without_its_address(
    scheme: str, closed_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"{scheme}_proxy", f"http://user:secret@127.0.0.1:{closed_port}")
    error = await _refused(f"{scheme}://upstream.invalid")
    assert error.message == "the upstream can't be reached: the proxy can't be reached"


NO_PROXY = "something else"
TLS_PROXY = "an https one: TLS to the proxy itself is not supported"


@pytest.mark.parametrize(
    ("proxy", "found"),
    [
        ("socks5://127.0.0.1:1", NO_PROXY),
        ("http://", NO_PROXY),
        ("http://[secret", NO_PROXY),
        ("http://h:secret", NO_PROXY),
        ("http://h:0", NO_PROXY),
        ("ftp://h", NO_PROXY),
        ("https://user:secret@127.0.0.1:1", TLS_PROXY),
        ("HTTPS://h", TLS_PROXY),
    ],
)
def test_what_is_no_proxy_is_refused_unquoted(
    proxy: str, found: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", proxy)
    with pytest.raises(MistralwireError) as raised:
        MistralUpstream()
    assert (raised.value.code, raised.value.reason) == ("FAILED_PRECONDITION", "PROXY")
    assert raised.value.message == (
        f"expected an http URL in HTTPS_PROXY, found {found}; correct it, or put the host of the upstream "
        "into NO_PROXY"
    )
    assert raised.value.__cause__ is None
    monkeypatch.setenv("NO_PROXY", "api.mistral.ai")
    MistralUpstream()


@pytest.mark.parametrize("is_proxied", [False, True])
async def test_what_a_netrc_file_has_is_never_sent(
    is_proxied: bool, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "netrc"
    file.write_text("machine 127.0.0.1 login someone password else\ndefault login a password b\n")
    file.chmod(0o600)
    monkeypatch.setenv("NETRC", str(file))
    async with UpstreamServer(ANSWER) as server:
        if is_proxied:
            monkeypatch.setenv("HTTP_PROXY", server.url)
        await _asked(server.url, _key(monkeypatch))
        await _asked(server.url)
    with_key, without = server.received
    assert with_key.headers["authorization"] == "Bearer the-key"
    assert "authorization" not in without.headers
    assert "proxy-authorization" not in with_key.headers
