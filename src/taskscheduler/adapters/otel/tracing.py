"""``Tracing`` by OpenTelemetry's API: spans of requests, of storing, and of attempts.

Names and attributes are those of OpenTelemetry's semantic conventions for messaging and for HTTP.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Link, SpanKind, StatusCode, format_span_id, format_trace_id
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from taskscheduler.application.distribution import release
from taskscheduler.domain.errors import InvalidTask
from taskscheduler.domain.ports.tracing import TRACESTATE
from taskscheduler.domain.trace import TraceContext

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping, Sequence

    from opentelemetry.trace import Span, TracerProvider
    from opentelemetry.util.types import AttributeValue

    from taskscheduler.domain.lease import AttemptError, Lease
    from taskscheduler.domain.new_task import NewTask

W3C: Final = TraceContextTextMapPropagator()
HEADER_CHARACTERS_MAX: Final = 512
SERVER_ERRORS_FROM: Final = 500
SYSTEM: Final = "taskscheduler"
BARE: Final[dict[str, Any]] = {"record_exception": False, "set_status_on_exception": False}
"""Of exceptions we say ourselves what may leave the process: their messages hold secrets."""


class OtelTracing:
    """``Tracing`` by a provider of OpenTelemetry, the program's global one unless one is given."""

    def __init__(
        self, provider: TracerProvider | None = None, *, close: Callable[[], None] = lambda: None
    ) -> None:
        """Make spans with ``provider``; ``close`` hands over those that it still has."""
        self._tracer = trace.get_tracer(SYSTEM, release(), tracer_provider=provider)
        self._close = close

    @contextmanager
    def scheduling(self, tasks: Sequence[NewTask]) -> Generator[TraceContext | None]:
        """See ``Tracing.scheduling``."""
        kinds = {task.kind for task in tasks}
        queues = {task.queue for task in tasks}
        facts: dict[str, AttributeValue] = {
            "messaging.system": SYSTEM,
            "messaging.operation.name": "schedule",
            "messaging.operation.type": "send",
        }
        if len(queues) == 1:
            facts["messaging.destination.name"] = tasks[0].queue
        if len(kinds) == 1:
            facts["taskscheduler.task.kind"] = tasks[0].kind
        if len(tasks) == 1:
            facts["messaging.message.id"] = str(tasks[0].id)
        else:
            facts["messaging.batch.message_count"] = len(tasks)
        name = f"schedule {tasks[0].kind}" if len(kinds) == 1 else "schedule"
        with self._tracer.start_as_current_span(
            name, kind=SpanKind.PRODUCER, attributes=facts, **BARE
        ) as span:
            try:
                yield _context_of(span)
            except Exception as error:
                span.set_attribute("error.type", type(error).__qualname__)
                span.set_status(StatusCode.ERROR)
                raise

    @contextmanager
    def processing(self, lease: Lease) -> Generator[_AttemptSpan]:
        """See ``Tracing.processing``.

        The span is a child of the one in which the task was stored, and linked to it.
        """
        parent = Context()
        links: list[Link] = []
        if lease.trace is not None:
            stored = {"traceparent": lease.trace.traceparent}
            if lease.trace.tracestate is not None:
                stored["tracestate"] = lease.trace.tracestate
            parent = W3C.extract(stored, parent)
            links.append(Link(trace.get_current_span(parent).get_span_context()))
        facts: dict[str, AttributeValue] = {
            "messaging.system": SYSTEM,
            "messaging.operation.name": "process",
            "messaging.operation.type": "process",
            "messaging.destination.name": lease.queue,
            "messaging.message.id": str(lease.task_id),
            "taskscheduler.task.kind": lease.kind,
            "taskscheduler.task.attempt": lease.attempt,
        }
        with self._tracer.start_as_current_span(
            f"process {lease.kind}",
            context=parent,
            kind=SpanKind.CONSUMER,
            attributes=facts,
            links=links,
            **BARE,
        ) as span:
            yield _AttemptSpan(span)

    @contextmanager
    def answering(
        self, method: str, path: str, headers: Mapping[str, str]
    ) -> Generator[_RequestSpan]:
        """See ``Tracing.answering``."""
        given = {
            name: headers[name]
            for name in ("traceparent", "tracestate")
            if 0 < len(headers.get(name, "")) <= HEADER_CHARACTERS_MAX
        }
        facts: dict[str, AttributeValue] = {"http.request.method": method, "url.path": path}
        with self._tracer.start_as_current_span(
            method,
            context=W3C.extract(given, Context()),
            kind=SpanKind.SERVER,
            attributes=facts,
            **BARE,
        ) as span:
            yield _RequestSpan(span, method)

    def current(self) -> tuple[str, str] | None:
        """See ``Tracing.current``."""
        found = trace.get_current_span().get_span_context()
        if not found.is_valid:
            return None
        return format_trace_id(found.trace_id), format_span_id(found.span_id)

    def close(self) -> None:
        """See ``Tracing.close``."""
        self._close()


class _AttemptSpan:
    def __init__(self, span: Span) -> None:
        self._span = span

    def ended(self, outcome: str, error: AttemptError | None, *, failed: bool) -> None:
        """See ``AttemptSpan.ended``."""
        self._span.set_attribute("taskscheduler.task.outcome", outcome)
        if not failed:
            return
        self._span.set_attribute("error.type", outcome if error is None else error.type)
        if error is None:
            self._span.set_status(StatusCode.ERROR)
            return
        self._span.set_status(StatusCode.ERROR, error.message)
        facts = {"exception.type": error.type, "exception.message": error.message}
        if error.traceback is not None:
            facts["exception.stacktrace"] = error.traceback
        self._span.add_event("exception", facts)


class _RequestSpan:
    def __init__(self, span: Span, method: str) -> None:
        self._span = span
        self._method = method

    def answered(self, route: str | None, status: int) -> None:
        """See ``RequestSpan.answered``."""
        if route is not None:
            self._span.update_name(f"{self._method} {route}")
            self._span.set_attribute("http.route", route)
        if status:
            self._span.set_attribute("http.response.status_code", status)
        if status >= SERVER_ERRORS_FROM:
            self._span.set_attribute("error.type", str(status))
            self._span.set_status(StatusCode.ERROR)


def _context_of(span: Span) -> TraceContext | None:
    """Return what another process needs to go on with the trace of ``span``."""
    carrier: dict[str, str] = {}
    W3C.inject(carrier, trace.set_span_in_context(span, Context()))
    if "traceparent" not in carrier:
        return None
    state = carrier.get("tracestate")
    if state is not None and TRACESTATE.fullmatch(state) is None:
        state = None
    try:
        return TraceContext(carrier["traceparent"], state)
    except InvalidTask:
        # Whatever a provider makes its ids of: no task is refused for that.
        return None
