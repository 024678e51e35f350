"""Changing many tasks in one statement.

The statements for one task, with the ids in an array. Hot rows are locked in the order of their
ids, in which completions lock them too, so that two who change the same tasks cannot deadlock.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from taskscheduler.adapters.postgres.rows import STATUSES, uuids
from taskscheduler.domain.audit import Action
from taskscheduler.domain.bulk import BulkVerb
from taskscheduler.domain.retry import MAX_ATTEMPTS_DEFAULT

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from taskscheduler.adapters.postgres.audit import Trail
    from taskscheduler.adapters.postgres.database import Connection, Database
    from taskscheduler.domain.access import Caller
    from taskscheduler.domain.status import TaskStatus
    from taskscheduler.domain.task import TaskId

CANCEL_ALL: Final = """
WITH held AS MATERIALIZED (
    SELECT id FROM {schema}.live
    WHERE id = ANY (%(ids)s::uuid[]) AND (worker_id IS NOT NULL)::integer = %(status)s
    ORDER BY id FOR UPDATE
), gone AS (
    DELETE FROM {schema}.live WHERE id = ANY (ARRAY(SELECT id FROM held)) RETURNING *
), tried AS (
    INSERT INTO {schema}.attempt
        (id, token, number, started_at, finished_at, worker_id, outcome)
    SELECT id, token, attempt, started_at, {schema}.clock(), worker_id, 'cancel'
    FROM gone WHERE worker_id IS NOT NULL
), told AS (
    INSERT INTO {schema}.cancellation (worker_id, id, token, cancelled_at)
    SELECT worker_id, id, token, {schema}.clock() FROM gone WHERE worker_id IS NOT NULL
)
INSERT INTO {schema}.finished
    (id, process_at, started_at, finished_at, token, worker_id, lane, attempt, excused, status)
SELECT id, process_at, started_at, {schema}.clock(), token, worker_id, lane, attempt, excused, 4
FROM gone
RETURNING id, worker_id IS NOT NULL"""

RETRY_ALL: Final = """
WITH gone AS (
    DELETE FROM {schema}.finished
    WHERE id = ANY (%(ids)s::uuid[]) AND status = %(status)s AND status IN (3, 4)
    RETURNING id, lane, attempt, excused
), granted AS (
    UPDATE {schema}.task t SET max_attempts = least(gone.attempt - gone.excused, 32766) + 1
    FROM gone JOIN {schema}.lane n ON n.id = gone.lane LEFT JOIN {schema}.kind k ON k.name = n.kind
    WHERE t.id = gone.id AND t.id = ANY (%(ids)s::uuid[])
      AND gone.attempt - gone.excused >= coalesce(t.max_attempts, k.max_attempts, %(granted)s)
)
INSERT INTO {schema}.live (id, process_at, lane, attempt, excused)
SELECT id, {schema}.clock(), lane, least(attempt, 32766), excused FROM gone
RETURNING id, false"""

DELETE_ALL: Final = """
WITH held AS MATERIALIZED (
    SELECT id FROM {schema}.live
    WHERE id = ANY (%(ids)s::uuid[]) AND (worker_id IS NOT NULL)::integer = %(status)s
    ORDER BY id FOR UPDATE
), gone AS (
    DELETE FROM {schema}.live WHERE id = ANY (ARRAY(SELECT id FROM held)) RETURNING *
), told AS (
    INSERT INTO {schema}.cancellation (worker_id, id, token, cancelled_at)
    SELECT worker_id, id, token, {schema}.clock() FROM gone WHERE worker_id IS NOT NULL
), ended AS (
    DELETE FROM {schema}.finished
    WHERE id = ANY (%(ids)s::uuid[]) AND status = %(status)s RETURNING id, lane
), known AS (
    SELECT id, lane, worker_id IS NOT NULL AS leased FROM gone
    UNION ALL SELECT id, lane, false FROM ended
), tried AS (
    DELETE FROM {schema}.attempt
    WHERE id = ANY (%(ids)s::uuid[]) AND (id IN (SELECT id FROM known)) IS TRUE
), key AS (
    DELETE FROM {schema}.unique_key held USING known, {schema}.task t, {schema}.lane n
    WHERE t.id = known.id AND t.id = ANY (%(ids)s::uuid[]) AND n.id = known.lane
      AND held.kind = n.kind AND held.key = t.unique_key AND held.id = known.id
), noted AS (
    DELETE FROM {schema}.note
    WHERE id = ANY (%(ids)s::uuid[]) AND (id IN (SELECT id FROM known)) IS TRUE
), body AS (
    DELETE FROM {schema}.task
    WHERE id = ANY (%(ids)s::uuid[]) AND (id IN (SELECT id FROM known)) IS TRUE
)
SELECT id, leased FROM known"""


ACTIONS: Final = {
    BulkVerb.CANCEL: Action.CANCELLED,
    BulkVerb.RETRY: Action.RETRIED,
    BulkVerb.DELETE: Action.DELETED,
}


class Bulk:
    """Changes many tasks at once."""

    def __init__(
        self, database: Database, trail: Trail, *, on_cancellation: Callable[[], None]
    ) -> None:
        """Work through ``database``; ``on_cancellation`` is called after leases were taken away."""
        self._database = database
        self._trail = trail
        self._on_cancellation = on_cancellation
        self._statements = {
            BulkVerb.CANCEL: database.sql(CANCEL_ALL),
            BulkVerb.RETRY: database.sql(RETRY_ALL),
            BulkVerb.DELETE: database.sql(DELETE_ALL),
        }

    async def change(
        self,
        verb: BulkVerb,
        status: TaskStatus,
        task_ids: Sequence[TaskId],
        *,
        by: Caller | None = None,
    ) -> Collection[TaskId]:
        """See ``TaskRepository.change_all``."""
        values: dict[str, Any] = {
            "ids": uuids(task_ids),
            "status": STATUSES.index(status),
            "granted": MAX_ATTEMPTS_DEFAULT,
        }

        async def work(connection: Connection) -> Sequence[tuple[TaskId, bool]]:
            async def change_all() -> Sequence[tuple[TaskId, bool]]:
                # Unprepared, so that the plan opens only the days of these tasks.
                cursor = await connection.execute(self._statements[verb], values, prepare=False)
                return [(task_id, leased) for task_id, leased in await cursor.fetchall()]

            if by is None:
                return await change_all()
            async with connection.transaction():
                rows = await change_all()
                await self._trail.record_all(
                    connection, by, ACTIONS[verb], [task_id for task_id, _ in rows]
                )
            return rows

        rows = await self._database.run(work)
        if any(leased for _, leased in rows):
            self._on_cancellation()
        return {task_id for task_id, _ in rows}
