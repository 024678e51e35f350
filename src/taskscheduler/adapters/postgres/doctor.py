"""The facts that ``doctor`` judges, read from PostgreSQL within seconds, whatever its size."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, cast
from uuid import uuid4

import psycopg
from psycopg import sql

from taskscheduler.adapters.postgres import health_checks as c
from taskscheduler.adapters.postgres.database import Database, first_line
from taskscheduler.adapters.postgres.migrate import fits, is_foreign, migrations, version_of
from taskscheduler.adapters.postgres.partitions import EXISTING, PARTITIONED, TODAY
from taskscheduler.adapters.postgres.session_settings import ENCODING, NEEDED, awkward
from taskscheduler.adapters.postgres.statements import WORKERS_SEEN
from taskscheduler.domain.errors import StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import LiteralString

    from taskscheduler.adapters.postgres.database import Connection

LEAST_VERSION: Final = 15
PROBE_S: Final = 3.0
ANSWER_MS: Final = "10000"
HOT: Final = ("live", "worker", "unique_key")

LIMIT: Final = "SELECT set_config('statement_timeout', %s, true)"
VERSION: Final = (
    "SELECT current_setting('server_version_num')::int, current_setting('server_version')"
)
# What a session begins with, whatever this one was given since.
DEFAULTS: Final = "SELECT name, reset_val FROM pg_settings WHERE name = ANY(%s) ORDER BY name"
NOW: Final = "SELECT clock_timestamp()"
SEES_ALL: Final = "SELECT pg_has_role('pg_read_all_stats', 'USAGE')"
OLD_TRANSACTIONS: Final = """
SELECT clock_timestamp() - xact_start, pid, coalesce(state, '?'), coalesce(application_name, '')
FROM pg_stat_activity
WHERE xact_start IS NOT NULL AND pid <> pg_backend_pid() AND backend_type = 'client backend'
  AND (backend_xmin IS NOT NULL OR backend_xid IS NOT NULL)
ORDER BY xact_start LIMIT 1"""
PREPARED: Final = """
SELECT clock_timestamp() - prepared, gid FROM pg_prepared_xacts ORDER BY prepared LIMIT 1"""
SLOTS: Final = """
SELECT greatest(age(xmin), age(catalog_xmin)), slot_name FROM pg_replication_slots
WHERE xmin IS NOT NULL OR catalog_xmin IS NOT NULL ORDER BY 1 DESC NULLS LAST LIMIT 1"""
DEAD: Final = """
SELECT relname, n_dead_tup, n_live_tup FROM pg_stat_user_tables
WHERE schemaname = %s AND relname = ANY(%s) ORDER BY n_dead_tup DESC, relname"""
# The head of each lane, by its index, whatever the statistics say.
BY_INDEX: Final = """
SELECT set_config('enable_seqscan', 'off', true), set_config('enable_bitmapscan', 'off', true)"""
DUE: Final = """
SELECT {schema}.clock() - head.process_at, n.queue, n.kind
FROM {schema}.waiting_1(2000) AS head (lane, process_at) JOIN {schema}.lane n ON n.id = head.lane
WHERE head.process_at <= {schema}.clock() ORDER BY head.process_at"""
OVERDUE: Final = """
SELECT {schema}.clock() - next_fire_at, name FROM {schema}.schedule
WHERE next_fire_at <= {schema}.clock() ORDER BY next_fire_at LIMIT 1"""
STRAYS: Final = """
SELECT 'task_default' WHERE EXISTS (SELECT FROM {schema}.task_default)
UNION ALL SELECT 'finished_default' WHERE EXISTS (SELECT FROM {schema}.finished_default)
UNION ALL SELECT 'attempt_default' WHERE EXISTS (SELECT FROM {schema}.attempt_default)"""


# Through their parents all partitions are reached, so days are not looked at.
LACKING: Final = """
SELECT 'USAGE on schema ' || n.nspname FROM pg_namespace n
WHERE n.nspname = %s AND NOT has_schema_privilege(n.oid, 'USAGE')
UNION ALL
SELECT r.name || ' on ' || c.relname
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace,
     unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']) AS r (name)
WHERE n.nspname = %s AND c.relkind IN ('r', 'p') AND c.relname !~ '_([0-9]{8}|default)$'
  AND (r.name = 'SELECT' OR c.relname NOT IN ('migration', 'place'))
  AND c.relname <> 'api_key' -- a worker sees no keys
  AND NOT has_table_privilege(c.oid, r.name)
