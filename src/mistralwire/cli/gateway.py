"""`mistralwire gateway`: the documented HTTP API at the edge, with gRPC behind it."""

import asyncio
import contextlib
import dataclasses
import functools
import json
import logging
import pathlib
import re
import shlex
from collections.abc import AsyncIterator, Callable, Sequence

import click

from mistralwire._serving.metrics_page import MetricsPage
from mistralwire._settings import BYTES_MAX, INT32_MAX, count_field, setting_field
from mistralwire.cli._upstreams import (
    KEY_VARIABLE,
    AnswerSettings,
    AnswerSource,
    Tables,
    closing,
    make_answers,
    probe,
    route_to,
    upstream_tables,
)
from mistralwire.cli._wording import printable
from mistralwire.cli.processes import Job, LogSettings, Prepared, ProcessSettings, run_job
from mistralwire.cli.settings import SettingsDefinition, SettingsError, settings_command
from mistralwire.client import TOKEN_REFUSED, Client
from mistralwire.errors import missing_import
from mistralwire.service import LocalChannel, ServerConfig
from mistralwire.upstream import ModelCatalog, Route, plain_names

try:
    from mistralwire.gateway import GatewayConfig, GatewayServer, create_app
    from mistralwire.upstream import ForwardRoutes
except ModuleNotFoundError as error:
    raise click.ClickException(str(missing_import("the gateway", error, "gateway"))) from error

_SERVICE_PROBE_S = 3.0
_MODEL = "mistral-small-latest"
# Arguments of Client whose settings have a prefix here.
_CLIENT_NAMES = r"(?<![\w'\"-])(?:insecure|tls_ca|tls_certificate|tls_key|token_file)(?![\w'\"-])"


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class ServiceSettings:
    """Settings of the service that a gateway calls; the help of each field says what it means."""

    service: str | None = setting_field(
        None,
        "Service to call: host:port, dns:///host:port or unix:path. The default port is 443.",
        "TARGET",
    )
    embedded: bool = setting_field(
        False, "Run the service in the gateway's process; the default without --service."
    )
    strict: bool = setting_field(
        False,
        "Check every request against the contract, in the service that runs in this process. By default "
        "requests for APIs are not checked, since APIs check them.",
    )
    service_insecure: bool = setting_field(False, "Allow plaintext to a service on another machine.")
    service_tls_ca: pathlib.Path | None = setting_field(
        None, "PEM file with the certificate authorities for the service's certificate.", "FILE"
    )
    service_tls_certificate: pathlib.Path | None = setting_field(
        None, "PEM file with the client certificate of the gateway, for mutual TLS.", "FILE"
    )
    service_tls_key: pathlib.Path | None = setting_field(
        None, "PEM file with the key of service_tls_certificate.", "FILE"
    )
    service_token_file: pathlib.Path | None = setting_field(
        None, "File whose first token is the bearer token for the service; # begins a comment.", "FILE"
    )
    service_connections: int = count_field(
        1,
        "Connections to the service, used round-robin. Each reaches one of its workers, so use several for "
        "each worker.",
        most=256,
    )
    models: str | None = setting_field(
        None,
        "Models that /v1/models lists, separated by commas. By default the exact names in the [[upstreams]], "
        "and for patterns with wildcards the matching models that the upstream lists.",
        "NAMES",
    )

    passthrough_url: str | None = setting_field(
        None,
        "URL of Mistral's API, or a compatible one, that serves passthrough_paths in place of the upstreams. "
        f"Required for them with service. Its key is in {KEY_VARIABLE}, or in passthrough_key_file.",
        "URL",
    )
    passthrough_key_file: pathlib.Path | None = setting_field(
        None, "File with the key for passthrough_url. Reloaded when it changes.", "FILE"
    )

    def __post_init__(self) -> None:
        """Check what depends on each other."""
        if self.embedded and self.service is not None:
            raise ValueError("expected embedded or service, found both")
        if self.strict and self.service is not None:
            raise ValueError("expected strict or service, found both: the service checks requests")
        if self.passthrough_key_file is not None and self.passthrough_url is None:
            raise ValueError("passthrough_key_file needs passthrough_url: the URL that the key is for")
        if self.service is None:
            for name in ("insecure", "tls_ca", "tls_certificate", "tls_key", "token_file"):
                if getattr(self, f"service_{name}"):
                    raise ValueError(f"service_{name} needs service: the service that it is for")
            if self.service_connections > 1:
                raise ValueError("service_connections needs service: the service to connect to")

    @property
    def model_names(self) -> tuple[str, ...]:
        """The names of `models`, one by one."""
        return tuple(filter(None, (name.strip() for name in (self.models or "").split(","))))


