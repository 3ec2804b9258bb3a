"""What a process of `mistralwire gateway` does."""

import asyncio
import contextlib
import dataclasses
import json
import logging
import re
import shlex
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import NamedTuple

import click

from mistralwire._serving.metrics_page import MetricsPage
from mistralwire._settings import BYTES_MAX, INT32_MAX
from mistralwire.cli._server_settings import AnswerSettings, ServiceSettings, Tables, with_storage
from mistralwire.cli._upstreams import AnswerSource, closing, make_answers, probe, route_to
from mistralwire.cli._wording import printable
from mistralwire.cli.processes import Job, Prepared
from mistralwire.cli.settings import SettingsError
from mistralwire.client import TOKEN_REFUSED, Client
from mistralwire.gateway import GatewayConfig, GatewayServer, create_app
from mistralwire.log import ResponseLog
from mistralwire.service import LocalChannel, RelayConfig, ServerConfig, create_log, create_relay
from mistralwire.upstream import ForwardRoutes, ModelCatalog, Route, plain_names

_SERVICE_PROBE_S = 3.0
_MODEL = "mistral-small-latest"
# Arguments of Client whose settings have a prefix here.
_CLIENT_NAMES = r"(?<![\w'\"-])(?:insecure|tls_ca|tls_certificate|tls_key|token_file)(?![\w'\"-])"


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class GatewayJob(Job):
    """Everything that a process of `gateway` needs to know."""

    config: GatewayConfig
    relay: RelayConfig
    service: ServiceSettings
    answers: AnswerSettings
    tables: Tables

    def new_loop(self) -> asyncio.AbstractEventLoop:
        """Return an event loop of uvloop, or asyncio's where there is no uvloop."""
        try:
            import uvloop  # noqa: PLC0415 - not for Windows and PyPy
        except ModuleNotFoundError:
            return asyncio.new_event_loop()
        return uvloop.new_event_loop()

    @property
    def models(self) -> tuple[str, ...]:
        """The names of models in the settings."""
        if self.service.models is not None:
            return self.service.model_names
        return plain_names(name for table in self.tables for name in table.get("models", ()))

    def _catalog(self, answers: AnswerSource | None, passthrough: Route | None) -> ModelCatalog:
        if self.service.models is not None:
            return ModelCatalog(names=self.models)
        if answers is None:
            # Names in the settings count; without any, the API that requests pass through to is asked.
            return ModelCatalog([] if passthrough is None or self.models else [passthrough], self.models)
        return ModelCatalog(answers.routes or [Route("recordings", answers.upstream)])

    @contextlib.asynccontextmanager
    async def prepare(self, index: int | None) -> AsyncIterator[Prepared]:
        """Make the edge, and the service in this process if there is one; see `Job`.

        Raises:
            MistralwireError: If something that the settings name can't be used.
            SettingsError: If the service can't be called with these settings.
        """
        # What uvicorn logs below that level repeats what this command prints.
        logging.getLogger("uvicorn").setLevel(logging.WARNING)
        async with contextlib.AsyncExitStack() as stack:
            registry = passthrough = None
            if (port := self.processes.metrics_port(index)) is not None:
                page = MetricsPage(self.processes.prometheus_host, port)
                registry = stack.enter_context(contextlib.closing(page)).registry
            # The parent of workers serves nothing.
            relay = RelayConfig() if index is None else self.relay
            backend = _remote(self, relay) if self.service.service is not None else _embedded(self, relay)
            client, answers, log, relay_figures = await stack.enter_async_context(backend)
            routes = () if answers is None else answers.routes
            if (url := self.service.passthrough_url) is not None:
                passthrough = route_to(
                    url, "passthrough_url", "passthrough", self.service.passthrough_key_file
                )
                await stack.enter_async_context(closing(passthrough.upstream))
            app = create_app(
                client,
                self.config,
                models=self._catalog(answers, passthrough),
                registry=registry,
                forward=ForwardRoutes(routes if passthrough is None else [passthrough]),
                log=log,
                caller_bytes_max=self.relay.caller_bytes_max,
                relay_figures=relay_figures,
            )
            server = GatewayServer(app, self.config)
            address = f"{self.config.host} port {self.config.port}"
            probed = routes if passthrough is None else (*routes, passthrough)
            yield Prepared(server, address, lambda: _announce(self, server.url, client, answers, probed))


