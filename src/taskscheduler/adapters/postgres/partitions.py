"""One partition a day, for bodies, outcomes and histories alike.

A partition holds the ids that were made on one day (UTC): a UUID v7 begins with its milliseconds.

Whatever is done here is one statement, committed by itself: a program that is stopped between two
statements of a transaction would hold locks that everybody waits for.
"""

from __future__ import annotations

import logging
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

import psycopg
from psycopg import sql

from taskscheduler.domain.errors import StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import LiteralString

    from taskscheduler.adapters.postgres.database import Connection

DAYS_BEHIND: Final = 1
DAYS_AHEAD: Final = 7
DAYS_APART: Final = 2
"""From so many days ahead on nobody brings an id of the day yet: the default can do without it."""
PARTITIONED: Final = ("task", "finished", "attempt", "note")
MOVED_MAX: Final = 100_000
"""So many rows of a day are moved from the default partition into that day's own."""
SMALL: Final = 8 * 1024 * 1024
"""A default partition of so many bytes is looked through within some milliseconds."""
TODAY: Final = "SELECT (now() AT TIME ZONE 'UTC')::date"
EXISTING: Final = """
SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = %s AND c.relname ~ '^(task|finished|attempt|note)_[0-9]{8}$'"""
MAKE: Final = "SELECT {schema}.make_day_1(%s, %s, %s)"
EXCLUDE: Final = "SELECT {schema}.exclude_day_1(%s, %s, %s)"
STRAYS: Final = """
SELECT EXISTS (SELECT FROM {default} WHERE id >= %(low)s AND id < %(high)s),
       pg_relation_size(%(name)s::regclass)"""
# Promises of somebody who did not come back.
PROMISED: Final = """
SELECT replace(r.relname, '_default', ''), to_date(right(c.conname, 8), 'YYYYMMDD')
FROM pg_constraint c JOIN pg_class r ON r.oid = c.conrelid
JOIN pg_namespace n ON n.oid = r.relnamespace
WHERE n.nspname = %s AND c.conname ~ '^not_[0-9]{8}$'
  AND r.relname IN ('task_default', 'finished_default', 'attempt_default', 'note_default')"""
THERE: Final = (
    psycopg.errors.DuplicateTable,
    psycopg.errors.DuplicateObject,
    psycopg.errors.UniqueViolation,
    psycopg.errors.InvalidObjectDefinition,
)
"""How the server says that somebody else has just made it."""
LATER: Final = (
    psycopg.errors.CheckViolation,
    psycopg.errors.LockNotAvailable,
    psycopg.errors.DeadlockDetected,
)
"""What another turn does not meet, more likely than not."""

log = logging.getLogger("taskscheduler.postgres")


def first_id(day: date) -> UUID:
    """Return the smallest UUID whose time is on ``day`` or later."""
    return id_of(datetime(day.year, day.month, day.day, tzinfo=UTC))


def id_of(moment: datetime) -> UUID:
    """Return the smallest UUID whose time is ``moment`` or later."""
    return UUID(int=max(int(moment.timestamp() * 1000), 0) << 80)


async def prepare_days(connection: Connection, schema: str) -> Sequence[str]:
    """Make the partitions of the days around today that are missing; tell what cannot be made.

    ``connection`` commits by itself. What one partition meets does not keep the others from being
    made. Raises only where the database is gone.
    """
    row = await (await connection.execute(TODAY, prepare=False)).fetchone()
    assert row is not None  # noqa: S101 - a SELECT without FROM has one row
    today: date = row[0]
    found = await connection.execute(EXISTING, [schema], prepare=False)
    existing = {name for (name,) in await found.fetchall()}
    making = _Making(connection, schema, today)
    await making.withdraw_promises()
    for offset in range(-DAYS_BEHIND, DAYS_AHEAD + 1):
        day = today + timedelta(days=offset)
        for table in PARTITIONED:
            if f"{table}_{day:%Y%m%d}" not in existing:
                await making.make(table, day)
    return making.complaints


class _Making:
    """One round, and what it could not do."""

    def __init__(self, connection: Connection, schema: str, today: date) -> None:
        self._connection = connection
        self._schema = schema
        self._today = today
        self._in_use: set[str] = set()
        self.complaints: list[str] = []

    async def make(self, table: str, day: date) -> None:
        """Make one partition, or say why not."""
        if table in self._in_use:
            return
        name = f"{table}_{day:%Y%m%d}"
        try:
            apart = await self._keep_apart(table, day)
            made = await self._ask(MAKE, table, day, MOVED_MAX)
            if made == "full":
                self._complain(name, f"more than {MOVED_MAX} of its rows are in {table}_default")
            elif made != "made" and apart:
                await self._ask(EXCLUDE, "withdraw", table, day)
        except THERE:
            return
        except LATER as error:
            log.info("partition %s is not made this time: %s", name, type(error).__name__)
            if isinstance(error, psycopg.errors.LockNotAvailable):
                self._in_use.add(table)  # nor will the next one be, and others wait meanwhile
        except (psycopg.OperationalError, psycopg.InterfaceError, StoreUnavailable):
            raise
        except psycopg.errors.InsufficientPrivilege as error:
            self._complain(
                name, f"{_line(error)}; let the schema's owner run: taskscheduler migrate"
            )
        except psycopg.Error as error:
            self._complain(name, f"{type(error).__name__}: {_line(error)}")

    async def withdraw_promises(self) -> None:
        """Take back what was promised of days that come near, or are there: rows may come now."""
        found = await self._connection.execute(PROMISED, [self._schema], prepare=False)
        for table, day in await found.fetchall():
            if day < self._today + timedelta(days=DAYS_APART):
                try:
                    await self._ask(EXCLUDE, "withdraw", table, day)
                except psycopg.Error as error:
                    self._complain(f"{table}_default", f"{type(error).__name__}: {_line(error)}")

    async def _keep_apart(self, table: str, day: date) -> bool:
        """Prove that the default partition holds nothing of ``day``, where to look takes long.

        Only for days of which nobody may bring an id yet, for meanwhile it would be refused.
        """
        if day < self._today + timedelta(days=DAYS_APART):
            return False
        default = sql.Identifier(self._schema, f"{table}_default")
        values = {
            "low": first_id(day),
            "high": first_id(day + timedelta(days=1)),
            "name": default.as_string(),
        }
        cursor = await self._connection.execute(
            sql.SQL(STRAYS).format(default=default), values, prepare=False
        )
        row = await cursor.fetchone()
        assert row is not None  # noqa: S101 - a SELECT without FROM has one row
        if row[0] or row[1] <= SMALL:
            return False
        await self._ask(EXCLUDE, "promise", table, day)
        await self._ask(EXCLUDE, "prove", table, day)
        return True

    async def _ask(self, statement: LiteralString, *values: Any) -> Any:
        text = sql.SQL(statement).format(schema=sql.Identifier(self._schema))
        row = await (await self._connection.execute(text, values, prepare=False)).fetchone()
        return None if row is None else row[0]

    def _complain(self, name: str, why: str) -> None:
        self.complaints.append(f"partition {name} is not made: {why}")


def _line(error: psycopg.Error) -> str:
    return str(error).strip().partition("\n")[0]
