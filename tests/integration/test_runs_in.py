"""``runs_in``: handlers on the loop, in threads, in processes and on a cluster."""

from __future__ import annotations

import asyncio
import os
import threading
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dask.config
import pytest
from distributed import LocalCluster

from taskscheduler import (
    Context,
    Handlers,
    InvalidHandler,
    RetryPolicy,
    Scheduler,
    TaskFailed,
    TaskStatus,
    Worker,
)
from tests.support import crunching

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(180)]

ONCE = RetryPolicy(max_attempts=1)


@pytest.fixture
async def scheduler() -> AsyncGenerator[Scheduler]:
    async with Scheduler.in_memory() as scheduler:
        yield scheduler


@pytest.fixture
def handlers() -> Handlers:
    handlers = Handlers()
    handlers.register("add", runs_in="process")(crunching.add)
    handlers.register("add_slowly", runs_in="process")(crunching.add_slowly)
    handlers.register("end", runs_in="process", retry=ONCE)(crunching.end)
    handlers.register("say", runs_in="process")(crunching.say)
    handlers.register("linger", runs_in="process", retry=ONCE)(crunching.linger)
    return handlers


async def run(scheduler: Scheduler, handlers: Handlers) -> None:
    async with asyncio.timeout(120):
        await Worker(scheduler, handlers, concurrency=8).run(until_drained=True)


def lives(pid: int) -> bool:
    with suppress(ProcessLookupError):
        os.kill(pid, 0)
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().split(")")[1].split()[0]
    return False


async def until_dead(pid: int) -> None:
    async with asyncio.timeout(20):
        while lives(pid):
            await asyncio.sleep(0.05)


async def test_results_come_from_other_processes(scheduler: Scheduler, handlers: Handlers) -> None:
    ids = [await scheduler.schedule("add", crunching.Numbers([n, 2])) for n in range(6)]
    slow = await scheduler.schedule("add_slowly", crunching.Numbers([40, 2]))
    await run(scheduler, handlers)
    results = [await scheduler.result(each) for each in ids]
    assert [each["sum"] for each in results] == [n + 2 for n in range(6)]
    assert os.getpid() not in {each["pid"] for each in results}
    assert {each["attempt"] for each in results} == {1}
    assert await scheduler.result(slow) == 42


async def test_every_way_to_end_is_known(scheduler: Scheduler, handlers: Handlers) -> None:
    ids = {
        way: await scheduler.schedule("end", way)
        for way in ("return", "discard", "raise", "odd", "store", "object", "fine")
    }
    await run(scheduler, handlers)
    assert (await scheduler.get(ids["return"])).status is TaskStatus.PENDING
    assert await scheduler.result(ids["fine"]) == "fine"
    errors: dict[str, Any] = {}
    for way in ("discard", "raise", "odd", "store", "object"):
        with pytest.raises(TaskFailed) as failed:
            await scheduler.result(ids[way])
        errors[way] = failed.value.error
    assert (errors["discard"].type, errors["discard"].message) == ("Discard", "never")
    assert (errors["raise"].type, errors["raise"].message) == ("ValueError", "wrong")
    assert "crunching.py" in errors["raise"].traceback
    assert errors["odd"].type == "OddError"
    assert "context.scheduler" in errors["store"].message
    assert "object" in errors["object"].message


async def test_a_crash_costs_its_own_task(scheduler: Scheduler, handlers: Handlers) -> None:
    crashed = [await scheduler.schedule("end", way) for way in ("exit", "kill")]
    others = [await scheduler.schedule("add", crunching.Numbers([n])) for n in range(6)]
    await run(scheduler, handlers)
    for each in crashed:
        with pytest.raises(TaskFailed) as failed:
            await scheduler.result(each)
        assert failed.value.error is not None
        assert failed.value.error.type == "EngineLost"
    assert [(await scheduler.result(each))["sum"] for each in others] == list(range(6))


