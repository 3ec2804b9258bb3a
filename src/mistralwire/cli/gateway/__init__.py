"""`mistralwire gateway`: Mistral's HTTP API at the edge, with gRPC behind it."""

from collections.abc import Callable

import click

from mistralwire.cli._server_settings import (
    AnswerSettings,
    LogSettings,
    ProcessSettings,
    ServiceSettings,
    check_workers,
    upstream_tables,
)
from mistralwire.cli.settings import SettingsDefinition, SettingsError, settings_command
from mistralwire.gateway import GatewayConfig
from mistralwire.service import RelayConfig

GATEWAY = SettingsDefinition(
    "gateway",
    {
        "answers": AnswerSettings,
        "service": ServiceSettings,
        "config": GatewayConfig,
        "relay": RelayConfig,
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
        "openai": "OpenAI's API",
        "contract_revision": "Contract",
        "metrics": "Metrics",
        "body_bytes_max": "Limits",
        "heartbeat_s": "Streams",
        "drain_s": "Shutdown",
        "data": "Stored responses",
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
    relay: RelayConfig,
    processes: ProcessSettings,
    logs: LogSettings,
) -> Callable[[], None]:
    """Serve Mistral's HTTP API, in front of a service.

    Any Mistral or OpenAI SDK can be pointed at it. The service runs in the same process, unless --service
    names another one. Answers come from the API named by --upstream-url or [[upstreams]], from recordings
    (see "mistralwire serve --help"), or by default from a small recorded demonstration.

    With --data or --log, responses are stored: they can be followed, resumed, cancelled and read again.

    Once it listens, it prints its URL, which upstreams answer, and a curl command that works.

    SIGTERM or Ctrl-C stops the gateway: it refuses new requests, waits for running ones, and exits with 0. A
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
        raise SettingsError(f"expected {found} or service, found both: the service has upstreams")
    check_workers(processes, relay)
    if config.metrics and processes.workers > 1:
        raise SettingsError(
            "metrics serves the page of one process; set prometheus_port for one page per worker"
        )

    def run() -> None:
        from mistralwire.cli.gateway._job import GatewayJob
        from mistralwire.cli.processes.workers import run_job

        run_job(
            GatewayJob(
                answers=answers,
                service=service,
                config=config,
                relay=relay,
                processes=processes,
                logs=logs,
                tables=tables,
            )
        )

    return run
