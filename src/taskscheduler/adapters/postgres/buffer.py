"""Fires that wait in PostgreSQL until the task of the one before has ended."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final

import psycopg

from taskscheduler.adapters.postgres.fire_ledger import NOTE
from taskscheduler.adapters.postgres.schedule_rows import GET, schedule_of
from taskscheduler.domain.errors import ScheduleUnread
from taskscheduler.domain.ledger import ALREADY_THERE, HAS_WAITED, Outcome

if TYPE_CHECKING:
    from collections.abc import Sequence

    from taskscheduler.adapters.postgres.database import Connection, Database
    from taskscheduler.domain.ports.tasks import TaskRepository
    from taskscheduler.domain.values import TaskId

READY: Final = """
SELECT s.name FROM {schema}.schedule s
WHERE s.name IN (SELECT b.schedule FROM {schema}.schedule_buffered b) AND s.paused_at IS NULL
  AND NOT EXISTS (SELECT FROM {schema}.live l WHERE l.id = s.last_task_id)
ORDER BY s.name LIMIT %(limit)s"""
PATIENCE: Final = "SET LOCAL lock_timeout = '2s'"
HOLD: Final = GET + " AND paused_at IS NULL FOR NO KEY UPDATE OF schedule SKIP LOCKED"
TAKE: Final = """
DELETE FROM {schema}.schedule_buffered b
WHERE b.schedule = %(name)s AND NOT EXISTS (SELECT FROM {schema}.live l WHERE l.id = %(last)s)
  AND b.at = (SELECT min(f.at) FROM {schema}.schedule_buffered f WHERE f.schedule = %(name)s)
RETURNING b.at"""
GO_ON: Final = """
UPDATE {schema}.schedule SET last_task_id = %(task_id)s, revision = revision + 1
WHERE name = %(name)s"""

log = logging.getLogger("taskscheduler.schedules")


class Buffer:
    """Stores the tasks of fires that have waited."""

    def __init__(self, database: Database, tasks: TaskRepository) -> None:
        """Work through ``database``; store by ``tasks``, which join the transaction."""
        self._database = database
        self._tasks = tasks
        sql = database.sql
        self._ready = sql(READY)
        self._patience = sql(PATIENCE)
        self._hold = sql(HOLD)
        self._take = sql(TAKE)
        self._go_on = sql(GO_ON)
        self._note = sql(NOTE)

    async def release(self, task_ids: Sequence[TaskId]) -> Sequence[str]:
        """See ``ScheduleRepository.release``."""

        async def ready(connection: Connection) -> list[str]:
            cursor = await connection.execute(self._ready, {"limit": len(task_ids)})
            return [name for (name,) in await cursor.fetchall()]

        queues: list[str] = []
        for task_id, name in zip(task_ids, await self._database.run(ready), strict=False):
            try:
                queue = await self._release_one(name, task_id)
            except (ScheduleUnread, psycopg.errors.LockNotAvailable) as error:
                log.warning("schedule %s: the fire that waits is not stored yet: %s", name, error)
            else:
                queues += [] if queue is None else [queue]
        return queues

    async def _release_one(self, name: str, task_id: TaskId) -> str | None:
        """Store the task of the first fire that waits; return its queue, None if there is none."""

        async def work(connection: Connection) -> str | None:
            async with connection.transaction():
                await connection.execute(self._patience)
                # Locked first, so that what is looked at afterwards is as it is by then.
                row = await (await connection.execute(self._hold, {"name": name})).fetchone()
                if row is None:
                    return None
                schedule = schedule_of(row)
                values: dict[str, Any] = {"name": name, "last": schedule.last_task_id}
                taken = await (await connection.execute(self._take, values)).fetchone()
                if taken is None:
                    return None
                task = schedule.definition.task(task_id, taken[0])
                (held,) = await self._tasks.put([task], transaction=connection)
                values |= {
                    "task_id": held,
                    "at": taken[0],
                    "queue": schedule.definition.queue,
                    "outcome": Outcome.STORED.value,
                    "reason": HAS_WAITED if held == task.id else ALREADY_THERE,
                }
                await connection.execute(self._go_on, values)
                await connection.execute(self._note, values)
                return schedule.definition.queue

        return await self._database.run(work)
