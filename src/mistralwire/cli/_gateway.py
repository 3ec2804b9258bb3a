"""The process of `gateway`: the edge, and the service with it or elsewhere."""

import asyncio
import contextlib
import dataclasses
import json
import logging
import shlex
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any

import click

from mistralwire._serving.metrics_page import MetricsPage
from mistralwire._settings import BYTES_MAX, INT32_MAX
from mistralwire.cli._gateway_settings import ServiceSettings
from mistralwire.cli._serving import Job, Prepared
from mistralwire.cli._upstreams import Source, closing, make_source, probe, route_to
from mistralwire.cli._wording import printable
from mistralwire.client import TOKEN_REFUSED, Client
from mistralwire.gateway import GatewayConfig, GatewayServer, create_app
from mistralwire.service import LocalChannel, ServerConfig
from mistralwire.upstream import ForwardRoutes, ModelCatalog, Route, plain_names

_PROBE_S = 3.0
_MODEL = "mistral-small-latest"


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class GatewayJob(Job):
    """All that a process of `gateway` has to know.

    Attributes:
        service: Which service it calls.
    """

    config: GatewayConfig
    service: ServiceSettings

    def new_loop(self) -> asyncio.AbstractEventLoop:
        """Return the event loop: uvloop's, or asyncio's where that does not exist."""
        try:
            import uvloop  # noqa: PLC0415 - there is none for Windows and PyPy
        except ModuleNotFoundError:
            return asyncio.new_event_loop()
        return uvloop.new_event_loop()

    @property
    def models(self) -> tuple[str, ...]:
        """The names of models that the settings have."""
        if self.service.models is not None:
            return self.service.model_names
        return plain_names(name for table in self.tables for name in table.get("models", ()))

    def _catalog(self, source: Source | None, passthrough: Route | None) -> ModelCatalog:
        """Return the models for `GET /v1/models`."""
        if self.service.models is not None:
            return ModelCatalog(names=self.models)
        if source is None:
            # Names that were given count; otherwise there is somebody to ask.
            return ModelCatalog([] if passthrough is None or self.models else [passthrough], self.models)
        return ModelCatalog(source.routes or [Route("recordings", source.upstream)])

    @contextlib.asynccontextmanager
    async def _passthrough(self) -> AsyncIterator[Route | None]:
        """Make the route of `passthrough_url`; None if it is not set."""
        service = self.service
        if service.passthrough_url is None:
            if service.passthrough_key_file is not None:
                raise ValueError("passthrough_key_file needs passthrough_url: what the key is for")
            yield None
            return
        url, key_file = service.passthrough_url, service.passthrough_key_file
        route = route_to(url, "passthrough_url", "passthrough", key_file)
        async with closing(route.upstream):
            yield route

    @contextlib.asynccontextmanager
    async def prepare(self, index: int | None) -> AsyncIterator[Prepared]:
        """Make the edge, and the service with it; see `Job`.

        Raises:
            MistralwireError: As for `Job`.
            ValueError: If the service can't be called as the settings have it.
        """
        # What it logs below that is said here already.
        logging.getLogger("uvicorn").setLevel(logging.WARNING)
        backend = _remote(self) if self.service.service is not None else _embedded(self)
        with self._metrics(index) as registry:
            async with backend as (client, source), self._passthrough() as passthrough:
                routes = () if source is None else source.routes
                app = create_app(
                    client,
                    self.config,
                    models=self._catalog(source, passthrough),
                    registry=registry,
                    forward=ForwardRoutes(routes if passthrough is None else [passthrough]),
                )
                server = GatewayServer(app, self.config)
                address = f"{self.config.host} port {self.config.port}"
                probed = [*routes, *([] if passthrough is None else [passthrough])]
                yield Prepared(server, address, lambda: _announce(self, server.url, client, source, probed))

    @contextlib.contextmanager
    def _metrics(self, index: int | None) -> Iterator[Any]:
        """Serve metrics for Prometheus while the block runs, if that was asked for; yield their registry."""
        processes = self.processes
        if index is None or processes.prometheus_port is None:
            yield None
            return
        port = processes.prometheus_port + index
        with contextlib.closing(MetricsPage(processes.prometheus_host, port)) as page:
            yield page.registry


