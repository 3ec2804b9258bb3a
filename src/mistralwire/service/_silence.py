"""The errors of those who are silent for too long."""

from mistralwire.errors import MistralwireError, Reason, UpstreamError


def upstream_silent_error(limit_s: float) -> UpstreamError:
    """Give the error of an upstream that was silent for too long."""
    message = f"the upstream was silent for {limit_s:g} seconds"
    return UpstreamError(message, code="DEADLINE_EXCEEDED", reason=Reason.UPSTREAM_SILENT)


def caller_silent_error(limit_s: float) -> MistralwireError:
    """Give the error of a caller who kept us waiting for too long."""
    message = f"the caller was silent for {limit_s:g} seconds"
    return MistralwireError(message, code="DEADLINE_EXCEEDED", reason=Reason.CALLER_SILENT)
