"""One call made twice: of a model API itself, and of the gateway in front of one."""

import asyncio
import contextlib
import json
import pathlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any, NamedTuple

from mistralwire.gateway import GatewayConfig
from mistralwire.service import ServerConfig
from mistralwire.upstream import HttpSettings, MistralUpstream
from tests.gateway_stack import running_gateway
from tests.upstream_server import Answer, Received, UpstreamServer, json_answer, sse_answer

DATA = pathlib.Path(__file__).parent.parent / "data"
ONCE = HttpSettings(attempts_max=1)
WAIT_S = 30

Call = Callable[[str], Awaitable[Any]]


class Outcome(NamedTuple):
    """What a call came to.

    Attributes:
        result: What it gave.
        received: The requests that the model API got for it.
    """

    result: Any
    received: list[Received]


def recorded(name: str) -> Answer:
    """Return an answer with a file of tests/data as its body; the extension is its kind."""
    body = (DATA / name).read_bytes()
    return sse_answer(body) if name.endswith(".sse") else json_answer(body)


def chunks_answer(*names: str) -> Answer:
    """Return a stream of documents of tests/data/documents, one event each."""
    documents = [json.loads((DATA / "documents" / f"{name}.json").read_bytes()) for name in names]
    return sse_answer(*(f"data: {json.dumps(each)}\n\n".encode() for each in documents), b"data: [DONE]\n\n")


@contextlib.asynccontextmanager
async def gateway_to(
    server: UpstreamServer,
    config: GatewayConfig | None = None,
    settings: HttpSettings = ONCE,
    *,
    is_embedded: bool = False,
    strict: bool = False,
) -> AsyncIterator[str]:
    """Run a gateway whose upstream is a server, and yield its URL. It does not retry by itself."""
    service = ServerConfig(port=0, strict=strict)
    upstream = MistralUpstream(server.url, settings=settings)
    try:
        async with running_gateway(upstream, config, service=service, is_embedded=is_embedded) as url:
            yield url
    finally:
        await upstream.close()


class Stack(NamedTuple):
    """A model API, and a gateway in front of it, for many calls one after another.

    The events of the server are of no use here: a call may be over before the server has seen it.

    Attributes:
        server: The model API.
        url: The gateway's.
    """

    server: UpstreamServer
    url: str

    async def directly(self, call: Call, *answers: Answer) -> Outcome:
        """Make a call of the model API, which gives these answers."""
        return await self._asked(self.server.url, call, answers)

    async def through(self, call: Call, *answers: Answer) -> Outcome:
        """Make a call of the gateway, whose upstream gives these answers."""
        return await self._asked(self.url, call, answers)

    async def same_both_ways(self, call: Call, answer: Answer) -> Outcome:
        """Make a call both ways, and check that neither side can tell which it was.

        Returns:
            The outcome of the call through the gateway.
        """
        direct, through = await self.directly(call, answer), await self.through(call, answer)
        assert through.result == direct.result
        assert [*map(bodies, through.received)] == [*map(bodies, direct.received)]
        return through

    async def _asked(self, url: str, call: Call, answers: Sequence[Answer]) -> Outcome:
        self.server.answers.clear()
        self.server.answers.extend(answers)
        self.server.received.clear()
        result = await asyncio.wait_for(call(url), WAIT_S)
        return Outcome(result, [*self.server.received])


def bodies(request: Received) -> tuple[str, Any]:
    """Return the path and the document of a request."""
    return request.path, json.loads(request.body)
