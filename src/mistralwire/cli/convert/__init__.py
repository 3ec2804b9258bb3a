"""`mistralwire convert`: the command, its formats, and what reads and writes them; and a run of `inspect`."""

from mistralwire.cli.convert._command import FILE, SOURCE_FORMAT, TYPE, convert

__all__ = ["FILE", "SOURCE_FORMAT", "TYPE", "convert"]
