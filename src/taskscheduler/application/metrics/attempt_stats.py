"""Counts and histograms of a worker's work. Plain numbers: whoever shows them formats them."""

from __future__ import annotations

import time
from bisect import bisect_left
from collections import Counter, defaultdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from taskscheduler.application.metrics.observer import FIRES
from taskscheduler.domain.status import Event

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from taskscheduler.application.metrics.observer import Ran

SECONDS: Final = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100, 300, 1_000, 3_600)
TASKS: Final = (0, 1, 3, 10, 30, 100, 300, 1_000, 3_000, 10_000)
LOST: Final = "lost"
ENDINGS: Final = (
    *(Event.COMPLETE.value, Event.RETRY.value, Event.SNOOZE.value, Event.RELEASE.value),
    *(Event.EXPIRE.value, Event.FAIL.value, Event.CANCEL.value, LOST),
)
"""What may end an attempt."""
PARTS: Final = ("claim", "outcomes", "rescue", "upkeep", "schedules", "schedule", "retention")
"""What may fail by itself while the worker goes on."""
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class Histogram:
    """How many values were at most each of ``bounds``, and their sum."""

    __slots__ = ("bounds", "counts", "sum")

    def __init__(self, bounds: Sequence[float] = SECONDS) -> None:
        """Count nothing yet."""
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def add(self, value: float) -> None:
        """Count ``value``."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value


class AttemptStats:
    """``Observer`` that adds up, by kind."""

    def __init__(self, kinds: Iterable[str] = ()) -> None:
        """Begin with zeros; the store's time is taken for this machine's until it is set.

        Outcomes of ``kinds`` are told before there are any: who looks for a rise sees only the
        second of a series that begins with one.
        """
        self.outcomes: defaultdict[tuple[str, str], int] = defaultdict(int)
        self.outcomes.update(((kind, ending), 0) for kind in kinds for ending in ENDINGS)
        self.run_s: defaultdict[str, Histogram] = defaultdict(Histogram)
        self.late_s: defaultdict[str, Histogram] = defaultdict(Histogram)
        self.claims = Histogram(TASKS)
        self.rescues = 0
        self.faults: defaultdict[str, int] = defaultdict(int)
        self.faults.update((part, 0) for part in PARTS)
        self.fires: Counter[str] = Counter(dict.fromkeys(FIRES, 0))
        # What is due is decided by the store; this only measures how late it was begun.
        self._ahead_s = time.time() - time.monotonic()

    def set_clock(self, now: datetime, monotonic_s: float) -> None:
        """Learn that the store's time was ``now`` when the monotonic clock said ``monotonic_s``."""
        self._ahead_s = now.timestamp() - monotonic_s

    def claimed(self, tasks: int) -> None:
        """See ``Observer.claimed``."""
        self.claims.add(tasks)

    def ran(self, attempts: Sequence[Ran]) -> None:
        """See ``Observer.ran``."""
        ahead_s = self._ahead_s
        for kind, process_at, began_s, ended_s, event in attempts:
            self.outcomes[kind, LOST if event is None else event.value] += 1
            if event is Event.EXPIRE:
                continue  # nothing ran
            self.run_s[kind].add(ended_s - began_s)
            # Clocks are read at two ends of a wire: what seems to be early was on time.
            late_s = began_s + ahead_s - (process_at - EPOCH).total_seconds()
            self.late_s[kind].add(max(late_s, 0.0))

    def faulted(self, part: str) -> None:
        """See ``Observer.faulted``."""
        self.faults[part] += 1

    def fired(self, outcomes: Mapping[str, int]) -> None:
        """See ``Observer.fired``."""
        self.fires.update(outcomes)

    def rescued(self, tasks: int) -> None:
        """See ``Observer.rescued``."""
        self.rescues += tasks
