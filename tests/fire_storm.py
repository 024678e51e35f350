"""A storm over schedules: workers that die, edits, clocks that are set; every nominal time once."""

from __future__ import annotations

import random
from collections import defaultdict
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

from taskscheduler import NewSchedule, Scheduler, TaskQuery
from taskscheduler.application.maintenance.schedule_runner import ScheduleRunner
from taskscheduler.domain.errors import StoreUnavailable
from taskscheduler.domain.fire import TAKE
from taskscheduler.domain.schedule import CatchUp, Overlap
from tests.support.faults import Faulty

if TYPE_CHECKING:
    from datetime import datetime

    from taskscheduler.testing import ManualClock

STEPS: Final = 150
SPANS: Final = {"a": 1, "b": 2, "c": 7, "d": 60}
WORKERS: Final = 3


async def storm(scheduler: Scheduler, clock: ManualClock, seed: int) -> dict[str, list[datetime]]:
    """Let it storm; return the time of each task, by schedule."""
    chance = random.Random(seed)
    for name, span in SPANS.items():
        every = timedelta(seconds=span)
        catch_up = chance.choice(list(CatchUp))
        await scheduler.schedules.put(
            NewSchedule(name=name, kind="mail", every=every, catch_up=catch_up)
        )
    workers = [_worker(scheduler, chance) for _ in range(WORKERS)]
    for _ in range(STEPS):
        # Somebody else is alive as well, and busy: so nothing is an outage.
        await scheduler.store.schedules.watch()
        match chance.randrange(10):
            case 0 | 1 | 2:
                clock.advance(seconds=chance.uniform(0.1, 8))
            case 3:
                clock.jump(seconds=chance.uniform(-20, 20))
            case 4:
                name = chance.choice(list(SPANS))
                await scheduler.schedules.edit(
                    name,
                    payload=chance.random(),
                    priority=chance.randrange(10),
                    overlap=Overlap.ALLOW,
                )
            case 5:
                workers[chance.randrange(WORKERS)] = _worker(scheduler, chance)
            case _:
                with suppress(StoreUnavailable):
                    await workers[chance.randrange(WORKERS)].turn()
    for _ in range(20):  # whatever was taken is given back, and a clock that was ahead is caught up
        clock.advance(TAKE)
        await ScheduleRunner(scheduler.store).turn()
    times: defaultdict[str, list[datetime]] = defaultdict(list)
    for task in await scheduler.list(TaskQuery(limit=100_000)):
        assert task.unique_key is not None
        times[task.unique_key.partition("@")[0]].append(task.execute_at)
    return dict(times)


def require_each_once(times: dict[str, list[datetime]]) -> None:
    """Check that no time is missing and none is there twice."""
    assert set(times) == set(SPANS)
    for name, found in times.items():
        found.sort()
        steps = {later - earlier for earlier, later in pairwise(found)}
        assert steps <= {timedelta(seconds=SPANS[name])}, name


def _worker(scheduler: Scheduler, chance: random.Random) -> ScheduleRunner:
    """Return a worker whose store goes away at times, before it has heard or after."""
    faulty: Any = Faulty(scheduler.store.schedules)
    for verb in ("take", "fire", "outlook", "watch", "put_aside"):
        if chance.random() < 0.3:
            fault = chance.choice((faulty.refuse, faulty.lose_answer))
            fault(verb)
    return ScheduleRunner(replace(scheduler.store, schedules=faulty))
