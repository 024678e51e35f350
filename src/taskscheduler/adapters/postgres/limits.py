"""Limits in PostgreSQL. What they let through is decided by ``migrations/0010_limits.sql``."""

from __future__ import annotations

from datetime import UTC
from typing import TYPE_CHECKING, Any, Final

from taskscheduler.adapters.postgres.audit import Trail
from taskscheduler.adapters.postgres.claims_under_way import ClaimsUnderWay
from taskscheduler.domain.audit import Action
from taskscheduler.domain.errors import LimitChanged, LimitNotFound
from taskscheduler.domain.limit import Limit, LimitUse, Rate, Reached, StoredLimit, span_of
from taskscheduler.domain.queue import COUNT_MAX

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from taskscheduler.adapters.postgres.database import Connection, Database
    from taskscheduler.domain.access import Caller
    from taskscheduler.domain.task import Task

COLUMNS: Final = """
    name, queue, kind, "group", per_group, concurrency, rate, period_s, burst, burst_given, weight,
    revision, created_at, changed_at"""
GET: Final = "SELECT " + COLUMNS + " FROM {schema}.flow_limit WHERE name = %(name)s"  # noqa: S608 - constants only
LIST: Final = (
    "SELECT "  # noqa: S608 - constants only
    + COLUMNS
    + " FROM {schema}.flow_limit WHERE name > %(after)s ORDER BY name LIMIT %(limit)s"
)
LOCK: Final = GET + " FOR UPDATE"
ADD: Final = """
INSERT INTO {schema}.flow_limit
    (name, queue, kind, "group", per_group, concurrency, rate, period_s, burst, burst_given, weight,
     revision, created_at, changed_at, counted)
VALUES (%(name)s, %(queue)s, %(kind)s, %(group)s, %(per_group)s, %(concurrency)s, %(rate)s,
        %(period_s)s, %(burst)s, %(burst_given)s, %(weight)s, %(revision)s,
        coalesce(%(created_at)s, {schema}.clock()), {schema}.clock(),
        %(concurrency)s::integer IS NULL)
ON CONFLICT (name) DO NOTHING"""
# What it holds for stays, so the leases that are counted do. Of the rate at most a burst is taken.
CHANGE: Final = """
WITH carried AS (
    UPDATE {schema}.flow_gate g
    SET free_at = least(g.free_at, {schema}.clock() + %(grants_burst_in)s::interval)
    FROM {schema}.flow_limit f
    WHERE f.name = %(name)s AND g.limit_id = f.id AND g.free_at IS NOT NULL
)
UPDATE {schema}.flow_limit
SET concurrency = %(concurrency)s, rate = %(rate)s, period_s = %(period_s)s, burst = %(burst)s,
    burst_given = %(burst_given)s, weight = %(weight)s, revision = revision + 1,
    changed_at = {schema}.clock(),
    counted = %(concurrency)s::integer IS NULL OR (counted AND concurrency IS NOT NULL)
WHERE name = %(name)s"""
REMOVE: Final = """
WITH gone AS (
    DELETE FROM {schema}.flow_limit WHERE name = %(name)s RETURNING id
), leases AS (
    DELETE FROM {schema}.flow_lease e USING gone WHERE e.limit_id = gone.id
)
DELETE FROM {schema}.flow_gate g USING gone WHERE g.limit_id = gone.id"""
COUNT: Final = """
SELECT {schema}.count_limit_1(f.id) FROM {schema}.flow_limit f WHERE f.name = %(name)s"""
USES: Final = """
SELECT f.name, (
    SELECT count(*) FROM (
        SELECT FROM {schema}.live l JOIN {schema}.lane n ON n.id = l.lane
        WHERE l.worker_id IS NOT NULL
          AND (f.queue = n.queue OR f.queue IS NULL) AND (f.kind = n.kind OR f.kind IS NULL)
          AND (f."group" = n."group" OR f."group" IS NULL)
        LIMIT %(limit)s
    ) AS running
), (
    SELECT count(*) FROM (
        SELECT FROM {schema}.lane n CROSS JOIN LATERAL (
            SELECT FROM {schema}.live l
            WHERE l.lane = n.id AND l.worker_id IS NULL AND l.process_at <= {schema}.clock()
            ORDER BY l.process_at, l.id LIMIT %(limit)s
        ) AS head
        WHERE (f.queue = n.queue OR f.queue IS NULL) AND (f.kind = n.kind OR f.kind IS NULL)
          AND (f."group" = n."group" OR f."group" IS NULL)
        LIMIT %(limit)s
    ) AS waiting
), CASE WHEN NOT f.per_group THEN ({schema}.room_1(
    NULL, NULL, f.rate, f.period_s, f.burst,
    (SELECT g.free_at FROM {schema}.flow_gate g WHERE g.limit_id = f.id AND g.key = ''),
    {schema}.clock()
)).o_opens_at END
FROM {schema}.flow_limit f WHERE f.name = ANY (%(names)s)"""
# Of each limit that fits the task: what its gate lets through, and some of those who run there.
REACHED: Final = """
SELECT f.name, running.number, running.ids, f.concurrency <= running.number, ({schema}.room_1(
    NULL, NULL, f.rate, f.period_s, f.burst,
    (SELECT g.free_at FROM {schema}.flow_gate g WHERE g.limit_id = f.id AND g.key = f.key),
    {schema}.clock()
)).o_opens_at
FROM (
    SELECT f.*, CASE WHEN f.per_group THEN %(group)s ELSE '' END AS key FROM {schema}.flow_limit f
    WHERE (f.queue = %(queue)s OR f.queue IS NULL) AND (f.kind = %(kind)s OR f.kind IS NULL)
      AND (f."group" = %(group)s OR f."group" IS NULL)
      AND (f.concurrency IS NOT NULL OR f.rate IS NOT NULL)
) AS f CROSS JOIN LATERAL (
    SELECT count(*) AS number, (array_agg(l.id ORDER BY l.started_at, l.id))[1:10] AS ids
    FROM {schema}.flow_lease e JOIN {schema}.live l ON l.id = e.id AND l.token = e.token
    WHERE e.limit_id = f.id AND e.key = f.key
) AS running ORDER BY f.name"""


