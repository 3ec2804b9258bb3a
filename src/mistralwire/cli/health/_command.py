"""The command `mistralwire health`: its options and its help."""

from typing import Any

import click

from mistralwire.cli._connection_options import check_seconds, connection_options, setting, target_option
from mistralwire.cli._environment import check_environment
from mistralwire.cli._wording import printable

_HELP = """Check whether a service or a gateway takes requests.

For the probes of containers and load balancers.

A service is asked by gRPC's health checking protocol; one without it counts as serving. A gateway, or
anything else that speaks HTTP, is asked with GET for the URL, whose path is /healthz by default, and must
answer with 200. Redirects are not followed, and proxies are not used.

\b
Examples:
  mistralwire health
  mistralwire health --target llm.example.com:443 --tls-ca ca.pem --timeout 2
  mistralwire health --url http://127.0.0.1:8080
  mistralwire health --url http://127.0.0.1:8080/readyz

\b
Exit codes:
  0  it takes requests
  1  it does not, or can't be reached: standard error says why, in one line
  2  the command line was invalid
"""


@click.command(help=_HELP)
@target_option("health")
@setting("health", "url", metavar="URL", help="The gateway to ask, instead of a service.")
@click.option(
    "--service",
    metavar="NAME",
    help="Name of the gRPC service to ask for, empty for the whole server; this package's own by default.",
)
@click.option(
    "--timeout",
    "timeout_s",
    type=float,
    callback=check_seconds,
    default=3.0,
    show_default=True,
    metavar="SECONDS",
    help="Timeout of the whole check.",
)
@connection_options("health")
@click.pass_context
def health(ctx: click.Context, /, *, target: str | None, url: str | None, **options: Any) -> None:
    """Ask once, and exit with 0 or 1."""
    check_environment(ctx)
    if target is not None and url is not None:
        raise click.UsageError("expected --target or --url, found both")
    service = options.pop("service")
    if url is not None:
        from mistralwire.cli.health._url_probe import probe_url

        if service is not None:
            raise click.UsageError("--service is for gRPC; leave it out with --url")
        cause = probe_url(url, **options)
    else:
        from mistralwire.cli.health._target_probe import probe_target

        cause = probe_target(target or "127.0.0.1:50051", service, **options)
    place = printable(url or target or "127.0.0.1:50051")
    if cause is not None:
        raise click.ClickException(f"{place} does not take requests: {printable(cause)}")
    click.echo(f"{place} takes requests")
