"""Outcomes reach the store, whatever happens to it meanwhile."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from taskscheduler.application.worker.completer import BATCH_MAX, Completer
from taskscheduler.domain.errors import StoreUnavailable
from taskscheduler.domain.lease import AttemptError
from taskscheduler.domain.status import Event, TaskStatus
from taskscheduler.testing.contracts.steps import claim, join, lease_one, new, outcome, status_of
from tests.support.faults import AWAY, Faulty

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from taskscheduler import Scheduler
    from taskscheduler.application.store import Store
    from taskscheduler.domain.lease import Lease, Settlement
    from taskscheduler.domain.values import TaskId

pytestmark = pytest.mark.anyio


@pytest.fixture
def store(scheduler_in_memory: Scheduler) -> Store:
    return scheduler_in_memory.store


@pytest.fixture
def tasks(store: Store) -> Faulty:
    return Faulty(store.tasks)


@pytest.fixture
def completer(tasks: Faulty) -> Completer:
    return Completer(tasks, on_room=lambda: None)  # pyright: ignore[reportArgumentType]


async def leases(store: Store, count: int) -> list[Lease]:
    await store.tasks.put([new(store) for _ in range(count)])
    return [*await claim(store, await join(store), limit=count)]


async def test_all_is_sent_in_batches(store: Store, tasks: Faulty) -> None:
    left = 0

    def on_room() -> None:
        nonlocal left
        left += 1

    completer = Completer(tasks, on_room=on_room)  # pyright: ignore[reportArgumentType]
    held = await leases(store, BATCH_MAX + 1)
    for lease in held:
        completer.add(outcome(lease))
    assert completer.backlog == len(completer.tokens) == BATCH_MAX + 1
    await completer.flush()
    assert (completer.backlog, completer.fenced, left, tasks.calls["settle"]) == (0, 0, 2, 2)
    assert {await status_of(store, lease.task_id) for lease in held} == {TaskStatus.COMPLETED}


async def test_what_the_store_did_not_hear_is_kept(
    store: Store, tasks: Faulty, completer: Completer
) -> None:
    lease = await lease_one(store)
    completer.add(outcome(lease))
    tasks.refuse("settle", AWAY, AWAY)
    for _ in range(2):
        with pytest.raises(StoreUnavailable):
            await completer.flush()
        assert completer.backlog == 1
        assert set(completer.tokens) == {lease.token}
    await completer.flush()
    assert (completer.backlog, completer.fenced) == (0, 0)
    assert await status_of(store, lease.task_id) is TaskStatus.COMPLETED


async def test_an_answer_that_was_lost_is_not_taken_for_a_lost_lease(
    store: Store, tasks: Faulty, completer: Completer
) -> None:
    made, lost = await lease_one(store), await lease_one(store)
    await store.tasks.cancel(lost.task_id)
    completer.add(outcome(made))
    completer.add(outcome(lost))
    tasks.lose_answer("settle")
    with pytest.raises(StoreUnavailable):
        await completer.flush()
    await completer.flush()
    assert completer.fenced == 1
    assert tasks.calls["outcomes_of"] == 1


async def test_a_lost_lease_is_counted(store: Store, completer: Completer) -> None:
    lease = await lease_one(store)
    await store.tasks.cancel(lease.task_id)
    completer.add(outcome(lease))
    await completer.flush()
    assert (completer.backlog, completer.fenced) == (0, 1)


async def test_what_cannot_be_stored_does_not_block_the_rest(
    store: Store, tasks: Faulty, completer: Completer
) -> None:
    held = await leases(store, 3)
    for lease in held:
        completer.add(outcome(lease, Event.RETRY, error=AttemptError("E", "m")))
    settle = store.tasks.settle
    refused: list[int] = []

    async def picky(batch: Sequence[Settlement]) -> Collection[TaskId]:
        if any(each.token == held[1].token and each.event is Event.RETRY for each in batch):
            refused.append(len(batch))
            raise ValueError("poison")
        return await settle(batch)

    tasks.do_instead("settle", picky)
    await completer.flush()
    assert refused == [3, 1]
    assert completer.backlog == 0
    statuses = [await status_of(store, lease.task_id) for lease in held]
    assert statuses == [TaskStatus.PENDING, TaskStatus.FAILED, TaskStatus.PENDING]


async def test_what_is_refused_once_is_told_of_and_tried_again(store: Store, tasks: Faulty) -> None:
    """Also where it was alone, and where it had been stored in spite of the error."""
    faults: list[Exception] = []
    completer = Completer(tasks, on_room=lambda: None, on_fault=faults.append)  # pyright: ignore[reportArgumentType]
    for lose in (False, True):
        for count in (1, 3):
            if lose:
                tasks.lose_answer("settle", ValueError("odd"))
            else:
                tasks.refuse("settle", ValueError("odd"))
            held = await leases(store, count)
            for lease in held:
                completer.add(outcome(lease))
            await completer.flush()
            statuses = {await status_of(store, lease.task_id) for lease in held}
            assert statuses == {TaskStatus.COMPLETED}
    assert [str(fault) for fault in faults] == ["odd"] * 4
    assert (completer.refused, completer.fenced) == (0, 0)


async def test_it_goes_on_by_itself_when_the_store_is_back(store: Store, tasks: Faulty) -> None:
    emptied = asyncio.Event()
    completer = Completer(tasks, on_room=emptied.set)  # pyright: ignore[reportArgumentType]
    lease = await lease_one(store)
    tasks.refuse("settle")
    running = asyncio.create_task(completer.run())
    completer.add(outcome(lease))
    async with asyncio.timeout(10):
        await emptied.wait()
    running.cancel()
    assert await status_of(store, lease.task_id) is TaskStatus.COMPLETED
    assert tasks.calls["settle"] == 2


async def test_an_interrupted_sending_is_not_taken_for_a_lost_lease(
    store: Store, tasks: Faulty, completer: Completer
) -> None:
    lease = await lease_one(store)
    completer.add(outcome(lease))
    heard = asyncio.Event()
    settle = store.tasks.settle

    async def hang(batch: Sequence[Settlement]) -> Collection[TaskId]:
        answer = await settle(batch)
        if not heard.is_set():
            heard.set()
            await asyncio.Event().wait()
        return answer

    tasks.do_instead("settle", hang)
    running = asyncio.create_task(completer.run())
    await heard.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    await completer.flush()
    assert (completer.backlog, completer.fenced) == (0, 0)
