"""Spans on their way out: nobody waits for them, and nobody is told over and over."""

from __future__ import annotations

import io
import json
import logging
import sys
import threading
import time
from typing import TYPE_CHECKING, Final
from unittest.mock import patch

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import (
    BatchSpanProcessor,
    SpanExporter,
    SpanExportResult,
)

from taskscheduler import InvalidConfiguration, Scheduler
from taskscheduler.adapters.otel import exporting
from taskscheduler.adapters.otel.exporting import Changes, close, exported
from taskscheduler.adapters.otel.tracing import OtelTracing
from taskscheduler.container import otlp_tracing
from taskscheduler.entrypoints.logs import configure_logs
from taskscheduler.entrypoints.settings import LogFormat, LogLevel
from tests.unit.spans import Spans

if TYPE_CHECKING:
    from collections.abc import Sequence

OK: Final = SpanExportResult.SUCCESS
FAILED: Final = SpanExportResult.FAILURE
SPAN: Final = ReadableSpan("any")


class Scripted(SpanExporter):
    """Answers as the test says."""

    def __init__(self, *answers: SpanExportResult | Exception) -> None:
        self._answers = list(answers)
        self.taken: list[ReadableSpan] = []
        self.ended = False

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        answer = self._answers.pop(0) if self._answers else OK
        if isinstance(answer, Exception):
            raise answer
        self.taken += spans
        return answer

    def shutdown(self) -> None:
        self.ended = True


def test_it_is_said_once_that_spans_are_lost(caplog: pytest.LogCaptureFixture) -> None:
    told = Changes(Scripted(OK, FAILED, OSError("reset"), FAILED, OK, FAILED))
    with caplog.at_level(logging.INFO, "taskscheduler.tracing"):
        for expected in (OK, FAILED, FAILED, FAILED, OK, FAILED):
            assert told.export([SPAN, SPAN]) is expected
    assert [record.getMessage() for record in caplog.records] == [
        "spans are not taken by their receiver, and are lost until they are",
        "spans are taken again; 6 were lost",
        "spans are not taken by their receiver, and are lost until they are",
    ]


def test_the_last_spans_are_handed_over_at_the_end() -> None:
    exporter = Scripted()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(Changes(exporter), schedule_delay_millis=60_000))
    with provider.get_tracer("test").start_as_current_span("last"):
        pass
    assert exporter.taken == []
    close(provider)
    assert [span.name for span in exporter.taken] == ["last"]
    assert exporter.ended


def test_the_end_does_not_wait_for_a_receiver_that_hangs(caplog: pytest.LogCaptureFixture) -> None:
    go_on = threading.Event()

    class Hanging(Scripted):
        def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
            go_on.wait(30)
            return super().export(spans)

    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(Hanging(), schedule_delay_millis=60_000))
    with provider.get_tracer("test").start_as_current_span("last"):
        pass
    began_s = time.monotonic()
    close(provider, within_s=0.05)
    assert time.monotonic() - began_s < 5
    go_on.set()
    assert "the last spans were not taken within 0.05 s" in caplog.text


def test_a_provider_of_the_programs_own_is_used() -> None:
    own = Spans()
    with (
        patch.object(trace, "get_tracer_provider", lambda: own.provider),
        patch.object(exporting, "OTLPSpanExporter", side_effect=AssertionError),
    ):
        tracing = exported("any")
        with tracing.answering("GET", "/", {}):
            pass
        tracing.close()  # which is its owner's business
        with tracing.answering("PUT", "/", {}):
            pass
    assert len(own.named("GET") + own.named("PUT")) == 2


@pytest.mark.parametrize(
    ("given", "service"), [({}, "named-here"), ({"OTEL_SERVICE_NAME": "shop"}, "shop")]
)
def test_the_environment_names_the_service(
    monkeypatch: pytest.MonkeyPatch, given: dict[str, str], service: str
) -> None:
    monkeypatch.delenv("OTEL_SERVICE_NAME", raising=False)
    monkeypatch.delenv("OTEL_RESOURCE_ATTRIBUTES", raising=False)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    made: list[TracerProvider] = []
    with (
        patch.object(trace, "get_tracer_provider", trace.ProxyTracerProvider),
        patch.object(trace, "set_tracer_provider", made.append),
    ):
        tracing = exported("named-here")
    tracing.close()
    assert made[0].resource.attributes["service.name"] == service


def test_a_bad_variable_is_said_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "-1")
    with (
        patch.object(trace, "get_tracer_provider", trace.ProxyTracerProvider),
        pytest.raises(InvalidConfiguration, match="tracing cannot be set up: max_queue"),
    ):
        exported("any")


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [each for each in sys.modules if each.startswith("taskscheduler.adapters.otel")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    for ask in (
        lambda: otlp_tracing("any"),
        lambda: Scheduler.in_memory(tracing=True),
        lambda: Scheduler.postgres("postgresql://localhost/nowhere", tracing=True),
    ):
        with pytest.raises(
            InvalidConfiguration, match=r"pip install 'durable-taskscheduler\[otel\]'"
        ):
            ask()


def test_log_lines_name_their_span() -> None:
    spans = Spans()
    written = io.StringIO()
    root = logging.getLogger()
    before = root.handlers[:], root.level
    try:
        with patch.object(sys, "stderr", written):
            configure_logs(LogLevel.INFO, LogFormat.JSON, OtelTracing(spans.provider))
        with spans.tracer.start_as_current_span("any") as span:
            logging.getLogger("mine").info("within")
        logging.getLogger("mine").info("outside")
    finally:
        root.handlers[:], root.level = before
    within, outside = map(json.loads, written.getvalue().splitlines())
    context = span.get_span_context()
    assert within["trace_id"] == f"{context.trace_id:032x}"
    assert within["span_id"] == f"{context.span_id:016x}"
    assert not {"trace_id", "span_id"} & outside.keys()


def test_the_global_provider_is_used_by_the_library() -> None:
    spans = Spans()
    with patch.object(trace, "_TRACER_PROVIDER", spans.provider):
        scheduler = Scheduler.in_memory(tracing=True)
        assert scheduler.tracing is not None
        with scheduler.tracing.answering("GET", "/", {}):
            pass
    assert len(spans.named("GET")) == 1
    assert Scheduler.in_memory().tracing is None
