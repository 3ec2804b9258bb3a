"""Envoy as a gRPC-JSON transcoder: its configuration, and the request as its JSON has it."""

import json
import pathlib
import subprocess
import sys
from typing import Any

from google.protobuf import json_format

from benchmarks.gateway import scenarios
from mistralwire.codec import from_json
from mistralwire.service import SERVICE_NAME
from mistralwire.v1 import ChatCompletionRequest

PATH = f"/{SERVICE_NAME}/ChatCompletion"

_TYPES = "type.googleapis.com/envoy.extensions"
_ROOT = pathlib.Path(__file__).parents[2]


def program(name: str) -> pathlib.Path:
    """Give a program of this environment."""
    return pathlib.Path(sys.prefix) / "bin" / name


def command(service_port: int, port: int, folder: pathlib.Path) -> list[str]:
    """Write what Envoy needs into a folder; give the command that runs it.

    Args:
        service_port: Where the gRPC service listens.
        port: Where Envoy is to listen.
        folder: The folder.
    """
    contract, config = folder / "contract.binpb", folder / "envoy.json"
    subprocess.run([program("buf"), "build", "proto", "-o", contract], cwd=_ROOT, check=True)
    config.write_text(json.dumps(_config(service_port, port, contract)))
    arguments = ("--use-dynamic-base-id", "--concurrency", "1", "--log-level", "warning")
    return [str(program("envoy")), "--config-path", str(config), *arguments]


def request_body() -> str:
    """Give the same request as the others get, in the JSON that protobuf defines."""
    request = from_json(ChatCompletionRequest, json.dumps(scenarios.request_of(is_stream=False)))
    return json.dumps(json_format.MessageToDict(request), separators=(",", ":"))


def _config(service_port: int, port: int, contract: pathlib.Path) -> dict[str, Any]:
    transcoder = {
        "@type": f"{_TYPES}.filters.http.grpc_json_transcoder.v3.GrpcJsonTranscoder",
        "proto_descriptor": str(contract),
        "services": [SERVICE_NAME],
        # The contract has no paths of its own for HTTP.
        "auto_mapping": True,
    }
    manager = {
        "@type": f"{_TYPES}.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "json",
        "codec_type": "HTTP1",
        "route_config": {
            "virtual_hosts": [
                {
                    "name": "json",
                    "domains": ["*"],
                    "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "service", "timeout": "60s"}}],
                }
            ]
        },
        "http_filters": [
            _filter("grpc_json_transcoder", transcoder),
            _filter("router", {"@type": f"{_TYPES}.filters.http.router.v3.Router"}),
        ],
    }
    chain = {"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}
    listener = {"name": "json", "address": _address(port), "filter_chains": [{"filters": [chain]}]}
    return {"static_resources": {"listeners": [listener], "clusters": [_cluster(service_port)]}}


def _cluster(service_port: int) -> dict[str, Any]:
    http2 = {
        "@type": f"{_TYPES}.upstreams.http.v3.HttpProtocolOptions",
        "explicit_http_config": {"http2_protocol_options": {}},
    }
    return {
        "name": "service",
        "type": "STATIC",
        "load_assignment": {
            "cluster_name": "service",
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": _address(service_port)}}]}],
        },
        "typed_extension_protocol_options": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": http2},
    }


def _filter(name: str, config: dict[str, Any]) -> dict[str, Any]:
    return {"name": f"envoy.filters.http.{name}", "typed_config": config}


def _address(port: int) -> dict[str, Any]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}
