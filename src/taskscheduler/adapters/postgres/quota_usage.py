"""What the queues of one prefix hold, counted no further than somebody asks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from taskscheduler.domain.quota import BIGGEST, Usage

if TYPE_CHECKING:
    from collections.abc import Sequence

    from taskscheduler.adapters.postgres.database import Connection, Database
    from taskscheduler.domain.quota import Quota

SIZED_MAX: Final = 2_000
"""The payloads of so many waiting tasks are measured; of more, the size is reckoned from theirs."""

# Names with a prefix are neighbours in the index, and stepped through one by one.
QUEUES: Final = """
WITH RECURSIVE step (number, name) AS (
    SELECT 1, (
        SELECT n.queue FROM {schema}.lane n
        WHERE n.queue >= %(prefix)s AND starts_with(n.queue, %(prefix)s) AND n.retired_by IS NULL
        ORDER BY n.queue, n.kind, n.priority LIMIT 1
    )
    UNION ALL
    SELECT step.number + 1, (
        SELECT n.queue FROM {schema}.lane n
        WHERE n.queue > step.name AND starts_with(n.queue, %(prefix)s) AND n.retired_by IS NULL
        ORDER BY n.queue, n.kind, n.priority LIMIT 1
    ) FROM step WHERE step.name IS NOT NULL AND step.number <= %(limit)s
)
SELECT name FROM step WHERE name IS NOT NULL"""
WAITING: Final = """
SELECT count(*) FROM (
    SELECT FROM {schema}.lane n CROSS JOIN LATERAL (
        SELECT FROM {schema}.live l WHERE l.lane = n.id AND l.worker_id IS NULL
        ORDER BY l.process_at, l.id LIMIT %(limit)s
    ) AS head
    WHERE n.queue >= %(prefix)s AND starts_with(n.queue, %(prefix)s) LIMIT %(limit)s
) AS few"""
SOME: Final = """
SELECT coalesce(array_agg(few.id), '{{}}') FROM (
    SELECT head.id FROM {schema}.lane n CROSS JOIN LATERAL (
        SELECT l.id FROM {schema}.live l WHERE l.lane = n.id AND l.worker_id IS NULL
        ORDER BY l.process_at DESC, l.id DESC LIMIT %(limit)s
    ) AS head
    WHERE n.queue >= %(prefix)s AND starts_with(n.queue, %(prefix)s) LIMIT %(limit)s
) AS few"""
# Apart, so that the plan is made for these ids, and opens the days alone in which they lie.
SIZES: Final = """
SELECT count(*), coalesce(sum(pg_column_size(t.payload)), 0) FROM {schema}.task t
WHERE t.id = ANY (%(ids)s::uuid[])"""
SCHEDULES: Final = """
SELECT count(*) FROM (
    SELECT FROM {schema}.schedule WHERE starts_with(queue, %(prefix)s) LIMIT %(limit)s
) AS few"""


class UsageOf:
    """Counts what is asked for, and nothing else."""

    def __init__(self, database: Database) -> None:
        """Look through ``database``."""
        self._database = database
        self._queues = database.sql(QUEUES)
        self._waiting = database.sql(WAITING)
        self._some = database.sql(SOME)
        self._sizes = database.sql(SIZES)
        self._schedules = database.sql(SCHEDULES)

    async def __call__(self, prefix: str, up_to: Quota) -> Usage:
        """See ``BacklogStats.usage``."""

        async def work(connection: Connection) -> Usage:
            async def fetch(statement: bytes, values: dict[str, Any]) -> Sequence[tuple[Any, ...]]:
                # Unprepared, so that the plan is made for these very values.
                return await (await connection.execute(statement, values, prepare=False)).fetchall()

            async def rows(statement: bytes, limit: int) -> Sequence[tuple[Any, ...]]:
                return await fetch(statement, {"prefix": prefix, "limit": limit})

            queues: Sequence[tuple[str]] = ()
            waiting = schedules = size = 0
            if up_to.queues is not None:
                queues = await rows(self._queues, up_to.queues)
            if up_to.waiting is not None or up_to.waiting_bytes is not None:
                most = BIGGEST if up_to.waiting is None else up_to.waiting
                ((waiting,),) = await rows(self._waiting, most + 1)
            if up_to.waiting_bytes is not None and waiting:
                ((ids,),) = await rows(self._some, SIZED_MAX)
                ((number, size),) = await fetch(self._sizes, {"ids": ids})
                size = int(size) * max(waiting, number) // max(number, 1)
            if up_to.schedules is not None:
                ((schedules,),) = await rows(self._schedules, up_to.schedules + 1)
            return Usage(
                queues=frozenset(name for (name,) in queues),
                waiting=waiting,
                waiting_bytes=size,
                schedules=schedules,
            )

        return await self._database.run(work)
