"""Removing the lanes in which no task is left, beside any number of callers who store.

A lane must not go while somebody stores a task into it: the task would belong to no queue. So it
goes in steps.

1. A lane that was not asked for lately, and in which no task waits, runs or has ended, is retired,
   and that is committed. A statement that stores into it, with a snapshot that is newer than that,
   is refused; whoever sent it asks for the lane anew, which ends the retirement.
2. Statements with an older snapshot have locked the hot table before they took it. Who holds such a
   lock just after the retirement is waited for.
3. Whatever was stored is visible by now, and no more can come. If the lane is still empty it is
   deleted, unless its retirement has ended meanwhile. Else it stands again.

Whoever dies in between leaves retired lanes, which the next one retires again.
"""

from __future__ import annotations

import asyncio
import time
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from psycopg import sql

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from taskscheduler.adapters.postgres.database import Connection, Database

REST: Final = timedelta(minutes=10)
"""How long a lane stays that was asked for, though it be empty. Processes of the release before,
which are not refused, are to be gone so long after a migration."""
LANES_AT_ONCE: Final = 500
SWEEP_S: Final = 0.5
"""After so long a turn ends, and the next goes on from there."""
WAIT_S: Final = 1.0
LOOK_EVERY_S: Final = 0.02

IDLE: Final = """
SELECT n.id, n.asked_for_at <= {schema}.clock() - %(rest)s AND NOT EXISTS (
    SELECT FROM {schema}.live l WHERE l.lane = n.id AND l.worker_id IS NULL
)
FROM (
    SELECT id, asked_for_at FROM {schema}.lane WHERE id > %(after)s ORDER BY id LIMIT %(limit)s
) AS n"""
RUNNING: Final = """
SELECT DISTINCT lane FROM {schema}.live WHERE worker_id IS NOT NULL"""
PARTITIONS: Final = """
SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
WHERE i.inhparent = to_regclass(%(parent)s) ORDER BY c.relname DESC"""
ENDED: Final = """
SELECT g.lane FROM unnest(%(lanes)s::integer[]) AS g (lane)
WHERE EXISTS (SELECT FROM {partition} f WHERE f.lane = g.lane)"""
RETIRE: Final = """
UPDATE {schema}.lane SET retired_by = pg_current_xact_id()::text::bigint
WHERE id IN (
    SELECT id FROM {schema}.lane WHERE id = ANY (%(lanes)s::integer[])
    AND asked_for_at <= {schema}.clock() - %(rest)s
    ORDER BY id FOR NO KEY UPDATE SKIP LOCKED
)
RETURNING id, retired_by"""
STORING: Final = """
SELECT virtualtransaction FROM pg_locks
WHERE locktype = 'relation' AND mode = 'RowExclusiveLock' AND relation = to_regclass(%(live)s)
  AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"""
# One snapshot: a task that is moved from one table to the other is in one of them. So all days
# are opened at once, by one process at a time.
ALONE: Final = """
SELECT pg_try_advisory_xact_lock(hashtextextended('taskscheduler sweep ' || %(schema)s, 0))"""
EMPTY: Final = """
SELECT g.lane FROM unnest(%(lanes)s::integer[]) AS g (lane)
WHERE NOT EXISTS (SELECT FROM {schema}.live l WHERE l.lane = g.lane AND l.worker_id IS NULL)
  AND NOT EXISTS (SELECT FROM {schema}.finished f WHERE f.lane = g.lane)
  AND g.lane <> ALL (ARRAY(
      SELECT DISTINCT l.lane FROM {schema}.live l
      WHERE l.worker_id IS NOT NULL AND l.lane = ANY (%(lanes)s::integer[])
  ))"""
DROP: Final = """
DELETE FROM {schema}.lane WHERE id IN (
    SELECT id FROM {schema}.lane WHERE id = ANY (%(lanes)s::integer[]) AND retired_by = %(by)s
    FOR UPDATE SKIP LOCKED
) AND retired_by = %(by)s"""
# The gates of groups that nobody has asked for of late, and what is left of leases that ended
# there. Whoever claims has its gate locked; one that is gone is made anew, and grants as much.
GATES: Final = """
WITH ended AS (
    DELETE FROM {schema}.flow_lease e WHERE (e.limit_id, e.key, e.number) IN (
        SELECT o.limit_id, o.key, o.number FROM {schema}.flow_lease o
        WHERE NOT EXISTS (
            SELECT FROM {schema}.live l WHERE l.id = o.id AND l.token = o.token
        ) LIMIT %(limit)s
    )
)
DELETE FROM {schema}.flow_gate g WHERE (g.limit_id, g.key) IN (
    SELECT o.limit_id, o.key FROM {schema}.flow_gate o
    WHERE o.key <> '' AND (o.free_at IS NULL OR o.free_at < {schema}.clock())
      AND NOT EXISTS (
        SELECT FROM {schema}.flow_lease e WHERE e.limit_id = o.limit_id AND e.key = o.key
    ) LIMIT %(limit)s FOR UPDATE SKIP LOCKED
)"""
STAND: Final = """
UPDATE {schema}.lane SET retired_by = NULL
WHERE id = ANY (%(lanes)s::integer[]) AND retired_by = %(by)s"""


