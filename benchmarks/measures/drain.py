"""How many tasks a second one worker process works off, and two, and what that costs.

The processes are started and connected first. Counted is from the first handler's start until the
contestant's own tables say that all is done.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final

import psycopg

from benchmarks.process import Broken, install, processes
from benchmarks.server import is_true, settle

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.bench import Bench
    from benchmarks.contestants import Contestant
    from benchmarks.process import Process

LOOK_S: Final = 0.005
STALLED_S: Final = 30.0
PROCESSES: Final = (1, 2)


async def measure(bench: Bench) -> None:
    """Everybody drains by one process, then by two."""
    for count in PROCESSES:
        for contestant in bench.in_turn():
            try:
                await _one(bench, contestant, count)
            except Broken as broken:
                bench.failures.append(f"drain {count}: {broken}")


async def _one(bench: Bench, contestant: Contestant, count: int) -> None:
    tasks = max(1_000, int(bench.sizes.tasks * contestant.share))
    with bench.server.database(f"drain_{contestant.name}") as url:
        await install(contestant, url)
        mark = await fill(contestant, url, tasks)
        settle(url)
        before = bench.server.costs(url)
        rate = await drained(contestant, url, tasks, count, mark)
        after = bench.server.costs(url)
    bench.note(f"drain {count}", contestant.name, rate, "tasks/s")
    if count == 1:
        wal = (after.wal_bytes - before.wal_bytes) / tasks
        bench.note("drain WAL", contestant.name, wal, "bytes/task", lower_is_better=True)
        commits = (after.transactions - before.transactions) / tasks
        bench.note("drain commits", contestant.name, commits, "per task", lower_is_better=True)


async def fill(contestant: Contestant, url: str, tasks: int, first: int = 0) -> str:
    """Store ``tasks`` in bulk; return a mark that all of them come after."""
    with psycopg.connect(url, autocommit=True) as connection:
        mark = connection.execute(contestant.mark.encode()).fetchone()
    async with processes(contestant, url) as (producer,):
        await producer.ask("bulk", first=first, count=tasks)
    return str(mark and mark[0])


async def drained(contestant: Contestant, url: str, tasks: int, count: int, mark: str) -> float:
    """Work ``tasks`` off by ``count`` processes; return how many a second.

    They were stored after ``mark``.

    Raises:
        Broken: nothing was handled for half a minute, or what was is not done.
    """
    async with processes(contestant, url, count) as workers:
        for worker in workers:
            await worker.ask("work")
        await _handled(contestant, workers, tasks)
        ended = await _done(contestant, url, tasks, mark)
        first = min(worker.first for worker in workers if worker.first is not None)
    return tasks / (ended - first)


async def _handled(contestant: Contestant, workers: Sequence[Process], tasks: int) -> None:
    seen, seen_at = 0, time.monotonic()
    while (handled := sum(worker.handled for worker in workers)) < tasks:
        if not all(worker.is_alive for worker in workers):
            message = f"{contestant.name} died after {handled} of {tasks}"
            raise Broken(message)
        if handled != seen:
            seen, seen_at = handled, time.monotonic()
        elif time.monotonic() - seen_at > STALLED_S:
            message = f"{contestant.name} came to a halt after {handled} of {tasks}"
            raise Broken(message)
        await asyncio.sleep(LOOK_S)


async def _done(contestant: Contestant, url: str, tasks: int, mark: str) -> float:
    """Ask until all is done; return when the question was asked that was answered so."""
    question = contestant.done.format(tasks=tasks, mark=mark)
    deadline = time.monotonic() + STALLED_S
    with psycopg.connect(url, autocommit=True) as connection:
        while True:
            asked = time.monotonic()
            if is_true(connection, question):
                return asked
            if asked > deadline:
                message = f"{contestant.name} handled {tasks} tasks and did not finish them"
                raise Broken(message)
            await asyncio.sleep(LOOK_S)
