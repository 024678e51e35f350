"""Numbered migrations, applied in order, under a lock, in one transaction."""

from __future__ import annotations

from importlib import resources
from typing import TYPE_CHECKING, Final, LiteralString, NamedTuple, cast

from psycopg import sql

from taskscheduler.adapters.postgres.database import checked_schema, conninfo, translated
from taskscheduler.adapters.postgres.partitions import prepare_days
from taskscheduler.adapters.postgres.prepared import PooledConnection
from taskscheduler.adapters.postgres.sessions import check_encoding
from taskscheduler.domain.errors import InvalidConfiguration, SchemaMismatch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from taskscheduler.adapters.postgres.database import Connection

LOCK: Final = "SELECT pg_advisory_xact_lock(hashtextextended('taskscheduler migrate ' || %s, 0))"
LEDGER: Final = """
CREATE TABLE IF NOT EXISTS {schema}.migration (
    version integer PRIMARY KEY,
    name text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now()
)"""
APPLIED: Final = "SELECT coalesce(max(version), 0) FROM {schema}.migration"
LEDGER_EXISTS: Final = """
SELECT 1 FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = %s AND c.relname = 'migration'"""
RECORD: Final = "INSERT INTO {schema}.migration (version, name) VALUES (%s, %s)"


class Migration(NamedTuple):
    """One step of the schema."""

    version: int
    name: str
    text: str


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
        record = _formatted(RECORD, schema).as_string()
        parts.append(record % (migration.version, f"'{migration.name}'") + ";")
    return "\n\n".join([*parts, "COMMIT;"]) + "\n"


async def migrate(url: str, schema: str) -> Sequence[str]:
    """Bring ``schema`` to the newest version; return the names of the migrations applied.

    Any number of processes may call it at once: the first works, the others wait and find
    nothing to do.

    Raises:
        InvalidConfiguration: the database is kept in another encoding than UTF-8.
        SchemaMismatch: the schema is newer than this program.
        StoreUnavailable: the database cannot be reached.
    """
    checked_schema(schema)
    with translated():
        async with await _connect(url) as connection, connection.transaction():
            await connection.execute(LOCK, [schema])
            version = await version_of(connection, schema)
            refuse_newer(version)
            todo = [migration for migration in migrations() if migration.version > version]
            if version == 0:
                await connection.execute(
                    sql.SQL("CREATE SCHEMA IF NOT EXISTS {}").format(sql.Identifier(schema))
                )
                await connection.execute(_formatted(LEDGER, schema))
            for migration in todo:
                await connection.execute(_formatted(migration.text, schema))
                await connection.execute(
                    _formatted(RECORD, schema), [migration.version, migration.name]
                )
            await prepare_days(connection, schema)
    return [migration.name for migration in todo]


async def check(url: str, schema: str) -> Sequence[str]:
    """Return the names of the migrations that are still to be applied. Raises as ``migrate``."""
    checked_schema(schema)
    with translated():
        async with await _connect(url) as connection:
            version = await version_of(connection, schema)
    refuse_newer(version)
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
    version = await version_of(connection, schema)
    refuse_newer(version)
    newest = migrations()[-1].version
    if version < newest:
        message = (
            f"schema {schema!r} is missing; run: taskscheduler migrate"
            if version == 0
            else f"schema {schema!r} is at version {version}, this program needs {newest}; "
            "run: taskscheduler migrate"
        )
        raise SchemaMismatch(message)


def refuse_newer(version: int) -> None:
    """Refuse a schema of a later release, whose meaning this program cannot know."""
    newest = migrations()[-1].version
    if version > newest:
        message = (
            f"the schema is at version {version}, newer than this program, which knows versions "
            f"up to {newest}; install a newer taskscheduler"
        )
        raise SchemaMismatch(message)


async def version_of(connection: Connection, schema: str) -> int:
    """Return the version that ``schema`` is at; 0 if it is missing."""
    exists = await (await connection.execute(LEDGER_EXISTS, [schema], prepare=False)).fetchone()
    if exists is None:
        return 0
    row = await (await connection.execute(_formatted(APPLIED, schema), prepare=False)).fetchone()
    return 0 if row is None else int(row[0])


def _formatted(text: str, schema: str) -> sql.Composed:
    # The text is this package's own, constant or file; only the schema's name comes from outside.
    token = sql.Identifier(schema, "lease_token").as_string()
    return sql.SQL(cast("LiteralString", text)).format(
        schema=sql.Identifier(schema), token=sql.Literal(token)
    )
