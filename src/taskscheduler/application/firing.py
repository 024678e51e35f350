"""Firing schedules. Every worker does it, without a leader, and each fire stores one task."""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import TYPE_CHECKING, Final, NamedTuple

from taskscheduler.application.timetable import Timetable
from taskscheduler.domain.errors import InvalidSchedule
from taskscheduler.domain.schedule import GRACE, CatchUp

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from taskscheduler.application.store import Store
    from taskscheduler.domain.schedule import Schedule

DUE_AT_ONCE: Final = 100
CAUGHT_UP_AT_ONCE: Final = 1_000
"""So many missed fires of one schedule are stored in one transaction."""

log = logging.getLogger("taskscheduler.schedules")


class Plan(NamedTuple):
    """What a schedule that is due comes to: tasks for ``fires``, and then ``next_fire_at``."""

    fires: Sequence[datetime]
    fired_at: datetime
    next_fire_at: datetime | None


class Firing:
    """Stores the tasks of schedules that are due."""

    def __init__(self, store: Store) -> None:
        """Work on ``store``."""
        self._store = store
        self._broken: set[tuple[str, int]] = set()

    async def turn(self) -> timedelta | None:
        """Fire what is due; return how long until the next, or None if there is none.

        Raises:
            StoreUnavailable: the store went away; what was not fired is due still.
        """
        schedules = self._store.schedules
        while True:
            wait = await schedules.next_fire_in()
            if wait is None or wait > timedelta(0):
                return wait
            if not await self._fire_some():
                return None

    async def _fire_some(self) -> bool:
        """Fire some of what is due; return whether any of it could be."""
        schedules = self._store.schedules
        now = await schedules.now()
        rung: set[str] = set()
        moved = False
        for schedule in await schedules.due(DUE_AT_ONCE + len(self._broken)):
            planned = self._planned(schedule, now)
            if planned is None:
                continue
            moved = True
            tasks = [
                schedule.definition.task(self._store.new_task_id(), at) for at in planned.fires
            ]
            stored = await schedules.fire(
                schedule, tasks, fired_at=planned.fired_at, next_fire_at=planned.next_fire_at
            )
            if stored:
                rung.add(schedule.definition.queue)
            if stored is not None and len(stored) < len(tasks):
                log.info("schedule %s: its last task has not ended, nothing stored", schedule.name)
        if rung:
            self._store.wakeups.ring(rung)
        return moved

    def _planned(self, schedule: Schedule, now: datetime) -> Plan | None:
        key = (schedule.name, schedule.revision)
        if key in self._broken:
            return None
        try:
            return plan(schedule, now)
        except InvalidSchedule as error:
            # Another process took it: this one knows fewer time zones. The others fire it.
            self._broken.add(key)
            log.error("schedule %s cannot be fired here: %s", schedule.name, error)  # noqa: TRY400
            return None


def plan(schedule: Schedule, now: datetime) -> Plan | None:
    """Return what ``schedule`` comes to at ``now``; None if it is not due.

    Raises:
        InvalidSchedule: what it fires by is not understood here.
    """
    first = schedule.next_fire_at
    if first is None or first > now:
        return None
    definition = schedule.definition
    timetable = Timetable(definition, made_at=schedule.created_at)
    if definition.catch_up is CatchUp.ALL:
        fires = timetable.until(first, now, CAUGHT_UP_AT_ONCE)
        return Plan(fires, fires[-1], timetable.after(fires[-1]))
    latest = timetable.latest(first, now)
    missed = definition.catch_up is CatchUp.NONE and now - latest > GRACE
    return Plan([] if missed else [latest], latest, timetable.after(now))
