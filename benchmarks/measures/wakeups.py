"""What hearing of new work brings, and what telling of it costs the writers.

Ours alone, by PostgreSQL's NOTIFY and by polling: how soon one idle worker begins, and how many
tasks one caller stores, one at a time, while nobody works.
"""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Final

from benchmarks.bench import OURS
from benchmarks.figures import percentile
from benchmarks.measures.latency import SETTLED_S, WARM, begun_by, late_ms
from benchmarks.process import Broken, install, processes

if TYPE_CHECKING:
    from benchmarks.bench import Bench

WAYS: Final = ("postgres", "poll")
EVERY_S: Final = 0.053
"""No divisor of the poll interval: starts are to fall all over it."""


async def measure(bench: Bench) -> None:
    """Each way in turn, another one first each round."""
    ways = WAYS if bench.number_of_round % 2 == 0 else WAYS[::-1]
    before = os.environ.get("BENCH_WAKEUPS")
    try:
        for way in ways:
            os.environ["BENCH_WAKEUPS"] = way
            await _one(bench, way)
    except Broken as broken:
        bench.failures.append(f"wakeups: {broken}")
    finally:
        os.environ.pop("BENCH_WAKEUPS")
        if before is not None:
            os.environ["BENCH_WAKEUPS"] = before


async def _one(bench: Bench, way: str) -> None:
    ours, starts, singles = bench.contestant(OURS), bench.sizes.starts, bench.sizes.singles
    with bench.server.database(f"wakeups_{way}") as url:
        await install(ours, url)
        async with processes(ours, url, aim="latency") as (producer,):
            async with processes(ours, url, aim="latency") as (worker,):
                await worker.ask("work", record=True)
                await asyncio.sleep(SETTLED_S)
                await producer.ask("trickle", first=0, count=WARM, every_s=EVERY_S, lead_s=0)
                told = await producer.ask(
                    "trickle", first=WARM, count=starts, every_s=EVERY_S, lead_s=0
                )
                late = late_ms(told["marks"], await begun_by(worker, WARM + starts))
            stored = await producer.ask("single", first=WARM + starts, count=singles, callers=1)
    for per_cent in (50, 99):
        value = percentile(late, per_cent)
        bench.note(f"{way}: start p{per_cent}", OURS, value, "ms", lower_is_better=True)
    bench.note(f"{way}: store one, 1 caller", OURS, singles / stored["seconds"], "tasks/s")
