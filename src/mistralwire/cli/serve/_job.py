"""What a process of `mistralwire serve` does."""

import asyncio
import contextlib
import dataclasses
from collections.abc import AsyncIterator

import click

from mistralwire.cli._server_settings import AnswerSettings, Tables, with_storage
from mistralwire.cli._upstreams import closing, make_answers
from mistralwire.cli.processes import Job, Prepared
from mistralwire.service import (
    AccessLog,
    CallObserver,
    RelayConfig,
    ServerConfig,
    create_relay,
    create_server,
    start_prometheus,
)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class ServeJob(Job):
    """Everything that a process of `serve` needs to know."""

    config: ServerConfig
    relay: RelayConfig
    answers: AnswerSettings
    tables: Tables

    def new_loop(self) -> asyncio.AbstractEventLoop:
        """Return asyncio's own event loop; grpc has a loop of its own beside it."""
        return asyncio.new_event_loop()

    @contextlib.asynccontextmanager
    async def prepare(self, index: int | None) -> AsyncIterator[Prepared]:
        """Make the server; see `Job`."""
        answers = make_answers(self.answers, self.tables)
        observers: list[CallObserver] = [AccessLog()]
        async with contextlib.AsyncExitStack() as stack:
            if (port := self.processes.metrics_port(index)) is not None:
                endpoint = start_prometheus(self.processes.prometheus_host, port)
                observers.append(stack.enter_context(contextlib.closing(endpoint)).observer)
            # The parent of workers serves nothing.
            is_storing = index is not None and self.relay.stores
            relay = create_relay(self.relay) if is_storing else None
            server = create_server(answers.upstream, self.config, observers, relay=relay)

            async def announce() -> None:
                what = with_storage(answers.what, self.relay)
                click.echo(self.listening(server.address, "bearer tokens", what))

            if relay is not None:
                await stack.enter_async_context(relay)
            await stack.enter_async_context(closing(answers.upstream))
            yield Prepared(server, server.address, announce)
