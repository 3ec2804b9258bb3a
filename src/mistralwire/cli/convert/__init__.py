"""`mistralwire convert`: the command, its formats, and what reads and writes them."""

from mistralwire.cli.convert._command import convert

__all__ = ["convert"]
