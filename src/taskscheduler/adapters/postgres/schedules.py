"""Schedules in PostgreSQL."""

from __future__ import annotations

import logging
from contextlib import suppress
from datetime import UTC
from typing import TYPE_CHECKING, Any, Final

import psycopg

from taskscheduler.adapters.postgres.audit import Trail
from taskscheduler.adapters.postgres.backfill import Backfills
from taskscheduler.adapters.postgres.buffer import Buffer
from taskscheduler.adapters.postgres.fire_ledger import Ledger
from taskscheduler.adapters.postgres.fires import FITTING, PostgresFires
from taskscheduler.adapters.postgres.schedule_rows import COLUMNS, GET, schedule_of, values_of
from taskscheduler.domain.audit import Action
from taskscheduler.domain.errors import (
    ScheduleChanged,
    ScheduleExists,
    ScheduleNotFound,
    ScheduleUnread,
)

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime, timedelta

    from taskscheduler.adapters.postgres.database import Connection, Database
    from taskscheduler.domain.access import Caller
    from taskscheduler.domain.ledger import LedgerEntry, NewEntry, Place
    from taskscheduler.domain.ports.tasks import TaskRepository
    from taskscheduler.domain.schedule import Schedule
    from taskscheduler.domain.values import TaskId

NOW: Final = "SELECT {schema}.clock()"
ADD: Final = """
INSERT INTO {schema}.schedule
    (name, revision, kind, cron, every, time_zone, payload, queue, priority, max_attempts, timeout,
     starts_at, ends_at, catch_up, overlap, created_at, changed_at, ruled_at, paused_at,
     next_fire_at, last_fire_at, last_task_id, zone_data, problem, options, max_fires, fire_count,
     pause_reason)
VALUES (%(name)s, %(revision)s, %(kind)s, %(cron)s, %(every)s, %(time_zone)s, %(payload)s,
        %(queue)s, %(priority)s, %(max_attempts)s, %(timeout)s, %(starts_at)s, %(ends_at)s,
        %(catch_up)s, %(overlap)s, %(created_at)s, %(changed_at)s, %(ruled_at)s, %(paused_at)s,
        %(next_fire_at)s, %(last_fire_at)s, %(last_task_id)s, %(zone_data)s, %(problem)s,
        %(options)s, %(max_fires)s, %(fire_count)s, %(pause_reason)s)"""
REPLACE: Final = """
UPDATE {schema}.schedule
SET revision = %(revision)s, kind = %(kind)s, cron = %(cron)s, every = %(every)s,
    time_zone = %(time_zone)s, payload = %(payload)s, queue = %(queue)s, priority = %(priority)s,
    max_attempts = %(max_attempts)s, timeout = %(timeout)s, starts_at = %(starts_at)s,
    ends_at = %(ends_at)s, catch_up = %(catch_up)s, overlap = %(overlap)s,
    changed_at = %(changed_at)s, ruled_at = %(ruled_at)s, paused_at = %(paused_at)s,
    next_fire_at = %(next_fire_at)s, last_fire_at = %(last_fire_at)s,
    last_task_id = %(last_task_id)s, zone_data = %(zone_data)s, problem = %(problem)s,
    options = %(options)s, max_fires = %(max_fires)s, fire_count = %(fire_count)s,
    pause_reason = %(pause_reason)s, taken_until = NULL
WHERE name = %(name)s AND revision = %(expected)s"""
LIST: Final = (
    "SELECT "  # noqa: S608 - constants only
    + COLUMNS
    + " FROM {schema}.schedule, "
    + FITTING
    + """
WHERE name > %(after)s AND starts_with(queue, %(prefix)s) ORDER BY name LIMIT %(limit)s"""
)
DELETE: Final = "DELETE FROM {schema}.schedule WHERE name = %(name)s"
log = logging.getLogger("taskscheduler.schedules")


class PostgresScheduleRepository(PostgresFires):
    """``ScheduleRepository`` on PostgreSQL."""

    def __init__(self, database: Database, unique_for: timedelta, tasks: TaskRepository) -> None:
        """Work through ``database``; store what is not fired in sets by ``tasks``.

        ``unique_for`` is how long the unique keys of fires live.
        """
        super().__init__(database, unique_for)
        self._backfills = Backfills(database, tasks)
        self._buffer = Buffer(database, tasks)
        self._trail = Trail(database)
        self._ledger = Ledger(database)
        sql = database.sql
        self._now = sql(NOW)
        self._add = sql(ADD)
        self._replace = sql(REPLACE)
        self._get = sql(GET)
        self._list = sql(LIST)
        self._delete = sql(DELETE)

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
        found: list[Schedule] = []
        for row in rows:
            try:
                found.append(schedule_of(row))
            except ScheduleUnread as error:
                log.warning("left out of the list: %s", error)
        return found

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
            with suppress(ScheduleUnread):
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

    async def fires(
        self, name: str, *, queue_prefix: str | None = None, before: Place | None = None, limit: int
    ) -> Sequence[LedgerEntry]:
        """See ``ScheduleRepository.fires``."""
        return await self._ledger.fires(name, queue_prefix=queue_prefix, before=before, limit=limit)

    async def note(self, schedule: Schedule, entry: NewEntry) -> None:
        """See ``ScheduleRepository.note``."""
        await self._ledger.note(schedule, entry)

    async def release(self, task_ids: Sequence[TaskId]) -> Sequence[str]:
        """See ``ScheduleRepository.release``."""
        return await self._buffer.release(task_ids)

    async def backfill(
        self,
        schedule: Schedule,
        tasks: Sequence[tuple[TaskId, datetime]],
        *,
        reason: str | None = None,
        by: Caller | None = None,
    ) -> Sequence[TaskId]:
        """See ``ScheduleRepository.backfill``."""
        return await self._backfills.backfill(schedule, tasks, reason=reason, by=by)

    async def _rows(self, statement: bytes, **values: Any) -> list[tuple[Any, ...]]:
        async def work(connection: Connection) -> list[tuple[Any, ...]]:
            return await (await connection.execute(statement, values)).fetchall()

        return await self._database.run(work)

    async def _tell(
        self, connection: Connection, by: Caller | None, action: Action, name: str
    ) -> None:
        if by is not None:
            await self._trail.record(connection, by, action, target=name)
