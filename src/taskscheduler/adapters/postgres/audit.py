"""The audit trail in PostgreSQL."""

from __future__ import annotations

from datetime import UTC
from typing import TYPE_CHECKING, Any, Final, LiteralString, TypeVar

from taskscheduler.adapters.postgres.mapping import uuids
from taskscheduler.domain.audit import Action, AuditEntry, Pruned

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from datetime import timedelta
    from uuid import UUID

    from taskscheduler.adapters.postgres.database import Connection, Database
    from taskscheduler.domain.access import Caller
    from taskscheduler.domain.audit import AuditQuery
    from taskscheduler.domain.values import TaskId

Done = TypeVar("Done")

RECORD: Final = """
INSERT INTO {schema}.audit (at, action, actor, key_id, address, request_id, task, target)
VALUES ({schema}.clock(), %(action)s, %(actor)s, %(actor_key)s, %(address)s, %(request_id)s,
        %(task)s, %(target)s)"""

RECORD_ALL: Final = """
INSERT INTO {schema}.audit (at, action, actor, key_id, address, request_id, task)
SELECT {schema}.clock(), %(action)s, %(actor)s, %(actor_key)s, %(address)s, %(request_id)s, task
FROM unnest(%(tasks)s::uuid[]) AS g (task)"""

ENTRIES: Final[LiteralString] = """
SELECT id, at, action, actor, key_id, address, request_id, task, target
FROM {schema}.audit
WHERE id < coalesce(%(before)s::bigint, 9223372036854775807)"""
OF_TASK: Final[LiteralString] = " AND task = %(task)s"
OF_TARGET: Final[LiteralString] = " AND target = %(target)s"
NEWEST: Final[LiteralString] = " ORDER BY id DESC LIMIT %(limit)s"
# A name and an id of a key never look alike to an index: each has its own, and both are asked.
OF_ACTOR: Final[LiteralString] = " AND actor = %(actor)s"
OF_KEY: Final[LiteralString] = " AND key_id = %(actor)s AND actor <> %(actor)s"

# Ids grow with time, so the oldest entries are the first ones, and there is no other index to keep.
# What another is deleting already is left to it.
PRUNE: Final = """
WITH oldest AS MATERIALIZED (
    SELECT id, at FROM {schema}.audit WHERE id > %(after)s ORDER BY id LIMIT %(batch)s
), mine AS MATERIALIZED (
    SELECT a.id FROM {schema}.audit a
    WHERE a.id = ANY (ARRAY(
        SELECT o.id FROM oldest o WHERE o.at < {schema}.clock() - %(keep)s::interval
    )) FOR UPDATE SKIP LOCKED
), gone AS (
    DELETE FROM {schema}.audit a WHERE a.id = ANY (ARRAY(SELECT m.id FROM mine m)) RETURNING a.id
)
SELECT count(*), max(id) FROM gone"""
OVER_AGE: Final = """
SELECT count(*) FROM (SELECT at FROM {schema}.audit ORDER BY id LIMIT %(limit)s) AS oldest
WHERE at < {schema}.clock() - %(keep)s::interval"""
BATCH: Final = 1000
BATCHES_A_TURN: Final = 10


class Trail:
    """Writes entries on a connection that somebody else has opened."""

    def __init__(self, database: Database) -> None:
        """Write into the schema of ``database``."""
        self._record = database.sql(RECORD)
        self._record_all = database.sql(RECORD_ALL)

    async def told(
        self,
        connection: Connection,
        by: Caller | None,
        action: Action,
        task_id: UUID,
        change: Callable[[], Awaitable[Done]],
    ) -> Done:
        """Do ``change``; if it did something ``by`` somebody, the entry is one commit with it."""
        if by is None:
            return await change()
        async with connection.transaction():
            done = await change()
            if done:
                await self.record(connection, by, action, task_id=task_id)
        return done

    async def record(
        self,
        connection: Connection,
        by: Caller,
        action: Action,
        *,
        task_id: UUID | None = None,
        target: str | None = None,
    ) -> None:
        """Write one entry."""
        values = {**columns(by), "action": action.value, "task": task_id, "target": target}
        await connection.execute(self._record, values)

    async def record_all(
        self, connection: Connection, by: Caller, action: Action, task_ids: Sequence[TaskId]
    ) -> None:
        """Write one entry for each of the tasks."""
        values = {**columns(by), "action": action.value, "tasks": uuids(task_ids)}
        await connection.execute(self._record_all, values)


def columns(by: Caller) -> dict[str, str | None]:
    """Return what an entry says of its caller."""
    return {
        "actor": by.name,
        "actor_key": by.key_id,
        "address": by.address,
        "request_id": by.request_id,
    }


def entries(query: AuditQuery) -> LiteralString:
    """Return the statement that reads the entries of ``query``."""
    wanted = ENTRIES + (OF_TASK if query.task_id is not None else "")
    wanted += OF_TARGET if query.target is not None else ""
    if query.actor is None:
        return wanted + NEWEST
    by_name, by_key = wanted + OF_ACTOR + NEWEST, wanted + OF_KEY + NEWEST
    return "(" + by_name + ") UNION ALL (" + by_key + ")" + NEWEST


class PostgresAuditTrail:
    """``AuditTrail`` on PostgreSQL."""

    def __init__(self, database: Database) -> None:
        """Read through ``database``."""
        self._database = database

    async def list(self, query: AuditQuery) -> Sequence[AuditEntry]:
        """See ``AuditTrail.list``."""
        values = {
            "before": query.before,
            "task": query.task_id,
            "target": query.target,
            "actor": query.actor,
            "limit": query.limit,
        }
        statement = self._database.sql(entries(query))

        async def work(connection: Connection) -> Sequence[AuditEntry]:
            # Unprepared, so that the plan is made for these very filters.
            cursor = await connection.execute(statement, values, prepare=False)
            return [entry_of(row) for row in await cursor.fetchall()]

        return await self._database.run(work)

    async def prune(self, keep: timedelta, *, dry_run: bool = False) -> Pruned:
        """See ``AuditTrail.prune``."""
        if dry_run:
            return Pruned(await self._over_age(keep))
        deleted = after = 0
        for _ in range(BATCHES_A_TURN):
            count, last = await self._prune_batch(keep, after)
            deleted += count
            if count < BATCH:
                return Pruned(deleted)
            # On from there: the entries of what is gone are still in the index.
            after = last
        return Pruned(deleted, more=True)

    async def _prune_batch(self, keep: timedelta, after: int) -> tuple[int, int]:
        values = {"keep": keep, "after": after, "batch": BATCH}
        statement = self._database.sql(PRUNE)

        async def work(connection: Connection) -> tuple[int, int]:
            ((count, last),) = await (await connection.execute(statement, values)).fetchall()
            return count, last or after

        return await self._database.run(work)

    async def _over_age(self, keep: timedelta) -> int:
        values = {"keep": keep, "limit": BATCH * BATCHES_A_TURN}
        statement = self._database.sql(OVER_AGE)

        async def work(connection: Connection) -> int:
            ((count,),) = await (await connection.execute(statement, values)).fetchall()
            return count

        return await self._database.run(work)


def entry_of(row: tuple[Any, ...]) -> AuditEntry:
    """Return the entry of a row of ``ENTRIES``."""
    return AuditEntry(
        id=row[0],
        at=row[1].astimezone(UTC),
        action=Action(row[2]),
        actor=row[3],
        key_id=row[4],
        address=row[5],
        request_id=row[6],
        task_id=row[7],
        target=row[8],
    )