@contextlib.asynccontextmanager
async def _remote(job: GatewayJob) -> AsyncIterator[tuple[Client, Source | None]]:
    """Call a service over the network."""
    service = job.service
    async with Client(
        service.service or "",
        # What is not said is found out from the target.
        insecure=service.service_insecure or None,
        tls_ca=service.service_tls_ca,
        tls_certificate=service.service_tls_certificate,
        tls_key=service.service_tls_key,
        token_file=service.service_token_file,
        attempts_max=1,
        connections=service.service_connections,
        contract_revision=job.config.contract_revision,
    ) as client:
        yield client, None


@contextlib.asynccontextmanager
async def _embedded(job: GatewayJob) -> AsyncIterator[tuple[Client, Source]]:
    """Run the service in this process."""
    source = make_source(job.answers, job.tables)
    channel = LocalChannel(source.upstream, _service_config(job.config, strict=job.service.strict))
    async with closing(source.upstream), Client.on(channel) as client:
        yield client, source


def _service_config(config: GatewayConfig, *, strict: bool) -> ServerConfig:
    """Give the settings of a service whose bounds never come before those of the edge."""
    return ServerConfig(
        contract_revision=config.contract_revision,
        strict=strict,
        calls_max=min(config.requests_max + 1, INT32_MAX - 1024),
        # Those of the edge.
        bodies_bytes_max=BYTES_MAX,
        upstream_calls_max=config.requests_max,
        # One whose caller has gone gives its place back a moment later.
        upstream_queue_max=config.requests_max,
        upstream_idle_s=config.deadline_s,
        caller_idle_s=config.caller_idle_s,
    )


async def _announce(
    job: GatewayJob, url: str, client: Client, source: Source | None, routes: Sequence[Route]
) -> None:
    """Say where it listens, what answers, and how to ask it."""
    facts = []
    if job.config.tls_certificate is not None:
        facts.append("TLS")
    if job.config.token_file is not None:
        facts.append("keys of callers")
    with_ = job.processes.with_facts(facts)
    what = f"calling the service at {printable(str(job.service.service))}" if source is None else source.what
    click.echo(f"listening on {url}{with_}, {what}; Ctrl-C ends it")
    if source is None:
        if job.tables:
            click.echo("  [[upstreams]]: not asked, since the service has its own")
        cause = await client.why_not_serving(deadline_s=_PROBE_S)
        if cause == TOKEN_REFUSED:
            what = (
                "refuses the gateway's token"
                if client.has_token
                else "wants a token, and the gateway has none"
            )
            click.echo(f"  service: {what}; see --service-token-file")
        else:
            click.echo(f"  service: {'answers' if cause is None else f'does not serve: {cause}'}")
    for name, reason in await probe(routes):
        click.echo(f"  {printable(name)}: {'answers' if reason is None else f'does not answer: {reason}'}")
    click.echo(f"\n  {_curl(job, url)}\n")


def _curl(job: GatewayJob, url: str) -> str:
    """Give a command that asks this gateway for a stream."""
    body = {
        "model": next(iter(job.models), _MODEL),
        "messages": [{"role": "user", "content": "What is the weather in Paris?"}],
        "stream": True,
    }
    words = ["curl", "-sN", f"{_reachable(url)}/v1/chat/completions"]
    words += ["-H", "content-type: application/json", "-d", json.dumps(body)]
    if job.config.tls_certificate is not None:
        words += ["--cacert", str(job.config.tls_certificate.absolute())]
    line = shlex.join(words)
    if job.config.token_file is not None:
        # The first key of the file, without showing it.
        keys = shlex.quote(str(job.config.token_file.absolute()))
        find = rf"grep -om1 '^[[:space:]]*[A-Za-z0-9._~+/=-]\+' {keys}"
        line += f' -H "authorization: Bearer $({find})"'
    return line


def _reachable(url: str) -> str:
    """Give a URL to call: one that names all addresses of this machine is none."""
    return url.replace("//0.0.0.0:", "//127.0.0.1:").replace("//[::]:", "//[::1]:")
