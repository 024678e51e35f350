"""What the tests of tracing share: spans that have ended, and what is in them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from taskscheduler.domain.trace import TraceContext

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.trace import Link

    from taskscheduler import TaskId
    from taskscheduler.application.client.scheduler import Scheduler
    from taskscheduler.application.store import Store


class Spans:
    """A provider, and the spans that have ended in it."""

    def __init__(self) -> None:
        self._exporter = InMemorySpanExporter()
        self.provider = TracerProvider(shutdown_on_exit=False)
        self.provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        self.tracer = self.provider.get_tracer("test")

    def named(self, beginning: str) -> list[ReadableSpan]:
        return [s for s in self._exporter.get_finished_spans() if s.name.startswith(beginning)]

    def one(self, beginning: str) -> ReadableSpan:
        (found,) = self.named(beginning)
        return found


def ids(span: ReadableSpan) -> tuple[int, int]:
    assert span.context is not None
    return span.context.trace_id, span.context.span_id


def parent(span: ReadableSpan) -> tuple[int, int] | None:
    return None if span.parent is None else (span.parent.trace_id, span.parent.span_id)


def facts(span: ReadableSpan) -> Mapping[str, Any]:
    assert span.attributes is not None
    return span.attributes


async def traces(scheduler: Scheduler, task_ids: Sequence[TaskId]) -> Mapping[TaskId, TraceContext]:
    return await scheduler.store.tasks.traces_of(task_ids)


def carried(span: ReadableSpan) -> TraceContext:
    """Return the context that goes on with ``span``."""
    trace_id, span_id = ids(span)
    assert span.context is not None
    return TraceContext(f"00-{trace_id:032x}-{span_id:016x}-{span.context.trace_flags:02x}")


def ids_of_link(link: Link) -> tuple[int, int]:
    return link.context.trace_id, link.context.span_id


def with_tasks(scheduler: Scheduler, tasks: Any) -> Store:
    return replace(scheduler.store, tasks=tasks)
