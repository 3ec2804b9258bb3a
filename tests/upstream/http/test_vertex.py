"""The upstream of Vertex AI: addresses, names of models, and tokens of Google."""

import asyncio
import datetime
import json
import pathlib
import threading
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from google.auth import credentials, exceptions

from mistralwire import from_json
from mistralwire.errors import UpstreamError
from mistralwire.upstream import CallContext, HttpSettings, VertexUpstream
from mistralwire.v1 import (
    AgentsCompletionRequest,
    AgentsCompletionStreamRequest,
    ChatCompletionRequest,
    ChatCompletionStreamRequest,
    FIMCompletionRequest,
)
from tests.upstream_server import UpstreamServer, json_answer, sse_answer

ANSWER = json_answer(b'{"id":"1","model":"m","choices":[{"index":0}]}')
DONE = sse_answer(b"data: [DONE]\n\n")
CONTEXT = CallContext()
ONCE = HttpSettings(attempts_max=1)
SECRET = "ya29.the-secret"
WAIT_S = 30
# Without types in google-auth.
RefreshError: Any = exceptions.RefreshError
TransportError: Any = exceptions.TransportError


class Credentials(credentials.Credentials):
    """Makes tokens itself: `token-1`, `token-2`, each for an hour.

    Args:
        errors: What to raise instead, once each; the last one again and again.

    Attributes:
        refreshes: How many tokens were asked for.
        threads: Where they were asked for.
        may_go_on: What a refresh waits for.
        begun: How a refresh tells the loop that it has begun.
    """

    def __init__(self, *errors: Exception) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.errors = list(errors)
        self.refreshes = 0
        self.threads: set[int] = set()
        self.may_go_on = threading.Event()
        self.may_go_on.set()
        self.begun = asyncio.Event()
        self._loop = asyncio.get_running_loop()

    def refresh(self, request: Any) -> None:
        self.refreshes += 1
        self.threads.add(threading.get_ident())
        self._loop.call_soon_threadsafe(self.begun.set)
        assert self.may_go_on.wait(WAIT_S)
        if self.errors:
            raise self.errors.pop(0) if len(self.errors) > 1 else self.errors[0]
        self.token = f"token-{self.refreshes}"
        self.expire(datetime.timedelta(hours=1))

    def expire(self, later: datetime.timedelta) -> None:
        # google-auth has times without a zone, in UTC.
        self.expiry = datetime.datetime.now(datetime.UTC).replace(tzinfo=None) + later


def _request(model: str = "m", **more: Any) -> ChatCompletionRequest:
    document = {"model": model, "messages": [{"role": "user", "content": "hi"}], **more}
    return from_json(ChatCompletionRequest, json.dumps(document))


def _upstream(server: UpstreamServer, tokens: Any, project: str = "my-project") -> VertexUpstream:
    return VertexUpstream(project, "europe-west4", credentials=tokens, base_url=server.url, settings=ONCE)


async def _asked(server: UpstreamServer, request: Any) -> tuple[str, Any]:
    """Return the path and the body of a request as they came."""
    upstream = _upstream(server, Credentials())
    await upstream.complete(request, CONTEXT)
    await upstream.close()
    return server.received[-1].path, json.loads(server.received[-1].body)


async def _refused(upstream: VertexUpstream) -> UpstreamError:
    with pytest.raises(UpstreamError) as raised:
        await upstream.complete(_request(), CONTEXT)
    return raised.value


async def test_the_method_is_a_part_of_the_path() -> None:
    stream_request = from_json(ChatCompletionStreamRequest, b'{"model":"m","messages":[],"stream":true}')
    fim_request = from_json(FIMCompletionRequest, b'{"model":"m","prompt":"a"}')
    async with UpstreamServer(ANSWER, DONE, ANSWER) as server:
        upstream = _upstream(server, Credentials())
        await upstream.complete(_request(), CONTEXT)
        assert [chunk async for chunk in upstream.stream(stream_request, CONTEXT)] == []
        await upstream.complete(fim_request, CONTEXT)
        await upstream.close()
    models = "/v1/projects/my-project/locations/europe-west4/publishers/mistralai/models"
    assert [(request.method, request.path) for request in server.received] == [
        ("POST", f"{models}/m:rawPredict"),
        ("POST", f"{models}/m:streamRawPredict"),
        ("POST", f"{models}/m:rawPredict"),
    ]
    assert [request.headers["accept"] for request in server.received][:2] == [
        "application/json",
        "text/event-stream",
    ]


