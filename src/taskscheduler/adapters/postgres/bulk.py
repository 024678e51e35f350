"""Changing many tasks in one statement.

The statements for one task, with the ids in an array; each returns the ids that it changed, whether
each was leased, whether it has to wait, and whether there is something to do for ``followers.py``.
Hot rows are locked in the order of their ids, in which completions lock them too, so that two who
change the same tasks cannot deadlock.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from taskscheduler.adapters.postgres.mapping import STATUSES, uuids
from taskscheduler.domain.audit import Action
from taskscheduler.domain.bulk import BulkVerb
from taskscheduler.domain.retry import MAX_ATTEMPTS_DEFAULT

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime

    from taskscheduler.adapters.postgres.audit import Trail
    from taskscheduler.adapters.postgres.database import Connection, Database
    from taskscheduler.adapters.postgres.followers import PostgresFollowers
    from taskscheduler.domain.access import Caller
    from taskscheduler.domain.status import TaskStatus
    from taskscheduler.domain.values import TaskId

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
RETURNING id, worker_id IS NOT NULL, false, id IN (SELECT gone.id FROM gone WHERE followed)"""

RETRY_ALL: Final = """
WITH gone AS (
    DELETE FROM {schema}.finished
    WHERE id = ANY (%(ids)s::uuid[]) AND status = %(status)s AND status IN (3, 4)
    RETURNING id, lane, attempt, excused, status
), used AS (
    SELECT gone.*, t.execute_at, status = 4 AND EXISTS (
               SELECT FROM {schema}.note n
               WHERE n.id = gone.id AND n.id = ANY (%(ids)s::uuid[]) AND n.kind = 'after'
           ) AS waits,
           attempt - excused >= coalesce(t.max_attempts, k.max_attempts, %(granted)s) AS up
    FROM gone JOIN {schema}.task t ON t.id = gone.id AND t.id = ANY (%(ids)s::uuid[])
    JOIN {schema}.lane n ON n.id = gone.lane LEFT JOIN {schema}.kind k ON k.name = n.kind
), body AS (
    UPDATE {schema}.task t
    SET max_attempts = CASE WHEN up THEN least(used.attempt - used.excused, 32766) + 1
                            ELSE t.max_attempts END,
        execute_at = CASE WHEN %(at)s::timestamptz IS NULL THEN t.execute_at
                          ELSE greatest(%(at)s::timestamptz, {schema}.clock()) END
    FROM used WHERE t.id = used.id AND t.id = ANY (%(ids)s::uuid[])
      AND (up OR %(at)s::timestamptz IS NOT NULL)
), again AS (
    INSERT INTO {schema}.follower AS f (id, needs_success, otherwise, stage)
    SELECT n.id, n.value ->> 'when' = 'succeeded', n.value ->> 'otherwise', 'again'
    FROM used JOIN {schema}.note n
        ON n.id = used.id AND n.id = ANY (%(ids)s::uuid[]) AND n.kind = 'after'
    WHERE used.waits ON CONFLICT (id) DO UPDATE SET stage = excluded.stage
), hoped AS (
    UPDATE {schema}.edge e SET failed = NULL FROM used WHERE e.parent = used.id AND e.failed
), anew AS (
    INSERT INTO {schema}.ended (id)
    SELECT used.id FROM used JOIN {schema}.member m ON m.id = used.id
)
INSERT INTO {schema}.live (id, process_at, lane, attempt, excused, followed)
SELECT id, CASE WHEN waits THEN {schema}.waiting_at_1() ELSE
               greatest(coalesce(%(at)s::timestamptz, CASE status WHEN 4 THEN execute_at END),
                        {schema}.clock()) END,
       lane, least(attempt, 32766), excused,
       EXISTS (SELECT FROM {schema}.edge e WHERE e.parent = used.id)
           OR EXISTS (SELECT FROM {schema}.member m WHERE m.id = used.id) OR NULL
FROM used
RETURNING id, false, process_at > {schema}.clock(), process_at = {schema}.waiting_at_1()"""

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
    SELECT id, lane, worker_id IS NOT NULL AS leased, followed FROM gone
    UNION ALL SELECT id, lane, false, NULL FROM ended
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
SELECT id, leased, false, followed FROM known"""


ACTIONS: Final = {
    BulkVerb.CANCEL: Action.CANCELLED,
    BulkVerb.RETRY: Action.RETRIED,
    BulkVerb.DELETE: Action.DELETED,
}


class Bulk:
    """Changes many tasks at once."""

    def __init__(
        self,
        database: Database,
        trail: Trail,
        followers: PostgresFollowers,
        *,
        on_cancellation: Callable[[], None],
    ) -> None:
        """Work through ``database``; ``on_cancellation`` is called after leases were taken away."""
        self._database = database
        self._followers = followers
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
        at: datetime | None = None,
        by: Caller | None = None,
    ) -> Mapping[TaskId, bool]:
        """See ``TaskRepository.change_all``."""
        values: dict[str, Any] = {
            "ids": uuids(task_ids),
            "status": STATUSES.index(status),
            "granted": MAX_ATTEMPTS_DEFAULT,
            "at": at,
        }

        async def work(connection: Connection) -> Sequence[tuple[Any, ...]]:
            async def change_all() -> Sequence[tuple[Any, ...]]:
                # Unprepared, so that the plan opens only the days of these tasks.
                cursor = await connection.execute(self._statements[verb], values, prepare=False)
                return await cursor.fetchall()

            if by is None:
                return await change_all()
            async with connection.transaction():
                rows = await change_all()
                await self._trail.record_all(
                    connection, by, ACTIONS[verb], [task_id for task_id, *_ in rows]
                )
            return rows

        rows = await self._database.run(work)
        if any(leased for _, leased, _, _ in rows):
            self._on_cancellation()
        if any(followed for _, _, _, followed in rows):
            await self._followers.release()
        return {task_id: waits for task_id, _, waits, _ in rows}
