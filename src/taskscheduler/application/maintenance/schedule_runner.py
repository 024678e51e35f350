"""Firing schedules. Every worker does it, without a leader, and each fire stores one task.

Schedules that are due are taken some at a time, reckoned, and stored by one statement. No worker
waits for another, and one schedule that cannot be fired keeps no other waiting: it is put aside,
and tried again later and later.
"""

from __future__ import annotations

import asyncio
import logging
from datetime import timedelta
from typing import TYPE_CHECKING, Final, NamedTuple

from taskscheduler.application.calendar.fire_plan import COUNTED_MAX, plan, zone_data_of
from taskscheduler.application.calendar.zones import VERSION
from taskscheduler.application.maintenance.schedule_review import Review
from taskscheduler.application.metrics.observer import FIRES
from taskscheduler.domain.errors import (
    IllegalTransition,
    InvalidSchedule,
    SchemaMismatch,
    StoreUnavailable,
    TaskNotFound,
)
from taskscheduler.domain.fire import WATCH_EVERY, Fire
from taskscheduler.domain.policies import Overlap

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from taskscheduler.application.calendar.fire_plan import Plan
    from taskscheduler.application.metrics.observer import Observer
    from taskscheduler.application.store import Store
    from taskscheduler.domain.fire import Due, Taken

TAKEN_AT_ONCE: Final = 250
SETS_MAX: Final = 10
"""After so many sets a worker looks around again."""
FRUITLESS_MAX: Final = 3
"""So often in a row there may be nothing left to take of what was seen to be due."""
RELEASED_AT_ONCE: Final = 100
RELEASE_EVERY: Final = timedelta(seconds=0.5)
"""How often a worker looks whether the task that a fire waits for has ended."""
AGAIN: Final = timedelta(seconds=0.1)
ASIDE_FIRST_S: Final = 1.0
ASIDE_LAST_S: Final = 300.0

log = logging.getLogger("taskscheduler.schedules")


class Aside(NamedTuple):
    """A schedule that could not be fired here, until when it is let be, and for how long next."""

    until_s: float
    next_s: float


