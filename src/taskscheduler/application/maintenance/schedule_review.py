"""Looking over the times that schedules wait for, which may have been reckoned wrongly."""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from taskscheduler.application.calendar.fire_plan import rightly_next, zone_data_of
from taskscheduler.application.calendar.zones import VERSION
from taskscheduler.domain.errors import InvalidSchedule

if TYPE_CHECKING:
    from datetime import datetime

    from taskscheduler.application.store import Store

REVIEWED_AT_ONCE: Final = 200
REVIEW_EVERY_S: Final = 60.0
STEP_BACK: Final = timedelta(seconds=1)
"""A store's clock that has lost so much against this process's was set back."""

log = logging.getLogger("taskscheduler.schedules")


class Review:
    """Puts right what was written down as the next fire and cannot be.

    A clock that was ahead for a moment leaves times behind that lie beyond the next fire, which
    would keep a schedule silent for as long; and newer zones may have moved a fire. A few schedules
    are looked at from time to time, and all of them when the store's clock was set back.
    """

    def __init__(self, store: Store) -> None:
        """Look at the first ones at once."""
        self._store = store
        self._after = ""
        self._next_s = store.clock.monotonic()
        self._seen: tuple[datetime, float] | None = None

    async def turn(self, now: datetime) -> int:
        """Look at some if it is time, at all if the clock, which shows ``now``, was set back.

        Return how many were put right.
        """
        monotonic_s = self._store.clock.monotonic()
        was_set_back = False
        if self._seen is not None:
            then, then_s = self._seen
            was_set_back = now - then < timedelta(seconds=monotonic_s - then_s) - STEP_BACK
        self._seen = (now, monotonic_s)
        if not was_set_back and monotonic_s < self._next_s:
            return 0
        self._next_s = monotonic_s + REVIEW_EVERY_S
        if not was_set_back:
            return await self._page(now)
        self._after = ""
        righted = await self._page(now)
        while self._after:
            righted += await self._page(now)
        log.warning("the store's clock was set back: %d schedules waited for too long", righted)
        return righted

    async def _page(self, now: datetime) -> int:
        """Look at some, and remember where to go on; return how many were put right."""
        schedules = self._store.schedules
        page = await schedules.waiting(self._after, REVIEWED_AT_ONCE)
        self._after = page.last or ""
        righted = 0
        for due in page.schedules:
            if due.zone_data is not None and due.zone_data > VERSION:
                continue  # whoever has those zones looks after it
            try:
                is_right, expected = rightly_next(due, now, VERSION)
            except InvalidSchedule:
                continue  # that is said when it is due
            if not is_right and await schedules.reckon(
                due, next_fire_at=expected, zone_data=zone_data_of(due.rule)
            ):
                righted += 1
                log.info(
                    "schedule %s: its next fire was written down as %s, and is %s",
                    due.name,
                    due.next_fire_at,
                    expected,
                )
        return righted
