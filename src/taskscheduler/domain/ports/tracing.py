"""Tracing: which trace a task belongs to, and who is told of what happens to it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from contextlib import AbstractContextManager

    from taskscheduler.domain.lease import AttemptError, Lease
    from taskscheduler.domain.new_task import NewTask
    from taskscheduler.domain.trace import TraceContext


TRACEPARENT: Final = re.compile(
    r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}"
)
TRACESTATE: Final = re.compile(r"[\t\x20-\x7e]{1,512}")


class AttemptSpan(Protocol):
    """The span of one attempt, while its handler runs."""

    def ended(self, outcome: str, error: AttemptError | None, *, failed: bool) -> None:
        """Note how the attempt ended; ``failed`` is whether that is an error of the span."""
        ...


class RequestSpan(Protocol):
    """The span of one request, while it is answered."""

    def answered(self, route: str | None, status: int) -> None:
        """Note the route that was found, and the status; 0 where there was no answer."""
        ...


class Tracing(Protocol):
    """Makes spans. Where nobody traces there is none of it: None stands in its place.

    Nothing here blocks or raises: whoever takes the spans may be away. Entering a context manager
    makes its span the current one, leaving it ends the span; what is raised meanwhile passes.
    """

    def scheduling(self, tasks: Sequence[NewTask]) -> AbstractContextManager[TraceContext | None]:
        """Trace that ``tasks``, at least one, are stored; yield what is to be stored with them.

        None where there is no trace to belong to.
        """
        ...

    def processing(self, lease: Lease) -> AbstractContextManager[AttemptSpan]:
        """Trace an attempt, as a part of the trace that its task was asked for in."""
        ...

    def answering(
        self, method: str, path: str, headers: Mapping[str, str]
    ) -> AbstractContextManager[RequestSpan]:
        """Trace a request, as a part of its caller's trace if ``headers`` name one.

        The names of the headers are in lower case.
        """
        ...

    def current(self) -> tuple[str, str] | None:
        """Return the ids of the current trace and span, in hexadecimal; None outside of any."""
        ...

    def close(self) -> None:
        """Hand over what has not been yet. Takes seconds at most; to be called once, at the end."""
        ...
