"""The trace that a task belongs to, in the form of W3C Trace Context."""

from __future__ import annotations

from dataclasses import dataclass

from taskscheduler.domain.errors import InvalidTask
from taskscheduler.domain.ports.tracing import TRACEPARENT, TRACESTATE


@dataclass(frozen=True, slots=True)
class TraceContext:
    """Where in a trace a task was asked for, in the form of W3C Trace Context, level 1.

    Raises:
        InvalidTask: it is not of that form, or ``tracestate`` has more than 512 characters.
    """

    traceparent: str
    tracestate: str | None = None

    def __post_init__(self) -> None:
        """Check the form: what is stored is read by others."""
        if TRACEPARENT.fullmatch(self.traceparent) is None:
            raise InvalidTask("traceparent", "must be as W3C Trace Context says")
        if self.tracestate is not None and TRACESTATE.fullmatch(self.tracestate) is None:
            raise InvalidTask("tracestate", "must be 1 to 512 printable ASCII characters")
