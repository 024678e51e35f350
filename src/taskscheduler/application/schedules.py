"""Making, changing and looking at schedules: what embedders, HTTP and the command line call."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from taskscheduler.application.preparing import only_known
from taskscheduler.application.timetable import Timetable
from taskscheduler.domain.audit import Action
from taskscheduler.domain.errors import (
    Forbidden,
    ScheduleChanged,
    ScheduleExists,
    ScheduleNotFound,
)
from taskscheduler.domain.schedule import NewSchedule, Schedule
from taskscheduler.domain.task import NAME

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from datetime import datetime

    from taskscheduler.application.store import Store
    from taskscheduler.domain.access import Caller
    from taskscheduler.domain.task import NewTask, TaskId

RACES_MAX: Final = 10
"""How often a change is tried again when the schedule changed, or fired, meanwhile."""
LIST_LIMIT_DEFAULT: Final = 100
PREVIEW_DEFAULT: Final = 10


class Schedules:
    """The schedules of one store, as far as whoever looks at them reaches.

    To a caller with a queue prefix those that store their tasks in other queues are not there; but
    their names are taken.
    """

    def __init__(
        self,
        store: Store,
        put: Callable[[NewTask], Awaitable[TaskId]],
        by: Caller | None = None,
    ) -> None:
        """Work on ``store``; store tasks of triggers by ``put``; do all in the name of ``by``."""
        self._store = store
        self._put_task = put
        self._by = by

    async def put(self, definition: NewSchedule) -> tuple[Schedule, bool]:
        """Make the schedule, or let the one of that name be as ``definition``; tell which.

        A schedule that is so already is not changed: an application may put its schedules whenever
        it starts. Otherwise what comes next is reckoned anew, from now; a pause stays.

        Returns:
            The schedule, and whether it was made.

        Raises:
            InvalidSchedule: it cannot be one.
            Forbidden: the caller does not reach its queue.
            ScheduleExists: the name is taken by one that the caller does not reach.
        """
        for _ in range(RACES_MAX):
            try:
                return await self.make(definition), True
            except ScheduleExists:
                pass
            try:
                return await self._change(
                    definition.name, Action.SCHEDULE_CHANGED, _redefined(definition)
                ), False
            except ScheduleNotFound:
                if self._by is not None and self._by.queue_prefix is not None:
                    raise ScheduleExists(definition.name) from None
        raise ScheduleChanged(definition.name)

    async def make(self, definition: NewSchedule) -> Schedule:
        """Make a schedule. Raises InvalidSchedule, Forbidden, ScheduleExists."""
        self._require_reach(definition)
        now = await self._store.schedules.now()
        next_fire_at = Timetable(definition, made_at=now).after(now)
        schedule = Schedule.make(definition, now=now, next_fire_at=next_fire_at)
        await self._store.schedules.add(schedule, by=self._by)
        return schedule

    async def get(self, name: str) -> Schedule:
        """Return the schedule. Raises ScheduleNotFound."""
        if NAME.fullmatch(name) is None:  # not every store could look for it
            raise ScheduleNotFound(name)
        schedule = await self._store.schedules.get(name)
        if self._by is not None and not self._by.may_use(schedule.definition.queue):
            raise ScheduleNotFound(name)
        return schedule

    async def list(self, *, after: str = "", limit: int = LIST_LIMIT_DEFAULT) -> Sequence[Schedule]:
        """Return up to ``limit`` schedules, those whose names come after ``after``, by name."""
        prefix = None if self._by is None else self._by.queue_prefix
        return await self._store.schedules.list(after=after, limit=limit, queue_prefix=prefix)

    async def edit(self, name: str, **changes: Any) -> Schedule:
        """Change some fields of ``NewSchedule``, but not the name.

        Giving one of ``cron`` and ``every`` takes the other away. What comes next is reckoned anew.

        Raises:
            InvalidSchedule: it cannot be so.
            Forbidden: the caller does not reach its queue.
            ScheduleNotFound: there is none.
        """
        only_known(changes, NewSchedule)
        for given, other in (("cron", "every"), ("every", "cron")):
            if changes.get(given) is not None:
                changes.setdefault(other, None)

        def edited(old: Schedule, now: datetime) -> Schedule:
            return _redefined(replace(old.definition, **changes))(old, now)

        return await self._change(name, Action.SCHEDULE_CHANGED, edited)

    async def delete(self, name: str) -> None:
        """Remove a schedule; the tasks that it has stored stay. Raises ScheduleNotFound."""
        await self.get(name)
        await self._store.schedules.delete(name, by=self._by)

    async def pause(self, name: str) -> Schedule:
        """Let a schedule not fire until it is resumed. Raises ScheduleNotFound."""

        def paused(old: Schedule, now: datetime) -> Schedule:
            return old if old.is_paused else old.pause(now=now)

        return await self._change(name, Action.SCHEDULE_PAUSED, paused)

    async def resume(self, name: str) -> Schedule:
        """Let a paused schedule fire again, from now on. Raises ScheduleNotFound."""

        def resumed(old: Schedule, now: datetime) -> Schedule:
            if not old.is_paused:
                return old
            return old.resume(now=now, next_fire_at=_next(old, old.definition, now))

        return await self._change(name, Action.SCHEDULE_RESUMED, resumed)

    async def trigger(self, name: str) -> TaskId:
        """Store a task of the schedule for now, whenever it fires next, and even if it is paused.

        Raises ScheduleNotFound.
        """
        schedule = await self.get(name)
        return await self._put_task(schedule.definition.task(self._store.new_task_id()))

    async def preview(self, name: str, count: int = PREVIEW_DEFAULT) -> Sequence[datetime]:
        """Return the next ``count`` fires, in UTC; of one that is paused, if it were resumed now.

        Raises ScheduleNotFound.
        """
        schedule = await self.get(name)
        now = await self._store.schedules.now()
        timetable = Timetable(schedule.definition, made_at=schedule.created_at)
        first = schedule.next_fire_at
        # One that is due, and has not fired yet, comes first.
        overdue = [first] if first is not None and first <= now else []
        return [*overdue, *islice(timetable.fires(now), count)][:count]

    async def _change(
        self, name: str, action: Action, changed: Callable[[Schedule, datetime], Schedule]
    ) -> Schedule:
        schedules = self._store.schedules
        for _ in range(RACES_MAX):
            old = await self.get(name)
            new = changed(old, await schedules.now())
            if new is old:
                return old
            self._require_reach(new.definition)
            try:
                await schedules.replace(old, new, action=action, by=self._by)
            except ScheduleChanged:
                continue
            return new
        raise ScheduleChanged(name)

    def _require_reach(self, definition: NewSchedule) -> None:
        if self._by is not None and not self._by.may_use(definition.queue):
            message = f"this key reaches only queues that begin with {self._by.queue_prefix!r}"
            raise Forbidden(message)


def _redefined(definition: NewSchedule) -> Callable[[Schedule, datetime], Schedule]:
    def redefined(old: Schedule, now: datetime) -> Schedule:
        if old.definition == definition:
            return old
        return old.redefine(definition, now=now, next_fire_at=_next(old, definition, now))

    return redefined


def _next(schedule: Schedule, definition: NewSchedule, now: datetime) -> datetime | None:
    return Timetable(definition, made_at=schedule.created_at).after(now)
