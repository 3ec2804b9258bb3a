"""`mistralwire serve`: a gRPC service that asks upstreams, or plays recorded answers."""

from mistralwire.cli.serve._command import SERVE, serve

__all__ = ["SERVE", "serve"]
