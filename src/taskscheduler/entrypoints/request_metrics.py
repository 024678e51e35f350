"""What a process knows of the requests that it answers: their names, and how long they took."""

from __future__ import annotations

from contextvars import ContextVar
from typing import Final

from taskscheduler.application.metrics.attempt_stats import Histogram

REQUEST_ID: Final[ContextVar[str | None]] = ContextVar("taskscheduler_request_id", default=None)
"""The name of the request that is being answered: of its log lines, audit entries and answer."""


class Requests:
    """Counts answers by method, route and status, and how long it took until they began.

    There are as many series as routes. The status is 0 where there was no answer, for the
    caller went away.
    """

    def __init__(self) -> None:
        """Count nothing yet."""
        self.took_s: dict[tuple[str, str, int], Histogram] = {}

    def add(self, method: str, route: str, status: int, took_s: float) -> None:
        """Count one answer."""
        key = (method, route, status)
        found = self.took_s.get(key)
        if found is None:
            found = self.took_s[key] = Histogram()
        found.add(took_s)
