"""`mistralwire serve`: a gRPC service that asks upstreams, or plays recorded answers."""

import asyncio
import dataclasses
import os
import signal
from collections.abc import Callable
from typing import Any

import click

from mistralwire.cli._environment import check_environment
from mistralwire.cli._logging import configure_logging
from mistralwire.cli._serve_settings import SERVE
from mistralwire.cli._serving import ServeJob, make_server, serve_until_signal, serving_metrics
from mistralwire.cli._settings_file import config_option, write_settings
from mistralwire.cli._settings_options import setting_options, settings_command
from mistralwire.cli._upstreams import Source, upstream_tables
from mistralwire.cli._workers import Workers, reserved_port
from mistralwire.errors import MistralwireError
from mistralwire.service import Server


@click.command(cls=settings_command(SERVE))
@setting_options(SERVE)
@config_option(SERVE)
@click.option("--print-config", is_flag=True, help="Print the configuration in effect as TOML, and exit.")
@click.pass_context
def serve(ctx: click.Context, /, *, print_config: bool, **values: Any) -> None:
    """Serve chat completions over gRPC.

    Answers all methods of mistralwire.v1.ChatCompletionService, from an API that --upstream-url or the
    [[upstreams]] of the file name, from what each RECORDING holds, or, without any of them, with a small
    demonstration. Health checking is included, and on a loopback address reflection.

    \b
    A RECORDING is one of
      a .json file  the body of an answer
      an .sse file  the bytes of a stream; a comment line ": delay 120" is a
                    pause of 120 milliseconds before the next event
      a folder      all the .json and .sse files in it

    Files whose name begins with "fim" answer fill-in-the-middle requests, the others chat requests; several
    take turns. Streaming requests are answered from .sse files and the rest from .json files, but either
    answers for the other if need be.

    The service ends on SIGTERM or Ctrl-C: it takes no new calls, lets those that run end, and exits with 0.
    A second signal ends it at once.

    The recordings are the setting "recordings": in the environment separated like the folders of PATH, in
    the file an array. Paths in the file are relative to its folder.

    \b
    Examples:
      mistralwire serve
      mistralwire serve recordings/ --port 8080 --chunks-per-second 50
      MISTRAL_API_KEY=... mistralwire serve --upstream-url https://api.mistral.ai
      mistralwire serve --host 0.0.0.0 --tls-certificate cert.pem --tls-key key.pem --workers 4
      mistralwire serve --print-config > mistralwire.toml && mistralwire serve --config mistralwire.toml
      curl -sN https://... > answer.sse && mistralwire serve answer.sse

    \b
    Exit codes:
      0  ended by a signal
      1  what a setting names can't be used: a recording, a file, an upstream, the address; or the
         workers keep dying
      2  the command line, the environment or the file was wrong
    """  # noqa: D301 - click's mark for lines that stay as they are is the character itself
    check_environment(ctx)
    answers, config, settings, logs = SERVE.build(values, ctx)
    job = ServeJob(answers, config, settings, logs, upstream_tables(ctx, answers))
    if print_config:
        click.echo(write_settings(SERVE, values, ctx))
        return
    configure_logging(logs.log_level, logs.log_format)
    try:
        if settings.workers == 1:
            with serving_metrics(settings, 0) as observers:
                server, source = make_server(job, observers)
                asyncio.run(serve_until_signal(server, source, _announcement(server, source, job)))
        else:
            _run_workers(job)
    except MistralwireError as error:
        raise click.ClickException(SERVE.with_place(ctx, error.message)) from error


def _run_workers(job: ServeJob) -> None:
    # Is never started: it finds out what can't be played, and says what is.
    server, source = make_server(job)
    with reserved_port(job.config, server.address) as server.port:
        config = dataclasses.replace(job.config, port=server.port)
        workers = Workers(dataclasses.replace(job, config=config))
        last_signal = asyncio.run(workers.run(_announcement(server, source, job)))
    if last_signal == signal.SIGINT:
        raise KeyboardInterrupt
    if last_signal is not None:
        signal.signal(last_signal, signal.SIG_DFL)
        os.kill(os.getpid(), last_signal)


def _announcement(server: Server, source: Source, job: ServeJob) -> Callable[[], None]:
    """Give a function that says where the server listens, once it does."""
    facts = []
    if job.config.tls_certificate is not None:
        facts.append("TLS" if job.config.tls_client_ca is None else "mutual TLS")
    if job.config.token_file is not None:
        facts.append("bearer tokens")
    if job.settings.workers > 1:
        facts.append(f"{job.settings.workers} workers")
    with_ = f" with {', '.join(facts)}" if facts else ""
    return lambda: click.echo(f"listening on {server.address}{with_}, {source.what}; Ctrl-C ends it")
