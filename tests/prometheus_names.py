"""The metrics of docs/reference.md, by their names on the page for Prometheus."""

import pathlib
import re

REFERENCE = pathlib.Path(__file__).parents[1] / "docs" / "reference.md"
# Of prometheus_client, on the page of every process, and of Prometheus itself.
PROCESS_METRICS = {
    "process_cpu_seconds_total",
    "process_max_fds",
    "process_open_fds",
    "process_resident_memory_bytes",
    "process_start_time_seconds",
    "up",
}


def labels_by_metric() -> dict[str, set[str]]:
    """Return the labels of each metric by its name on the page for Prometheus, after docs/reference.md."""
    labels: dict[str, set[str]] = {name: set() for name in PROCESS_METRICS}
    text = REFERENCE.read_text().partition("\n## Metrics\n")[2].partition("\n## ")[0]
    common = text.partition("The common attributes are ")[2].partition("mistralwire.finish_reason")[0]
    for name, kind, unit, last in re.findall(
        r"^\| `(\S+)` \| (\w+) \| (\S+) \| .* \| (.+) \|$", text, re.MULTILINE
    ):
        attributes = re.findall(r"`([\w.]+)`", last + common * last.startswith("common"))
        base = name if "." not in name else name.replace(".", "_") + {"s": "_seconds"}.get(unit, "")
        names = {base}
        if kind == "histogram":
            names = {f"{base}_{suffix}" for suffix in ("bucket", "sum", "count")}
        elif kind == "counter":
            names = {base.removesuffix("_total") + "_total"}
        for full in names:
            more = {"le"} if full.endswith("_bucket") else set()
            labels.setdefault(full, set()).update(
                more, (attribute.replace(".", "_") for attribute in attributes)
            )
    return labels
