"""`mistralwire health`: whether a service or a gateway accepts requests, for probes."""

from typing import Any

import click

from mistralwire.cli._options import (
    check_environment,
    connection_options,
    seconds_option,
    setting,
    target_option,
)
from mistralwire.cli._wording import printable

_TARGET = "127.0.0.1:50051"
_HEALTH_HELP = """Check whether a service or a gateway accepts requests.

For the probes of containers and load balancers.

A service is checked with gRPC's health checking protocol; one without it counts as serving. A gateway, or
anything else that speaks HTTP, is checked with GET for the URL, whose path is /healthz by default, and must
answer with 200. Redirects are not followed, and proxies are not used.

\b
Examples:
  mistralwire health
  mistralwire health --target llm.example.com:443 --tls-ca ca.pem --timeout 2
  mistralwire health --url http://127.0.0.1:8080
  mistralwire health --url http://127.0.0.1:8080/readyz

\b
Exit codes:
  0  it accepts requests
  1  it does not, or can't be reached: standard error says why, in one line
  2  the command line was invalid
"""


@click.command(help=_HEALTH_HELP)
@target_option("health")
@setting("health", "url", metavar="URL", help="URL of a gateway to check instead of a service.")
@click.option(
    "--service",
    metavar="NAME",
    help="Name of the gRPC service to check, empty for the whole server; this package's own by default.",
)
@seconds_option("timeout", 3.0, "Timeout of the whole check.")
@connection_options("health")
@click.pass_context
def health(
    ctx: click.Context, /, *, target: str | None, url: str | None, service: str | None, **options: Any
) -> None:
    """Check once, and exit with 0 or 1."""
    check_environment(ctx)
    if target is not None and url is not None:
        raise click.UsageError("expected --target or --url, found both")
    if url is not None and service is not None:
        raise click.UsageError("--service is for gRPC; leave it out with --url")
    from mistralwire.cli.health._probes import probe_target, probe_url

    if url is not None:
        cause = probe_url(url, **options)
    else:
        cause = probe_target(target or _TARGET, service, **options)
    place = printable(url or target or _TARGET)
    if cause is not None:
        raise click.ClickException(f"{place} does not accept requests: {printable(cause)}")
    click.echo(f"{place} accepts requests")
