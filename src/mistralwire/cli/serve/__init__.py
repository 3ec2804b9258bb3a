"""`mistralwire serve`: a gRPC service that calls upstreams, or replays recordings."""

from collections.abc import Callable
from typing import Any

import click

from mistralwire.cli._server_settings import (
    AnswerSettings,
    LogSettings,
    ProcessSettings,
    check_workers,
    upstream_tables,
)
from mistralwire.cli.settings import SettingsDefinition, settings_command
from mistralwire.service import RelayConfig, ServerConfig

SERVE = SettingsDefinition(
    "serve",
    {
        "answers": AnswerSettings,
        "config": ServerConfig,
        "relay": RelayConfig,
        "processes": ProcessSettings,
        "logs": LogSettings,
    },
    {
        "recordings": "Answers",
        "host": "Address",
        "tls_certificate": "Security",
        "reflection": "Services",
        "contract_revision": "Contract",
        "message_bytes_max": "Limits",
        "stream_message_chunks_max": "Streams",
        "handshake_s": "Connections",
        "keepalive_s": "Keepalive",
        "drain_s": "Shutdown",
        "data": "Stored responses",
        "workers": "Processes",
        "prometheus_port": "Metrics",
        "log_level": "Logs",
    },
)
"""The settings of `serve`."""


@settings_command(SERVE)
def serve(
    ctx: click.Context,
    *,
    answers: AnswerSettings,
    relay: RelayConfig,
    processes: ProcessSettings,
    **settings: Any,
) -> Callable[[], None]:
    """Serve chat completions over gRPC.

    Answers all methods of mistralwire.v1.ChatCompletionService, with health checking and, on a loopback
    address, reflection. Answers come from the API named by --upstream-url or [[upstreams]], from recordings,
    or by default from a small recorded demonstration.

    \b
    A RECORDING is one of
      a .json file  the body of a response
      an .sse file  the bytes of a stream; a comment line ": delay 120" is a
                    pause of 120 milliseconds before the next event
      a folder      all the .json and .sse files in it

    Files whose names begin with "fim" answer fill-in-the-middle requests, the others chat requests; several
    files are used round-robin. .sse files answer streaming requests and .json files the others, but either
    kind answers both where the other is missing.

    SIGTERM or Ctrl-C stops the service: it refuses new calls, waits for running ones, and exits with 0. A
    second signal ends it at once.

    Recordings are the setting "recordings": in the environment they are separated like the entries of PATH,
    in the file they are an array. Paths in the file are relative to its folder.

    With --data or --log, responses are stored: they can be followed, resumed, cancelled and read again.

    \b
    Examples:
      mistralwire serve
      mistralwire serve --data responses/
      mistralwire serve recordings/ --port 8080 --chunks-per-second 50
      MISTRAL_API_KEY=... mistralwire serve --upstream-url https://api.mistral.ai
      mistralwire serve --host 0.0.0.0 --tls-certificate cert.pem --tls-key key.pem --workers 4
      mistralwire serve --print-config > mistralwire.toml && mistralwire serve --config mistralwire.toml
      curl -sN https://... > answer.sse && mistralwire serve answer.sse

    \b
    Exit codes:
      0  ended by a signal
      1  something that a setting names can't be used: a recording, a file, an upstream, the address;
         or the workers keep dying
      2  the command line, the environment or the file is wrong
    """  # noqa: D301 - click marks lines that keep their breaks with that character
    tables = upstream_tables(ctx, answers)
    check_workers(processes, relay)

    def run() -> None:
        from mistralwire.cli.processes.workers import run_job
        from mistralwire.cli.serve._job import ServeJob

        run_job(ServeJob(answers=answers, tables=tables, relay=relay, processes=processes, **settings))

    return run
