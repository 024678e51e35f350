"""Logs: standard library records, rendered by structlog, on standard error."""

from __future__ import annotations

import logging
import sys
from enum import Enum
from typing import TYPE_CHECKING

import structlog

from taskscheduler.application.context import CURRENT
from taskscheduler.entrypoints.requests import REQUEST_ID
from taskscheduler.entrypoints.settings import LogFormat, LogLevel

if TYPE_CHECKING:
    from structlog.typing import EventDict, Processor, WrappedLogger

    from taskscheduler.domain.tracing import Tracing


def configure_logs(level: LogLevel, form: LogFormat, tracing: Tracing | None = None) -> None:
    """Render every record of this process: JSON unless a human is looking at a terminal.

    With ``tracing``, a line that is written within a span says within which.
    """
    human = form is LogFormat.TEXT or (form is LogFormat.AUTO and sys.stderr.isatty())
    shared: list[Processor] = [
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.stdlib.ExtraAdder(),
        _add_request,
        _add_task,
        *([] if tracing is None else [_adding_trace(tracing)]),
        _say_values,
        structlog.processors.format_exc_info,
    ]
    renderer: Processor = (
        structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
        if human
        else structlog.processors.JSONRenderer()
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    logging.basicConfig(level=level.value.upper(), handlers=[handler], force=True)
    # Others' lines are worth reading when something is wrong; of the pool's we say it ourselves.
    for noisy in ("httpx", "httpcore", "asyncio", "uvicorn.error"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    for noisy in ("aiobotocore", "botocore"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    logging.getLogger("psycopg.pool").setLevel(logging.ERROR)
    # Of spans that are not taken we say it ourselves, once.
    for noisy in ("exporter", "sdk._shared_internal", "trace"):
        logging.getLogger(f"opentelemetry.{noisy}").setLevel(logging.CRITICAL)
    # Which says "error" for every try to reach a broker that is away, and names its URL.
    logging.getLogger("aiormq").setLevel(logging.CRITICAL)


def no_logs() -> None:
    """Log nothing: a command that ends says itself what went wrong, in one line."""
    logging.basicConfig(handlers=[logging.NullHandler()], force=True)


def _say_values(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Say of a constant what it stands for: 201, and not how Python describes it."""
    for name, value in event.items():
        if isinstance(value, Enum):
            event[name] = value.value
    return event


def _add_request(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Say which request a line was written for."""
    request_id = REQUEST_ID.get()
    if request_id is not None:
        event.setdefault("request_id", request_id)
    return event


def _adding_trace(tracing: Tracing) -> Processor:
    def add_trace(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
        """Say in which span a line was written."""
        if (ids := tracing.current()) is not None:
            event.setdefault("trace_id", ids[0])
            event.setdefault("span_id", ids[1])
        return event

    return add_trace


def _add_task(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Say for which attempt a handler's line was written."""
    context = CURRENT.get()
    if context is not None:
        event.setdefault("task_id", str(context.id))
        event.setdefault("kind", context.kind)
        event.setdefault("queue", context.queue)
        event.setdefault("attempt", context.attempt)
        event.setdefault("worker_id", context.worker_id)
    return event