class _Backend(NamedTuple):
    """What is behind the edge: the client of a service, and what this process has of it."""

    client: Client
    answers: AnswerSource | None
    log: ResponseLog | None
    relay_figures: Callable[[], Mapping[str, int]] | None


@contextlib.asynccontextmanager
async def _remote(job: GatewayJob, relay: RelayConfig) -> AsyncIterator[_Backend]:
    service = job.service
    try:
        client = Client(
            service.service or "",
            # None: the target decides.
            insecure=service.service_insecure or None,
            tls_ca=service.service_tls_ca,
            tls_certificate=service.service_tls_certificate,
            tls_key=service.service_tls_key,
            token_file=service.service_token_file,
            attempts_max=1,
            connections=service.service_connections,
            contract_revision=job.config.contract_revision,
        )
    except ValueError as error:
        text = re.sub(_CLIENT_NAMES, r"service_\g<0>", str(error)).replace("target must", "service must")
        raise SettingsError(text) from error
    log = create_log(relay)
    async with contextlib.AsyncExitStack() as stack:
        if log is not None:
            await log.start()
            stack.push_async_callback(log.close)
        await stack.enter_async_context(client)
        yield _Backend(client, None, log, None)


@contextlib.asynccontextmanager
async def _embedded(job: GatewayJob, config: RelayConfig) -> AsyncIterator[_Backend]:
    answers = make_answers(job.answers, job.tables)
    relay = create_relay(config) if config.stores else None
    service_config = _service_config(job.config, strict=job.service.strict)
    channel = LocalChannel(answers.upstream, service_config, relay=relay)
    async with contextlib.AsyncExitStack() as stack:
        if relay is not None:
            await stack.enter_async_context(relay)
        await stack.enter_async_context(closing(answers.upstream))
        client = await stack.enter_async_context(Client.on(channel))
        if relay is None:
            yield _Backend(client, answers, None, None)
        else:
            yield _Backend(client, answers, relay.log, relay.figures)


def _service_config(config: GatewayConfig, *, strict: bool) -> ServerConfig:
    """Return settings of a service whose bounds are never reached before those of the edge."""
    return ServerConfig(
        contract_revision=config.contract_revision,
        strict=strict,
        calls_max=min(config.requests_max + 1, INT32_MAX - 1024),
        # The edge bounds them.
        bodies_bytes_max=BYTES_MAX,
        upstream_calls_max=config.requests_max,
        # A call whose caller has gone frees its slot a moment later.
        upstream_queue_max=config.requests_max,
        upstream_idle_s=config.deadline_s,
        caller_idle_s=config.caller_idle_s,
    )


async def _announce(
    job: GatewayJob, url: str, client: Client, answers: AnswerSource | None, routes: Sequence[Route]
) -> None:
    what = answers.what if answers else f"calling the service at {printable(str(job.service.service))}"
    what = with_storage(what, job.relay, "responses" if answers else "streams")
    click.echo(job.listening(url, "keys of callers", what))
    if answers is None:
        if job.tables:
            click.echo("  [[upstreams]]: not asked, since the service has its own")
        click.echo(f"  service: {await _service_state(client)}")
    for name, reason in await probe(routes):
        click.echo(f"  {printable(name)}: {'answers' if reason is None else f'does not answer: {reason}'}")
    click.echo(f"\n  {_curl(job, url)}\n")


async def _service_state(client: Client) -> str:
    cause = await client.why_not_serving(deadline_s=_SERVICE_PROBE_S)
    if cause is None:
        return "answers"
    if cause != TOKEN_REFUSED:
        return f"not serving: {cause}"
    what = "refuses the gateway's token" if client.has_token else "wants a token, and the gateway has none"
    return f"{what}; see --service-token-file"


def _curl(job: GatewayJob, url: str) -> str:
    """Return a shell command that requests a stream from this gateway."""
    body = {
        "model": next(iter(job.models), _MODEL),
        "messages": [{"role": "user", "content": "What is the weather in Paris?"}],
        "stream": True,
    }
    # The wildcard addresses can't be called.
    url = url.replace("//0.0.0.0:", "//127.0.0.1:").replace("//[::]:", "//[::1]:")
    words = ["curl", "-sN", f"{url}/v1/chat/completions"]
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