async def test_what_it_says_is_heard(scheduler: Scheduler, handlers: Handlers) -> None:
    task_id = await scheduler.schedule("say")
    await run(scheduler, handlers)
    progress = (await scheduler.notes(task_id)).progress
    assert progress is not None
    assert (progress.fraction, progress.message) == (0.5, "half")


async def test_a_timeout_kills(scheduler: Scheduler, handlers: Handlers, tmp_path: Path) -> None:
    file = tmp_path / "pid"
    task_id = await scheduler.schedule("linger", str(file), timeout=timedelta(seconds=15))
    await run(scheduler, handlers)
    assert (await scheduler.get(task_id)).status is TaskStatus.FAILED
    await until_dead(int(file.read_text()))


async def test_to_cancel_kills(scheduler: Scheduler, handlers: Handlers, tmp_path: Path) -> None:
    file = tmp_path / "pid"
    task_id = await scheduler.schedule("linger", str(file))
    other = await scheduler.schedule("add", crunching.Numbers([1]))
    working = asyncio.create_task(run(scheduler, handlers))
    async with asyncio.timeout(60):
        while not (file.exists() and file.read_text()):
            await asyncio.sleep(0.05)
    await scheduler.cancel(task_id)
    await working
    await until_dead(int(file.read_text()))
    assert (await scheduler.result(other))["sum"] == 1


async def test_the_loop_and_threads_can_be_asked_for(scheduler: Scheduler) -> None:
    handlers = Handlers()
    main = threading.get_ident()
    seen: dict[str, tuple[bool, bool]] = {}

    def note(context: Context) -> None:
        with_loop = True
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            with_loop = False
        seen[context.kind] = (threading.get_ident() == main, with_loop)

    async def note_async(context: Context) -> None:
        note(context)

    places: Any
    for places in (None, "loop", "thread"):
        handlers.register(f"plain-{places}", runs_in=places)(note)
        handlers.register(f"async-{places}", runs_in=places)(note_async)
    for kind in handlers:
        await scheduler.schedule(kind)
    await run(scheduler, handlers)
    assert seen == {
        "plain-None": (False, False),
        "plain-loop": (True, True),
        "plain-thread": (False, False),
        "async-None": (True, True),
        "async-loop": (True, True),
        "async-thread": (False, True),
    }


def test_what_cannot_be_there_is_refused() -> None:
    handlers = Handlers()

    def inner(context: Context) -> None: ...

    places: Any
    for places in ("process", "dask"):
        with pytest.raises(InvalidHandler, match="top of a module"):
            handlers.register("k", runs_in=places)(inner)
    for places in ("cloud", "", 1):
        with pytest.raises(InvalidHandler, match="runs_in"):
            handlers.register("k", runs_in=places)(inner)


async def test_a_cluster_of_dask(scheduler: Scheduler) -> None:
    handlers = Handlers()
    handlers.register("add", runs_in="dask")(crunching.add)
    handlers.register("end", runs_in="dask", retry=ONCE)(crunching.end)
    cluster: Any = LocalCluster
    config: Any = dask.config
    async with cluster(
        n_workers=1, threads_per_worker=2, asynchronous=True, dashboard_address=None
    ) as there:
        with config.set({"scheduler-address": there.scheduler_address}):
            ids = [await scheduler.schedule("add", crunching.Numbers([n, 1])) for n in range(4)]
            wrong = await scheduler.schedule("end", "raise")
            await run(scheduler, handlers)
    results = [await scheduler.result(each) for each in ids]
    assert [each["sum"] for each in results] == [1, 2, 3, 4]
    assert os.getpid() not in {each["pid"] for each in results}
    with pytest.raises(TaskFailed, match="wrong"):
        await scheduler.result(wrong)


async def test_without_a_cluster_it_says_what_is_missing(scheduler: Scheduler) -> None:
    handlers = Handlers()
    handlers.register("end", runs_in="dask", retry=ONCE)(crunching.end)
    task_id = await scheduler.schedule("end", "fine")
    await run(scheduler, handlers)
    with pytest.raises(TaskFailed, match="DASK_SCHEDULER_ADDRESS"):
        await scheduler.result(task_id)
