"""Tasks that have ended, in PostgreSQL: dropped by the day, or else deleted in batches.

A day whose tasks have all ended and are all over age is dropped as three tables, whatever their
size. What is over age in days that must stay is deleted, a thousand at a time.
"""

from __future__ import annotations

import logging
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, LiteralString, NamedTuple
from uuid import UUID

import psycopg
from psycopg import sql

from taskscheduler.adapters.postgres import statements as s
from taskscheduler.adapters.postgres.bulk import DELETE
from taskscheduler.adapters.postgres.database import translated
from taskscheduler.adapters.postgres.fire_ledger import PRUNE
from taskscheduler.adapters.postgres.mapping import STATUSES, read, uuids
from taskscheduler.adapters.postgres.partitions import (
    DAYS_BEHIND,
    EXISTING,
    first_id,
    id_of,
)
from taskscheduler.domain.retention import Expiry
from taskscheduler.domain.status import FINAL

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Sequence

    from taskscheduler.adapters.postgres.database import Connection, Database
    from taskscheduler.adapters.postgres.followers import PostgresFollowers
    from taskscheduler.domain.retention import RetentionPolicy
    from taskscheduler.domain.task import Task

DAYS_A_TURN: Final = 5
BATCH: Final = 1000
BATCHES_A_TURN: Final = 10
DAY: Final = timedelta(days=1)
GRACE: Final = 2 * DAY
"""Rows that the day's end would drop anyway are left to it for so long."""

NOW: Final = "SELECT {schema}.clock()"
LANES: Final = "SELECT id, kind FROM {schema}.lane"
# Of all who come at once one works. The lock ends with a transaction that does nothing else, and so
# holds up no vacuum; poolers do not matter to it. Should it be lost, two work, and harm nothing.
ALONE: Final = """
SELECT pg_try_advisory_xact_lock(hashtextextended('taskscheduler retention ' || %s, 0))"""
# Ended for whoever holds it and is stopped, so that others may work.
NOT_FOR_EVER: Final = "SET LOCAL idle_in_transaction_session_timeout = '10min'"
LIVES: Final = """
SELECT EXISTS (SELECT FROM {schema}.live WHERE id >= %(low)s AND id < %(high)s)"""
KEPT: Final = """
SELECT EXISTS (
    SELECT FROM unnest(%(lanes)s::integer[], %(statuses)s::smallint[], %(keeps)s::interval[])
        AS r (lane, status, keep)
    CROSS JOIN LATERAL (
        SELECT FROM {finished} f WHERE f.lane = r.lane AND f.status = r.status
          AND (r.keep IS NULL OR f.finished_at >= %(now)s - r.keep) LIMIT 1
    ) AS kept
)"""
COUNT: Final = "SELECT count(*) FROM {finished}"
IDS: Final = "SELECT id FROM {finished} WHERE id > %(after)s ORDER BY id LIMIT %(limit)s"
# Judges once more, by a lock that lets nobody write: all that takes long is done before.
DROP: Final = """
SELECT {schema}.drop_day_1(%(day)s, %(now)s, %(lanes)s::integer[], %(statuses)s::smallint[],
                           %(keeps)s::interval[])"""

# By id first: a UUID v7 that was made after the limit cannot have ended before it.
OVER_AGE: Final = """
SELECT f.id FROM {schema}.finished f
WHERE f.lane = %(lane)s AND f.status = %(status)s AND f.id < %(before)s
  AND f.finished_at < %(limit)s ORDER BY f.id LIMIT %(batch)s"""
# Ids of other versions say nothing of their time, and are all here.
OVER_AGE_DEFAULT: Final = """
SELECT f.id FROM {schema}.finished_default f
WHERE f.lane = %(lane)s AND f.status = %(status)s AND f.id >= %(before)s
  AND f.finished_at < %(limit)s LIMIT %(batch)s"""