UNION ALL
SELECT 'USAGE on ' || c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = %s AND c.relkind = 'S' AND NOT has_sequence_privilege(c.oid, 'USAGE')
  AND c.relname = 'lease_token'
UNION ALL
SELECT 'EXECUTE on ' || p.proname FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
WHERE n.nspname = %s AND NOT has_function_privilege(p.oid, 'EXECUTE')"""
OWNER: Final = """
SELECT current_user, count(*), coalesce(bool_and(pg_has_role(c.relowner, 'USAGE')), true)
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = %s AND c.relname IN ('task', 'finished', 'attempt', 'note')"""


async def examine(url: str, schema: str, listen_url: str | None = None) -> Sequence[c.Finding]:
    """Look the store over and return what was found, in the order in which to read it.

    Nothing is changed. A database that is away is a finding, not an error.

    Raises:
        InvalidConfiguration: ``url``, ``listen_url`` or ``schema`` cannot be used.
    """
    database = Database(url, schema=schema, pool_size=1)
    listening = Database(listen_url or url, schema=schema, pool_size=1)
    asked_at = time.monotonic()
    try:
        connection = await database.connect()
    except StoreUnavailable as error:
        return [
            c.Finding(
                "connection",
                c.Severity.FAIL,
                str(error),
                "nothing can be stored and nothing runs until it is back",
                "is the server up, and are host, port, user and password right?",
            )
        ]
    try:
        took = timedelta(seconds=time.monotonic() - asked_at)
        pooled = ", behind a pooler" if database.behind_pooler else ""
        found = [c.Finding("connection", c.Severity.OK, f"made in {c.seconds(took)}{pooled}")]
        return [*found, *await _Examination(database, connection).findings(listening)]
    except (StoreUnavailable, psycopg.Error) as error:
        return [
            c.Finding(
                "connection",
                c.Severity.FAIL,
                f"it broke, or took too long: {first_line(error)}",
                "the database is overloaded, or the role may not read what is asked",
                "look at the server's log",
            )
        ]
    finally:
        with suppress(psycopg.Error):
            await connection.close()


class _Examination:
    def __init__(self, database: Database, connection: Connection) -> None:
        self._database = database
        self._connection = connection

    async def findings(self, listening: Database) -> list[c.Finding]:
        number, text = await self._one(VERSION)
        found = [c.judge_version(number, text, least=LEAST_VERSION), *await self._settings()]
        rights = await self._rights()
        found += rights
        if any(each.verdict is c.Severity.FAIL for each in rights):
            return found
        version = await version_of(self._connection, self._database.schema)
        newest = migrations()[-1].version
        fit = await fits(self._connection, self._database.schema, newest) if version else False
        foreign = version > 0 and await is_foreign(self._connection, self._database.schema)
        found += [
            c.judge_schema(self._database.schema, version, newest, fits=fit, foreign=foreign),
            await self._clock(),
        ]
        if foreign:
            return found
        found += await self._horizon()
        if version:
            found += await self._tables()
        if version >= newest:
            found.append(await self._schedules())
        found.append(await self._wakeups(listening))
        return found

    async def _rows(
        self, statement: LiteralString | bytes, values: Sequence[Any] = ()
    ) -> list[tuple[Any, ...]]:
        # In a transaction: behind a pooler a setting would else stay with somebody else's session.
        async with self._connection.transaction():
            await self._connection.execute(LIMIT, [ANSWER_MS])
            await self._connection.execute(BY_INDEX)
            return await (await self._connection.execute(statement, values)).fetchall()

    async def _one(self, statement: LiteralString) -> tuple[Any, ...]:
        (row,) = await self._rows(statement)
        return row

    async def _settings(self) -> list[c.Finding]:
        encoding = self._connection.info.parameter_status("server_encoding") or "?"
        rows = await self._rows(DEFAULTS, [[*NEEDED, "synchronous_commit"]])
        defaults: dict[str, str] = dict(rows)
        durability = c.judge_durability(defaults.pop("synchronous_commit"))
        pooled = bool(self._database.behind_pooler)
        settings = c.judge_settings(awkward(defaults), pooled=pooled)
        return [c.judge_encoding(encoding, ENCODING), settings, durability]

    async def _clock(self) -> c.Finding:
        best: tuple[timedelta, timedelta] | None = None
        for _ in range(3):  # the quickest answer tells most
            asked = datetime.now(UTC)
            row = await (await self._connection.execute(NOW)).fetchone()
            took = datetime.now(UTC) - asked
            assert row is not None  # noqa: S101 - a SELECT without FROM has one row
            sample = took / 2, row[0] - (asked + took / 2)
            best = sample if best is None else min(best, sample)
        assert best is not None  # noqa: S101 - asked three times
        return c.judge_skew(best[1], best[0])

    async def _horizon(self) -> list[c.Finding]:
        held = [
            c.judge_held("a transaction is open", age, f"pid {pid} ({state}) {name}".rstrip())
            for age, pid, state, name in await self._rows(OLD_TRANSACTIONS)
        ]
        held += [
            c.judge_held("a prepared transaction waits", age, f"gid {gid}")
            for age, gid in await self._rows(PREPARED)
        ]
        held += [c.judge_slot(name, age or 0) for age, name in await self._rows(SLOTS)]
        bad = [each for each in held if each.verdict is not c.Severity.OK]
        if bad:
            return bad
        (sees_all,) = await self._one(SEES_ALL)
        return [
            c.Finding(
                "xmin horizon",
                c.Severity.OK,
                "nothing old holds dead rows back"
                + ("" if sees_all else " (of other roles' sessions this role sees little)"),
            )
        ]

    async def _tables(self) -> list[c.Finding]:
        sql_ = self._database.sql
        schema = self._database.schema
        found = [
            c.judge_dead(f"{schema}.{name}", dead, live)
            for name, dead, live in await self._rows(DEAD, [schema, list(HOT)])
        ]
        due = await self._rows(sql_(DUE))
        late = due[0][0] if due else None
        found.append(c.judge_oldest(late, f"kind {due[0][2]} in queue {due[0][1]}" if due else ""))
        workers = await self._rows(sql_(WORKERS_SEEN))
        live = [row for row in workers if not row[9]]
        unserved = [
            f"kind {kind} in queue {queue}"
            for _, queue, kind in due
            if not any(queue in row[2] and kind in row[3] for row in live)
        ]
        found.append(c.judge_workers(len(live), len(workers) - len(live), unserved, due=bool(due)))
        found.append(c.judge_threads({row[1]: row[12] for row in live}))
        return [*found, await self._partitions()]

    async def _rights(self) -> list[c.Finding]:
        """Look at the role's rights first: without them the rest cannot be looked at."""
        values = [self._database.schema] * 4
        lacking = [cast("str", row[0]) for row in await self._rows(LACKING, values)]
        role, tables, owner = (await self._rows(OWNER, values[:1]))[0]
        return [c.judge_rights(role, lacking, owner=owner)] if tables else []

    async def _schedules(self) -> c.Finding:
        overdue = await self._rows(self._database.sql(OVERDUE))
        return c.judge_schedules(*overdue[0]) if overdue else c.judge_schedules(None, "")

    async def _partitions(self) -> c.Finding:
        (today,) = await self._one(TODAY)
        existing = {row[0] for row in await self._rows(EXISTING, [self._database.schema])}
        ahead = -1
        while all(
            f"{table}_{today + timedelta(days=ahead + 1):%Y%m%d}" in existing
            for table in PARTITIONED
        ):
            ahead += 1
        strays = await self._rows(self._database.sql(STRAYS))
        return c.judge_partitions(ahead, [cast("str", row[0]) for row in strays])

    async def _wakeups(self, listening: Database) -> c.Finding:
        channel = f"taskscheduler_doctor_{uuid4().hex}"
        began = time.monotonic()
        try:
            ear = await listening.connect()
        except StoreUnavailable as error:
            return c.judge_wakeups(f"cannot listen: {error}", timedelta(0), pooled=False)
        try:
            if listening.behind_pooler:
                why = "LISTEN does not work behind a pooler, and the URL leads through one"
                return c.judge_wakeups(why, timedelta(0), pooled=True)
            await ear.execute(sql.SQL("LISTEN {}").format(sql.Identifier(channel)))
            began = time.monotonic()
            await self._connection.execute("SELECT pg_notify(%s, '')", [channel])
            async with asyncio.timeout(PROBE_S):
                await anext(ear.notifies())
        except (TimeoutError, psycopg.Error) as error:
            why = f"no NOTIFY came back: {first_line(error)}"
            return c.judge_wakeups(why, timedelta(0), pooled=False)
        finally:
            await ear.close()
        return c.judge_wakeups(None, timedelta(seconds=time.monotonic() - began), pooled=False)
