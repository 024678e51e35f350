"""One partition a day, for bodies, outcomes and histories alike.

A partition holds the ids that were made on one day (UTC): a UUID v7 begins with its milliseconds.
"""

from __future__ import annotations

import logging
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Final
from uuid import UUID

import psycopg
from psycopg import sql

if TYPE_CHECKING:
    from taskscheduler.adapters.postgres.database import Connection

DAYS_BEHIND: Final = 1
DAYS_AHEAD: Final = 7
PARTITIONED: Final = ("task", "finished", "attempt")
TODAY: Final = "SELECT (now() AT TIME ZONE 'UTC')::date"
EXISTING: Final = """
SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = %s AND c.relname ~ '^(task|finished|attempt)_[0-9]{8}$'"""

log = logging.getLogger("taskscheduler.postgres")


def first_id(day: date) -> UUID:
    """Return the smallest UUID whose time is on ``day`` or later."""
    return id_of(datetime(day.year, day.month, day.day, tzinfo=UTC))


def id_of(moment: datetime) -> UUID:
    """Return the smallest UUID whose time is ``moment`` or later."""
    return UUID(int=max(int(moment.timestamp() * 1000), 0) << 80)


async def prepare_days(connection: Connection, schema: str) -> int:
    """Make the partitions of the days around today that are missing; return how many were made.

    A day whose first rows already went to the default partition stays there: moving them would
    block the table for as long as that takes.
    """
    row = await (await connection.execute(TODAY, prepare=False)).fetchone()
    assert row is not None  # noqa: S101 - a SELECT without FROM has one row
    today: date = row[0]
    found = await connection.execute(EXISTING, [schema], prepare=False)
    existing = {name for (name,) in await found.fetchall()}
    made = 0
    for offset in range(-DAYS_BEHIND, DAYS_AHEAD + 1):
        day = today + timedelta(days=offset)
        for table in PARTITIONED:
            if f"{table}_{day:%Y%m%d}" not in existing:
                made += await _make(connection, schema, table, day)
    return made


async def _make(connection: Connection, schema: str, table: str, day: date) -> bool:
    name = f"{table}_{day:%Y%m%d}"
    statement = sql.SQL(
        "CREATE TABLE IF NOT EXISTS {name} PARTITION OF {parent} "
        "FOR VALUES FROM ({low}) TO ({high})"
    ).format(
        name=sql.Identifier(schema, name),
        parent=sql.Identifier(schema, table),
        low=sql.Literal(str(first_id(day))),
        high=sql.Literal(str(first_id(day + timedelta(days=1)))),
    )
    try:
        async with connection.transaction():
            # Waiting for a lock would make everyone behind it wait too. Another day will do.
            await connection.execute("SET LOCAL lock_timeout = '500ms'")
            await connection.execute(statement)
    except (psycopg.errors.CheckViolation, psycopg.errors.LockNotAvailable) as error:
        log.info("partition %s is not made: %s", name, type(error).__name__)
        return False
    return True
