"""The other gateways, from wheels: the command, environment and configuration of each.

They run in an environment of the benchmark's own, at the versions of gateways.txt. Each serves the
same route to the same upstream, with a key for its callers if it has keys, and logs errors only.
"""

import json
import os
import pathlib
import re
from typing import Any

from benchmarks.gateway import scenarios

FOLDER = pathlib.Path(__file__).parents[2] / ".venv-gateways"
REQUIREMENTS = pathlib.Path(__file__).parent / "gateways.txt"

Command = tuple[list[str], dict[str, str]]
"""A command and what it has for its environment."""


def versions() -> dict[str, str]:
    """Return the versions by the name of the wheel."""
    return dict(re.findall(r"^(\S+)==(\S+)$", REQUIREMENTS.read_text(), re.MULTILINE))


def smg(upstream_port: int, port: int, key: str, metrics_port: int) -> Command:
    """Return how smg runs: as a router before one OpenAI-compatible server.

    Its policy is the cheapest it has: with one upstream there is nothing to choose.
    """
    options = {
        "--host": "127.0.0.1",
        "--port": str(port),
        "--worker-urls": f"http://127.0.0.1:{upstream_port}",
        "--backend": "openai",
        "--policy": "passthrough",
        "--api-key": key,
        "--prometheus-host": "127.0.0.1",
        "--prometheus-port": str(metrics_port),
        "--log-level": "error",
        "--shutdown-grace-period-secs": "1",
    }
    pairs = [part for option in options.items() for part in option]
    return [_program("smg"), "launch", *pairs, "--disable-load-monitoring"], dict(os.environ)


def ferrogw(upstream_port: int, port: int, key: str, folder: pathlib.Path) -> Command:
    """Return how ferrogw runs: with its Mistral provider as the one target, and a master key."""
    config = folder / "ferrogw.json"
    config.write_text(json.dumps({"strategy": {"mode": "single"}, "targets": [{"virtual_key": "mistral"}]}))
    own = {
        "PORT": str(port),
        "HOME": str(folder),
        "GATEWAY_CONFIG": str(config),
        "MASTER_KEY": key,
        "MISTRAL_API_KEY": "unused",
        "MISTRAL_BASE_URL": f"http://127.0.0.1:{upstream_port}/v1",
        # It has a list of models of its own, and would fetch a newer one.
        "FERRO_MODEL_CATALOG_TIMEOUT": "0",
        "LOG_LEVEL": "error",
        # By default it has a rate limit for each address.
        "RATE_LIMIT_RPS": "1000000",
        "RATE_LIMIT_BURST": "1000000",
    }
    return [_program("ferrogw"), "serve"], own


def envoy(upstream_port: int, port: int, folder: pathlib.Path) -> Command:
    """Return how Envoy runs: as an HTTP proxy on one thread, which parses no body."""
    config = folder / "envoy.json"
    config.write_text(json.dumps(_envoy_config(upstream_port, port)))
    options = ("--use-dynamic-base-id", "--concurrency", "1", "--log-level", "error")
    return [_program("envoy"), "--config-path", str(config), *options], dict(os.environ)


def _program(name: str) -> str:
    return str(FOLDER / "bin" / name)


def _envoy_config(upstream_port: int, port: int) -> dict[str, Any]:
    types = "type.googleapis.com/envoy.extensions.filters"
    router = {"name": "router", "typed_config": {"@type": f"{types}.http.router.v3.Router"}}
    route = {"match": {"prefix": scenarios.PATH}, "route": {"cluster": "upstream", "timeout": "600s"}}
    manager = {
        "@type": f"{types}.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "proxy",
        "codec_type": "HTTP1",
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [route]}]},
        "http_filters": [router],
    }
    filters = [{"name": "http", "typed_config": manager}]
    listener = {"name": "proxy", "address": _address(port), "filter_chains": [{"filters": filters}]}
    endpoint = {"endpoint": {"address": _address(upstream_port)}}
    cluster = {
        "name": "upstream",
        "type": "STATIC",
        "load_assignment": {"cluster_name": "upstream", "endpoints": [{"lb_endpoints": [endpoint]}]},
    }
    return {"static_resources": {"listeners": [listener], "clusters": [cluster]}}


def _address(port: int) -> dict[str, Any]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}
