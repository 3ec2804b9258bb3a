"""`mistralwire demo`: what json_format loses, a stream over gRPC, and sizes and times, on one screen."""

from mistralwire.cli.demo._command import demo

__all__ = ["demo"]
