"""How fast a worker begins attempts, and so how many leases to hold in hand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from taskscheduler.domain.ports.clock import Clock

AHEAD_S: Final = 0.05
"""Claim ahead what will begin within this time: long enough to hide a round trip to the store,
short enough that no task waits here which an idle worker elsewhere could have begun."""
AHEAD_MAX: Final = 4_000
WINDOW_S: Final = 0.02


class Prefetch:
    """The rate of begun attempts over the last moments, smoothed."""

    def __init__(self, clock: Clock) -> None:
        """Start from a standstill."""
        self._clock = clock
        self._at = clock.monotonic()
        self._begun = 0
        self._per_s = 0.0

    def ahead(self, begun: int) -> int:
        """Return how many leases to hold beyond the free slots, ``begun`` counting all so far."""
        now = self._clock.monotonic()
        passed_s = now - self._at
        if passed_s >= WINDOW_S:
            rate = (begun - self._begun) / passed_s
            self._per_s = (self._per_s + rate) / 2
            self._at, self._begun = now, begun
        return min(AHEAD_MAX, int(self._per_s * AHEAD_S))
