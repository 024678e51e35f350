"""When a worker runs suspects: tasks that had begun when several workers went down.

One of them may bring this worker down, too. So they run beside nothing but others that are as
suspect, where they can cost nobody else; and they are claimed only by a worker that has nothing in
hand. Workers that are never idle hold their other claims back for a moment now and then.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from taskscheduler.domain.lease import company

if TYPE_CHECKING:
    from taskscheduler.domain.lease import Suspects
    from taskscheduler.domain.ports.clock import Clock

LOOK_EVERY_S: Final = 2.0
PATIENCE_S: Final = 30.0
"""How long suspects wait for an idle worker before a busy one holds other claims back for them."""
HOLD_S: Final = 5.0
"""For how long it does so. Where handlers take longer, suspects need a worker that idles."""


class Suspicion:
    """What one worker knows of suspects, and whether it runs some."""

    def __init__(self, clock: Clock) -> None:
        """Know of none."""
        self._clock = clock
        self._look_at = clock.monotonic()
        self._hold_at: float | None = None
        self.found: Suspects | None = None
        """The due suspects that the last look found."""
        self.at_work = False
        """Whether suspects run here, and so nothing else may."""

    def should_look(self) -> bool:
        """Tell whether it is time to look for suspects again."""
        return self._clock.monotonic() >= self._look_at

    def take(self, found: Suspects | None) -> Suspects | None:
        """Take note of what a look has found, and return it."""
        now = self._clock.monotonic()
        self._look_at = now + LOOK_EVERY_S
        self.found = found
        if found is None:
            self._hold_at = None
        elif self._hold_at is None:
            self._hold_at = now + PATIENCE_S
        return found

    @property
    def hold_left_s(self) -> float:
        """For how long nothing else is to be claimed, so that suspects come to their turn."""
        if self._hold_at is None:
            return 0.0
        now = self._clock.monotonic()
        if now >= self._hold_at + HOLD_S:
            self._hold_at = now + PATIENCE_S
        return self._hold_at + HOLD_S - now if now >= self._hold_at else 0.0

    def begin(self, found: Suspects, concurrency: int) -> int:
        """Begin to run suspects, and return how many at once."""
        self.at_work = True
        self.found = None
        self._hold_at = None
        self._look_at = self._clock.monotonic()
        return min(found.number, company(found.excused, concurrency))

    def end(self) -> None:
        """Go on with other work."""
        self.at_work = False
