"""`mistralwire convert`: the command, its formats, and what reads and writes them; and a run of `inspect`."""

from mistralwire.cli.convert._command import convert

__all__ = ["convert"]
