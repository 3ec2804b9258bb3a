"""OpenTelemetry's trace context, in the headers and metadata of calls.

OpenTelemetry is optional, and imported only where the program has imported it already: any other program has
no context, and the check costs it a lookup in `sys.modules`.
"""

import re
import sys
from collections.abc import Mapping
from typing import Any

# W3C bounds a tracestate to 512 characters.
_TRACE_VALUE = re.compile(rb"[!-~](?:[ -~]{0,510}[!-~])?")
# Names and text values that are valid gRPC metadata.
_METADATA_NAME, _METADATA_TEXT = re.compile("[0-9a-z_.-]+(?<!-bin)"), re.compile("[!-~](?:[ -~]*[!-~])?")
_W3C = ((b"traceparent", "traceparent"), (b"tracestate", "tracestate"))


def is_recorded() -> bool:
    """Check whether spans are recorded: whether the program has set a tracer provider by now."""
    trace = sys.modules.get("opentelemetry.trace")
    return trace is not None and is_real(trace.get_tracer("mistralwire"))


def is_real(maker: Any) -> bool:
    """Check whether a tracer or a meter is more than the no-op of OpenTelemetry's API."""
    return not type(maker).__module__.startswith(("opentelemetry.trace", "opentelemetry.metrics"))


def has_span() -> bool:
    contexts = sys.modules.get("opentelemetry.context")
    if contexts is None or not contexts.get_current():
        return False
    return bool(sys.modules["opentelemetry.trace"].get_current_span().get_span_context().is_valid)


def injected(metadata: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the current context as metadata, as the global propagator encodes it; empty without a context.

    Values that are invalid in gRPC are dropped: a call does not fail for the sake of its trace.

    Args:
        metadata: The caller's own metadata; a context in it takes precedence.
    """
    contexts = sys.modules.get("opentelemetry.context")
    if contexts is None or not contexts.get_current():
        return []
    from opentelemetry import propagate  # noqa: PLC0415 - imported already, see above

    carrier: dict[str, str] = {}
    propagate.inject(carrier)
    named = [(name.lower(), value) for name, value in carrier.items()]
    pairs = [
        (name, value)
        for name, value in named
        if _METADATA_NAME.fullmatch(name) and _METADATA_TEXT.fullmatch(value)
    ]
    return [] if any(name in metadata for name, _ in pairs) else pairs


def enter(headers: Mapping[bytes, bytes]) -> None:
    """Attach the context in a caller's headers, unless there is a current span.

    It is never detached: it ends with the `contextvars.Context` of the request.
    """
    if has_span():
        return
    from opentelemetry import context, propagate  # noqa: PLC0415 - imported already where spans are recorded

    carrier = {
        name.decode("latin-1"): value.decode()
        for name, value in headers.items()
        if _TRACE_VALUE.fullmatch(value)
    }
    context.attach(propagate.extract(carrier))


def w3c(headers: Mapping[bytes, bytes]) -> dict[str, str]:
    """Return the W3C context in a caller's headers, unchanged."""
    values = {text: headers.get(name, b"") for name, text in _W3C}
    return {text: value.decode() for text, value in values.items() if _TRACE_VALUE.fullmatch(value)}
