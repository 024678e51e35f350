"""How much there is to do, told within milliseconds however much it is."""

from __future__ import annotations

from datetime import UTC, timedelta
from typing import TYPE_CHECKING, Any, Final

from taskscheduler.adapters.postgres.quota_usage import UsageOf
from taskscheduler.domain.queue import Backlog, QueueDepth

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from taskscheduler.adapters.postgres.database import Connection, Database
    from taskscheduler.domain.quota import Quota, Usage

LANES_MAX: Final = 2_000
"""More lanes in which tasks wait than this are not looked into: a look must not take seconds."""
QUEUES_MAX: Final = 2_000
NOTHING: Final = QueueDepth(due=0, scheduled=0, oldest_due=None)

# Plans by the index of lanes, whatever the statistics say; and an end to it if all goes wrong.
SETTINGS: Final = """
SELECT set_config('enable_seqscan', 'off', true), set_config('enable_bitmapscan', 'off', true),
       set_config('enable_sort', 'off', true), set_config('jit', 'off', true),
       set_config('statement_timeout', '3000', true)"""
NOW: Final = "SELECT {schema}.clock()"
COUNT: Final = """
SELECT n.id, n.queue, c.o_oldest_due_at, c.o_due, c.o_later
FROM (
    SELECT array_agg(w.o_lane) AS lanes FROM {schema}.waiting_1(%(lanes)s::integer) AS w
) AS asked CROSS JOIN LATERAL {schema}.count_waiting_1(
    asked.lanes, asked.lanes, NULL, NULL, %(limit)s::bigint, %(limit)s::bigint
) AS c JOIN {schema}.lane n ON n.id = c.o_group"""
# Stepping from one name to the next, whatever the number of lanes.
NAMES: Final = """
WITH RECURSIVE step (number, name) AS (
    SELECT 1, (SELECT queue FROM {schema}.lane ORDER BY queue, kind, priority LIMIT 1)
    UNION ALL
    SELECT step.number + 1, (
        SELECT n.queue FROM {schema}.lane n WHERE n.queue > step.name
        ORDER BY n.queue, n.kind, n.priority LIMIT 1
    ) FROM step WHERE step.name IS NOT NULL AND step.number <= %(queues)s
)
SELECT name FROM step WHERE name IS NOT NULL"""
# The planner's own guess, from the statistics and the table's size at present; nothing is read.
GUESS_DUE: Final = """
EXPLAIN (FORMAT JSON) SELECT FROM {schema}.live
WHERE lane = %(lane)s AND worker_id IS NULL AND process_at <= %(now)s"""
GUESS_LATER: Final = """
EXPLAIN (FORMAT JSON) SELECT FROM {schema}.live
WHERE lane = %(lane)s AND worker_id IS NULL AND process_at > %(now)s"""


class PostgresBacklogStats:
    """``BacklogStats`` on PostgreSQL."""

    def __init__(self, database: Database) -> None:
        """Look through ``database``."""
        self._database = database
        self._now = database.sql(NOW)
        self._usage = UsageOf(database)
        self._count = database.sql(COUNT)
        self._names = database.sql(NAMES)
        self._guess_due = database.sql(GUESS_DUE)
        self._guess_later = database.sql(GUESS_LATER)

    async def backlog(self, *, exact_up_to: int) -> Backlog:
        """See ``BacklogStats.backlog``."""
        async with self._database.connection() as connection, connection.transaction():
            await connection.execute(SETTINGS)
            row = await (await connection.execute(self._now)).fetchone()
            assert row is not None  # noqa: S101 - a SELECT without FROM has one row
            now = row[0]
            asked = {"lanes": LANES_MAX, "limit": exact_up_to + 1}
            rows = await (await connection.execute(self._count, asked, prepare=False)).fetchall()
            named = await (
                await connection.execute(self._names, {"queues": QUEUES_MAX}, prepare=False)
            ).fetchall()
            left_out = len(rows) > LANES_MAX or len(named) > QUEUES_MAX
            queues: dict[str, QueueDepth] = {name: NOTHING for (name,) in named[:QUEUES_MAX]}
            for lane, queue, oldest_due_at, due, later in sorted(rows)[:LANES_MAX]:
                place = {"lane": lane, "now": now}
                if is_due := due > exact_up_to:
                    due = max(due, await guess(connection, self._guess_due, place))  # noqa: PLW2901
                if is_later := later > exact_up_to:
                    later = max(  # noqa: PLW2901
                        later, await guess(connection, self._guess_later, place)
                    )
                here = QueueDepth(
                    due=due,
                    scheduled=later,
                    oldest_due=oldest_due_at and max(now - oldest_due_at, timedelta()),
                    estimated=is_due or is_later,
                )
                queues[queue] = here if queue not in queues else both(queues[queue], here)
        return Backlog(now=now.astimezone(UTC), queues=queues, left_out=left_out)

    async def usage(self, prefix: str, *, up_to: Quota) -> Usage:
        """See ``BacklogStats.usage``."""
        return await self._usage(prefix, up_to)

    def connections(self) -> Mapping[str, int]:
        """See ``BacklogStats.connections``."""
        return self._database.connections()


async def guess(connection: Connection, statement: bytes, place: Mapping[str, Any]) -> int:
    """Return how many rows the planner expects."""
    row = await (await connection.execute(statement, place, prepare=False)).fetchone()
    plans: Sequence[Any] = [] if row is None else row[0]
    return int(plans[0]["Plan"]["Plan Rows"]) if plans else 0


def both(one: QueueDepth, other: QueueDepth) -> QueueDepth:
    """Return two lanes of a queue as one."""
    oldest = [each for each in (one.oldest_due, other.oldest_due) if each is not None]
    return QueueDepth(
        due=one.due + other.due,
        scheduled=one.scheduled + other.scheduled,
        oldest_due=max(oldest, default=None) if oldest else None,
        estimated=one.estimated or other.estimated,
    )