class PostgresLimits:
    """``LimitRepository`` on PostgreSQL."""

    def __init__(self, database: Database) -> None:
        """Work through ``database``."""
        self._database = database
        self._trail = Trail(database)
        self._claims = ClaimsUnderWay(database)
        sql = database.sql
        self._get = sql(GET)
        self._list = sql(LIST)
        self._lock = sql(LOCK)
        self._add = sql(ADD)
        self._change = sql(CHANGE)
        self._remove = sql(REMOVE)
        self._count = sql(COUNT)
        self._uses = sql(USES)
        self._reached = sql(REACHED)

    async def put(
        self, limit: Limit, *, expected: StoredLimit | None = None, by: Caller | None = None
    ) -> tuple[StoredLimit, bool]:
        """See ``LimitRepository.put``."""

        async def work(connection: Connection) -> tuple[StoredLimit, bool]:
            made = await self._write(connection, limit, expected, by)
            # Claims that began before this commit are waited for; those that begin after it see
            # the limit. Then the leases that are there are counted.
            await self._claims.wait(connection)
            await connection.execute(self._count, {"name": limit.name})
            return await self._found(connection, limit.name), made

        if expected is None:
            return await self._database.run(work)
        async with self._database.connection() as connection:
            return await work(connection)

    async def get(self, name: str) -> StoredLimit:
        """See ``LimitRepository.get``."""

        async def work(connection: Connection) -> StoredLimit:
            return await self._found(connection, name)

        return await self._database.run(work)

    async def list(self, *, after: str = "", limit: int) -> Sequence[StoredLimit]:
        """See ``LimitRepository.list``."""
        rows = await self._rows(self._list, after=after, limit=limit)
        return [limit_of(row) for row in rows]

    async def delete(
        self, name: str, *, expected: StoredLimit | None = None, by: Caller | None = None
    ) -> None:
        """See ``LimitRepository.delete``."""

        async def work(connection: Connection) -> None:
            async with connection.transaction():
                self._require(name, await self._held(connection, name), expected or name)
                await connection.execute(self._remove, {"name": name})
                await self._tell(connection, by, Action.LIMIT_DELETED, name)

        await self._database.run(work)

    async def uses(self, names: Collection[str]) -> Mapping[str, LimitUse]:
        """See ``LimitRepository.uses``."""
        rows = await self._rows(self._uses, names=list(names), limit=COUNT_MAX)
        return {
            name: LimitUse(running, waiting, opens_at and opens_at.astimezone(UTC))
            for name, running, waiting, opens_at in rows
        }

    async def reached_by(self, task: Task) -> Sequence[Reached]:
        """See ``LimitRepository.reached_by``."""
        group = task.group or ""
        rows = await self._rows(self._reached, queue=task.queue, kind=task.kind, group=group)
        found: list[Reached] = []
        for name, running, ids, is_full, opens_at in rows:
            if is_full:
                found.append(Reached(name, running, None, ids))
            if opens_at is not None:
                found.append(Reached(name, running, opens_at.astimezone(UTC)))
        return found

    async def _write(
        self,
        connection: Connection,
        limit: Limit,
        expected: StoredLimit | None,
        by: Caller | None,
    ) -> bool:
        """Make or change the limit, in one transaction; return whether it is new."""
        async with connection.transaction():
            old = await self._held(connection, limit.name)
            if expected is not None:
                self._require(limit.name, old, expected)
            if old is None:
                added = await connection.execute(self._add, values_of(limit))
                if added.rowcount:
                    await self._tell(connection, by, Action.LIMIT_ADDED, limit.name)
                    return True
                # Another has made one just now.
                old = await self._held(connection, limit.name)
            if old is None or old.definition == limit:
                return False
            if old.definition.selectors == limit.selectors:
                await connection.execute(self._change, values_of(limit))
            else:
                # It is another's number: what was counted under the old one counts no more.
                await connection.execute(self._remove, {"name": limit.name})
                await connection.execute(self._add, values_of(limit, old))
            await self._tell(connection, by, Action.LIMIT_CHANGED, limit.name)
            return False

    async def _held(self, connection: Connection, name: str) -> StoredLimit | None:
        row = await (await connection.execute(self._lock, {"name": name})).fetchone()
        return None if row is None else limit_of(row)

    async def _found(self, connection: Connection, name: str) -> StoredLimit:
        row = await (await connection.execute(self._get, {"name": name})).fetchone()
        if row is None:
            raise LimitNotFound(name)
        return limit_of(row)

    def _require(self, name: str, old: StoredLimit | None, expected: StoredLimit | str) -> None:
        if old is None:
            raise LimitNotFound(name)
        if isinstance(expected, StoredLimit) and old != expected:
            raise LimitChanged(name)

    async def _tell(
        self, connection: Connection, by: Caller | None, action: Action, name: str
    ) -> None:
        if by is not None:
            await self._trail.record(connection, by, action, target=name)

    async def _rows(self, statement: bytes, **values: Any) -> Sequence[tuple[Any, ...]]:
        async def work(connection: Connection) -> Sequence[tuple[Any, ...]]:
            # Unprepared, so that the plan is made for what is asked.
            return await (await connection.execute(statement, values, prepare=False)).fetchall()

        return await self._database.run(work)