async def test_agents_are_refused_before_anything_is_asked() -> None:
    credentials = Credentials()
    async with UpstreamServer(ANSWER) as server:
        upstream = _upstream(server, credentials)
        with pytest.raises(UpstreamError, match="Vertex AI has no agents") as raised:
            await upstream.complete(AgentsCompletionRequest(agent_id="ag_1"), CONTEXT)
        with pytest.raises(UpstreamError) as streamed:
            await anext(upstream.stream(AgentsCompletionStreamRequest(agent_id="ag_1"), CONTEXT))
        await upstream.close()
    for error in (raised.value, streamed.value):
        assert (error.code, error.reason) == ("UNIMPLEMENTED", "UPSTREAM_UNSUPPORTED")
    assert not server.received


@pytest.mark.parametrize(
    ("region", "host"),
    [
        ("europe-west4", "europe-west4-aiplatform.googleapis.com"),
        ("us-central1", "us-central1-aiplatform.googleapis.com"),
        ("global", "aiplatform.googleapis.com"),
    ],
)
async def test_each_region_has_its_host(region: str, host: str) -> None:
    upstream = VertexUpstream("my-project", region, credentials=Credentials())
    url, _ = upstream._target.address(_request(), is_stream=False)
    path = f"/v1/projects/my-project/locations/{region}/publishers/mistralai/models/m:rawPredict"
    assert url == f"https://{host}{path}"
    assert upstream._target.probe_url == f"https://{host}"


@pytest.mark.parametrize(
    ("asked", "in_path", "in_body"),
    [
        ("mistral-large-2411", "mistral-large-2411", "mistral-large-2411"),
        ("mistral-large-2407", "mistral-large@2407", "mistral-large"),
        ("mistral-nemo-2407", "mistral-nemo@2407", "mistral-nemo"),
        ("codestral-2405", "codestral@2405", "codestral"),
        ("codestral@2405", "codestral@2405", "codestral@2405"),
        ("a/../b?c#d e", "a%2F..%2Fb%3Fc%23d%20e", "a/../b?c#d e"),
    ],
)
async def test_the_model_is_named_as_vertex_does(asked: str, in_path: str, in_body: str) -> None:
    request = _request(asked, new=[1])
    async with UpstreamServer(ANSWER) as server:
        path, body = await _asked(server, request)
    assert path.rpartition("/models/")[2] == f"{in_path}:rawPredict"
    assert body == {"model": in_body, "messages": [{"role": "user", "content": "hi"}], "new": [1]}
    assert request.model == asked


async def test_a_project_is_one_step_of_the_path() -> None:
    async with UpstreamServer(ANSWER) as server:
        upstream = _upstream(server, Credentials(), "a/b?c")
        await upstream.complete(_request(), CONTEXT)
        await upstream.close()
    assert server.received[0].path.startswith("/v1/projects/a%2Fb%3Fc/locations/")


@pytest.mark.parametrize("region", ["", "evil.com/", "Europe-West4", "a b", "x@y", "a\n"])
def test_what_is_no_region_never_becomes_a_host(region: str) -> None:
    with pytest.raises(ValueError, match=r"region must be lower-case letters, digits and hyphens"):
        VertexUpstream("my-project", region)


def test_a_project_and_a_url_are_checked() -> None:
    with pytest.raises(ValueError, match=r"project must not be empty"):
        VertexUpstream("", "global")
    with pytest.raises(ValueError, match=r"base_url must be a URL"):
        VertexUpstream("my-project", "global", base_url="ftp://x")


async def test_a_token_is_asked_for_when_there_is_none_or_it_is_over() -> None:
    tokens = Credentials()
    async with UpstreamServer(ANSWER) as server:
        upstream = _upstream(server, tokens)
        for _ in range(2):
            await upstream.complete(_request(), CONTEXT)
        tokens.expire(datetime.timedelta(seconds=-1))
        for _ in range(2):
            await upstream.complete(_request(), CONTEXT)
        await upstream.close()
    used = [request.headers["authorization"] for request in server.received]
    assert used == ["Bearer token-1"] * 2 + ["Bearer token-2"] * 2


async def test_many_calls_wait_for_one_token_in_another_thread() -> None:
    tokens = Credentials()
    tokens.may_go_on.clear()
    async with UpstreamServer(ANSWER) as server:
        upstream = _upstream(server, tokens)
        calls = [asyncio.create_task(upstream.complete(_request(), CONTEXT)) for _ in range(20)]
        # The loop is free while the token is on its way, for calls that leave as well.
        await asyncio.wait_for(tokens.begun.wait(), WAIT_S)
        calls[0].cancel()
        await asyncio.wait([calls[0]])
        late = asyncio.create_task(upstream.complete(_request(), CONTEXT))
        tokens.may_go_on.set()
        await asyncio.wait_for(asyncio.gather(*calls[1:], late), WAIT_S)
        await upstream.close()
    assert calls[0].cancelled()
    assert tokens.refreshes == 1
    assert threading.get_ident() not in tokens.threads
    assert {request.headers["authorization"] for request in server.received} == {"Bearer token-1"}


