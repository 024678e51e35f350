"""The blocking scheduler on PostgreSQL: threads, forks, and what happens when nobody closes it."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING

import psycopg
import pytest
from psycopg import sql

from taskscheduler import Context, Handlers, Scheduler, SyncScheduler, TaskQuery, TaskStatus, Worker
from taskscheduler.adapters.postgres.migrate import migrate

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def migrated(embedded_url: str, schema: str) -> str:
    asyncio.run(migrate(embedded_url, schema))
    return schema


@pytest.fixture
def scheduler(embedded_url: str, migrated: str) -> Iterator[SyncScheduler]:
    with SyncScheduler.postgres(embedded_url, schema=migrated, pool_size=4) as scheduler:
        yield scheduler


def test_threads_share_it(scheduler: SyncScheduler):
    with ThreadPoolExecutor(8) as pool:
        ids = list(pool.map(partial(scheduler.schedule, "k"), range(100)))
    assert {task.id for task in scheduler.list(TaskQuery(limit=1000))} == set(ids)
    assert sum(thread.name == "taskscheduler-home" for thread in threading.enumerate()) == 1


def test_it_is_used_on_in_a_forked_process(scheduler: SyncScheduler):
    """As gunicorn and Celery fork: neither disturbs the other's connections."""
    before = scheduler.schedule("k", "parent")
    reading, writing = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of forking beside threads
        child = os.fork()
    if child == 0:
        try:
            ids = [scheduler.schedule("k", "child") for _ in range(5)]
            said = "fine" if scheduler.get(before).id == before and len(set(ids)) == 5 else "no"
        except BaseException as error:  # noqa: BLE001 - the parent is to hear of it
            said = repr(error)
        os.write(writing, said.encode())
        os._exit(0)
    os.close(writing)
    ids = [scheduler.schedule("k", "parent") for _ in range(5)]
    with os.fdopen(reading, "rb") as told:
        assert told.read() == b"fine"
    os.waitpid(child, 0)
    ids += [scheduler.schedule("k", "parent") for _ in range(5)]
    assert len(scheduler.list()) == 16
    assert scheduler.get(ids[0]).status is TaskStatus.PENDING


def test_a_script_that_closes_nothing_leaves_nothing(embedded_url: str, migrated: str):
    program = (
        "import sys, taskscheduler as t\n"
        "s = t.SyncScheduler.postgres(sys.argv[1], schema=sys.argv[2])\n"
        "print(s.schedule('k', 1))\n"
    )
    ran = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", "-c", program, embedded_url, migrated],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert ran.stderr == ""
    with psycopg.connect(embedded_url) as connection:
        found = connection.execute(
            sql.SQL("SELECT id::text FROM {}.task").format(sql.Identifier(migrated))
        ).fetchall()
    assert found == [(ran.stdout.strip(),)]


@pytest.mark.anyio
async def test_what_it_stores_is_worked_off(embedded_url: str, migrated: str):
    handlers = Handlers()
    ran: list[bytes] = []

    @handlers.register("k")
    def k(context: Context) -> None:
        ran.append(context.payload_json)

    with SyncScheduler.postgres(embedded_url, schema=migrated) as blocking:
        blocking.schedule("k", {"a": 1})  # within a running loop, as in a notebook
    async with Scheduler.postgres(embedded_url, schema=migrated) as scheduler:
        await Worker(scheduler, handlers).run(until_drained=True)
    assert ran == [b'{"a":1}']
