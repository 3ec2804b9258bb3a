"""The context of a servicer's methods."""

# Some methods of the two contexts are functions in one and coroutines in the other.
# mypy: disable-error-code="misc"

from typing import Any

import grpc
import grpc.aio

class ServicerContext(grpc.ServicerContext, grpc.aio.ServicerContext[Any, Any]):
    """Stands for both kinds of contexts: an implementation annotates the one of its server."""
