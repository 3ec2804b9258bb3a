"""`mistralwire health`: whether a service or a gateway takes requests, for probes."""

from mistralwire.cli.health._command import health

__all__ = ["health"]
