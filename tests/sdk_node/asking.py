"""Calls of the SDKs, made in a process of Node.js, without the gateway and with it."""

import asyncio
import contextlib
import json
import pathlib
from collections.abc import AsyncIterator, Sequence
from typing import Any, NamedTuple

from google.oauth2.credentials import Credentials

from mistralwire.gateway import GatewayConfig
from mistralwire.service import ServerConfig
from mistralwire.upstream import HttpSettings, Key, MistralUpstream, VertexUpstream
from tests.gateway_stack import running_gateway
from tests.interop.processes import WAIT_S, run
from tests.json_equality import parse_exactly
from tests.sdk_node.cases import CHAT
from tests.upstream_server import Answer, UpstreamServer

FOLDER = pathlib.Path(__file__).parent
# Node.js forgets the time limit of a request whose signal a full garbage collection takes: so there is none.
NODE_FLAGS = ("--no-memory-reducer", "--initial-heap-size=1024")


class Pair(NamedTuple):
    """The same call twice: what the SDK gave, as ask.mjs says it, and the model API that was asked.

    Attributes:
        direct: What it gave without the gateway.
        behind: What it gave with the gateway between.
        direct_server: The model API of the first.
        behind_server: The model API behind the gateway.
    """

    direct: Any
    behind: Any
    direct_server: UpstreamServer
    behind_server: UpstreamServer


class Asked(NamedTuple):
    """A call and what the model API answers to it."""

    call: dict[str, Any]
    answers: Sequence[Answer]


def asked(*answers: Answer, **call: Any) -> Asked:
    """Return a call: chat in one piece by the plain SDK, except where the arguments differ."""
    usual = {"sdk": "mistral", "key": "key-of-the-caller", "method": "chat.complete", "request": CHAT}
    return Asked(usual | call, answers)


async def ask(*calls: dict[str, Any]) -> list[Any]:
    """Let the SDKs make calls, all at the same time, and return the result of each."""
    command = ("node", *NODE_FLAGS, FOLDER / "ask.mjs")
    code, output, errors = await run(*command, stdin=json.dumps(calls).encode())
    assert (code, errors) == (0, "")
    outcomes: list[Any] = json.loads(output)
    for error in (outcome["error"] for outcome in outcomes if "error" in outcome):
        # How a body is written is no matter.
        with contextlib.suppress(KeyError, json.JSONDecodeError):
            error["body"] = parse_exactly(error["body"])
    return outcomes


def _upstream_for(sdk: str, url: str) -> MistralUpstream | VertexUpstream:
    # Each request is sent once: what is tried again, the SDK does.
    once = HttpSettings(attempts_max=1)
    if sdk == "mistral":
        return MistralUpstream(url, key=Key("key-of-the-service", "a test"), settings=once)
    credentials = Credentials(token="key-of-the-service")  # type: ignore[no-untyped-call]
    return VertexUpstream("a-project", "europe-west4", credentials=credentials, base_url=url, settings=once)


@contextlib.asynccontextmanager
async def gateway_to(
    sdk: str, server: UpstreamServer, config: GatewayConfig | None = None, *, strict: bool = False
) -> AsyncIterator[str]:
    """Run a gateway whose upstream asks a model API as the SDK does, and yield the gateway's URL."""
    upstream = _upstream_for(sdk, server.url)
    try:
        async with running_gateway(upstream, config, service=ServerConfig(port=0, strict=strict)) as url:
            yield url
    finally:
        await upstream.close()


async def both_ways(*jobs: Asked, until_gone: bool = False, strict: bool = False) -> list[Pair]:
    """Make calls without and with the gateway, in one process of Node.js.

    With `until_gone` each model API waits until the one who asked has hung up; with `strict` the gateway's
    service checks requests.
    """
    loop = asyncio.get_running_loop()
    urls: list[asyncio.Future[tuple[str, str]]] = [loop.create_future() for _ in jobs]
    is_over = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        # Tasks of their own, since a gateway takes its time to stop.
        tasks = [
            group.create_task(_stand(job, future, is_over, until_gone=until_gone, strict=strict))
            for job, future in zip(jobs, urls, strict=True)
        ]
        calls = [
            job.call | {"url": url} for job, future in zip(jobs, urls, strict=True) for url in await future
        ]
        outcomes = await ask(*calls)
        is_over.set()
    return [
        Pair(direct, behind, *task.result())
        for direct, behind, task in zip(outcomes[::2], outcomes[1::2], tasks, strict=True)
    ]


async def _stand(
    job: Asked,
    urls: asyncio.Future[tuple[str, str]],
    is_over: asyncio.Event,
    *,
    until_gone: bool,
    strict: bool,
) -> tuple[UpstreamServer, UpstreamServer]:
    """Run the model API twice, and the gateway in front of one, until it is over."""
    async with (
        UpstreamServer(*job.answers) as direct,
        UpstreamServer(*job.answers) as behind,
        gateway_to(job.call["sdk"], behind, strict=strict) as gateway_url,
    ):
        urls.set_result((direct.url, gateway_url))
        await is_over.wait()
        if until_gone:
            async with asyncio.timeout(WAIT_S):
                await direct.gone.wait()
                await behind.gone.wait()
    return direct, behind