class Sweep:
    """Removes empty lanes, some at each turn."""

    def __init__(self, database: Database) -> None:
        """Begin with the oldest lanes of ``database``."""
        self._schema = database.schema
        self._idle = database.sql(IDLE)
        self._running = database.sql(RUNNING)
        self._retire = database.sql(RETIRE)
        self._empty = database.sql(EMPTY)
        self._drop = database.sql(DROP)
        self._stand = database.sql(STAND)
        self._gates = database.sql(GATES)
        self._after = 0

    async def turn(self, connection: Connection) -> int:
        """Look at some of the lanes, on an idle connection; return how many were removed."""
        ends_at = time.monotonic() + SWEEP_S
        removed = 0
        while True:
            asked = {"after": self._after, "limit": LANES_AT_ONCE, "rest": REST}
            rows = await self._rows(connection, self._idle, asked)
            idle = [number for number, is_idle in rows if is_idle]
            if idle:
                await connection.execute(self._gates, {"limit": LANES_AT_ONCE})
            removed += await self._remove(connection, await self._without_tasks(connection, idle))
            self._after = rows[-1][0] if len(rows) == LANES_AT_ONCE else 0
            if not self._after or time.monotonic() > ends_at:
                return removed

    async def _without_tasks(self, connection: Connection, lanes: Collection[int]) -> set[int]:
        """Leave out lanes in which tasks run or have ended, the days one by one."""
        left = set(lanes)
        if not left:
            return left
        parent = sql.Identifier(self._schema, "finished").as_string()
        for (partition,) in await self._rows(connection, PARTITIONS.encode(), {"parent": parent}):
            statement = sql.SQL(ENDED).format(partition=sql.Identifier(self._schema, partition))
            ended = await self._rows(connection, statement.as_bytes(), {"lanes": list(left)})
            left -= {number for (number,) in ended}
            if not left:
                return left
        return left - {number for (number,) in await self._rows(connection, self._running, {})}

    async def _remove(self, connection: Connection, lanes: Collection[int]) -> int:
        if not lanes:
            return 0
        retired = await self._rows(connection, self._retire, {"lanes": sorted(lanes), "rest": REST})
        if not retired:
            return 0
        by, numbers = retired[0][1], {number for number, _ in retired}
        empty: set[int] = set()
        if await self._have_ended(connection, await self._storing(connection)):
            empty = await self._still_empty(connection, numbers)
        dropped = await connection.execute(self._drop, {"lanes": sorted(empty), "by": by})
        if numbers - empty:
            asked = {"lanes": sorted(numbers - empty), "by": by}
            await connection.execute(self._stand, asked)
        return dropped.rowcount

    async def _still_empty(self, connection: Connection, lanes: Collection[int]) -> set[int]:
        """Look a last time; of none is it said while somebody else does so."""
        async with connection.transaction():
            schema = {"schema": self._schema}
            ((alone,),) = await self._rows(connection, ALONE.encode(), schema)
            if not alone:
                return set()
            rows = await self._rows(connection, self._empty, {"lanes": sorted(lanes)})
            return {number for (number,) in rows}

    async def _have_ended(self, connection: Connection, transactions: Collection[str]) -> bool:
        """Wait for ``transactions`` for a moment; tell whether all of them have ended."""
        gives_up_at = time.monotonic() + WAIT_S
        while transactions:
            if time.monotonic() > gives_up_at:
                return False
            await asyncio.sleep(LOOK_EVERY_S)
            transactions = set(transactions) & await self._storing(connection)
        return True

    async def _storing(self, connection: Connection) -> set[str]:
        live = sql.Identifier(self._schema, "live").as_string()
        return {name for (name,) in await self._rows(connection, STORING.encode(), {"live": live})}

    async def _rows(
        self, connection: Connection, statement: bytes, values: dict[str, Any]
    ) -> Sequence[tuple[Any, ...]]:
        # Unprepared, so that the plan is made for these lanes.
        return await (await connection.execute(statement, values, prepare=False)).fetchall()
