"""Backfills in PostgreSQL: the tasks of a span of fires, and the ledger that tells of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from taskscheduler.adapters.postgres.audit import Trail
from taskscheduler.adapters.postgres.fire_ledger import HAVE_TASKS, NOTE_ALL
from taskscheduler.domain.audit import Action
from taskscheduler.domain.ledger import HAVING_A_TASK, Outcome

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from taskscheduler.adapters.postgres.database import Connection, Database
    from taskscheduler.domain.access import Caller
    from taskscheduler.domain.ports.tasks import TaskRepository
    from taskscheduler.domain.schedule import Schedule
    from taskscheduler.domain.values import TaskId

FOR_FIRES: Final = sorted(outcome.value for outcome in HAVING_A_TASK)


class Backfills:
    """Stores the tasks of fires that came to none."""

    def __init__(self, database: Database, tasks: TaskRepository) -> None:
        """Work through ``database``; store by ``tasks``, which join the transaction."""
        self._database = database
        self._tasks = tasks
        self._trail = Trail(database)
        self._have_tasks = database.sql(HAVE_TASKS)
        self._note_all = database.sql(NOTE_ALL)

    async def backfill(
        self,
        schedule: Schedule,
        tasks: Sequence[tuple[TaskId, datetime]],
        *,
        reason: str | None,
        by: Caller | None,
    ) -> Sequence[TaskId]:
        """See ``ScheduleRepository.backfill``."""
        values: dict[str, Any] = {
            "name": schedule.name,
            "queue": schedule.definition.queue,
            "times": [at for _, at in tasks],
            "outcomes": FOR_FIRES,
            "outcome": Outcome.BACKFILLED.value,
            "reason": reason,
        }

        async def work(connection: Connection) -> Sequence[TaskId]:
            async with connection.transaction():
                cursor = await connection.execute(self._have_tasks, values)
                present = {at for (at,) in await cursor.fetchall()}
                wanted = [each for each in tasks if each[1] not in present]
                fresh = await self._fresh(connection, schedule, wanted)
                ids = [task_id for task_id, _ in fresh]
                if fresh:
                    told = {**values, "ids": ids, "times": [at for _, at in fresh]}
                    await connection.execute(self._note_all, told)
                if by is not None:
                    action = Action.SCHEDULE_BACKFILLED
                    await self._trail.record(connection, by, action, target=schedule.name)
                return ids

        return await self._database.run(work)

    async def _fresh(
        self,
        connection: Connection,
        schedule: Schedule,
        wanted: Sequence[tuple[TaskId, datetime]],
    ) -> list[tuple[TaskId, datetime]]:
        """Store the tasks of ``wanted`` whose keys nobody holds; return these."""
        if not wanted:
            return []
        new = [schedule.definition.task(*each) for each in wanted]
        ids = await self._tasks.put(new, transaction=connection)
        return [each for each, held in zip(wanted, ids, strict=True) if each[0] == held]
