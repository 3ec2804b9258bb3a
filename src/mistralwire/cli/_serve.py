"""The process of `serve`: its server, and what that answers from."""

import asyncio
import contextlib
import dataclasses
from collections.abc import AsyncIterator, Iterator

import click

from mistralwire.cli._serving import Job, Prepared
from mistralwire.cli._upstreams import Source, closing, make_source
from mistralwire.service import AccessLog, CallObserver, Server, ServerConfig, create_server, start_prometheus


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class ServeJob(Job):
    """All that a process of `serve` has to know."""

    config: ServerConfig

    def new_loop(self) -> asyncio.AbstractEventLoop:
        """Return the event loop: that of asyncio, as grpc has a loop of its own beside it."""
        return asyncio.new_event_loop()

    @contextlib.asynccontextmanager
    async def prepare(self, index: int | None) -> AsyncIterator[Prepared]:
        """Make the server; see `Job`."""
        with self._metrics(index) as observers:
            source = make_source(self.answers, self.tables)
            server = create_server(source.upstream, self.config, (AccessLog(), *observers))

            async def announce() -> None:
                self._announce(server, source)

            async with closing(source.upstream):
                yield Prepared(server, server.address, announce)

    @contextlib.contextmanager
    def _metrics(self, index: int | None) -> Iterator[tuple[CallObserver, ...]]:
        """Serve metrics for Prometheus while the block runs, if that was asked for."""
        processes = self.processes
        if index is None or processes.prometheus_port is None:
            yield ()
            return
        port = processes.prometheus_port + index
        with contextlib.closing(start_prometheus(processes.prometheus_host, port)) as endpoint:
            yield (endpoint.observer,)

    def _announce(self, server: Server, source: Source) -> None:
        facts = []
        if self.config.tls_certificate is not None:
            facts.append("TLS" if self.config.tls_client_ca is None else "mutual TLS")
        if self.config.token_file is not None:
            facts.append("bearer tokens")
        with_ = self.processes.with_facts(facts)
        click.echo(f"listening on {server.address}{with_}, {source.what}; Ctrl-C ends it")
