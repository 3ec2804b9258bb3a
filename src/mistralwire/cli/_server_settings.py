"""Settings of `serve` and `gateway`: of answers, a service to call, processes and the log."""

import dataclasses
import pathlib
from collections.abc import Sequence
from typing import Any, Literal

import click

from mistralwire._addresses import check_share_port
from mistralwire._settings import count_field, setting_field
from mistralwire.cli._wording import printable
from mistralwire.cli.settings import SettingsError, SettingsFile
from mistralwire.service import RelayConfig

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
        f"Required with --service. Its key is in {KEY_VARIABLE}, or in passthrough_key_file.",
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


def check_workers(processes: ProcessSettings, relay: RelayConfig) -> None:
    """Raise a SettingsError if there are several workers for a log that a single process uses."""
    if processes.workers > 1 and relay.is_embedded:
        name = "data" if relay.data is not None else "log"
        raise SettingsError(
            f"workers must be 1 with {name}, found {processes.workers}: a single process uses those "
            "responses; for several, store them in NATS, such as nats://127.0.0.1:4222"
        )


def with_storage(what: str, relay: RelayConfig, stored: str = "responses") -> str:
    """Return what a server does, followed by where it stores something; a URL may have a password."""
    if relay.data is not None:
        return f"{what}, storing {stored} in {printable(str(relay.data))}"
    if relay.log is not None:
        return f"{what}, storing {stored} in {'memory' if relay.log == 'memory' else 'NATS'}"
    return what


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
