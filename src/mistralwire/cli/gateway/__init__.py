"""`mistralwire gateway`: the documented HTTP API at the edge, with gRPC behind it."""

from mistralwire.cli.gateway._command import GATEWAY, gateway

__all__ = ["GATEWAY", "gateway"]
