"""`mistralwire gateway`: the documented HTTP API at the edge, with gRPC behind it.

Needs the extra `gateway`; without it the import fails with a message that says how to install it.
"""

import click

from mistralwire._extras import missing_import

try:
    from mistralwire.cli.gateway._command import gateway
except ModuleNotFoundError as error:
    raise click.ClickException(str(missing_import("the gateway", error, "gateway"))) from error

__all__ = ["gateway"]
