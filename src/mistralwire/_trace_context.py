"""The trace context of OpenTelemetry, in the headers and the metadata of calls.

Nothing here imports OpenTelemetry, which is optional: a program that has not imported it has no context, and
pays for a look into `sys.modules`.
"""

import re
import sys
from collections.abc import Mapping
from typing import Any

# What a header may have to go on: W3C's own bound on tracestate, in characters.
_VALUE = re.compile(rb"[!-~](?:[ -~]{0,510}[!-~])?")
# What gRPC takes as metadata, in text.
_NAME, _TEXT = re.compile("[0-9a-z_.-]+(?<!-bin)"), re.compile("[!-~](?:[ -~]*[!-~])?")
_W3C = ((b"traceparent", "traceparent"), (b"tracestate", "tracestate"))


def is_recorded() -> bool:
    """Check whether somebody records spans: a program that has set a tracer provider by now."""
    trace = sys.modules.get("opentelemetry.trace")
    return trace is not None and is_real(trace.get_tracer("mistralwire"))


def is_real(maker: Any) -> bool:
    """Check whether a tracer or a meter does anything: those that OpenTelemetry's API itself has do not."""
    return not type(maker).__module__.startswith(("opentelemetry.trace", "opentelemetry.metrics"))


def has_span() -> bool:
    """Check whether there is a current span."""
    contexts = sys.modules.get("opentelemetry.context")
    if contexts is None or not contexts.get_current():
        return False
    return bool(sys.modules["opentelemetry.trace"].get_current_span().get_span_context().is_valid)


def injected(metadata: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the current context as metadata, in the form of the global propagator; empty without one.

    What gRPC can't carry is left out: a call does not fail for the sake of its trace.

    Args:
        metadata: What the caller sends on their own; where a context is among it, that one counts.
    """
    contexts = sys.modules.get("opentelemetry.context")
    if contexts is None or not contexts.get_current():
        return []
    from opentelemetry import propagate  # noqa: PLC0415 - it is there, see above

    carrier: dict[str, str] = {}
    propagate.inject(carrier)
    named = [(name.lower(), value) for name, value in carrier.items()]
    pairs = [(name, value) for name, value in named if _NAME.fullmatch(name) and _TEXT.fullmatch(value)]
    return [] if any(name in metadata for name, _ in pairs) else pairs


def enter(headers: Mapping[bytes, bytes]) -> None:
    """Make the context that a caller's headers bring the current one, unless there is a current span.

    Nobody leaves it: it goes with the `contextvars.Context` of the request.

    Args:
        headers: The headers, by names in lower case.
    """
    if has_span():
        return
    from opentelemetry import context, propagate  # noqa: PLC0415 - who records spans has it

    carrier = {
        name.decode("latin-1"): value.decode() for name, value in headers.items() if _VALUE.fullmatch(value)
    }
    context.attach(propagate.extract(carrier))


def w3c(headers: Mapping[bytes, bytes]) -> dict[str, str]:
    """Return the W3C context that a caller's headers bring, as it is.

    Args:
        headers: The headers, by names in lower case.
    """
    found = {}
    for name, text in _W3C:
        value = headers.get(name)
        if value is not None and _VALUE.fullmatch(value):
            found[text] = value.decode()
    return found
