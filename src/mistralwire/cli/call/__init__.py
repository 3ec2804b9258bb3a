"""`mistralwire call`: the command, the request it sends, and how the answer is printed."""

from mistralwire.cli.call._command import call

__all__ = ["call"]