LATER: Final = (
    psycopg.errors.LockNotAvailable,
    psycopg.errors.DeadlockDetected,
    psycopg.errors.UndefinedTable,
)
"""What another turn does not meet: somebody reads the day, or has dropped it."""

log = logging.getLogger("taskscheduler.retention")


class _Span(NamedTuple):
    """How long the tasks of a lane are kept that ended in a status."""

    lane: int
    status: int
    keep: timedelta | None


class PostgresArchive:
    """``Archive`` on PostgreSQL."""

    def __init__(self, database: Database, followers: PostgresFollowers) -> None:
        """Work through ``database``; ``followers`` hear of ends before those are dropped."""
        self._database = database
        self._followers = followers

    async def expire(
        self,
        policy: RetentionPolicy,
        *,
        export: Callable[[Sequence[Task]], None] | None = None,
        dry_run: bool = False,
    ) -> Expiry:
        """See ``Archive.expire``."""
        if not policy:
            return Expiry()
        if not dry_run:
            await self._followers.release()
        async with AsyncExitStack() as stack:
            # Connections of our own: an export may take longer than others wait for an answer.
            guard, connection = [await self._connect(stack) for _ in range(2)]
            with translated():
                await stack.enter_async_context(_lasting(guard))
                cursor = await guard.execute(ALONE, [self._database.schema], prepare=False)
                row = await cursor.fetchone()
                if row is None or not row[0]:
                    return Expiry()
                turn = _Turn(self._database, connection, export, dry_run=dry_run)
                return await turn.run(policy)

    async def _connect(self, stack: AsyncExitStack) -> Connection:
        connection = await self._database.connect()
        stack.push_async_callback(connection.close)
        return connection


