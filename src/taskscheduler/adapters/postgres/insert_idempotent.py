"""Inserting tasks: once, whatever is asked for twice."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from taskscheduler.adapters.postgres import statements as s
from taskscheduler.adapters.postgres.batches import BatchInserts
from taskscheduler.adapters.postgres.key_conflicts import UniqueKeys
from taskscheduler.adapters.postgres.lanes import lanes_of
from taskscheduler.adapters.postgres.mapping import if_any, read
from taskscheduler.adapters.postgres.tags import TAG, write_tags
from taskscheduler.domain.conflict import StoredIds, earlier_of
from taskscheduler.domain.errors import IdempotencyConflict, TaskExists

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import timedelta

    from taskscheduler.adapters.postgres.database import Database
    from taskscheduler.adapters.postgres.drivers import Executing
    from taskscheduler.adapters.postgres.followers import PostgresFollowers
    from taskscheduler.adapters.postgres.lanes import Lane
    from taskscheduler.domain.idempotency import Idempotency
    from taskscheduler.domain.new_task import NewTask
    from taskscheduler.domain.values import TaskId


# Where a lane does not stand any more, the whole statement is refused: see ``insert_new.py``.
PUT: Final = """
WITH given AS MATERIALIZED (
    SELECT g.*, {schema}.clock() AS now
    FROM unnest(%(ids)s::uuid[], %(lanes)s::integer[], %(execute_at)s::timestamptz[],
                %(max_attempts)s::smallint[], %(timeouts)s::interval[], %(unique_keys)s::text[],
                %(expires_at)s::timestamptz[], %(payloads)s::text[]::json[],
                %(traceparents)s::text[], %(tracestates)s::text[])
        AS g (id, lane, execute_at, max_attempts, timeout, unique_key, expires_at, payload,
              traceparent, tracestate)
), body AS (
    INSERT INTO {schema}.task
        (id, execute_at, created_at, max_attempts, timeout, unique_key, expires_at, payload,
         traceparent, tracestate)
    SELECT id, coalesce(execute_at, now), now, max_attempts, timeout, unique_key, expires_at,
           payload, traceparent, tracestate
    FROM given ON CONFLICT (id) DO NOTHING RETURNING id
)
INSERT INTO {schema}.live (id, process_at, lane)
SELECT id, greatest(execute_at, now), CASE WHEN
    (SELECT count(*) FROM {schema}.lane n
     WHERE n.id = ANY (%(used)s::integer[]) AND n.retired_by IS NULL)
    = cardinality(%(used)s::integer[]) THEN lane END
FROM given WHERE (id IN (SELECT id FROM body)) IS TRUE
RETURNING id"""

PUT_TOLD: Final = """
WITH given AS MATERIALIZED (
    SELECT g.*, {schema}.clock() AS now
    FROM unnest(%(ids)s::uuid[], %(lanes)s::integer[], %(execute_at)s::timestamptz[],
                %(max_attempts)s::smallint[], %(timeouts)s::interval[], %(unique_keys)s::text[],
                %(expires_at)s::timestamptz[], %(payloads)s::text[]::json[],
                %(traceparents)s::text[], %(tracestates)s::text[])
        AS g (id, lane, execute_at, max_attempts, timeout, unique_key, expires_at, payload,
              traceparent, tracestate)
), body AS (
    INSERT INTO {schema}.task
        (id, execute_at, created_at, max_attempts, timeout, unique_key, expires_at, payload,
         traceparent, tracestate)
    SELECT id, coalesce(execute_at, now), now, max_attempts, timeout, unique_key, expires_at,
           payload, traceparent, tracestate
    FROM given ON CONFLICT (id) DO NOTHING RETURNING id
), told AS (
    INSERT INTO {schema}.audit (at, action, actor, key_id, address, request_id, task)
    SELECT {schema}.clock(), 'created', actor, key_id, address, request_id, id
    FROM unnest(%(ids)s::uuid[], %(actors)s::text[], %(actor_keys)s::text[],
                %(addresses)s::text[], %(request_ids)s::text[])
        AS g (id, actor, key_id, address, request_id)
    WHERE actor IS NOT NULL AND (id IN (SELECT id FROM body)) IS TRUE
)
INSERT INTO {schema}.live (id, process_at, lane)
SELECT id, greatest(execute_at, now), CASE WHEN
    (SELECT count(*) FROM {schema}.lane n
     WHERE n.id = ANY (%(used)s::integer[]) AND n.retired_by IS NULL)
    = cardinality(%(used)s::integer[]) THEN lane END
