"""How long after the commit, or after its time, a task begins on an idle worker.

The tasks for later are all stored before the first falls due: a peer that polls would otherwise be
woken by the next one's arrival. When its poll falls is drawn at random.
"""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, Any, Final

from benchmarks.bench import BARE
from benchmarks.figures import percentile
from benchmarks.process import Broken, Process, install, processes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.bench import Bench
    from benchmarks.contestants import Contestant

EVERY_S: Final = 0.02
LEAD_S: Final = 2.0
SETTLED_S: Final = 2.0
PATIENCE_S: Final = 15.0
WARM: Final = 20


async def measure(bench: Bench) -> None:
    """Everybody starts tasks that are due now, and tasks that are due in two seconds."""
    for contestant in bench.in_turn():
        if bench.quick and contestant.name == BARE:
            continue
        try:
            await _one(bench, contestant)
        except Broken as broken:
            bench.failures.append(f"latency: {broken}")


async def _one(bench: Bench, contestant: Contestant) -> None:
    starts, later = bench.sizes.starts, bench.sizes.scheduled
    with bench.server.database(f"latency_{contestant.name}") as url:
        await install(contestant, url)
        async with (
            processes(contestant, url, aim="latency") as (worker,),
            processes(contestant, url, aim="latency") as (producer,),
        ):
            await worker.ask("work", record=True)
            await asyncio.sleep(SETTLED_S)
            await producer.ask("trickle", first=0, count=WARM, every_s=EVERY_S, lead_s=0)
            now = await producer.ask("trickle", first=WARM, count=starts, every_s=EVERY_S, lead_s=0)
            await asyncio.sleep(SETTLED_S * (1 + random.random()))
            due = await producer.ask(
                "trickle", first=WARM + starts, count=later, every_s=EVERY_S, lead_s=LEAD_S
            )
            begun = await begun_by(worker, WARM + starts + later)
    started = late_ms(now["marks"], begun)
    scheduled = late_ms(due["marks"], begun)
    for name, values in (("start", started), ("scheduled start", scheduled)):
        for per_cent in (50, 99):
            value = percentile(values, per_cent)
            bench.note(f"{name} p{per_cent}", contestant.name, value, "ms", lower_is_better=True)
    early = sum(value < 0 for value in scheduled)
    bench.note("begun early", contestant.name, early, "tasks", lower_is_better=True)


def late_ms(meant: Sequence[tuple[int, float]], begun: dict[int, float]) -> list[float]:
    """Return how late each task began. One that a commit's answer did not overtake is not late."""
    return [(begun[number] - mark) * 1000 for number, mark in meant]


async def begun_by(worker: Process, count: int) -> dict[int, float]:
    """Wait until so many have begun.

    Raises:
        Broken: they do not.
    """
    waited_s = 0.0
    while True:
        answer: dict[str, Any] = await worker.ask("begun")
        marks: list[tuple[int, float]] = answer["marks"]
        if len(marks) >= count:
            return dict(marks)
        if waited_s > PATIENCE_S:
            message = f"only {len(marks)} of {count} tasks have begun"
            raise Broken(message)
        await asyncio.sleep(0.2)
        waited_s += 0.2
