"""Inserting tasks whose ids nobody has used, which is nearly all: without a look for conflicts.

One task goes as scalars, some as arrays, many by COPY. Each way is one transaction, and refused as
a whole when an id is taken after all.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Final

from taskscheduler.adapters.postgres.audit import columns
from taskscheduler.adapters.postgres.copying import HEADER, TRAILER, NotPlain, Rows, rows_of
from taskscheduler.adapters.postgres.prepared import Statement
from taskscheduler.adapters.postgres.rows import bigints, text_of, texts, texts_if_any, uuids
from taskscheduler.adapters.postgres.tracing import arrays, traced
from taskscheduler.adapters.postgres.tracing import columns as trace_columns

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from taskscheduler.adapters.postgres.database import Connection, Database
    from taskscheduler.adapters.postgres.lanes import Lanes
    from taskscheduler.adapters.postgres.prepared import PooledConnection
    from taskscheduler.domain.task import NewTask, TaskId

COPIED_FROM: Final = 2_000
"""From so many tasks on COPY is quicker: the server reads while this process still writes."""
COPIED_AT_ONCE: Final = 500
"""So many rows are made before they are sent: the event loop waits for that long."""

PUT_ONE: Final = """
WITH body AS (
    INSERT INTO {schema}.task
        (id, execute_at, created_at, max_attempts, timeout, expires_at, payload)
    VALUES (%(id)s, coalesce(%(execute_at)s, {schema}.clock()), {schema}.clock(), %(max_attempts)s,
            %(timeout)s, %(expires_at)s, %(payload)s)
)
INSERT INTO {schema}.live (id, process_at, lane)
VALUES (%(id)s, greatest(%(execute_at)s, {schema}.clock()), %(lane)s)"""

PUT_ONE_TOLD: Final = PUT_ONE.replace(
    "INSERT INTO {schema}.live",
    """, told AS (
    INSERT INTO {schema}.audit (at, action, actor, key_id, address, request_id, task)
    VALUES ({schema}.clock(), 'created', %(actor)s, %(actor_key)s, %(address)s, %(request_id)s,
            %(id)s)
)
INSERT INTO {schema}.live""",
)

# An array that is NULL is as good as one of NULLs: unnest fills up the shorter ones.
PUT_SOME: Final = """
WITH given AS MATERIALIZED (
    SELECT g.*, {schema}.clock() AS now
    FROM unnest(%(ids)s::uuid[], %(lanes)s::integer[], %(execute_at)s::timestamptz[],
                %(max_attempts)s::smallint[], %(timeouts)s::interval[],
                %(expires_at)s::timestamptz[], %(payloads)s::json[])
        AS g (id, lane, execute_at, max_attempts, timeout, expires_at, payload)
), body AS (
    INSERT INTO {schema}.task
        (id, execute_at, created_at, max_attempts, timeout, expires_at, payload)
    SELECT id, coalesce(execute_at, now), now, max_attempts, timeout, expires_at,
           payload
    FROM given
)
INSERT INTO {schema}.live (id, process_at, lane)
SELECT id, greatest(execute_at, now), lane FROM given"""

PUT_SOME_TOLD: Final = PUT_SOME.replace(
    "INSERT INTO {schema}.live",
    """, told AS (
    INSERT INTO {schema}.audit (at, action, actor, key_id, address, request_id, task)
    SELECT {schema}.clock(), 'created', actor, key_id, address, request_id, id
    FROM unnest(%(ids)s::uuid[], %(actors)s::text[], %(actor_keys)s::text[],
                %(addresses)s::text[], %(request_ids)s::text[])
        AS g (id, actor, key_id, address, request_id)
    WHERE actor IS NOT NULL
)
INSERT INTO {schema}.live""",
)

NOW: Final = "SELECT {schema}.clock()"
COPY_BODIES: Final = """
COPY {schema}.task (id, execute_at, created_at, max_attempts, timeout, expires_at, payload)
FROM STDIN (FORMAT BINARY)"""
COPY_LIVE: Final = "COPY {schema}.live (id, process_at, lane) FROM STDIN (FORMAT BINARY)"
COPY_AUDIT: Final = """
COPY {schema}.audit (at, action, actor, key_id, address, request_id, task)
FROM STDIN (FORMAT BINARY)"""
AUDIT_TYPES: Final = ("timestamptz", "text", "text", "text", "text", "text", "uuid")


class FreshInserts:
    """Writes bodies and hot rows on an idle connection in autocommit mode.

    The tasks have no unique keys. Raises ``psycopg.errors.UniqueViolation`` when an id is taken, by
    one that is stored or by another of them; then nothing was written.
    """

    def __init__(self, database: Database) -> None:
        """Write into the schema of ``database``."""
        sql = database.sql
        self._put_one = Statement.of(sql(PUT_ONE))
        self._put_one_told = Statement.of(sql(PUT_ONE_TOLD))
        self._put_some = Statement.of(sql(PUT_SOME))
        self._put_some_told = Statement.of(sql(PUT_SOME_TOLD))
        self._traced = {
            Statement.of(sql(text)): Statement.of(sql(traced(text)))
            for text in (PUT_ONE, PUT_ONE_TOLD, PUT_SOME, PUT_SOME_TOLD)
        }
        self._now = sql(NOW)
        self._copy_bodies = sql(COPY_BODIES)
        self._copy_live = sql(COPY_LIVE)
        self._copy_audit = sql(COPY_AUDIT)

    async def insert(
        self, connection: PooledConnection, tasks: Sequence[NewTask], lanes: Sequence[int]
    ) -> None:
        """Insert ``tasks``, each into its lane, in one statement."""
        if len(tasks) == 1:
            await self._insert_one(connection, tasks[0], lanes[0])
        else:
            await self._insert_some(connection, tasks, lanes)

    async def _insert_one(self, connection: PooledConnection, task: NewTask, lane: int) -> None:
        values: dict[str, str | None] = {
            "id": task.id.hex,
            "lane": str(lane),
            "execute_at": text_of(task.execute_at),
            "max_attempts": text_of(task.max_attempts),
            "timeout": text_of(task.timeout),
            "expires_at": text_of(task.expires_at),
            "payload": task.payload.decode(),
        }
        statement = self._put_one
        if task.by is not None:
            statement = self._put_one_told
            values |= columns(task.by)
        if task.trace is not None:
            statement = self._traced[statement]
            values |= trace_columns(task)
        await connection.send(statement, values)

    async def _insert_some(
        self, connection: PooledConnection, tasks: Sequence[NewTask], lanes: Sequence[int]
    ) -> None:
        values: dict[str, str | None] = {
            "ids": uuids(task.id for task in tasks),
            "lanes": bigints(lanes),
            "execute_at": texts_if_any([task.execute_at for task in tasks]),
            "max_attempts": texts_if_any([task.max_attempts for task in tasks]),
            "timeouts": texts_if_any([task.timeout for task in tasks]),
            "expires_at": texts_if_any([task.expires_at for task in tasks]),
            "payloads": texts(task.payload.decode() for task in tasks),
        }
        statement = self._put_some
        if any(task.by is not None for task in tasks):
            statement = self._put_some_told
            values |= {
                "actors": texts(task.by and task.by.name for task in tasks),
                "actor_keys": texts(task.by and task.by.key_id for task in tasks),
                "addresses": texts(task.by and task.by.address for task in tasks),
                "request_ids": texts(task.by and task.by.request_id for task in tasks),
            }
        if any(task.trace is not None for task in tasks):
            statement = self._traced[statement]
            values |= arrays(tasks)
        await connection.send(statement, values)

    async def copy(
        self, connection: Connection, tasks: Iterable[NewTask], lanes: Lanes
    ) -> list[TaskId]:
        """Insert ``tasks`` by COPY; return their ids. Each is looked at once, as it is needed.

        Raises:
            NotPlain: one cannot be written like this.
            UnknownLane: so is that of one to ``lanes``.
        """
        if connection.info.encoding != "utf-8":
            raise NotPlain
        async with connection.transaction(), connection.cursor() as cursor:
            row = await (await cursor.execute(self._now)).fetchone()
            assert row is not None  # noqa: S101 - a SELECT without FROM has one row
            now: datetime = row[0]
            # Both kinds of rows are made at one go, while the server takes the bodies in: the hot
            # rows need then only be sent.
            written: list[Rows] = []
            coming = iter(tasks)
            async with cursor.copy(self._copy_bodies) as copy:
                await copy.write(HEADER)
                while some := list(islice(coming, COPIED_AT_ONCE)):
                    written.append(rows_of(some, lanes.known, now))
                    await copy.write(written[-1].bodies)
                await copy.write(TRAILER)
            async with cursor.copy(self._copy_live) as copy:
                await copy.write(b"".join([HEADER, *(rows.live for rows in written), TRAILER]))
            told = [task for rows in written for task in rows.told]
            if told:
                async with cursor.copy(self._copy_audit) as copy:
                    copy.set_types(AUDIT_TYPES)
                    for task in told:
                        await copy.write_row(_entry(now, task))
        return [task_id for rows in written for task_id in rows.ids]


def _entry(now: datetime, task: NewTask) -> tuple[object, ...]:
    by = task.by
    assert by is not None  # noqa: S101 - only of those is there anything to tell
    return (now, "created", by.name, by.key_id, by.address, by.request_id, task.id)
