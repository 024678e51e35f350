"""What handlers return is kept, and given to whoever waits for it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from taskscheduler import (
    Cancel,
    Context,
    Discard,
    Handlers,
    InvalidConfiguration,
    Scheduler,
    TaskCancelled,
    TaskFailed,
    TaskNotFound,
    Worker,
)
from taskscheduler.application.client.result_waiters import Waiters
from taskscheduler.application.client.tenant_scope import TenantScheduler
from taskscheduler.domain.access import Caller
from taskscheduler.domain.errors import StoreUnavailable
from taskscheduler.domain.status import TaskStatus
from tests.support.faults import Faulty

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.anyio

handlers = Handlers()


@dataclass
class Receipt:
    number: int
    note: str


@handlers.register("receipt")
async def receipt(_: Context, number: int) -> Receipt:
    return Receipt(number, "paid")


@handlers.register("plain")
def plain(_: Context) -> list[int]:
    return [1, 2, 3]


@handlers.register("large")
async def large(_: Context, size: int) -> str:
    return "x" * size


@handlers.register("odd")
async def odd(_: Context) -> object:
    return object()


@handlers.register("cancels")
async def cancels(_: Context) -> None:
    raise Cancel("unwanted")


@handlers.register("discards")
async def discards(_: Context) -> None:
    raise Discard("impossible")


@handlers.register("own")
async def own(context: Context) -> str:
    async with context.transaction():
        context.result = {"in": "it"}
    return "too late"


@handlers.register("set")
async def sets(context: Context) -> None:
    context.result = 7


async def ran(scheduler: Scheduler, kind: str, payload: object = None, **options: Any) -> Any:
    task_id = await scheduler.schedule(kind, payload, max_attempts=1)
    worker = Worker(scheduler, handlers, **options)
    await worker.turn()
    await worker.deregister()
    return task_id


@pytest.mark.parametrize(
    ("kind", "payload", "value"),
    [
        ("receipt", 5, {"number": 5, "note": "paid"}),
        ("plain", None, [1, 2, 3]),
        ("own", None, {"in": "it"}),
        ("set", None, 7),
        ("large", 65_534, "x" * 65_534),
    ],
)
async def test_the_result_is_what_was_returned(
    scheduler_in_memory: Scheduler, kind: str, payload: object, value: object
):
    task_id = await ran(scheduler_in_memory, kind, payload)
    assert await scheduler_in_memory.result(task_id) == value
    assert await scheduler_in_memory.result(task_id, timeout=0) == value


@pytest.mark.parametrize(
    ("kind", "payload", "options", "why"),
    [
        (
            "large",
            65_535,
            {},
            "what the handler returned is 65537 bytes of JSON, and 65536 is the most",
        ),
        (
            "large",
            9,
            {"result_bytes_max": 10},
            "what the handler returned is 11 bytes of JSON, and 10 is the most",
        ),
        (
            "odd",
            None,
            {},
            "what the handler returned has no JSON form: objects of type object cannot be encoded",
        ),
    ],
)
async def test_what_cannot_be_kept_fails_the_attempt_in_words(
    scheduler_in_memory: Scheduler, kind: str, payload: object, options: Any, why: str
):
    task_id = await ran(scheduler_in_memory, kind, payload, **options)
    (attempt,) = await scheduler_in_memory.attempts(task_id)
    assert attempt.error is not None
    assert (attempt.error.type, attempt.error.message) == ("InvalidResult", why)
    with pytest.raises(TaskFailed, match="what the handler returned") as caught:
        await scheduler_in_memory.result(task_id)
    assert caught.value.error == attempt.error


async def test_an_end_without_a_result_is_raised(scheduler_in_memory: Scheduler):
    cancelled = await ran(scheduler_in_memory, "cancels")
    with pytest.raises(TaskCancelled, match="was cancelled: Cancel: unwanted"):
        await scheduler_in_memory.result(cancelled)
    failed = await ran(scheduler_in_memory, "discards")
    with pytest.raises(TaskFailed, match="failed: Discard: impossible"):
        await scheduler_in_memory.result(failed)
    with pytest.raises(TaskNotFound):
        await scheduler_in_memory.result(scheduler_in_memory.store.new_task_id())
    off = await scheduler_in_memory.schedule("plain")
    await scheduler_in_memory.cancel(off)
    with pytest.raises(TaskCancelled) as caught:
        await scheduler_in_memory.result(off, timeout=timedelta(seconds=1))
    assert caught.value.error is None


async def test_a_wait_has_a_limit(scheduler_in_memory: Scheduler):
    task_id = await scheduler_in_memory.schedule("plain")
    for timeout in (0, 0.01):
        with pytest.raises(TimeoutError, match=f"has not ended within {timeout:g} s"):
            await scheduler_in_memory.result(task_id, timeout=timeout)
    with pytest.raises(ValueError, match="timeout must be 0 or more seconds"):
        await scheduler_in_memory.result(task_id, timeout=-1)


async def test_a_thousand_waiters_share_each_look(scheduler_in_memory: Scheduler):
    """One statement a round, whoever waits for what."""
    notes = Faulty(scheduler_in_memory.store.notes)
    scheduler = Scheduler(replace(scheduler_in_memory.store, notes=notes))  # pyright: ignore[reportArgumentType]
    ids = await scheduler.schedule_many([("receipt", number) for number in range(500)])
    waiting = [
        asyncio.create_task(scheduler.result(task_id, timeout=60)) for task_id in [*ids, *ids]
    ]
    while not notes.calls["endings"]:
        await asyncio.sleep(0)
    before = notes.calls["endings"]
    assert before == 1
    worker = Worker(scheduler, handlers, concurrency=100)
    await worker.drain()
    found = await asyncio.gather(*waiting)
    assert [each["number"] for each in found] == [*range(500)] * 2
    assert notes.calls["endings"] < 20, "not one a waiter"
    await worker.deregister()
    await scheduler.waiters.finish()


async def test_those_who_wait_hear_that_the_store_is_away(scheduler_in_memory: Scheduler):
    notes = Faulty(scheduler_in_memory.store.notes)
    waiters = Waiters(notes)  # pyright: ignore[reportArgumentType]
    task_id = await scheduler_in_memory.schedule("plain")
    notes.refuse("endings")
    with pytest.raises(StoreUnavailable):
        await waiters.ending(task_id, 60)


async def test_a_task_that_goes_while_it_is_waited_for(scheduler_in_memory: Scheduler):
    task_id = await scheduler_in_memory.schedule("plain")
    waiting = asyncio.create_task(scheduler_in_memory.result(task_id))
    await asyncio.sleep(0)
    await scheduler_in_memory.delete(task_id)
    with pytest.raises(TaskNotFound):
        await waiting


async def test_a_tenant_sees_its_own_results_only(scheduler_in_memory: Scheduler):
    task_id = await ran(scheduler_in_memory, "plain")
    stranger = TenantScheduler(scheduler_in_memory, Caller(name="bob", queue_prefix="bob."))
    assert stranger.waiters is scheduler_in_memory.waiters
    calls: list[Callable[[Any], Any]] = [stranger.result, stranger.ending, stranger.notes]
    for call in calls:
        with pytest.raises(TaskNotFound):
            await call(task_id)
    ada = TenantScheduler(scheduler_in_memory, Caller(name="ada"))
    assert await ada.result(task_id) == [1, 2, 3]


async def test_none_is_no_result(scheduler_in_memory: Scheduler):
    """Its settlement is as it always was: nothing more is sent, and nothing is kept."""

    @handlers_of_nothing.register("nothing")
    async def nothing(_: Context) -> None:
        return None

    task_id = await scheduler_in_memory.schedule("nothing")
    worker = Worker(scheduler_in_memory, handlers_of_nothing)
    await worker.turn()
    await worker.deregister()
    assert (await scheduler_in_memory.get(task_id)).status is TaskStatus.COMPLETED
    assert (await scheduler_in_memory.notes(task_id)).result is None
    assert await scheduler_in_memory.result(task_id) is None


handlers_of_nothing = Handlers()


@pytest.mark.parametrize("value", [-1, 1024 * 1024 + 1])
def test_a_limit_that_makes_no_sense_is_refused(scheduler_in_memory: Scheduler, value: int):
    with pytest.raises(InvalidConfiguration, match="result_bytes_max must be 0 to 1048576"):
        Worker(scheduler_in_memory, handlers, result_bytes_max=value)