GATEWAY = SettingsDefinition(
    "gateway",
    {
        "answers": AnswerSettings,
        "service": ServiceSettings,
        "config": GatewayConfig,
        "processes": ProcessSettings,
        "logs": LogSettings,
    },
    {
        "recordings": "Answers",
        "service": "Service",
        "models": "Models",
        "passthrough_url": "Passthrough",
        "host": "Address",
        "tls_certificate": "Security",
        "passthrough_paths": "Passthrough",
        "contract_revision": "Contract",
        "metrics": "Metrics",
        "body_bytes_max": "Limits",
        "heartbeat_s": "Streams",
        "drain_s": "Shutdown",
        "workers": "Processes",
        "prometheus_port": "Metrics",
        "log_level": "Logs",
    },
)
"""The settings of `gateway`."""


@settings_command(GATEWAY)
def gateway(
    ctx: click.Context,
    *,
    answers: AnswerSettings,
    service: ServiceSettings,
    config: GatewayConfig,
    processes: ProcessSettings,
    logs: LogSettings,
) -> Callable[[], None]:
    """Serve the documented HTTP API, and call a service over gRPC.

    Any Mistral or OpenAI SDK can be pointed at it. The service runs in the same process, unless --service
    names another one. It asks the API that --upstream-url or the [[upstreams]] of the file name, or plays
    recordings (see "mistralwire serve --help") or a small demonstration.

    Once it listens, it prints its URL, which upstreams answer, and a curl command that works.

    SIGTERM or Ctrl-C ends the gateway: it refuses new requests, lets running ones end, and exits with 0. A
    second signal ends it at once.

    \b
    Examples:
      mistralwire gateway
      MISTRAL_API_KEY=... mistralwire gateway --upstream-url https://api.mistral.ai
      mistralwire gateway --config mistralwire.toml --port 8000
      mistralwire gateway --service dns:///service.internal:50051 --service-tls-ca ca.pem
      mistralwire gateway --config mistralwire.toml --workers 4 --prometheus-port 9464

    \b
    Exit codes:
      0  ended by a signal
      1  something that a setting names can't be used: a recording, a file, an upstream, the address;
         or the workers keep dying
      2  the command line, the environment or the file is wrong
    """  # noqa: D301 - click marks lines that keep their breaks with that character
    tables = upstream_tables(ctx, answers)
    if service.service is not None and answers != AnswerSettings():
        found = "recordings" if answers.upstream_url is None else "upstream_url"
        raise ValueError(f"expected {found} or service, found both: the service has upstreams")
    if config.metrics and processes.workers > 1:
        raise ValueError(
            "metrics serves the page of one process; set prometheus_port for one page per worker"
        )
    job = GatewayJob(
        answers=answers, service=service, config=config, processes=processes, logs=logs, tables=tables
    )
    return functools.partial(run_job, job)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class GatewayJob(Job):
    """Everything that a process of `gateway` needs to know."""

    config: GatewayConfig
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
        """Return the models for `GET /v1/models`."""
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
            backend = _remote(self) if self.service.service is not None else _embedded(self)
            client, answers = await stack.enter_async_context(backend)
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
            )
            server = GatewayServer(app, self.config)
            address = f"{self.config.host} port {self.config.port}"
            probed = routes if passthrough is None else (*routes, passthrough)
            yield Prepared(server, address, lambda: _announce(self, server.url, client, answers, probed))


@contextlib.asynccontextmanager
async def _remote(job: GatewayJob) -> AsyncIterator[tuple[Client, None]]:
    """Call a service over the network."""
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
    async with client:
        yield client, None


@contextlib.asynccontextmanager
async def _embedded(job: GatewayJob) -> AsyncIterator[tuple[Client, AnswerSource]]:
    """Run the service in this process."""
    answers = make_answers(job.answers, job.tables)
    channel = LocalChannel(answers.upstream, _service_config(job.config, strict=job.service.strict))
    async with closing(answers.upstream), Client.on(channel) as client:
        yield client, answers


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
    """Print where it listens, what answers, and how to call it."""
    what = answers.what if answers else f"calling the service at {printable(str(job.service.service))}"
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