class _Turn:
    """One turn, on one connection."""

    def __init__(
        self,
        database: Database,
        connection: Connection,
        export: Callable[[Sequence[Task]], None] | None,
        *,
        dry_run: bool,
    ) -> None:
        self._schema = database.schema
        self._sql = database.sql
        self._connection = connection
        self._export = export
        self._dry_run = dry_run
        self._spans: list[_Span] = []
        self._now = datetime.now(UTC)

    async def run(self, policy: RetentionPolicy) -> Expiry:
        ((self._now,),) = await self._ask(self._sql(NOW))
        for lane, kind in await self._ask(self._sql(LANES)):
            for status in sorted(FINAL):
                self._spans.append(_Span(lane, STATUSES.index(status), policy.keep(status, kind)))
        longest = max((span.keep for span in self._spans if span.keep is not None), default=None)
        if longest is None:
            return Expiry()
        over = [day for day in await self._days() if _end_of(day) + longest < self._now]
        dropped: dict[date, int] = {}
        for day in over[:DAYS_A_TURN]:
            if (count := await self._drop(day)) is not None:
                dropped[day] = count
        deleted, more = await self._delete_rows(longest)
        more = await self._prune_ledger(policy.fires) or more
        more = more or (len(dropped) == DAYS_A_TURN < len(over))
        return Expiry(tuple(dropped), sum(dropped.values()), deleted, more and not self._dry_run)

    async def _ask(self, statement: Any, values: Any = None) -> list[tuple[Any, ...]]:
        cursor = await self._connection.execute(statement, values, prepare=False)
        return await cursor.fetchall()

    async def _days(self) -> list[date]:
        """Return the days that have tables and for which none are made any more."""
        names = [name for (name,) in await self._ask(EXISTING, [self._schema])]
        found = {
            datetime.strptime(name[-8:], "%Y%m%d").replace(tzinfo=UTC).date() for name in names
        }
        last = (self._now - DAY * (DAYS_BEHIND + 1)).date()
        return sorted(day for day in found if day <= last)

    # -- whole days ------------------------------------------------------------------------------

    async def _drop(self, day: date) -> int | None:
        """Drop a day if nothing in it is to be kept; return with how many tasks, or None.

        No lock is held while it is exported: what ends meanwhile keeps the day from being dropped.
        """
        judged = {
            "day": day,
            "lanes": [span.lane for span in self._spans],
            "statuses": [span.status for span in self._spans],
            "keeps": [span.keep for span in self._spans],
            "now": self._now,
        }
        try:
            ((lives,),) = await self._ask(self._sql(LIVES), _bounds(day))
            ((kept,),) = await self._ask(self._of_day(KEPT, day), judged)
            if lives or kept:
                return None
            ((count,),) = await self._ask(self._of_day(COUNT, day))
            if self._dry_run:
                return count
            await self._export_day(day)
            ((dropped,),) = await self._ask(self._sql(DROP), judged)
        except LATER as error:
            log.info("%s is not dropped this time: %s", day, type(error).__name__)
            return None
        if not dropped:
            return None
        log.info("dropped %s with %d tasks that had ended", day, count)
        return count

    async def _export_day(self, day: date) -> None:
        if self._export is None:
            return
        after = UUID(int=0)
        while True:
            values = {"after": after, "limit": BATCH}
            ids = [task_id for (task_id,) in await self._ask(self._of_day(IDS, day), values)]
            if not ids:
                return
            self._export(await read(self._connection, self._sql(s.GET), ids))
            after = ids[-1]

    def _table(self, table: str, day: date) -> sql.Identifier:
        return sql.Identifier(self._schema, f"{table}_{day:%Y%m%d}")

    def _of_day(self, text: LiteralString, day: date) -> sql.Composed:
        return sql.SQL(text).format(finished=self._table("finished", day))

    async def _prune_ledger(self, keep: timedelta | None) -> bool:
        """Delete what became of fires so long ago; tell whether there is more."""
        if keep is None or self._dry_run:
            return False
        values = {"limit": self._now - keep, "batch": BATCH}
        for _ in range(BATCHES_A_TURN):
            done = await self._connection.execute(self._sql(PRUNE), values, prepare=False)
            if done.rowcount < BATCH:
                return False
        return True

    # -- single tasks ----------------------------------------------------------------------------

    async def _delete_rows(self, longest: timedelta) -> tuple[int, bool]:
        """Delete what is over age in days that stay; return how many, and whether more are."""
        deleted = 0
        left = BATCHES_A_TURN
        for span in self._spans:
            if span.keep is None:
                continue
            early = self._now - span.keep
            late = early - min(GRACE, longest) if span.keep == longest else early
            before = id_of(late)
            for statement, limit in (
                (self._sql(OVER_AGE), late),
                (self._sql(OVER_AGE_DEFAULT), early),
            ):
                count = BATCH
                while count == BATCH:
                    if left <= 0:
                        return deleted, True
                    count = await self._delete_batch(statement, span, limit, before)
                    left -= count > 0
                    deleted += count
                    if self._dry_run:
                        break
        return deleted, False

    async def _delete_batch(
        self, statement: bytes, span: _Span, limit: datetime, before: UUID
    ) -> int:
        values = {
            "lane": span.lane,
            "status": span.status,
            "limit": limit,
            "before": before,
            "batch": BATCH,
        }
        ids = [task_id for (task_id,) in await self._ask(statement, values)]
        if not ids or self._dry_run:
            return len(ids)
        if self._export is not None:
            self._export(await read(self._connection, self._sql(s.GET), ids))
        gone = {"ids": uuids(ids), "statuses": [span.status]}
        await self._connection.execute(self._sql(DELETE), gone, prepare=False)
        return len(ids)


@asynccontextmanager
async def _lasting(guard: Connection) -> AsyncGenerator[None]:
    """Keep a transaction open that changes nothing; that it was ended meanwhile harms nobody."""
    await guard.execute("BEGIN", prepare=False)
    await guard.execute(NOT_FOR_EVER, prepare=False)
    try:
        yield
    finally:
        with suppress(psycopg.Error):
            await guard.execute("ROLLBACK", prepare=False)


def _end_of(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC) + DAY


def _bounds(day: date) -> dict[str, UUID]:
    return {"low": first_id(day), "high": first_id(day + DAY)}
