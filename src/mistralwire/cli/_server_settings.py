"""Settings that `serve` and `gateway` share: of their answers, their processes and their log."""

import dataclasses
import pathlib
from collections.abc import Sequence
from typing import Any, Literal

import click

from mistralwire._addresses import check_share_port
from mistralwire._settings import setting_field
from mistralwire.cli.settings import SettingsFile

KEY_VARIABLE = "MISTRAL_API_KEY"
"""Environment variable with the key for --upstream-url."""

Tables = Sequence[dict[str, Any]]

LogFormat = Literal["text", "json"]
LogLevel = Literal["debug", "info", "warning", "error"]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class AnswerSettings:
    """Settings of where answers come from; the help of each field says what it means."""

    recordings: tuple[pathlib.Path, ...] = setting_field(
        (), "Files and folders to replay; a demonstration by default.", "RECORDING"
    )
    chunks_per_second: float | None = setting_field(
        None,
        "Pace of recorded streams. By default they keep the recorded pauses.",
        "N",
        0,
        1_000_000,
        is_above=True,
    )
    upstream_url: str | None = setting_field(
        None,
        "URL of Mistral's API, or a compatible one, to call. Its key, if it needs one, is in the environment "
        f"variable {KEY_VARIABLE}. Needs the extra gateway.",
        "URL",
    )

    def __post_init__(self) -> None:
        """Check that the settings name one place."""
        if self.upstream_url is not None and (self.recordings or self.chunks_per_second is not None):
            raise ValueError("expected recordings or upstream_url, found both")


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class ProcessSettings:
    """Settings of the processes of a command; the help of each field says what it means."""

    workers: int = setting_field(
        1, "Processes that share the port, on Linux; each has its own limits.", "N", 1, 1024
    )
    prometheus_port: int | None = setting_field(
        None,
        "Port to serve metrics for Prometheus on. With several workers it is the port of the first, and "
        "the next ports are those of the others. Needs the extra otel.",
        "PORT",
        1,
        65_535,
    )
    prometheus_host: str = setting_field(
        "127.0.0.1", "Address to serve metrics on, in plain HTTP and without authentication.", "HOST"
    )

    def __post_init__(self) -> None:
        """Check what depends on each other."""
        check_share_port("workers", is_shared=self.workers > 1)
        if self.prometheus_port is not None and self.prometheus_port + self.workers - 1 > 65_535:
            raise ValueError("prometheus_port leaves too few ports above it for workers: each needs one")
        if not self.prometheus_host:
            raise ValueError("prometheus_host must not be empty; 127.0.0.1 is this machine")

    def metrics_port(self, index: int | None) -> int | None:
        """Return the port for the metrics of a worker; None if it serves none, as their parent never does."""
        return None if index is None or self.prometheus_port is None else self.prometheus_port + index


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class LogSettings:
    """Settings of the log; the help of each field says what it means."""

    log_level: LogLevel = setting_field("info", "Minimum level of the log lines on standard error.")
    log_format: LogFormat = setting_field("text", "Format of log lines.")


def upstream_tables(ctx: click.Context, settings: AnswerSettings) -> Tables:
    """Return the tables [[upstreams]] of the file.

    Raises:
        click.UsageError: If the settings name recordings or a URL beside them.
    """
    file: SettingsFile | None = ctx.obj
    if file is None or not file.upstreams:
        return ()
    if settings != AnswerSettings():
        found = "--upstream-url" if settings.upstream_url is not None else "recordings"
        raise click.UsageError(f"expected {found} or the [[upstreams]] of {file.name}, found both", ctx)
    return file.upstreams
