"""How many tasks a second one process stores: one by one, by many callers at once, in bulk."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from benchmarks.process import Broken, install, processes

if TYPE_CHECKING:
    from benchmarks.bench import Bench
    from benchmarks.contestants import Contestant

CALLERS: Final = {"schedule 1": 1, "schedule 10 callers": 10, "schedule 100 callers": 100}


async def measure(bench: Bench) -> None:
    """Everybody stores, acknowledged commit by acknowledged commit, then in bulk."""
    for contestant in bench.in_turn():
        try:
            with bench.server.database(f"schedule_{contestant.name}") as url:
                await install(contestant, url)
                await _one_by_one(bench, contestant, url)
            with bench.server.database(f"bulk_{contestant.name}") as url:
                await install(contestant, url)
                await _bulk(bench, contestant, url)
        except Broken as broken:
            bench.failures.append(f"schedule: {broken}")


async def _one_by_one(bench: Bench, contestant: Contestant, url: str) -> None:
    for name, callers in CALLERS.items():
        # Many callers are quicker, so they get more to do, lest the clock see only the start.
        count = bench.sizes.singles * min(callers, 5)
        before = bench.server.costs(url)
        async with processes(contestant, url) as (producer,):
            await producer.ask("single", first=0, count=100, callers=callers)
            answer = await producer.ask("single", first=100, count=count, callers=callers)
        bench.note(name, contestant.name, count / answer["seconds"], "tasks/s")
        if callers == 1:
            after = bench.server.costs(url)
            wal = (after.wal_bytes - before.wal_bytes) / (count + 100)
            bench.note("schedule WAL", contestant.name, wal, "bytes/task", lower_is_better=True)
            commits = (after.transactions - before.transactions) / (count + 100)
            bench.note(
                "schedule commits", contestant.name, commits, "per task", lower_is_better=True
            )


async def _bulk(bench: Bench, contestant: Contestant, url: str) -> None:
    count = bench.sizes.tasks // 2
    async with processes(contestant, url) as (producer,):
        await producer.ask("bulk", first=0, count=1_000)
        answer = await producer.ask("bulk", first=1_000, count=count)
    bench.note("schedule in bulk", contestant.name, count / answer["seconds"], "tasks/s")
