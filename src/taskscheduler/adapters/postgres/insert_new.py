"""Inserting tasks whose ids nobody has used, which is nearly all: without a look for conflicts.

One task goes as scalars, some as arrays; very many go by COPY (``insert_copy.py``). Each way is one
transaction, and refused as a whole when an id is taken after all.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from taskscheduler.adapters.postgres.audit import columns
from taskscheduler.adapters.postgres.fast_connection import Statement
from taskscheduler.adapters.postgres.mapping import bigints, text_of, texts, texts_if_any, uuids

if TYPE_CHECKING:
    from collections.abc import Sequence

    from taskscheduler.adapters.postgres.database import Database
    from taskscheduler.adapters.postgres.fast_connection import PooledConnection
    from taskscheduler.domain.new_task import NewTask

PUT_ONE: Final = """
WITH body AS (
    INSERT INTO {schema}.task
        (id, execute_at, created_at, max_attempts, timeout, expires_at, payload, traceparent,
         tracestate)
    VALUES (%(id)s, coalesce(%(execute_at)s, {schema}.clock()), {schema}.clock(), %(max_attempts)s,
            %(timeout)s, %(expires_at)s, %(payload)s, %(traceparent)s, %(tracestate)s)
)
INSERT INTO {schema}.live (id, process_at, lane)
VALUES (%(id)s, greatest(%(execute_at)s, {schema}.clock()),
        (SELECT n.id FROM {schema}.lane n WHERE n.id = %(lane)s AND n.retired_by IS NULL))"""

PUT_ONE_TOLD: Final = """
WITH body AS (
    INSERT INTO {schema}.task
        (id, execute_at, created_at, max_attempts, timeout, expires_at, payload, traceparent,
         tracestate)
    VALUES (%(id)s, coalesce(%(execute_at)s, {schema}.clock()), {schema}.clock(), %(max_attempts)s,
            %(timeout)s, %(expires_at)s, %(payload)s, %(traceparent)s, %(tracestate)s)
), told AS (
    INSERT INTO {schema}.audit (at, action, actor, key_id, address, request_id, task)
    VALUES ({schema}.clock(), 'created', %(actor)s, %(actor_key)s, %(address)s, %(request_id)s,
            %(id)s)
)
INSERT INTO {schema}.live (id, process_at, lane)
VALUES (%(id)s, greatest(%(execute_at)s, {schema}.clock()),
        (SELECT n.id FROM {schema}.lane n WHERE n.id = %(lane)s AND n.retired_by IS NULL))"""

# An array that is NULL is as good as one of NULLs: unnest fills up the shorter ones.
#
# Where a lane does not stand any more, NULL is inserted in place of each, so the whole statement is
# refused. It is seen with a snapshot that is newer than the statement's lock on the hot table:
# whoever removes lanes relies on it (``lane_removal.py``).
PUT_SOME: Final = """
WITH given AS MATERIALIZED (
    SELECT g.*, {schema}.clock() AS now
    FROM unnest(%(ids)s::uuid[], %(lanes)s::integer[], %(execute_at)s::timestamptz[],
                %(max_attempts)s::smallint[], %(timeouts)s::interval[],
                %(expires_at)s::timestamptz[], %(payloads)s::json[], %(traceparents)s::text[],
                %(tracestates)s::text[])
        AS g (id, lane, execute_at, max_attempts, timeout, expires_at, payload, traceparent,
              tracestate)
), body AS (
    INSERT INTO {schema}.task
        (id, execute_at, created_at, max_attempts, timeout, expires_at, payload, traceparent,
         tracestate)
    SELECT id, coalesce(execute_at, now), now, max_attempts, timeout, expires_at, payload,
           traceparent, tracestate
    FROM given
)
INSERT INTO {schema}.live (id, process_at, lane)
SELECT id, greatest(execute_at, now), CASE WHEN
    (SELECT count(*) FROM {schema}.lane n
     WHERE n.id = ANY (%(used)s::integer[]) AND n.retired_by IS NULL)
    = cardinality(%(used)s::integer[]) THEN lane END
