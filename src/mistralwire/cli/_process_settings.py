"""The settings of the processes that `serve` and `gateway` run in."""

import dataclasses
from collections.abc import Sequence

from mistralwire._addresses import check_share_port
from mistralwire._settings import setting_field


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class ProcessSettings:
    """What a command is told of its processes; the help of each field says what it means."""

    workers: int = setting_field(
        1, "Processes that share the port, on Linux; each has limits of its own.", "N", 1, 1024
    )
    prometheus_port: int | None = setting_field(
        None,
        "Port to serve metrics for Prometheus on; with workers, the first one's: each other one has the "
        "next. Needs the extra otel.",
        "PORT",
        1,
        65_535,
    )
    prometheus_host: str = setting_field(
        "127.0.0.1", "Address to serve metrics on, in plain HTTP to whoever asks.", "HOST"
    )

    def __post_init__(self) -> None:
        """Check what depends on each other."""
        check_share_port("workers", is_shared=self.workers > 1)
        if self.prometheus_port is not None and self.prometheus_port + self.workers - 1 > 65_535:
            raise ValueError("prometheus_port leaves too few ports above it for workers: each needs one")
        if not self.prometheus_host:
            raise ValueError("prometheus_host must not be empty; 127.0.0.1 is this machine")

    def with_facts(self, facts: Sequence[str]) -> str:
        """Return what goes behind an address: facts of its server, and how many workers there are."""
        if self.workers > 1:
            facts = [*facts, f"{self.workers} workers"]
        return f" with {', '.join(facts)}" if facts else ""
