"""Schedules in PostgreSQL."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import psycopg

from taskscheduler.adapters.postgres.audit import Trail
from taskscheduler.adapters.postgres.rows import utc
from taskscheduler.domain.audit import Action
from taskscheduler.domain.errors import ScheduleChanged, ScheduleExists, ScheduleNotFound
from taskscheduler.domain.schedule import CatchUp, NewSchedule, Overlap, Schedule

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import timedelta

    from taskscheduler.adapters.postgres.database import Connection, Database
    from taskscheduler.domain.access import Caller
    from taskscheduler.domain.ports import TaskRepository
    from taskscheduler.domain.task import NewTask, TaskId

COLUMNS: Final = """name, revision, kind, cron, every, time_zone, payload::text, queue, priority,
    max_attempts, timeout, starts_at, ends_at, catch_up, overlap, created_at, changed_at, paused_at,
    next_fire_at, last_fire_at, last_task_id"""
NOW: Final = "SELECT {schema}.clock()"
ADD: Final = """
INSERT INTO {schema}.schedule
    (name, revision, kind, cron, every, time_zone, payload, queue, priority, max_attempts, timeout,
     starts_at, ends_at, catch_up, overlap, created_at, changed_at, paused_at, next_fire_at,
     last_fire_at, last_task_id)
VALUES (%(name)s, %(revision)s, %(kind)s, %(cron)s, %(every)s, %(time_zone)s, %(payload)s,
        %(queue)s, %(priority)s, %(max_attempts)s, %(timeout)s, %(starts_at)s, %(ends_at)s,
        %(catch_up)s, %(overlap)s, %(created_at)s, %(changed_at)s, %(paused_at)s, %(next_fire_at)s,
        %(last_fire_at)s, %(last_task_id)s)"""
REPLACE: Final = """
UPDATE {schema}.schedule
SET revision = %(revision)s, kind = %(kind)s, cron = %(cron)s, every = %(every)s,
    time_zone = %(time_zone)s, payload = %(payload)s, queue = %(queue)s, priority = %(priority)s,
    max_attempts = %(max_attempts)s, timeout = %(timeout)s, starts_at = %(starts_at)s,
    ends_at = %(ends_at)s, catch_up = %(catch_up)s, overlap = %(overlap)s,
    changed_at = %(changed_at)s, paused_at = %(paused_at)s, next_fire_at = %(next_fire_at)s,
    last_fire_at = %(last_fire_at)s, last_task_id = %(last_task_id)s
WHERE name = %(name)s AND revision = %(expected)s"""
GET: Final = "SELECT " + COLUMNS + " FROM {schema}.schedule WHERE name = %(name)s"  # noqa: S608
LIST: Final = (
    "SELECT "  # noqa: S608 - constants only
    + COLUMNS
    + """ FROM {schema}.schedule
WHERE name > %(after)s AND starts_with(queue, %(prefix)s) ORDER BY name LIMIT %(limit)s"""
)
DELETE: Final = "DELETE FROM {schema}.schedule WHERE name = %(name)s"
NEXT: Final = """
SELECT next_fire_at - {schema}.clock() FROM {schema}.schedule
WHERE next_fire_at IS NOT NULL ORDER BY next_fire_at LIMIT 1"""
DUE: Final = (
    "SELECT "  # noqa: S608 - constants only
    + COLUMNS
    + """ FROM {schema}.schedule
