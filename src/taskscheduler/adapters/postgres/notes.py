"""What is kept of tasks beside bodies and outcomes, in PostgreSQL."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from taskscheduler.adapters.postgres.rows import STATUSES, uuids
from taskscheduler.domain.lease import AttemptError
from taskscheduler.domain.notes import Ending, TaskNotes

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from taskscheduler.adapters.postgres.database import Connection, Database
    from taskscheduler.domain.lease import Settlement
    from taskscheduler.domain.task import TaskId

STATEMENT_BYTES_MAX: Final = 4 * 1024 * 1024
"""Results of so many bytes in all are written by one statement."""

OF: Final = """
SELECT kind, value::text FROM {schema}.note WHERE id = %(id)s AND kind = 'result'"""

ENDINGS: Final = """
SELECT o_id, o_status, o_result, o_type, o_message, o_traceback
FROM {schema}.endings_1(%(ids)s::uuid[])"""


class PostgresNotes:
    """``Notes`` in PostgreSQL."""

    def __init__(self, database: Database) -> None:
        """Work through ``database``."""
        self._database = database
        self._of = database.sql(OF)
        self._endings = database.sql(ENDINGS)

    async def of(self, task_id: TaskId) -> TaskNotes:
        """See ``Notes.of``."""

        async def work(connection: Connection) -> TaskNotes:
            # Unprepared, so that the plan opens only the day of this task.
            cursor = await connection.execute(self._of, {"id": task_id}, prepare=False)
            found = dict(await cursor.fetchall())
            result = found.get("result")
            return TaskNotes(result=None if result is None else result.encode())

        return await self._database.run(work)

    async def endings(self, task_ids: Collection[TaskId]) -> Mapping[TaskId, Ending | None]:
        """See ``Notes.endings``."""

        async def work(connection: Connection) -> Mapping[TaskId, Ending | None]:
            cursor = await connection.execute(self._endings, {"ids": uuids(task_ids)})
            return {row[0]: _ending(*row[1:]) for row in await cursor.fetchall()}

        return await self._database.run(work)


def _ending(
    status: int | None, result: str | None, kind: str | None, message: str, traceback: str | None
) -> Ending | None:
    if status is None:
        return None
    return Ending(
        STATUSES[status],
        None if result is None else result.encode(),
        None if kind is None else AttemptError(kind, message, traceback),
    )


def with_results(settlements: Sequence[Settlement]) -> Sequence[Sequence[Settlement]]:
    """Return those of ``settlements`` that bring results, as many at once as one statement takes.

    By id, in which order hot rows are locked.
    """
    found: list[list[Settlement]] = []
    room = 0
    for each in sorted(settlements, key=lambda each: each.task_id):
        if each.result is None:
            continue
        room -= len(each.result)
        if room < 0:
            found.append([])
            room = STATEMENT_BYTES_MAX - len(each.result)
        found[-1].append(each)
    return found
