"""Limits hold while workers of several processes are killed, stopped and started.

The database itself counts: a trigger on the hot table looks after every claim how many leases there
are. It is no part of what it watches.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, LiteralString

import psycopg
import pytest
from psycopg import sql

from taskscheduler import Limit, Scheduler, Task, TaskQuery, TaskStatus
from taskscheduler.adapters.postgres.migrate import migrate

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

pytestmark = pytest.mark.anyio

WORKER: Final = Path(__file__).with_name("limited_worker.py")
PATIENCE_S: Final = 120.0
CLAIMS: Final = 4
WATCH: LiteralString = """
CREATE TABLE {schema}.seen (leases bigint, most bigint);
CREATE TABLE {schema}.allowed (most bigint);
CREATE FUNCTION {schema}.watch() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    v_leases bigint := (SELECT count(*) FROM {schema}.live l WHERE l.worker_id IS NOT NULL);
    v_claimed bigint := (SELECT count(*) FROM new_rows n WHERE n.worker_id IS NOT NULL);
BEGIN
    IF v_claimed > 0 THEN
        INSERT INTO {schema}.seen SELECT v_leases, a.most FROM {schema}.allowed a;
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER watch AFTER UPDATE ON {schema}.live REFERENCING NEW TABLE AS new_rows
FOR EACH STATEMENT EXECUTE FUNCTION {schema}.watch();
"""


class Fleet:
    """Workers in processes of their own."""

    def __init__(self, url: str, schema: str) -> None:
        self._asked = [sys.executable, str(WORKER), url, schema]
        self.running: list[subprocess.Popen[bytes]] = []

    def start(self, number: int) -> None:
        self.running += [subprocess.Popen(self._asked) for _ in range(number)]

    def kill(self) -> None:
        process = self.running.pop(0)
        process.kill()
        process.wait()

    def freeze(self, index: int, *, go_on: bool = False) -> None:
        os.kill(self.running[index].pid, signal.SIGCONT if go_on else signal.SIGSTOP)

    def close(self) -> None:
        while self.running:
            self.kill()


@pytest.fixture
def bench(embedded_url: str, schema: str) -> Iterator[tuple[Fleet, psycopg.Connection[Any]]]:
    with ExitStack() as stack:
        connection = stack.enter_context(psycopg.connect(embedded_url, autocommit=True))
        fleet = Fleet(embedded_url, schema)
        stack.callback(fleet.close)
        yield fleet, connection


def run(connection: psycopg.Connection[Any], schema: str, text: LiteralString) -> Any:
    cursor = connection.execute(sql.SQL(text).format(schema=sql.Identifier(schema)))
    return cursor.fetchall() if cursor.description else None


async def claims_under(connection: psycopg.Connection[Any], schema: str, most: int) -> None:
    """Wait until some claims have been made while so many leases were allowed."""
    began_at = time.monotonic()
    query = sql.SQL("SELECT count(*) FROM {}.seen WHERE most = %s").format(sql.Identifier(schema))
    while connection.execute(query, [most]).fetchall()[0][0] < CLAIMS:
        assert time.monotonic() < began_at + PATIENCE_S, f"nobody claims, with {most} allowed"
        await asyncio.sleep(0.05)


async def all_done(scheduler: Scheduler, number: int) -> float:
    """Wait until so many tasks have ended; return how long that took."""
    began_at = time.monotonic()
    done: Sequence[Task] = ()
    while time.monotonic() < began_at + PATIENCE_S:
        done = await scheduler.list(TaskQuery(status=TaskStatus.COMPLETED, limit=1_000))
        if len(done) == number:
            return time.monotonic() - began_at
        await asyncio.sleep(0.1)
    pytest.fail(f"only {len(done)} of {number} have ended")


@pytest.mark.parametrize("most", [1, 10])
async def test_never_more_leases_than_the_limit(
    bench: tuple[Fleet, psycopg.Connection[Any]], embedded_url: str, schema: str, most: int
) -> None:
    fleet, connection = bench
    await migrate(embedded_url, schema)
    run(connection, schema, WATCH)
    number = 60 if most == 1 else 300
    async with Scheduler.postgres(embedded_url, schema=schema) as scheduler:
        await scheduler.limits.put(Limit(name="all", queue="default", concurrency=most))
        connection.execute(
            sql.SQL("INSERT INTO {}.allowed VALUES (%s)").format(sql.Identifier(schema)), [most]
        )
        await scheduler.schedule_many([("job", 3 if most == 1 else 20)] * number)
        fleet.start(4)
        await asyncio.sleep(2.5)
        fleet.kill()
        fleet.start(1)
        await asyncio.sleep(1)
        fleet.freeze(0)
        await asyncio.sleep(4)  # longer than its lease
        fleet.freeze(0, go_on=True)
        fleet.kill()
        await all_done(scheduler, number)
        use = (await scheduler.limits.get("all")).use
    assert (use.running, use.waiting) == (0, 0)
    ((claims, highest, over),) = run(
        connection,
        schema,
        "SELECT count(*), max(leases), count(*) FILTER (WHERE leases > most) FROM {schema}.seen",
    )
    assert over == 0, f"{over} of {claims} claims left more than {most} leases: {highest}"
    assert highest == most


async def test_a_limit_that_is_lowered_under_load(
    bench: tuple[Fleet, psycopg.Connection[Any]], embedded_url: str, schema: str
) -> None:
    """No claim is made before enough leases have ended, and then as many as it lets run."""
    fleet, connection = bench
    await migrate(embedded_url, schema)
    run(connection, schema, WATCH)
    async with Scheduler.postgres(embedded_url, schema=schema) as scheduler:
        run(connection, schema, "INSERT INTO {schema}.allowed VALUES (1000)")
        await scheduler.schedule_many([("job", 100)] * 1_000)
        fleet.start(3)
        await claims_under(connection, schema, 1_000)
        for most in (12, 5, 2):
            await scheduler.limits.put(Limit(name="all", concurrency=most))
            connection.execute(
                sql.SQL("UPDATE {}.allowed SET most = %s").format(sql.Identifier(schema)), [most]
            )
            await claims_under(connection, schema, most)
        run(connection, schema, "UPDATE {schema}.allowed SET most = 1000")
        await scheduler.limits.delete("all")
        await all_done(scheduler, 1_000)
    ((over, lowest),) = run(
        connection,
        schema,
        "SELECT count(*) FILTER (WHERE leases > most), min(most) FROM {schema}.seen",
    )
    assert over == 0
    assert lowest == 2


async def test_a_rate_over_a_fleet(
    bench: tuple[Fleet, psycopg.Connection[Any]], embedded_url: str, schema: str
) -> None:
    """In no window more than the burst and the rate; and the rate is reached."""
    fleet, connection = bench
    await migrate(embedded_url, schema)
    async with Scheduler.postgres(embedded_url, schema=schema) as scheduler:
        await scheduler.limits.put(Limit(name="all", rate="20/s", burst=5))
        fleet.start(3)
        await asyncio.sleep(3)
        await scheduler.schedule_many([("job", 0)] * 100)
        while await scheduler.list(TaskQuery(status=TaskStatus.PENDING, limit=1)):
            await asyncio.sleep(0.1)
    starts = [
        row[0]
        for row in run(
            connection,
            schema,
            "SELECT started_at FROM {schema}.finished UNION ALL "
            "SELECT started_at FROM {schema}.live WHERE worker_id IS NOT NULL ORDER BY 1",
        )
    ]
    assert len(starts) == 100
    for first in range(100):
        for last in range(first, 100):
            window = starts[last] - starts[first]
            # What a claim has waited for a lock is not in its time: its tasks seem to be earlier.
            slack = timedelta(milliseconds=300)
            assert last - first + 1 <= 5 + 20 * (window + slack).total_seconds()
    took = starts[-1] - starts[0]
    assert took >= timedelta(seconds=4.6)
    assert took < timedelta(seconds=20), "the rate is not reached by far"