WHERE next_fire_at <= {schema}.clock() ORDER BY next_fire_at, name LIMIT %(limit)s"""
)
# Of those who fire the same revision the others wait here for the first, and then find another.
HOLD: Final = """
SELECT last_task_id IN (SELECT id FROM {schema}.live WHERE id = s.last_task_id)
FROM {schema}.schedule s WHERE name = %(name)s AND revision = %(revision)s FOR UPDATE"""


class PostgresScheduleRepository:
    """``ScheduleRepository`` on PostgreSQL."""

    def __init__(self, database: Database, tasks: TaskRepository) -> None:
        """Work through ``database``; ``tasks`` stores what is fired, in transactions of ours."""
        self._database = database
        self._tasks = tasks
        self._trail = Trail(database)
        sql = database.sql
        self._now = sql(NOW)
        self._add = sql(ADD)
        self._replace = sql(REPLACE)
        self._get = sql(GET)
        self._list = sql(LIST)
        self._delete = sql(DELETE)
        self._next = sql(NEXT)
        self._due = sql(DUE)
        self._hold = sql(HOLD)

    async def now(self) -> datetime:
        """See ``ScheduleRepository.now``."""
        ((now,),) = await self._rows(self._now)
        return now.astimezone(UTC)

    async def add(self, schedule: Schedule, *, by: Caller | None = None) -> None:
        """See ``ScheduleRepository.add``."""

        async def work(connection: Connection) -> None:
            async with connection.transaction():
                await connection.execute(self._add, values_of(schedule))
                await self._tell(connection, by, Action.SCHEDULE_ADDED, schedule.name)

        try:
            await self._database.run(work)
        except psycopg.errors.UniqueViolation:
            raise ScheduleExists(schedule.name) from None

    async def get(self, name: str) -> Schedule:
        """See ``ScheduleRepository.get``."""
        rows = await self._rows(self._get, name=name)
        if not rows:
            raise ScheduleNotFound(name)
        return schedule_of(rows[0])

    async def list(
        self, *, after: str = "", limit: int, queue_prefix: str | None = None
    ) -> Sequence[Schedule]:
        """See ``ScheduleRepository.list``."""
        rows = await self._rows(self._list, after=after, limit=limit, prefix=queue_prefix or "")
        return [schedule_of(row) for row in rows]

    async def replace(
        self, old: Schedule, new: Schedule, *, action: Action, by: Caller | None = None
    ) -> None:
        """See ``ScheduleRepository.replace``."""
        values = {**values_of(new), "expected": old.revision}

        async def work(connection: Connection) -> bool:
            async with connection.transaction():
                done = await connection.execute(self._replace, values)
                if done.rowcount:
                    await self._tell(connection, by, action, old.name)
                return bool(done.rowcount)

        if not await self._database.run(work):
            await self.get(old.name)
            raise ScheduleChanged(old.name)

    async def delete(self, name: str, *, by: Caller | None = None) -> None:
        """See ``ScheduleRepository.delete``."""

        async def work(connection: Connection) -> bool:
            async with connection.transaction():
                done = await connection.execute(self._delete, {"name": name})
                if done.rowcount:
                    await self._tell(connection, by, Action.SCHEDULE_DELETED, name)
                return bool(done.rowcount)

        if not await self._database.run(work):
            raise ScheduleNotFound(name)

    async def next_fire_in(self) -> timedelta | None:
        """See ``ScheduleRepository.next_fire_in``."""
        rows = await self._rows(self._next)
        return rows[0][0] if rows else None

    async def due(self, limit: int) -> Sequence[Schedule]:
        """See ``ScheduleRepository.due``."""
        return [schedule_of(row) for row in await self._rows(self._due, limit=limit)]

    async def fire(
        self,
        schedule: Schedule,
        tasks: Sequence[NewTask],
        *,
        fired_at: datetime | None,
        next_fire_at: datetime | None,
    ) -> Sequence[TaskId] | None:
        """See ``ScheduleRepository.fire``."""
        held = {"name": schedule.name, "revision": schedule.revision}

        async def work(connection: Connection) -> Sequence[TaskId] | None:
            async with connection.transaction():
                row = await (await connection.execute(self._hold, held)).fetchone()
                if row is None:
                    return None
                overlaps = bool(row[0]) and schedule.definition.overlap is Overlap.SKIP
                stored: Sequence[TaskId] = ()
                if tasks and not overlaps:
                    stored = await self._tasks.put(tasks, transaction=connection)
                after = schedule.fire(fired_at=fired_at, next_fire_at=next_fire_at, task_ids=stored)
                values = {**values_of(after), "expected": schedule.revision}
                await connection.execute(self._replace, values)
                return stored

        return await self._database.run(work)

    async def _rows(self, statement: bytes, **values: Any) -> list[tuple[Any, ...]]:
        async def work(connection: Connection) -> list[tuple[Any, ...]]:
            return await (await connection.execute(statement, values)).fetchall()

        return await self._database.run(work)

    async def _tell(
        self, connection: Connection, by: Caller | None, action: Action, name: str
    ) -> None:
        if by is not None:
            await self._trail.record(connection, by, action, target=name)


def values_of(schedule: Schedule) -> dict[str, Any]:
    """Return the parameters that write ``schedule``."""
    definition = schedule.definition
    return {
        "name": definition.name,
        "revision": schedule.revision,
        "kind": definition.kind,
        "cron": definition.cron,
        "every": definition.every,
        "time_zone": definition.time_zone,
        "payload": definition.payload.decode(),
        "queue": definition.queue,
        "priority": definition.priority,
        "max_attempts": definition.max_attempts,
        "timeout": definition.timeout,
        "starts_at": definition.starts_at,
        "ends_at": definition.ends_at,
        "catch_up": definition.catch_up.value,
        "overlap": definition.overlap.value,
        "created_at": schedule.created_at,
        "changed_at": schedule.changed_at,
        "paused_at": schedule.paused_at,
        "next_fire_at": schedule.next_fire_at,
        "last_fire_at": schedule.last_fire_at,
        "last_task_id": schedule.last_task_id,
    }


def schedule_of(row: tuple[Any, ...]) -> Schedule:
    """Return the schedule of a row of ``COLUMNS``."""
    return Schedule(
        definition=NewSchedule(
            name=row[0],
            kind=row[2],
            cron=row[3],
            every=row[4],
            time_zone=row[5],
            payload=row[6].encode(),
            queue=row[7],
            priority=row[8],
            max_attempts=row[9],
            timeout=row[10],
            starts_at=utc(row[11]),
            ends_at=utc(row[12]),
            catch_up=CatchUp(row[13]),
            overlap=Overlap(row[14]),
        ),
        revision=row[1],
        created_at=row[15].astimezone(UTC),
        changed_at=row[16].astimezone(UTC),
        paused_at=utc(row[17]),
        next_fire_at=utc(row[18]),
        last_fire_at=utc(row[19]),
        last_task_id=row[20],
    )
