"""`mistralwire gateway`: the documented HTTP API at the edge, gRPC behind it."""

import re
from typing import Any

import click

from mistralwire._extras import missing_import
from mistralwire.cli._environment import check_environment
from mistralwire.cli._logging import configure_logging
from mistralwire.cli._settings_file import config_option, write_settings
from mistralwire.cli._settings_options import setting_options, settings_command
from mistralwire.cli._upstreams import AnswerSettings, upstream_tables
from mistralwire.cli._workers import run_job
from mistralwire.errors import MistralwireError

try:
    from mistralwire.cli._gateway import GatewayJob
    from mistralwire.cli._gateway_settings import GATEWAY
except ModuleNotFoundError as error:
    raise click.ClickException(str(missing_import("the gateway", error, "gateway"))) from error

# Names of settings of the client, which are others here.
_CLIENT_NAMES = r"(?<![\w'\"-])(?:insecure|tls_ca|tls_certificate|tls_key|token_file)(?![\w'\"-])"


@click.command(cls=settings_command(GATEWAY))
@setting_options(GATEWAY)
@config_option(GATEWAY)
@click.option("--print-config", is_flag=True, help="Print the configuration in effect as TOML, and exit.")
@click.pass_context
def gateway(ctx: click.Context, /, *, print_config: bool, **values: Any) -> None:
    """Serve the documented HTTP API, and call a service over gRPC.

    Any Mistral SDK, or OpenAI's, can be pointed at it. The service runs in the same process, unless
    --service names another one. It asks the API that --upstream-url or the [[upstreams]] of the file name, or
    plays what each RECORDING holds ("mistralwire serve --help" says more of them), or a small demonstration.

    When it listens it prints where, which upstreams answer, and a curl command that works.

    The gateway ends on SIGTERM or Ctrl-C: it takes no new requests, lets those that run end, and exits with
    0. A second signal ends it at once.

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
      1  what a setting names can't be used: a recording, a file, an upstream, the address; or the
         workers keep dying
      2  the command line, the environment or the file was wrong
    """  # noqa: D301 - click's mark for lines that stay as they are is the character itself
    check_environment(ctx)
    answers, service, config, processes, logs = GATEWAY.build(values, ctx)
    tables = upstream_tables(ctx, answers)
    if service.service is not None and answers != AnswerSettings():
        found = "--upstream-url" if answers.upstream_url is not None else "recordings"
        raise click.UsageError(f"expected {found} or --service, found both: the service has upstreams", ctx)
    if config.metrics and processes.workers > 1:
        message = "metrics serves the page of one process; set prometheus_port for one of each worker"
        raise click.UsageError(GATEWAY.in_words_of(ctx, message), ctx)
    if print_config:
        click.echo(write_settings(GATEWAY, values, ctx))
        return
    configure_logging(logs.log_level, logs.log_format)
    job = GatewayJob(
        answers=answers, service=service, config=config, processes=processes, logs=logs, tables=tables
    )
    try:
        run_job(job)
    except MistralwireError as error:
        raise click.ClickException(
            GATEWAY.with_place(ctx, _own_names(error.message, service.service))
        ) from error
    except ValueError as error:
        raise click.UsageError(
            GATEWAY.in_words_of(ctx, _own_names(str(error), service.service)), ctx
        ) from error


def _own_names(text: str, service: str | None) -> str:
    """Put the settings of the gateway in the place of those of the client that it calls a service with."""
    if service is None:
        return text
    return re.sub(_CLIENT_NAMES, r"service_\g<0>", text).replace("target must", "service must")
