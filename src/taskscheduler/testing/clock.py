"""A clock that moves only when it is told to."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

START: Final = datetime(2026, 1, 1, tzinfo=UTC)


class ManualClock:
    """The store's time and the process's, in step, in the tests' hands."""

    def __init__(self, now: datetime = START) -> None:
        """Start at ``now``, an aware time."""
        self._now = now
        self._monotonic_s = 0.0

    def now(self) -> datetime:
        """Return the time that the store believes it is."""
        return self._now

    def monotonic(self) -> float:
        """Return seconds since the start; a jump does not move them."""
        return self._monotonic_s

    def advance(self, step: timedelta | None = None, **units: float) -> datetime:
        """Let time pass, as ``advance(timedelta(days=3))`` or ``advance(days=3)``; return now."""
        passed = timedelta(**units) if step is None else step
        if passed < timedelta(0):
            message = "time does not run backwards; use jump()"
            raise ValueError(message)
        self._now += passed
        self._monotonic_s += passed.total_seconds()
        return self._now

    def jump(self, step: timedelta | None = None, **units: float) -> datetime:
        """Set the store's clock forward or back, as a careless operator might; return now."""
        self._now += timedelta(**units) if step is None else step
        return self._now
