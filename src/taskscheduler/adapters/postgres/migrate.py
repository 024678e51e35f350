"""Numbered migrations, applied in order, under a lock, in one transaction.

A change of a table waits for those who read it, and everybody who comes later waits behind it. So
no lock is waited for for longer than others can bear; whoever is in the way is let go ahead, and
all is tried again.
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
from importlib import resources
from typing import TYPE_CHECKING, Final, LiteralString, NamedTuple, cast

import psycopg
from psycopg import sql

from taskscheduler.adapters.postgres.database import checked_schema, conninfo, translated
from taskscheduler.adapters.postgres.fast_connection import PooledConnection
from taskscheduler.adapters.postgres.partitions import prepare_days
from taskscheduler.adapters.postgres.session_settings import check_encoding
from taskscheduler.domain.errors import InvalidConfiguration, SchemaMismatch, StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from taskscheduler.adapters.postgres.database import Connection

PATIENCE_S: Final = 300.0
"""How long, in all, to come back to locks that others hold."""
PAUSE_S: Final = 1.0
# The lock of migrations among themselves, too: who holds it may have been stopped. A program that
# is stopped in between holds what all others want, so its transaction is ended for it.
BOUNDS: Final = """
SELECT set_config('lock_timeout', '1s', true),
       set_config('idle_in_transaction_session_timeout', '30s', true)"""
LOCK: Final = "SELECT pg_advisory_xact_lock(hashtextextended('taskscheduler migrate ' || %s, 0))"
LEDGER: Final = """
CREATE TABLE IF NOT EXISTS {schema}.migration (
    version integer PRIMARY KEY,
    name text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now(),
    oldest_program integer
)"""
APPLIED: Final = "SELECT coalesce(max(version), 0) FROM {schema}.migration"
NAMES: Final = """
SELECT name FROM {schema}.migration WHERE version <= %(newest)s ORDER BY version"""
# What later releases brought is fit for this one if each of them says so.
UNFIT: Final = """
SELECT count(*) FROM {schema}.migration
WHERE version > %(newest)s AND coalesce(oldest_program > %(newest)s, true)"""
KNOWS_PROGRAMS: Final = """
SELECT 1 FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = %s AND c.relname = 'migration' AND a.attname = 'oldest_program'"""
LEDGER_EXISTS: Final = """
SELECT 1 FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = %s AND c.relname = 'migration'"""
RECORD: Final = """
INSERT INTO {schema}.migration (version, name, oldest_program) VALUES (%s, %s, %s)"""
PROGRAMS: Final = """
ALTER TABLE {schema}.migration ADD COLUMN IF NOT EXISTS oldest_program integer"""
OLDEST: Final = re.compile(r"^-- Programs before (\d{4}) cannot work with this\.$", re.MULTILINE)
"""The line by which a migration says that it is no mere addition."""

log = logging.getLogger("taskscheduler.postgres")


class Migration(NamedTuple):
    """One step of the schema."""

    version: int
    name: str
    text: str

    @property
    def oldest_program(self) -> int:
        """The oldest program, by the newest migration that it knows, that can work with this."""
        said = OLDEST.search(self.text)
        return 0 if said is None else int(said[1])


def migrations() -> Sequence[Migration]:
    """Return every migration that this program knows, in order."""
    folder = resources.files("taskscheduler.adapters.postgres") / "migrations"
    found = [
        Migration(int(file.name[:4]), file.name.removesuffix(".sql"), file.read_text("utf-8"))
        for file in folder.iterdir()
        if file.name.endswith(".sql")
    ]
    return sorted(found)


def script(schema: str) -> str:
    """Return the SQL of all migrations, for whoever applies it by other means."""
    name = sql.Identifier(checked_schema(schema))
    parts = ["BEGIN;", f"CREATE SCHEMA IF NOT EXISTS {name.as_string()};"]
    parts.append(_formatted(LEDGER, schema).as_string() + ";")
    for migration in migrations():
        parts.append(f"-- {migration.name}\n" + _formatted(migration.text, schema).as_string())
        record = _formatted(RECORD, schema).as_string().strip()
        values = migration.version, f"'{migration.name}'", migration.oldest_program
        parts.append(record % values + ";")
    return "\n\n".join([*parts, "COMMIT;"]) + "\n"


async def migrate(
    url: str, schema: str, *, patience_s: float = PATIENCE_S, pause_s: float = PAUSE_S
) -> Sequence[str]:
    """Bring ``schema`` to the newest version; return the names of the migrations applied.

    Any number of processes may call it at once: the first works, the others wait and find
    nothing to do. Where others use the tables without end, it gives up after ``patience_s``.

    Raises:
        InvalidConfiguration: the database is kept in another encoding than UTF-8.
        SchemaMismatch: the schema is newer than this program.
        StoreUnavailable: the database cannot be reached, or a lock cannot be had.
    """
    checked_schema(schema)
    give_up_at = time.monotonic() + patience_s
    with translated():
        async with await _connect(url) as connection:
            while True:
                try:
                    names = await _apply(connection, schema)
                    break
                except (psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected) as error:
                    if time.monotonic() >= give_up_at:
                        message = "others use the tables without a pause; nothing was changed"
                        raise StoreUnavailable(message) from error
                    log.warning("migrate waits for those who use the tables, and tries again")
                await asyncio.sleep(pause_s)
            for complaint in await prepare_days(connection, schema):
                log.warning("%s", complaint)
    return names


async def _apply(connection: Connection, schema: str) -> Sequence[str]:
    """Apply what is missing, in one transaction."""
    async with connection.transaction():
        await connection.execute(BOUNDS)
        await connection.execute(LOCK, [schema])
        version = await suitable_version(connection, schema)
        todo = [migration for migration in migrations() if migration.version > version]
        if version == 0:
            await connection.execute(
                sql.SQL("CREATE SCHEMA IF NOT EXISTS {}").format(sql.Identifier(schema))
            )
            await connection.execute(_formatted(LEDGER, schema))
        elif todo:
            await connection.execute(_formatted(PROGRAMS, schema))
        for migration in todo:
            await connection.execute(_formatted(migration.text, schema))
            await connection.execute(
                _formatted(RECORD, schema),
                [migration.version, migration.name, migration.oldest_program],
            )
    return [migration.name for migration in todo]


async def check(url: str, schema: str) -> Sequence[str]:
    """Return the names of the migrations that are still to be applied. Raises as ``migrate``."""
    checked_schema(schema)
    with translated():
        async with await _connect(url) as connection:
            version = await suitable_version(connection, schema)
    return [migration.name for migration in migrations() if migration.version > version]


async def _connect(url: str) -> PooledConnection:
    connection = await PooledConnection.connect(
        conninfo(url), autocommit=True, prepare_threshold=None
    )
    connection.asks = True
    try:
        check_encoding(connection)
    except InvalidConfiguration:
        await connection.close()
        raise
    return connection


async def require_current(connection: Connection, schema: str) -> None:
    """Check that the schema is the one that this program was written for.

    Raises:
        InvalidConfiguration: the database is kept in another encoding than UTF-8.
        SchemaMismatch: it is missing, older or newer.
    """
    check_encoding(connection)
    version = await suitable_version(connection, schema)
    newest = migrations()[-1].version
    if version < newest:
        message = (
            f"schema {schema!r} is missing; run: taskscheduler migrate"
            if version == 0
            else f"schema {schema!r} is at version {version}, this program needs {newest}; "
            "run: taskscheduler migrate"
        )
        raise SchemaMismatch(message)


async def suitable_version(connection: Connection, schema: str) -> int:
    """Return the version that ``schema`` is at; 0 if it is missing.

    Raises:
        SchemaMismatch: this program cannot know what the schema means.
    """
    version = await version_of(connection, schema)
    newest = migrations()[-1].version
    if version and await is_foreign(connection, schema):
        name = sql.Identifier(schema).as_string()
        message = (
            f"schema {schema!r} was made by a development version of before the first release, and "
            "cannot be upgraded; make a fresh one under another name (--schema), or in its place, "
            f"after DROP SCHEMA {name} CASCADE, which deletes its tasks: taskscheduler migrate"
        )
        raise SchemaMismatch(message)
    if version > newest and not await fits(connection, schema, newest):
        message = (
            f"the schema is at version {version}, newer than this program, which knows versions "
            f"up to {newest}; install a newer taskscheduler"
        )
        raise SchemaMismatch(message)
    return version


async def is_foreign(connection: Connection, schema: str) -> bool:
    """Tell whether other migrations than this program's made the schema, under the same numbers.

    Development versions of before the first release had such.
    """
    known = migrations()
    newest = {"newest": known[-1].version}
    applied = await connection.execute(_formatted(NAMES, schema), newest, prepare=False)
    names = [name for (name,) in await applied.fetchall()]
    return names != [each.name for each in known][: len(names)]


async def fits(connection: Connection, schema: str, newest: int) -> bool:
    """Tell whether a program that knows migrations up to ``newest`` can work on the schema."""
    known = await connection.execute(KNOWS_PROGRAMS, [schema], prepare=False)
    if await known.fetchone() is None:
        return False
    unfit = await connection.execute(_formatted(UNFIT, schema), {"newest": newest}, prepare=False)
    return await unfit.fetchone() == (0,)


async def version_of(connection: Connection, schema: str) -> int:
    """Return the version that ``schema`` is at; 0 if it is missing."""
    exists = await (await connection.execute(LEDGER_EXISTS, [schema], prepare=False)).fetchone()
    if exists is None:
        return 0
    row = await (await connection.execute(_formatted(APPLIED, schema), prepare=False)).fetchone()
    return 0 if row is None else int(row[0])


def _formatted(text: str, schema: str) -> sql.Composed:
    # The text is this package's own, constant or file; only the schema's name comes from outside.
    token, task = (sql.Identifier(schema, name).as_string() for name in ("lease_token", "task"))
    return sql.SQL(cast("LiteralString", text)).format(
        schema=sql.Identifier(schema), token=sql.Literal(token), task=sql.Literal(task)
    )
