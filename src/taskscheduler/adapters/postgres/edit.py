"""Changing a task that waits, so that whoever claims it sees all of the change or none."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from taskscheduler.adapters.postgres.lanes import Lane
from taskscheduler.domain.audit import Action

if TYPE_CHECKING:
    from collections.abc import Mapping

    from taskscheduler.adapters.postgres.audit import Trail
    from taskscheduler.adapters.postgres.database import Connection, Database
    from taskscheduler.adapters.postgres.lanes import Lanes
    from taskscheduler.domain.access import Caller
    from taskscheduler.domain.task import Task
    from taskscheduler.domain.task_edit import TaskEdit

# The hot row is replaced, not updated. A claim that is under way read the bodies as they were when
# it began: it finds its row gone, and cannot see the new one. Of an updated row it would take the
# lease, with the old payload. Whether the body changes is asked of the row that is gone: where the
# condition is false while the plan is made, nothing is left by which other days are passed over.
EDIT: Final = """
WITH gone AS (
    DELETE FROM {schema}.live l USING {schema}.task t
    WHERE l.id = %(id)s AND t.id = %(id)s AND l.worker_id IS NULL
      AND (NOT %(strictly)s
           OR (l.process_at = %(was_process_at)s AND l.lane = %(was_lane)s
               AND l.attempt = %(was_attempt)s AND l.excused = %(was_excused)s
               AND t.execute_at = %(was_execute_at)s AND t.payload::text = %(was_payload)s
               AND t.max_attempts IS NOT DISTINCT FROM %(was_max_attempts)s::smallint))
    RETURNING l.*, %(execute_at)s::timestamptz IS NOT NULL OR %(payload)s::json IS NOT NULL AS anew
), body AS (
    UPDATE {schema}.task t
    SET execute_at = coalesce(%(execute_at)s::timestamptz, t.execute_at),
        payload = coalesce(%(payload)s::json, t.payload)
    FROM gone WHERE t.id = %(id)s AND gone.anew
)
INSERT INTO {schema}.live (id, process_at, lane, attempt, excused, followed)
SELECT id, CASE WHEN %(execute_at)s::timestamptz IS NULL
                     OR process_at = {schema}.waiting_at_1() THEN process_at
                ELSE greatest(%(execute_at)s::timestamptz, {schema}.clock()) END,
       (SELECT n.id FROM {schema}.lane n WHERE n.id = %(lane)s AND n.retired_by IS NULL),
       attempt, excused, followed
FROM gone RETURNING true"""


class Edits:
    """Replaces what a waiting task is."""

    def __init__(self, database: Database, lanes: Lanes, trail: Trail) -> None:
        """Work through ``database``; another priority or group is another of ``lanes``."""
        self._trail = trail
        self._database = database
        self._lanes = lanes
        self._edit = database.sql(EDIT)

    async def edit(self, task: Task, edit: TaskEdit, *, strictly: bool, by: Caller | None) -> bool:
        """Change ``task`` if it still waits, and, ``strictly``, is still the same.

        Return whether it did. An answer that was lost is not asked for again: where ``strictly``,
        the second time would find another task.
        """
        was = Lane(task.queue, task.kind, task.priority, task.group or "")
        to = Lane(
            task.queue,
            task.kind,
            task.priority if edit.priority is None else edit.priority,
            was.group if edit.group is None else edit.group,
        )

        async def within(numbers: Mapping[Lane, int]) -> bool:
            values = {
                **values_of(task, edit),
                "lane": numbers[to],
                "was_lane": numbers[was],
                "strictly": strictly,
            }

            async def work(connection: Connection) -> bool:
                async def change() -> bool:
                    # Unprepared, so that the plan opens only this task's day.
                    cursor = await connection.execute(self._edit, values, prepare=False)
                    return await cursor.fetchone() is not None

                return await self._trail.told(connection, by, Action.CHANGED, task.id, change)

            if not strictly:
                return await self._database.run(work)
            async with self._database.connection() as connection:
                return await work(connection)

        return await self._lanes.queue_position({was, to}, within)


def values_of(task: Task, edit: TaskEdit) -> dict[str, Any]:
    """Return the parameters that say what becomes of ``task``, and what it was."""
    return {
        "id": task.id,
        "execute_at": edit.execute_at,
        "payload": None if edit.payload_json is None else edit.payload_json.decode(),
        "was_process_at": task.process_at,
        "was_attempt": task.attempt,
        "was_excused": task.excused,
        "was_execute_at": task.execute_at,
        "was_payload": task.payload_json.decode(),
        "was_max_attempts": task.max_attempts,
    }
