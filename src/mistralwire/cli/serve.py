"""`mistralwire serve`: a gRPC service that asks upstreams, or plays recorded answers."""

from typing import Any

import click

from mistralwire.cli._environment import check_environment
from mistralwire.cli._logging import configure_logging
from mistralwire.cli._serve import ServeJob
from mistralwire.cli._serve_settings import SERVE
from mistralwire.cli._settings_file import config_option, write_settings
from mistralwire.cli._settings_options import setting_options, settings_command
from mistralwire.cli._upstreams import upstream_tables
from mistralwire.cli._workers import run_job
from mistralwire.errors import MistralwireError


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
    answers, config, processes, logs = SERVE.build(values, ctx)
    tables = upstream_tables(ctx, answers)
    job = ServeJob(answers=answers, config=config, processes=processes, logs=logs, tables=tables)
    if print_config:
        click.echo(write_settings(SERVE, values, ctx))
        return
    configure_logging(logs.log_level, logs.log_format)
    try:
        run_job(job)
    except MistralwireError as error:
        raise click.ClickException(SERVE.with_place(ctx, error.message)) from error
