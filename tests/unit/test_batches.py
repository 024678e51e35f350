"""Handlers that take many tasks in one call."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from taskscheduler import (
    Cancel,
    Context,
    Discard,
    Handlers,
    InvalidHandler,
    InvalidTask,
    RetryPolicy,
    Scheduler,
    Snooze,
    TaskStatus,
    Worker,
)

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

pytestmark = pytest.mark.anyio

LONG = timedelta(seconds=30)
ONCE = RetryPolicy(max_attempts=1)


class Page(msgspec.Struct):
    number: int


@pytest.fixture
async def scheduler() -> AsyncGenerator[Scheduler]:
    async with Scheduler.in_memory() as scheduler:
        yield scheduler


async def run(scheduler: Scheduler, handlers: Handlers, **options: Any) -> None:
    options = {"concurrency": 50, **options}
    async with asyncio.timeout(20):
        await Worker(scheduler, handlers, **options).run(until_drained=True)


async def statuses(scheduler: Scheduler) -> list[TaskStatus]:
    return [task.status for task in await scheduler.list()][::-1]


@pytest.mark.parametrize("plain", [False, True])
async def test_many_tasks_share_a_call(scheduler: Scheduler, *, plain: bool) -> None:
    handlers = Handlers()
    calls: list[list[int]] = []
    ids: list[Any] = []

    def index(contexts: list[Context], pages: list[Page]) -> None:
        assert [each.kind for each in contexts] == ["index"] * len(pages)
        calls.append([page.number for page in pages])
        ids.extend(each.id for each in contexts)

    async def awaited(contexts: list[Context], pages: list[Page]) -> None:
        index(contexts, pages)

    handlers.register_batch("index", size=7, linger=LONG)(index if plain else awaited)
    stored = await scheduler.schedule_many([("index", Page(n)) for n in range(21)])
    await run(scheduler, handlers)
    assert [len(each) for each in calls] == [7, 7, 7]
    assert sorted(number for each in calls for number in each) == list(range(21))
    assert set(ids) == set(stored)
    assert set(await statuses(scheduler)) == {TaskStatus.COMPLETED}


async def test_few_are_called_after_the_linger(scheduler: Scheduler) -> None:
    handlers = Handlers()
    calls: list[int] = []

    @handlers.register_batch("index", size=500, linger=timedelta(milliseconds=20))
    async def index(contexts: list[Context]) -> None:
        calls.append(len(contexts))

    await scheduler.schedule_many([("index", None)] * 3)
    await run(scheduler, handlers)
    assert calls == [3]


async def test_no_more_gather_than_the_worker_runs_at_once(scheduler: Scheduler) -> None:
    handlers = Handlers()
    calls: list[int] = []

    @handlers.register_batch("index", size=500, linger=LONG)
    async def index(contexts: list[Context]) -> None:
        calls.append(len(contexts))

    await scheduler.schedule_many([("index", None)] * 20)
    await run(scheduler, handlers, concurrency=10)
    assert calls == [10, 10]


async def test_each_has_a_verdict_of_its_own(scheduler: Scheduler) -> None:
    handlers = Handlers()

    @handlers.register_batch("index", size=6, linger=LONG, retry=ONCE)
    async def index(contexts: list[Context], payloads: list[Any]) -> list[Any]:
        verdicts = {
            0: None,
            1: Cancel("no"),
            2: Discard("never"),
            3: ValueError("wrong"),
            4: {"rows": 7},
            5: Snooze(timedelta(days=1)),
        }
        return [verdicts[each] for each in payloads]

    ids = await scheduler.schedule_many([("index", n) for n in range(6)])
    await run(scheduler, handlers)
    assert await statuses(scheduler) == [
        TaskStatus.COMPLETED,
        TaskStatus.CANCELLED,
        TaskStatus.FAILED,
        TaskStatus.FAILED,
        TaskStatus.COMPLETED,
        TaskStatus.PENDING,
    ]
    assert await scheduler.result(ids[4]) == {"rows": 7}
    error = (await scheduler.attempts(ids[3]))[0].error
    assert error is not None
    assert (error.type, error.message) == ("ValueError", "wrong")


@pytest.mark.parametrize("returned", [[None], [None] * 3, "ok", {"a": 1}, 7])
async def test_what_is_no_list_of_verdicts_fails_all(scheduler: Scheduler, returned: Any) -> None:
    handlers = Handlers()

    @handlers.register_batch("index", size=2, linger=LONG, retry=ONCE)
    async def index(contexts: list[Context]) -> Any:
        return returned

    ids = await scheduler.schedule_many([("index", None)] * 2)
    await run(scheduler, handlers)
    assert await statuses(scheduler) == [TaskStatus.FAILED] * 2
    error = (await scheduler.attempts(ids[0]))[0].error
    assert error is not None
    assert "must return" in error.message


async def test_what_it_raises_ends_the_attempt_of_each(scheduler: Scheduler) -> None:
    handlers = Handlers()

    @handlers.register_batch("index", size=40, linger=LONG, retry=ONCE)
    async def index(contexts: list[Context]) -> None:
        raise ValueError("all")

    ids = await scheduler.schedule_many([("index", None)] * 40)
    await run(scheduler, handlers)
    errors = [(await scheduler.attempts(each))[0].error for each in ids]
    assert {error and error.message for error in errors} == {"all"}
    lengths = {len((error and error.traceback) or "") for error in errors}
    assert len(lengths) == 1, "tracebacks grow with each task of the batch"


async def test_a_payload_that_does_not_fit_fails_alone(scheduler: Scheduler) -> None:
    handlers = Handlers()
    seen: list[int] = []

    @handlers.register_batch("index", size=2, linger=LONG)
    async def index(contexts: list[Context], pages: list[Page]) -> None:
        seen.extend(page.number for page in pages)

    await scheduler.schedule_many([("index", {"number": 1}), ("index", 7), ("index", Page(2))])
    await run(scheduler, handlers)
    assert seen == [1, 2]
    assert (await statuses(scheduler)).count(TaskStatus.FAILED) == 1


async def test_a_timeout_is_that_of_each_task(scheduler: Scheduler) -> None:
    handlers = Handlers()
    ended: list[bool] = []

    @handlers.register_batch("index", size=3, linger=LONG, retry=ONCE)
    async def index(contexts: list[Context]) -> None:
        try:
            await asyncio.sleep(60)
        finally:
            ended.append(all(each.cancelled for each in contexts))

    for _ in range(3):
        await scheduler.schedule("index", timeout=timedelta(milliseconds=50))
    await run(scheduler, handlers)
    assert await statuses(scheduler) == [TaskStatus.FAILED] * 3
    assert ended == [True]


async def test_one_that_is_cancelled_leaves_the_others(scheduler: Scheduler) -> None:
    handlers = Handlers()
    begun = asyncio.Event()

    @handlers.register_batch("index", size=3, linger=LONG)
    async def index(contexts: list[Context]) -> None:
        begun.set()
        while not any(each.cancelled for each in contexts):
            await asyncio.sleep(0.01)
        assert [each.id for each in contexts if each.cancelled] == [ids[1]]

    ids = await scheduler.schedule_many([("index", None)] * 3)
    working = asyncio.create_task(run(scheduler, handlers))
    await begun.wait()
    await scheduler.cancel(ids[1])
    await working
    assert await statuses(scheduler) == [
        TaskStatus.COMPLETED,
        TaskStatus.CANCELLED,
        TaskStatus.COMPLETED,
    ]


async def test_who_leaves_while_they_gather_is_not_called(scheduler: Scheduler) -> None:
    handlers = Handlers()
    calls: list[int] = []

    @handlers.register_batch("index", size=2, linger=timedelta(seconds=60), retry=ONCE)
    async def index(contexts: list[Context]) -> None:
        calls.append(len(contexts))

    await scheduler.schedule("index", timeout=timedelta(milliseconds=30))
    await run(scheduler, handlers)
    assert await statuses(scheduler) == [TaskStatus.FAILED]
    assert calls == []


async def test_the_function_stands_for_its_kind(scheduler: Scheduler) -> None:
    handlers = Handlers()

    @handlers.register_batch("index", linger=timedelta(0))
    async def index(contexts: list[Context], pages: Sequence[Page]) -> None: ...

    anything: Any = index
    await scheduler.schedule(anything, Page(1))
    with pytest.raises(InvalidTask):
        await scheduler.schedule(anything, "no page")
    await run(scheduler, handlers)
    assert await statuses(scheduler) == [TaskStatus.COMPLETED]


def test_what_could_never_be_called_is_refused() -> None:
    handlers = Handlers()

    def one(contexts: list[Context], payload: Page) -> None: ...
    def none() -> None: ...
    def good(contexts: list[Context]) -> None: ...

    options: Any
    for options in ({"size": 0}, {"size": True}, {"size": 1.5}, {"linger": 1}):
        with pytest.raises(InvalidHandler):
            handlers.register_batch("index", **options)
    with pytest.raises(InvalidHandler):
        handlers.register_batch("index", linger=timedelta(seconds=-1))
    with pytest.raises(InvalidHandler, match="list"):
        handlers.register_batch("index")(one)
    with pytest.raises(InvalidHandler, match="contexts"):
        handlers.register_batch("index")(none)
    handlers.register_batch("index")(good)
    with pytest.raises(InvalidHandler, match="already"):
        handlers.register_batch("index")(good)
