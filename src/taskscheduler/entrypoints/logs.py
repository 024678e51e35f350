"""Logs: standard library records, rendered by structlog, on standard error."""

from __future__ import annotations

import logging
import sys
from enum import Enum
from typing import TYPE_CHECKING, Any, Final, cast

import structlog

from taskscheduler.application.worker.context import CURRENT
from taskscheduler.domain.printable import printable
from taskscheduler.domain.redaction import redacted
from taskscheduler.entrypoints.request_metrics import REQUEST_ID
from taskscheduler.entrypoints.settings import LogFormat, LogLevel

if TYPE_CHECKING:
    from collections.abc import Callable

    from structlog.typing import EventDict, Processor, WrappedLogger

    from taskscheduler.domain.ports.tracing import Tracing


OURS: Final = frozenset(
    {"_record", "_from_structlog", "timestamp", "level", "logger", "request_id", "trace_id"}
    | {"span_id", "task_id", "key_id", "worker_id", "kind", "queue"}
)
"""Of a form that holds no secret, or not for others."""
LINES: Final = frozenset({"exception", "stack"})
DEPTH_MAX: Final = 6
INDENT: Final = "    "


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
        _without_secrets,
        *([_printable] if human else []),
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
    for noisy in ("httpx", "httpcore", "asyncio"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    # It has a line for each request that is none, which anybody can send; we count them.
    logging.getLogger("uvicorn.error").setLevel(logging.ERROR)
    for noisy in ("aiobotocore", "botocore"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    logging.getLogger("psycopg.pool").setLevel(logging.ERROR)
    # Of spans that are not taken we say it ourselves, once.
    for noisy in ("exporter", "sdk._shared_internal", "trace"):
        logging.getLogger(f"opentelemetry.{noisy}").setLevel(logging.CRITICAL)
    # Which says "error" for every try to reach a broker that is away, and names its URL.
    logging.getLogger("aiormq").setLevel(logging.CRITICAL)


def _without_secrets(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Take secrets out of whatever others put into a line."""
    for name, value in event.items():
        if name not in OURS:
            event[name] = _each_text(value, redacted)
    return event


def _printable(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Show what strangers wrote as what it is.

    Only a traceback may be several lines; indented, none of them looks like a line of its own.
    """
    for name, value in event.items():
        if name in LINES:
            text = printable(str(value), lines=True)
            event[name] = INDENT + text.replace("\n", f"\n{INDENT}")
        else:
            event[name] = _each_text(value, printable)
    return event


def _each_text(value: Any, change: Callable[[str], str], depth: int = 0) -> Any:
    """Return ``value`` with each text in it changed; what is not plain data becomes text."""
    match value:
        case str():
            return change(value)
        case bool() | int() | float() | None:
            return value
        case _ if depth > DEPTH_MAX:
            return change(repr(value))
        case dict():
            items = cast("dict[Any, Any]", value).items()
            return {
                _each_text(key, change, depth + 1): _each_text(each, change, depth + 1)
                for key, each in items
            }
        case list() | tuple() | set() | frozenset():
            return [_each_text(each, change, depth + 1) for each in cast("list[Any]", value)]
        case _:
            return change(repr(value))


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
