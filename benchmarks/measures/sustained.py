"""Whether the rate lasts while an old transaction is open elsewhere.

A snapshot that is held keeps every dead row from being removed. The database holds one from before
the first task until after the last; what the last minute (the first after a warm-up counts as 1)
still does is the figure. Once with the snapshot and once without, for each contestant: what falls
in both is not the snapshot's doing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import psycopg
from psycopg import IsolationLevel

from benchmarks.measures.feeding import fed, rate_between
from benchmarks.process import Broken, install

if TYPE_CHECKING:
    from benchmarks.bench import Bench
    from benchmarks.contestants import Contestant

WARM_S: Final = 2.0


async def measure(bench: Bench) -> None:
    """Everybody, with the snapshot and without."""
    for contestant in bench.in_turn():
        for held in (True, False):
            try:
                await _one(bench, contestant, held=held)
            except Broken as broken:
                bench.failures.append(f"sustained: {broken}")


async def _one(bench: Bench, contestant: Contestant, *, held: bool) -> None:
    length_s = bench.sizes.minutes * 60
    window_s = min(60.0, length_s / 3)
    with bench.server.database(f"sustained_{contestant.name}") as url:
        await install(contestant, url)
        with psycopg.connect(url) as holder:
            if held:
                holder.isolation_level = IsolationLevel.REPEATABLE_READ
                holder.execute("SELECT 1")
            samples = await fed(
                contestant, url, bench.sizes.ahead, lambda sample: sample.seconds >= length_s
            )
            holder.rollback()
    first = rate_between(samples, WARM_S, WARM_S + window_s)
    last = rate_between(samples, length_s - window_s, length_s + 1)
    name = "sustained, snapshot held" if held else "sustained"
    bench.note(f"{name}: first minute", contestant.name, first, "tasks/s")
    bench.note(f"{name}: last minute", contestant.name, last, "tasks/s")
    bench.note(f"{name}: last/first", contestant.name, last / first, "of the first minute")