FROM given"""

PUT_SOME_TOLD: Final = """
WITH given AS MATERIALIZED (
    SELECT g.*, {schema}.clock() AS now
    FROM unnest(%(ids)s::uuid[], %(lanes)s::integer[], %(execute_at)s::timestamptz[],
                %(max_attempts)s::smallint[], %(timeouts)s::interval[],
                %(expires_at)s::timestamptz[], %(payloads)s::json[], %(traceparents)s::text[],
                %(tracestates)s::text[])
        AS g (id, lane, execute_at, max_attempts, timeout, expires_at, payload, traceparent,
              tracestate)
), body AS (
    INSERT INTO {schema}.task
        (id, execute_at, created_at, max_attempts, timeout, expires_at, payload, traceparent,
         tracestate)
    SELECT id, coalesce(execute_at, now), now, max_attempts, timeout, expires_at, payload,
           traceparent, tracestate
    FROM given
), told AS (
    INSERT INTO {schema}.audit (at, action, actor, key_id, address, request_id, task)
    SELECT {schema}.clock(), 'created', actor, key_id, address, request_id, id
    FROM unnest(%(ids)s::uuid[], %(actors)s::text[], %(actor_keys)s::text[],
                %(addresses)s::text[], %(request_ids)s::text[])
        AS g (id, actor, key_id, address, request_id)
    WHERE actor IS NOT NULL
)
INSERT INTO {schema}.live (id, process_at, lane)
SELECT id, greatest(execute_at, now), CASE WHEN
    (SELECT count(*) FROM {schema}.lane n
     WHERE n.id = ANY (%(used)s::integer[]) AND n.retired_by IS NULL)
    = cardinality(%(used)s::integer[]) THEN lane END
FROM given"""


def is_plain(task: NewTask) -> bool:
    """Tell whether one statement stores all there is to ``task``, if nobody has used its id."""
    return task.unique_key is None and not task.tags and task.after is None and task.batch is None


class FreshInserts:
    """Writes bodies and hot rows on an idle connection in autocommit mode.

    The tasks have no unique keys. Raises ``psycopg.errors.UniqueViolation`` when an id is taken, by
    one that is stored or by another of them, and ``NotNullViolation`` when a lane is not there any
    more; then nothing was written.
    """

    def __init__(self, database: Database) -> None:
        """Write into the schema of ``database``."""
        sql = database.sql
        self._put_one = Statement.of(sql(PUT_ONE))
        self._put_one_told = Statement.of(sql(PUT_ONE_TOLD))
        self._put_some = Statement.of(sql(PUT_SOME))
        self._put_some_told = Statement.of(sql(PUT_SOME_TOLD))

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
            "payload": task.payload_json.decode(),
            "traceparent": task.trace and task.trace.traceparent,
            "tracestate": task.trace and task.trace.tracestate,
        }
        statement = self._put_one
        if task.by is not None:
            statement = self._put_one_told
            values |= columns(task.by)
        await connection.send(statement, values)

    async def _insert_some(
        self, connection: PooledConnection, tasks: Sequence[NewTask], lanes: Sequence[int]
    ) -> None:
        values: dict[str, str | None] = {
            "ids": uuids(task.id for task in tasks),
            "lanes": bigints(lanes),
            "used": bigints(set(lanes)),
            "execute_at": texts_if_any([task.execute_at for task in tasks]),
            "max_attempts": texts_if_any([task.max_attempts for task in tasks]),
            "timeouts": texts_if_any([task.timeout for task in tasks]),
            "expires_at": texts_if_any([task.expires_at for task in tasks]),
            "payloads": texts(task.payload_json.decode() for task in tasks),
            "traceparents": texts_if_any([t.trace and t.trace.traceparent for t in tasks]),
            "tracestates": texts_if_any([t.trace and t.trace.tracestate for t in tasks]),
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
        await connection.send(statement, values)