@pytest.mark.parametrize(
    ("error", "code", "reason"),
    [
        (
            RefreshError(SECRET, {"error": SECRET}),
            "FAILED_PRECONDITION",
            "UPSTREAM_UNAUTHENTICATED",
        ),
        (TransportError(SECRET), "UNAVAILABLE", "UPSTREAM_UNREACHABLE"),
        (PermissionError(13, SECRET), "FAILED_PRECONDITION", "UPSTREAM_UNAUTHENTICATED"),
        (ValueError(SECRET), "FAILED_PRECONDITION", "UPSTREAM_UNAUTHENTICATED"),
    ],
)
async def test_no_token_is_an_error_that_quotes_nothing(error: Exception, code: str, reason: str) -> None:
    async with UpstreamServer(ANSWER) as server:
        upstream = _upstream(server, Credentials(error))
        refused = await _refused(upstream)
        await upstream.close()
    assert (refused.code, refused.reason) == (code, reason)
    assert refused.message == f"could not get a token from Google: {type(error).__name__}"
    assert SECRET not in f"{refused!r}{refused.__cause__!r}"
    assert server.received == []


async def test_the_next_call_asks_again_for_a_token() -> None:
    tokens = Credentials(RefreshError("no"))
    async with UpstreamServer(ANSWER) as server:
        upstream = _upstream(server, tokens)
        await _refused(upstream)
        tokens.errors.clear()
        await upstream.complete(_request(), CONTEXT)
        await upstream.close()
    assert [request.headers["authorization"] for request in server.received] == ["Bearer token-2"]


async def test_google_out_of_reach_is_tried_again() -> None:
    tokens = Credentials(TransportError("no route"))
    async with UpstreamServer(ANSWER) as server:
        upstream = VertexUpstream(
            "p", "global", credentials=tokens, base_url=server.url, settings=HttpSettings(attempts_max=2)
        )
        assert (await _refused(upstream)).reason == "UPSTREAM_UNREACHABLE"
        await upstream.close()
    assert tokens.refreshes == 2


async def test_a_refused_token_is_not_quoted() -> None:
    body = b'{"error":{"code":401,"message":"token token-1 refused","status":"UNAUTHENTICATED"}}'
    async with UpstreamServer(json_answer(body, 401)) as server:
        upstream = _upstream(server, Credentials())
        refused = await _refused(upstream)
        await upstream.close()
    assert (refused.reason, "token-1" in repr(refused)) == ("UPSTREAM_UNAUTHENTICATED", False)


async def test_default_credentials_are_looked_for_with_the_first_call(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "credentials.json"
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(file))
    async with UpstreamServer(ANSWER) as server:
        upstream = _upstream(server, None)
        for text in (None, "no JSON", f'{{"type":"{SECRET}"}}'):
            if text is not None:
                file.write_text(text)
            refused = await _refused(upstream)
            assert refused.reason == "UPSTREAM_UNAUTHENTICATED"
            assert refused.message == "could not get a token from Google: DefaultCredentialsError"
        await upstream.close()
    assert server.received == []


async def test_the_key_of_a_service_account_is_exchanged_for_a_token(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    private_key = rsa.generate_private_key(65537, 2048).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    file = tmp_path / "credentials.json"
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(file))
    token = json_answer(b'{"access_token":"a-token","expires_in":3600,"token_type":"Bearer"}')
    async with UpstreamServer(token, ANSWER) as server:
        document = {
            "type": "service_account",
            "client_email": "service@my-project.iam.gserviceaccount.com",
            "private_key": private_key.decode(),
            "token_uri": f"{server.url}/token",
        }
        file.write_text(json.dumps(document))
        upstream = _upstream(server, None)
        for _ in range(2):
            await upstream.complete(_request(), CONTEXT)
        await upstream.close()
    exchange, *calls = server.received
    assert exchange.path == "/token"
    assert b"grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer" in exchange.body
    assert [request.headers["authorization"] for request in calls] == ["Bearer a-token"] * 2


async def test_waiting_for_a_token_counts_as_waiting_for_the_answer() -> None:
    tokens = Credentials()
    tokens.may_go_on.clear()
    async with UpstreamServer(ANSWER) as server:
        settings = HttpSettings(attempts_max=1, first_byte_s=0.2)
        upstream = VertexUpstream("p", "r", credentials=tokens, base_url=server.url, settings=settings)
        with pytest.raises(UpstreamError, match=r"an answer from the upstream within 0\.2 s"):
            await upstream.complete(_request(), CONTEXT)
        tokens.may_go_on.set()
        assert (await upstream.complete(_request(), CONTEXT)).id == "1"
        await upstream.close()
