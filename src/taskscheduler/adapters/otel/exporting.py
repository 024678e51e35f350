"""A provider of OpenTelemetry that hands spans over by OTLP over HTTP, and holds nobody up."""

from __future__ import annotations

import logging
import threading
from functools import partial
from typing import TYPE_CHECKING, Final

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

from taskscheduler.adapters.otel.tracing import OtelTracing
from taskscheduler.domain.errors import InvalidConfiguration

if TYPE_CHECKING:
    from collections.abc import Sequence

    from opentelemetry.sdk.trace import ReadableSpan

CLOSE_S: Final = 3.0
"""How long the end of a process waits for the last spans to be taken."""

log = logging.getLogger("taskscheduler.tracing")


def exported(service: str) -> OtelTracing:
    """Return tracing by the program's global provider, or else by a new one, which becomes that.

    The variables ``OTEL_…`` say where spans go and which; ``service`` is the name unless they say.

    Raises:
        InvalidConfiguration: a variable makes no sense.
    """
    if not isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider):
        return OtelTracing()
    try:
        resource = Resource.create()
        if str(resource.attributes.get(SERVICE_NAME, "")).startswith("unknown_service"):
            resource = resource.merge(Resource({SERVICE_NAME: service}))
        provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        provider.add_span_processor(BatchSpanProcessor(Changes(OTLPSpanExporter())))
    except (ValueError, OSError) as error:
        message = f"tracing cannot be set up: {error}"
        raise InvalidConfiguration(message) from error
    trace.set_tracer_provider(provider)
    return OtelTracing(provider, close=partial(close, provider))


def close(provider: TracerProvider, within_s: float = CLOSE_S) -> None:
    """Hand over the last spans, unless that takes too long."""
    closing = threading.Thread(target=provider.shutdown, name="tracing-close", daemon=True)
    closing.start()
    closing.join(within_s)
    if closing.is_alive():
        log.warning("the last spans were not taken within %g s, and are lost", within_s)


class Changes(SpanExporter):
    """Says once that spans are not taken, and once that they are again."""

    def __init__(self, exporter: SpanExporter) -> None:
        """Hand over through ``exporter``, which tries again for a while by itself."""
        self._exporter = exporter
        self._lost = 0

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Hand over ``spans``, in a thread of the provider's own."""
        try:
            result = self._exporter.export(spans)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is the spans' end only
            log.debug("spans were not taken: %r", error)
            result = SpanExportResult.FAILURE
        if result is not SpanExportResult.SUCCESS:
            if not self._lost:
                log.warning("spans are not taken by their receiver, and are lost until they are")
            self._lost += len(spans)
        elif self._lost:
            log.info("spans are taken again; %d were lost", self._lost)
            self._lost = 0
        return result

    def shutdown(self) -> None:
        """End the exporter."""
        self._exporter.shutdown()
