"""Whether calls are to be reported to OpenTelemetry."""

from collections.abc import Sequence

from mistralwire.service._record import CallObserver


def with_telemetry(observers: Sequence[CallObserver]) -> tuple[CallObserver, ...]:
    """Return the observers, and behind them what reports to OpenTelemetry, if the process has it set up.

    It is set up by `opentelemetry-instrument`, or by a program that sets a tracer provider or a meter
    provider of its own. Without, or if nobody would get to see what is reported, calls cost nothing.

    Args:
        observers: Who watches the calls beside it.
    """
    try:
        from opentelemetry import metrics, trace  # noqa: PLC0415 - not there unless it is asked for

        from mistralwire.service._call_telemetry import CallTelemetry  # noqa: PLC0415 - needs it
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] == "opentelemetry":
            return (*observers,)
        raise
    telemetry = CallTelemetry(trace.get_tracer_provider(), metrics.get_meter_provider())
    return (*observers, telemetry) if telemetry.is_on else (*observers,)