FROM given WHERE (id IN (SELECT id FROM body)) IS TRUE
RETURNING id"""

# Somebody else's transaction may have a snapshot that is older, so its lanes are locked as well.
PUT_HELD: Final = """
WITH given AS MATERIALIZED (
    SELECT g.*, {schema}.clock() AS now
    FROM unnest(%(ids)s::uuid[], %(lanes)s::integer[], %(execute_at)s::timestamptz[],
                %(max_attempts)s::smallint[], %(timeouts)s::interval[], %(unique_keys)s::text[],
                %(expires_at)s::timestamptz[], %(payloads)s::text[]::json[],
                %(traceparents)s::text[], %(tracestates)s::text[])
        AS g (id, lane, execute_at, max_attempts, timeout, unique_key, expires_at, payload,
              traceparent, tracestate)
), body AS (
    INSERT INTO {schema}.task
        (id, execute_at, created_at, max_attempts, timeout, unique_key, expires_at, payload,
         traceparent, tracestate)
    SELECT id, coalesce(execute_at, now), now, max_attempts, timeout, unique_key, expires_at,
           payload, traceparent, tracestate
    FROM given ON CONFLICT (id) DO NOTHING RETURNING id
)
INSERT INTO {schema}.live (id, process_at, lane)
SELECT id, greatest(execute_at, now), CASE WHEN
    (SELECT count(*) FROM (
        SELECT FROM {schema}.lane n
        WHERE n.id = ANY (%(used)s::integer[]) AND n.retired_by IS NULL FOR KEY SHARE
     ) AS held) = cardinality(%(used)s::integer[]) THEN lane END
FROM given WHERE (id IN (SELECT id FROM body)) IS TRUE
RETURNING id"""

PUT_TOLD_HELD: Final = """
WITH given AS MATERIALIZED (
    SELECT g.*, {schema}.clock() AS now
    FROM unnest(%(ids)s::uuid[], %(lanes)s::integer[], %(execute_at)s::timestamptz[],
                %(max_attempts)s::smallint[], %(timeouts)s::interval[], %(unique_keys)s::text[],
                %(expires_at)s::timestamptz[], %(payloads)s::text[]::json[],
                %(traceparents)s::text[], %(tracestates)s::text[])
        AS g (id, lane, execute_at, max_attempts, timeout, unique_key, expires_at, payload,
              traceparent, tracestate)
), body AS (
    INSERT INTO {schema}.task
        (id, execute_at, created_at, max_attempts, timeout, unique_key, expires_at, payload,
         traceparent, tracestate)
    SELECT id, coalesce(execute_at, now), now, max_attempts, timeout, unique_key, expires_at,
           payload, traceparent, tracestate
    FROM given ON CONFLICT (id) DO NOTHING RETURNING id
), told AS (
    INSERT INTO {schema}.audit (at, action, actor, key_id, address, request_id, task)
    SELECT {schema}.clock(), 'created', actor, key_id, address, request_id, id
    FROM unnest(%(ids)s::uuid[], %(actors)s::text[], %(actor_keys)s::text[],
                %(addresses)s::text[], %(request_ids)s::text[])
        AS g (id, actor, key_id, address, request_id)
    WHERE actor IS NOT NULL AND (id IN (SELECT id FROM body)) IS TRUE
)
INSERT INTO {schema}.live (id, process_at, lane)
SELECT id, greatest(execute_at, now), CASE WHEN
    (SELECT count(*) FROM (
        SELECT FROM {schema}.lane n
        WHERE n.id = ANY (%(used)s::integer[]) AND n.retired_by IS NULL FOR KEY SHARE
     ) AS held) = cardinality(%(used)s::integer[]) THEN lane END
FROM given WHERE (id IN (SELECT id FROM body)) IS TRUE
RETURNING id"""

# Of two at once the second waits here for the first, and then finds its answer.
TAKE_REQUEST: Final = """
INSERT INTO {schema}.idempotency_key AS held (key, fingerprint, ids, expires_at)
VALUES (%(key)s, %(fingerprint)s, %(ids)s, {schema}.clock() + %(unique_for)s)
ON CONFLICT (key) DO UPDATE
SET fingerprint = excluded.fingerprint, ids = excluded.ids, earlier = NULL,
    expires_at = excluded.expires_at