def values_of(limit: Limit, old: StoredLimit | None = None) -> dict[str, Any]:
    """Return the parameters of ``ADD`` and ``CHANGE``; ``old`` is what it comes in the place of."""
    pace = limit.pace
    return {
        "name": limit.name,
        "queue": limit.queue,
        "kind": limit.kind,
        "group": limit.group,
        "per_group": limit.per_group,
        "concurrency": limit.concurrency,
        "rate": pace and pace.number,
        "period_s": pace and pace.period_s,
        "burst": limit.at_once,
        "grants_burst_in": pace and span_of(pace, limit.at_once or 1),
        "burst_given": limit.burst is not None,
        "weight": limit.weight,
        "revision": 1 if old is None else old.revision + 1,
        "created_at": old and old.created_at,
    }


def limit_of(row: tuple[Any, ...]) -> StoredLimit:
    """Return the limit of a row of ``COLUMNS``."""
    name, queue, kind, group, per_group, concurrency, rate, period_s, *more = row
    burst, burst_given, weight, revision, created_at, changed_at = more
    return StoredLimit(
        definition=Limit(
            name=name,
            queue=queue,
            kind=kind,
            group=group,
            per_group=per_group,
            concurrency=concurrency,
            rate=None if rate is None else str(Rate(rate, period_s)),
            burst=burst if burst_given else None,
            weight=weight,
        ),
        revision=revision,
        created_at=created_at.astimezone(UTC),
        changed_at=changed_at.astimezone(UTC),
    )
