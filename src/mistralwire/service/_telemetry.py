"""Whether calls are to be reported to OpenTelemetry."""

from collections.abc import Sequence

from mistralwire.service._record import CallObserver


def with_telemetry(observers: Sequence[CallObserver]) -> tuple[CallObserver, ...]:
    """Give the observers, and behind them what reports to OpenTelemetry if there is something to report to.

    Args:
        observers: Who watches the calls beside it.
    """
    telemetry = find_telemetry()
    return (*observers,) if telemetry is None else (*observers, telemetry)


def find_telemetry() -> CallObserver | None:
    """Give what reports calls to OpenTelemetry, if the process has OpenTelemetry set up.

    It is set up by `opentelemetry-instrument`, or by a program that sets a tracer provider or a meter
    provider of its own. Without, calls cost nothing.

    Returns:
        The observer; None if the package opentelemetry-api is not installed, or nobody would get to see what
        is reported.
    """
    try:
        from opentelemetry import metrics, trace  # noqa: PLC0415 - not there unless it is asked for

        from mistralwire.service._call_telemetry import CallTelemetry  # noqa: PLC0415 - needs it
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] == "opentelemetry":
            return None
        raise
    telemetry = CallTelemetry(trace.get_tracer_provider(), metrics.get_meter_provider())
    return telemetry if telemetry.is_on else None