WHERE held.expires_at <= {schema}.clock()
RETURNING true"""

ANSWERED: Final = """
SELECT fingerprint, ids, earlier FROM {schema}.idempotency_key WHERE key = %(key)s"""

ANSWER_REQUEST: Final = """
UPDATE {schema}.idempotency_key SET ids = %(ids)s, earlier = %(earlier)s::integer[]
WHERE key = %(key)s"""


class Inserts:
    """Writes bodies and hot rows on a connection that somebody else has opened."""

    def __init__(
        self, database: Database, unique_for: timedelta, followers: PostgresFollowers
    ) -> None:
        """``unique_for`` is how long unique and idempotency keys live."""
        self._unique_for = unique_for
        self._followers = followers
        self._batches = BatchInserts(database)
        sql = database.sql
        self._put = {False: sql(PUT), True: sql(PUT_HELD)}
        self._put_told = {False: sql(PUT_TOLD), True: sql(PUT_TOLD_HELD)}
        self._get = sql(s.GET)
        self._await_standby = sql(s.AWAIT_STANDBY)
        self._take_request = sql(TAKE_REQUEST)
        self._answered = sql(ANSWERED)
        self._answer_request = sql(ANSWER_REQUEST)
        self._tag = sql(TAG)
        self._keys = UniqueKeys(database, unique_for)

    async def insert_once(
        self,
        connection: Executing,
        tasks: Sequence[NewTask],
        lanes: Mapping[Lane, int],
        idempotency: Idempotency | None,
        *,
        held: bool,
    ) -> Sequence[TaskId]:
        """Insert ``tasks`` unless the request was answered before; within a transaction.

        Where that is not ours, the lanes are ``held``. Raises ``psycopg.errors.NotNullViolation``
        when a lane is not there any more.
        """
        if idempotency is None:
            return await self.insert(connection, tasks, lanes, held=held)
        values: dict[str, Any] = {
            "key": idempotency.key,
            "fingerprint": idempotency.fingerprint,
            "ids": [task.id for task in tasks],
            "unique_for": self._unique_for,
        }
        taken = await (await connection.execute(self._take_request, values)).fetchone()
        if taken is not None:
            ids = await self.insert(connection, tasks, lanes, held=held)
            if list(ids) != values["ids"]:  # a unique key had a holder
                values |= {"ids": list(ids), "earlier": sorted(earlier_of(tasks, ids))}
                await connection.execute(self._answer_request, values)
            return ids
        answered = await (await connection.execute(self._answered, values)).fetchone()
        if answered is None or answered[0] != idempotency.fingerprint:
            raise IdempotencyConflict(idempotency.key)
        return StoredIds(answered[1], answered[2] or ())

    async def insert(
        self,
        connection: Executing,
        tasks: Sequence[NewTask],
        lanes: Mapping[Lane, int],
        *,
        held: bool,
    ) -> Sequence[TaskId]:
        """Insert ``tasks``; return their ids, or those of whoever holds their keys."""
        holders, waiting = await self._keys.take(connection, tasks, lanes)
        fresh: dict[TaskId, NewTask] = {}
        for task in tasks:
            if holders.get(task.id, task.id) == task.id:
                fresh.setdefault(task.id, task)
        rows = list(fresh.values())
        values: dict[str, Any] = {
            "ids": [task.id for task in rows],
            "lanes": (numbers := [lanes[lane] for lane in lanes_of(rows)]),
            "used": list(set(numbers)),
            "execute_at": if_any([task.execute_at for task in rows]),
            "max_attempts": if_any([task.max_attempts for task in rows]),
            "timeouts": if_any([task.timeout for task in rows]),
            "unique_keys": if_any([task.unique_key for task in rows]),
            "expires_at": if_any([task.expires_at for task in rows]),
            "payloads": [task.payload_json.decode() for task in rows],
            "traceparents": if_any([task.trace and task.trace.traceparent for task in rows]),
            "tracestates": if_any([task.trace and task.trace.tracestate for task in rows]),
        }
        statement = self._put[held]
        if any(task.by is not None for task in rows):
            statement = self._put_told[held]
            values |= {
                "actors": if_any([task.by and task.by.name for task in rows]),
                "actor_keys": if_any([task.by and task.by.key_id for task in rows]),
                "addresses": if_any([task.by and task.by.address for task in rows]),
                "request_ids": if_any([task.by and task.by.request_id for task in rows]),
            }
        cursor = await connection.execute(statement, values)
        if cursor.rowcount == len(tasks):
            await write_tags(connection, self._tag, rows)
        else:
            stored = {row[0] for row in await cursor.fetchall()}
            await write_tags(connection, self._tag, [task for task in rows if task.id in stored])
            again = [t for t in tasks if t.id not in stored or fresh.get(t.id) is not t]
            await self._require_same(connection, again, holders)
            await connection.execute(self._await_standby)
            rows = [task for task in rows if task.id in stored]
        await self._followers.follow(connection, rows, holders)
        await self._batches.add(connection, rows)
        if waiting:
            await self._keys.replace(connection, waiting, lanes)
        return [holders.get(task.id, task.id) for task in tasks]

    async def _require_same(
        self,
        connection: Executing,
        tasks: Sequence[NewTask],
        holders: Mapping[TaskId, TaskId],
    ) -> None:
        """Check that those of ``tasks`` which were not stored had been stored before, the same."""
        again = [task for task in tasks if holders.get(task.id, task.id) == task.id]
        if not again:
            return  # a look for no id at all opens, and locks, all days
        stored = {
            task.id: task for task in await read(connection, self._get, [t.id for t in again])
        }
        for task in again:
            if task.id not in stored or not task.describes(stored[task.id]):
                raise TaskExists(task.id)
        await self._followers.require_same(connection, again, holders)
