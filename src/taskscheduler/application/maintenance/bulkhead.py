"""What goes wrong in one part of a worker's rounds stays there, and the worker goes on.

A store that is away is waited for by everybody, and is no fault. Anything else that nobody foresaw
concerns one part: it is told in the log with its name, counted, and put aside, longer each time.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final, TypeVar

from taskscheduler.domain.errors import SchemaMismatch, StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from taskscheduler.application.metrics.observer import Observer
    from taskscheduler.domain.ports.clock import Clock

Answer = TypeVar("Answer")

ASIDE_FIRST_S: Final = 1.0
ASIDE_LAST_S: Final = 60.0
REPEATED_S: Final = 600.0
"""A complaint that stays the same is repeated so often."""

COMPLAINTS_MAX: Final = 200

log = logging.getLogger("taskscheduler.faults")


class Bulkhead:
    """Knows which parts are put aside, and until when."""

    def __init__(self, clock: Clock, observer: Observer | None = None) -> None:
        """Put nothing aside; measure by ``clock``, and tell ``observer`` of each fault."""
        self._clock = clock
        self._observer = observer
        self._aside: dict[tuple[str, str], tuple[float, float]] = {}
        self._complained: dict[str, float] = {}

    def is_aside(self, part: str, name: str = "") -> bool:
        """Tell whether ``name``, one of ``part``, is put aside at present."""
        until, _ = self._aside.get((part, name), (0.0, 0.0))
        return self._clock.monotonic() < until

    def wait_s(self, part: str, name: str = "") -> float:
        """Return for how many seconds it is put aside still."""
        until, _ = self._aside.get((part, name), (0.0, 0.0))
        return max(until - self._clock.monotonic(), 0.0)

    async def keep(
        self, part: str, work: Callable[[], Awaitable[Answer]], *, name: str = ""
    ) -> Answer | None:
        """Do ``work`` and return its answer; None if it is put aside, or is now.

        ``part`` is a word of ours, for the metric; ``name`` says which one of it, for the log.

        Raises:
            StoreUnavailable: the store is away.
            SchemaMismatch: it has no schema, or another than this program knows.
        """
        if self.is_aside(part, name):
            return None
        try:
            answer = await work()
        except (StoreUnavailable, SchemaMismatch):
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, the others go on
            self.failed(part, error, name=name)
            return None
        self.went_well(part, name=name)
        return answer

    def went_well(self, part: str, *, name: str = "") -> None:
        """Begin with the shortest wait again: it works."""
        self._aside.pop((part, name), None)

    def failed(self, part: str, error: Exception, *, name: str = "") -> None:
        """Tell of ``error``, count it, and put its place aside, for longer than the last time."""
        _, last_s = self._aside.get((part, name), (0.0, ASIDE_FIRST_S / 2))
        wait_s = min(last_s * 2, ASIDE_LAST_S)
        self._aside[part, name] = self._clock.monotonic() + wait_s, wait_s
        log.error(
            "%s fails, and is put aside for %.0f s: %s: %s",
            f"{part} {name}".rstrip(),
            wait_s,
            type(error).__name__,
            error,
            exc_info=error,
        )
        self._count(part)

    def report(self, part: str, error: Exception) -> None:
        """Tell of ``error`` and count it. Nothing is put aside: who met it tries again."""
        log.error("%s fails: %s: %s", part, type(error).__name__, error, exc_info=error)
        self._count(part)

    def complain(self, part: str, complaint: str) -> None:
        """Tell in the log, though not at every turn, what ``part`` could not do, and count it."""
        now = self._clock.monotonic()
        told_at = self._complained.get(complaint)
        if told_at is None or now - told_at >= REPEATED_S:
            if len(self._complained) >= COMPLAINTS_MAX:
                self._complained.clear()
            self._complained[complaint] = now
            log.warning("%s", complaint)
        self._count(part)

    def _count(self, part: str) -> None:
        if self._observer is not None:
            self._observer.faulted(part)