class ScheduleRunner:
    """Stores the tasks of schedules that are due."""

    def __init__(self, store: Store, observer: Observer | None = None) -> None:
        """Work on ``store``; tell ``observer`` what became of fires."""
        self._store = store
        self._observer = observer
        self._aside: dict[str, Aside] = {}
        self._unanswered: list[Taken] = []
        self._review = Review(store)

    async def turn(self) -> timedelta | None:
        """Fire what is due; return how long until the next, or None if there is none.

        Raises:
            StoreUnavailable: the store went away; what was not fired is due still.
        """
        schedules = self._store.schedules
        fruitless = 0
        while fruitless <= FRUITLESS_MAX:
            while self._unanswered:
                await self._answered(self._unanswered.pop())
            aside, back_in = self._let_be()
            outlook = await schedules.outlook(zone_data=VERSION, aside=aside)
            if not timedelta(0) <= outlook.now - outlook.looked_at < WATCH_EVERY:
                await schedules.watch()
            if await self._review.turn(outlook.now):
                continue
            if outlook.buffered:
                await self._release()
            if outlook.wait is None or outlook.wait > timedelta(0):
                again = RELEASE_EVERY if outlook.buffered else None
                waits = (outlook.wait, back_in, again)
                return min((each for each in waits if each), default=None)
            fruitless = 0 if await self._fire_some() else fruitless + 1
        return AGAIN

    async def _fire_some(self) -> bool:
        """Take some schedules and fire them; return whether there were any.

        Where there are many, two sets are under way: one is reckoned while the other is stored.
        """
        taken = await self._take()
        if taken is None:
            return False
        if not _is_full(taken):
            await self._answered(taken)
            return True
        done = await asyncio.gather(
            self._fire_sets(taken), self._fire_sets(None), return_exceptions=True
        )
        for error in done:
            if error is not None:
                raise error
        return True

    async def _fire_sets(self, taken: Taken | None) -> None:
        """Fire one set after another, beginning with ``taken``, for a while at most."""
        for _ in range(SETS_MAX):
            taken = taken or await self._take()
            if taken is None:
                return
            await self._answered(taken)
            if not _is_full(taken):
                return
            taken = None

    async def _take(self) -> Taken | None:
        aside, _ = self._let_be()
        return await self._store.schedules.take(TAKEN_AT_ONCE, zone_data=VERSION, aside=aside)

    async def _answered(self, taken: Taken) -> None:
        """Fire what was taken; if the store goes away meanwhile, it is ours to fire still."""
        try:
            await self._fire(taken)
        except (StoreUnavailable, SchemaMismatch):
            self._unanswered.append(taken)
            raise

    async def _release(self) -> None:
        """Store the tasks of fires that have waited long enough."""
        new_task_id = self._store.new_task_id
        queues = await self._store.schedules.release(
            [new_task_id() for _ in range(RELEASED_AT_ONCE)]
        )
        if queues:
            self._store.wakeups.ring(set(queues))
            if self._observer is not None:
                self._observer.fired({"stored": len(queues)})

    async def _fire(self, taken: Taken) -> None:
        """Fire what was taken; what cannot be fired is put aside."""
        problems = dict(taken.unread)
        plans: dict[str, Plan] = {}
        fires: list[Fire] = []
        paused = await self._pause_failing(taken.due)
        for due in taken.due:
            if due.name in paused:
                continue
            try:
                planned = plan(due, taken.now, taken.watched_since)
            except InvalidSchedule as error:
                problems[due.name] = str(error)
            except Exception as error:
                log.exception("schedule %s cannot be reckoned", due.name)
                problems[due.name] = _told(error)
            else:
                plans[due.name] = planned
                fires.append(await self._made(due, planned))
        problems |= await self._store_all(fires, plans)
        if problems:
            await self._store.schedules.put_aside(problems)
            self._note(problems)

    async def _pause_failing(self, dues: Sequence[Due]) -> frozenset[str]:
        """Pause those whose tasks fail; return their names."""
        asked = [due for due in dues if due.pause_after_failures is not None]
        if not asked:
            return frozenset()
        paused = frozenset(await self._store.schedules.pause_failing(asked))
        for name in sorted(paused):
            log.warning("schedule %s is paused: its last tasks failed", name)
        if paused and self._observer is not None:
            self._observer.fired({"paused": len(paused)})
        return paused

    async def _cancelled(self, due: Due) -> str | None:
        """Cancel the task of the last fire, if it has not ended; return what is told of it.

        Before the next one is stored: whoever goes down in between is followed by one who stores
        it all the same.
        """
        if due.overlap is not Overlap.CANCEL_RUNNING or due.last_task_id is None:
            return None
        try:
            await self._store.tasks.cancel(due.last_task_id)
        except (TaskNotFound, IllegalTransition):
            return None
        return f"the task of the last fire was cancelled: {due.last_task_id}"

    async def _made(self, due: Due, planned: Plan) -> Fire:
        new_task_id = self._store.new_task_id
        tasks = [(new_task_id(), at) for at in planned.fires]
        return Fire(
            due,
            tasks,
            planned.fired_at,
            planned.next_fire_at,
            zone_data_of(due.rule),
            planned.untaken,
            await self._cancelled(due) if planned.fires else None,
        )

    async def _store_all(self, fires: Sequence[Fire], plans: Mapping[str, Plan]) -> dict[str, str]:
        """Store ``fires``, at once or else one by one; return what cannot be stored, and why."""
        try:
            await self._store_some(fires, plans)
        except (StoreUnavailable, SchemaMismatch):
            raise
        except Exception as error:  # noqa: BLE001 - one of them is at fault, whatever it is
            if len(fires) == 1:
                return {fires[0].due.name: _told(error)}
            problems: dict[str, str] = {}
            for fire in fires:
                problems |= await self._store_all([fire], plans)
            return problems
        return {}

    async def _store_some(self, fires: Sequence[Fire], plans: Mapping[str, Plan]) -> None:
        if not fires:
            return
        outcomes = dict.fromkeys(FIRES, 0)
        rung: set[str] = set()
        for fire, fired in zip(fires, await self._store.schedules.fire(fires), strict=True):
            name = fire.due.name
            self._aside.pop(name, None)
            if fired is None:
                continue
            planned = plans[name]
            untaken = len(fire.tasks) - len(fired.task_ids) - fired.buffered
            overlapped = planned.overlapped + untaken
            outcomes["stored"] += fired.fresh
            outcomes["missed"] += planned.missed
            outcomes["overlapped"] += overlapped
            outcomes["buffered"] += fired.buffered
            if fired.fresh:
                rung.add(fire.due.queue)
            if planned.missed:
                _tell_missed(fire, planned)
            if overlapped:
                log.info(
                    "schedule %s: its last task has not ended, %d not stored", name, overlapped
                )
        if rung:
            self._store.wakeups.ring(rung)
        if self._observer is not None:
            self._observer.fired(outcomes)

    # -- what cannot be fired here -----------------------------------------------------------------

    def _let_be(self) -> tuple[list[str], timedelta | None]:
        """Return the names of those that are let be, and how long the first of them is."""
        now_s = self._store.clock.monotonic()
        waiting = {name: each for name, each in self._aside.items() if each.until_s > now_s}
        if not waiting:
            return [], None
        first_s = min(each.until_s for each in waiting.values())
        return list(waiting), timedelta(seconds=first_s - now_s)

    def _note(self, problems: Mapping[str, str]) -> None:
        now_s = self._store.clock.monotonic()
        for name, reason in problems.items():
            wait_s = self._aside[name].next_s if name in self._aside else ASIDE_FIRST_S
            self._aside[name] = Aside(now_s + wait_s, min(wait_s * 2, ASIDE_LAST_S))
            log.error(
                "schedule %s cannot be fired here, it is tried again in %d s: %s",
                name,
                wait_s,
                reason,
            )
        if self._observer is not None:
            self._observer.fired({"failed": len(problems)})


def _is_full(taken: Taken) -> bool:
    """Tell whether there may be more to take."""
    return len(taken.due) + len(taken.unread) >= TAKEN_AT_ONCE


def _tell_missed(fire: Fire, planned: Plan) -> None:
    log.warning(
        "schedule %s: %d%s fires from %s on were let go: %s",
        fire.due.name,
        planned.missed,
        " or more" if planned.missed >= COUNTED_MAX else "",
        fire.due.next_fire_at,
        planned.untaken[0].reason,
    )


def _told(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".partition("\n")[0]
