"""Making, changing and looking at schedules: what embedders, HTTP and the command line call."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from functools import partial
from itertools import islice, takewhile
from operator import ge
from typing import TYPE_CHECKING, Any, Final

from taskscheduler.application.calendar.fire_plan import zone_data_of
from taskscheduler.application.calendar.preview import foreseen
from taskscheduler.application.calendar.recurrence import TICK, Timetable
from taskscheduler.application.client.task_batch import encode_payload, only_known, require_json
from taskscheduler.domain.audit import Action
from taskscheduler.domain.errors import (
    Forbidden,
    InvalidSchedule,
    InvalidTask,
    ScheduleChanged,
    ScheduleExists,
    ScheduleNotFound,
    ScheduleUnread,
)
from taskscheduler.domain.every import every_of
from taskscheduler.domain.fire import left_of
from taskscheduler.domain.ledger import BackfillStep, NewEntry, Outcome
from taskscheduler.domain.schedule import NewSchedule, Schedule, ScheduleFields, implied
from taskscheduler.domain.values import NAME, in_utc

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from datetime import datetime

    from taskscheduler.application.calendar.preview import Preview
    from taskscheduler.application.store import Store
    from taskscheduler.domain.access import Caller
    from taskscheduler.domain.ledger import LedgerEntry, Place
    from taskscheduler.domain.new_task import NewTask
    from taskscheduler.domain.rule import Rule
    from taskscheduler.domain.values import TaskId

RACES_MAX: Final = 10
"""How often a change is tried again when the schedule changed, or fired, meanwhile."""
LIST_LIMIT_DEFAULT: Final = 100
PREVIEW_DEFAULT: Final = 10
BACKFILLED_AT_ONCE: Final = 1_000
"""So many fires one call of ``backfill`` looks at."""
FIELDS: Final = ("payload", *ScheduleFields.__annotations__)


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
        it starts. What is due stays due. If the ``Rule`` is another one, what comes next is
        reckoned anew, from now; otherwise it stays as it was. A pause stays.

        Returns:
            The schedule, and whether it was made.

        Raises:
            InvalidSchedule: it cannot be one, or would never fire. (With an ``ends_at`` that has
                passed it has ended, which is no mistake.)
            Forbidden: the caller does not reach its queue.
            ScheduleExists: the name is taken by one that the caller does not reach.
        """
        definition = _with_json(definition)
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
        definition = _with_json(definition)
        self._require_reach(definition)
        now = await self._store.schedules.now()
        next_fire_at = _first(definition, now, made_at=now)
        schedule = Schedule.make(
            definition,
            now=now,
            next_fire_at=next_fire_at,
            zone_data=zone_data_of(definition.rule),
        )
        await self._store.schedules.add(schedule, by=self._by)
        return schedule

    async def get(self, name: str) -> Schedule:
        """Return the schedule. Raises ScheduleNotFound."""
        # Not every store could look for it, and not every caller is checked.
        if not isinstance(name, str) or NAME.fullmatch(name) is None:  # pyright: ignore[reportUnnecessaryIsInstance]
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

        Giving ``every``, ``rrule``, or one of ``cron`` and ``crons``, takes the others away.
        What comes next is as in ``put``.

        Raises:
            InvalidSchedule: it cannot be so, or would never fire.
            Forbidden: the caller does not reach its queue.
            ScheduleNotFound: there is none.
        """
        only_known(changes, FIELDS)
        if isinstance(cron := changes.get("cron"), str) and (span := every_of(cron)) is not None:
            changes = {**changes, "cron": None, "every": span}
        if changes.get("every") is not None:
            nothing = {"cron": None, "crons": (), "rrule": None, "gap": None, "fold": None}
            changes = nothing | changes
        elif changes.get("cron") is not None or changes.get("crons"):
            changes = {"every": None, "rrule": None} | changes
        elif changes.get("rrule") is not None:
            changes = {"every": None, "cron": None, "crons": ()} | changes

        def edited(old: Schedule, now: datetime) -> Schedule:
            meant = implied({"overlap": old.definition.overlap} | changes) | changes
            return _redefined(_with_json(replace(old.definition, **meant)))(old, now)

        return await self._change(name, Action.SCHEDULE_CHANGED, edited)

    async def delete(self, name: str) -> None:
        """Remove a schedule; the tasks that it has stored stay. Raises ScheduleNotFound."""
        try:
            await self.get(name)
        except ScheduleUnread:
            if self._by is not None and self._by.queue_prefix is not None:
                raise  # it is not known whether it is within reach
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
            return old.resume(
                now=now,
                next_fire_at=None if old.is_used_up else _timetable(old, old.definition).after(now),
                zone_data=zone_data_of(old.definition.rule),
            )

        return await self._change(name, Action.SCHEDULE_RESUMED, resumed)

    async def trigger(self, name: str) -> TaskId:
        """Store a task of the schedule for now, whenever it fires next, and even if it is paused.

        Raises ScheduleNotFound.
        """
        schedule = await self.get(name)
        now = await self._store.schedules.now()
        task_id = await self._put_task(schedule.definition.task(self._store.new_task_id()))
        reason = None if self._by is None else f"by {self._by.name}"
        entry = NewEntry(now, Outcome.TRIGGERED, reason, task_id)
        await self._store.schedules.note(schedule, entry)
        return task_id

    async def backfill(
        self, name: str, first: datetime, last: datetime, *, limit: int = BACKFILLED_AT_ONCE
    ) -> BackfillStep:
        """Store the tasks of the schedule's fires from ``first`` to ``last`` that have none.

        These are the times that its rule means, both ends included, also before it was made, and
        even if it is paused. Each has its task, due at once, whatever ``overlap`` says. One call
        looks at up to ``limit`` fires: go on with ``next_from`` of the answer until it is None.

        Raises:
            InvalidSchedule: the span makes no sense; it must not reach into the future.
            ScheduleNotFound: there is none.
        """
        schedule = await self.get(name)
        first, last = in_utc("from", first), in_utc("to", last)
        if first > last:
            raise InvalidSchedule("to", "must not be before from")
        now = await self._store.schedules.now()
        if last > now:
            reason = f"must not be in the future: it is {now:%FT%TZ}, what comes later fires itself"
            raise InvalidSchedule("to", reason)
        rule = schedule.definition.rule
        timetable = Timetable(rule, made_at=schedule.created_at, before=True)
        coming = takewhile(partial(ge, last), timetable.fires(first - TICK))
        fires = list(islice(coming, limit))
        new_task_id = self._store.new_task_id
        tasks = [(new_task_id(), at) for at in fires]
        await self._admit(schedule, tasks)
        reason = None if self._by is None else f"by {self._by.name}"
        ids = await self._store.schedules.backfill(schedule, tasks, reason=reason, by=self._by)
        if ids:
            self._store.wakeups.ring({schedule.definition.queue})
        next_from = next(coming, None) if len(fires) == limit else None
        return BackfillStep(len(fires), ids, len(fires) - len(ids), next_from)

    async def _admit(self, schedule: Schedule, tasks: Sequence[tuple[TaskId, datetime]]) -> None:
        """Let the tasks of fires of ``schedule`` be stored; callers with a quota may not always."""

    async def fires(
        self, name: str, *, before: Place | None = None, limit: int = LIST_LIMIT_DEFAULT
    ) -> Sequence[LedgerEntry]:
        """Return up to ``limit`` entries of what became of its fires, the latest fires first.

        Raises ScheduleNotFound.
        """
        await self.get(name)
        prefix = None if self._by is None else self._by.queue_prefix
        return await self._store.schedules.fires(
            name, queue_prefix=prefix, before=before, limit=limit
        )

    async def preview(self, name: str, count: int = PREVIEW_DEFAULT) -> Sequence[datetime]:
        """Return the next ``count`` fires, in UTC; of one that is paused, if it were resumed now.

        Raises ScheduleNotFound.
        """
        return [fire.at for fire in (await self.foresee(name, count)).fires]

    async def foresee(self, name: str, count: int = PREVIEW_DEFAULT) -> Preview:
        """Return as ``preview``, and what changes of clocks do to these fires.

        Raises ScheduleNotFound.
        """
        schedule = await self.get(name)
        now = await self._store.schedules.now()
        timetable = _timetable(schedule, schedule.definition)
        first = schedule.next_fire_at
        # One that is due, and has not fired yet, comes first.
        overdue = [first] if first is not None and first <= now else []
        left = left_of(schedule.definition.max_fires, schedule.fire_count)
        most = count if left is None else min(left, count)
        rule = schedule.definition.rule

        def look() -> Preview:
            fires = [*overdue, *islice(timetable.fires(now), most)][:most]
            return foreseen(rule, made_at=schedule.created_at, after=now, fires=fires)

        # Some rules take their time, which is not to be that of the event loop.
        return await asyncio.to_thread(look)

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


def _with_json(definition: NewSchedule) -> NewSchedule:
    """Return ``definition`` with its payload as JSON text. Raises InvalidSchedule."""
    try:
        encoded = definition.encoded(encode_payload)
        require_json(encoded.payload_json)
    except InvalidSchedule:
        raise
    except InvalidTask as error:
        raise InvalidSchedule(error.field, error.reason) from error
    return encoded


def _redefined(definition: NewSchedule) -> Callable[[Schedule, datetime], Schedule]:
    def redefined(old: Schedule, now: datetime) -> Schedule:
        if old.definition == definition:
            return old
        if definition.rule == old.definition.rule:
            return old.redefine(definition, now=now, next_fire_at=None)
        return old.redefine(
            definition,
            now=now,
            next_fire_at=None
            if left_of(definition.max_fires, old.fire_count) == 0
            else _first(definition, now, made_at=old.created_at),
            zone_data=zone_data_of(definition.rule),
        )

    return redefined


def _timetable(schedule: Schedule, definition: NewSchedule) -> Timetable:
    return Timetable(definition.rule, made_at=schedule.created_at)


def _field_of(rule: Rule) -> str:
    """Return the field that says when it fires."""
    if rule.every:
        return "every_s"
    return "cron" if rule.cron is not None else "crons" if rule.crons else "rrule"


def _first(definition: NewSchedule, now: datetime, *, made_at: datetime) -> datetime | None:
    """Return the first fire after ``now``; None if it has ended. Raises InvalidSchedule: never."""
    rule = definition.rule
    first = Timetable(rule, made_at=made_at).after(now)
    if first is not None:
        return first
    if (
        rule.ends_at is None
        or Timetable(rule._replace(ends_at=None), made_at=made_at).after(now) is None
    ):
        raise InvalidSchedule(_field_of(rule), "would never fire")
    if rule.ends_at > now:
        raise InvalidSchedule("ends_at", "comes before the first fire: it would never fire")
    return None
