"""Callers at the same moment share a commit, and no one's fault is another's."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from taskscheduler.application.client.group_commit import BATCH_MAX, GroupCommit
from taskscheduler.domain.errors import StoreUnavailable, TaskExists
from taskscheduler.domain.query import TaskQuery
from taskscheduler.testing.contracts.steps import new
from tests.support.faults import AWAY, Faulty

if TYPE_CHECKING:
    from collections.abc import Sequence

    from taskscheduler import Scheduler
    from taskscheduler.application.store import Store
    from taskscheduler.domain.new_task import NewTask
    from taskscheduler.domain.values import TaskId

pytestmark = pytest.mark.anyio


@pytest.fixture
def store(scheduler_in_memory: Scheduler) -> Store:
    return scheduler_in_memory.store


@pytest.fixture
def tasks(store: Store) -> Faulty:
    return Faulty(store.tasks)


@pytest.fixture
def group(tasks: Faulty) -> GroupCommit:
    return GroupCommit(tasks)  # pyright: ignore[reportArgumentType]


async def test_a_lone_caller_does_not_wait(store: Store, tasks: Faulty, group: GroupCommit) -> None:
    for count in (1, 2, 3):
        task = new(store)
        assert await group.put(task) == task.id
        assert tasks.calls["put"] == count


async def test_those_who_come_meanwhile_share_the_next(
    store: Store, tasks: Faulty, group: GroupCommit
) -> None:
    let_go = tasks.hold("put")
    asked = [new(store) for _ in range(10)]
    callers = [asyncio.create_task(group.put(task)) for task in asked]
    await asyncio.sleep(0)
    let_go()
    assert await asyncio.gather(*callers) == [task.id for task in asked]
    assert tasks.calls["put"] == 2


async def test_a_batch_has_a_limit(store: Store, tasks: Faulty, group: GroupCommit) -> None:
    let_go = tasks.hold("put")
    callers = [asyncio.create_task(group.put(new(store))) for _ in range(BATCH_MAX + 2)]
    await asyncio.sleep(0)
    let_go()
    await asyncio.gather(*callers)
    assert tasks.calls["put"] == 3
    assert len(await store.board.list(TaskQuery(limit=1000))) == BATCH_MAX + 2


async def test_one_callers_fault_is_not_the_others(
    store: Store, tasks: Faulty, group: GroupCommit
) -> None:
    taken = new(store, payload_json=b"1")
    await store.tasks.put([taken])
    contrary = type(taken)(id=taken.id, kind="mail", payload_json=b"2")
    asked = [new(store), new(store), contrary, new(store)]
    let_go = tasks.hold("put")
    callers = [asyncio.create_task(group.put(task)) for task in asked]
    await asyncio.sleep(0)
    let_go()
    answers = await asyncio.gather(*callers, return_exceptions=True)
    assert isinstance(answers[2], TaskExists)
    assert [answers[0], answers[1], answers[3]] == [asked[0].id, asked[1].id, asked[3].id]


@pytest.mark.parametrize("error", [TypeError, UnicodeError, KeyError, ZeroDivisionError])
async def test_whatever_a_store_raises_is_for_its_caller_alone(
    store: Store, tasks: Faulty, group: GroupCommit, error: type[Exception]
) -> None:
    """An exception that nobody foresaw, too: ten of a hundred fail, and ninety are stored."""
    spoilt = {new(store).id for _ in range(10)}
    asked = [new(store) for _ in range(90)]
    for number, task_id in enumerate(spoilt):
        asked.insert(9 * number, asked[0].but(id=task_id))
    put = store.tasks.put

    async def choosy(given: Sequence[NewTask]) -> Sequence[TaskId]:
        if any(task.id in spoilt for task in given):
            raise error
        return await put(given)

    tasks.do_instead("put", choosy)
    await group.put(new(store))
    answers = await asyncio.gather(*map(group.put, asked), return_exceptions=True)
    for task, answer in zip(asked, answers, strict=True):
        assert type(answer) is error if task.id in spoilt else answer == task.id
    assert len(await store.board.list(TaskQuery(limit=1000))) == 91


async def test_all_hear_that_the_store_is_away(
    store: Store, tasks: Faulty, group: GroupCommit
) -> None:
    let_go = tasks.hold("put")
    tasks.refuse("put", *[AWAY] * 5)  # alone, together, and then one by one
    callers = [asyncio.create_task(group.put(new(store))) for _ in range(4)]
    await asyncio.sleep(0)
    let_go()
    answers = await asyncio.gather(*callers, return_exceptions=True)
    assert [type(answer) for answer in answers] == [StoreUnavailable] * 4
    task = new(store)
    assert await group.put(task) == task.id


async def test_one_who_gives_up_leaves_the_others_alone(
    store: Store, tasks: Faulty, group: GroupCommit
) -> None:
    let_go = tasks.hold("put")
    asked = [new(store) for _ in range(4)]
    callers = [asyncio.create_task(group.put(task)) for task in asked]
    await asyncio.sleep(0)
    callers[0].cancel()
    callers[2].cancel()
    await asyncio.sleep(0)
    let_go()
    answers = await asyncio.gather(*callers, return_exceptions=True)
    assert [answers[1], answers[3]] == [asked[1].id, asked[3].id]
    assert isinstance(answers[0], asyncio.CancelledError)
    later = new(store)
    assert await group.put(later) == later.id


def travelling(store: Store, tasks: Faulty) -> None:
    """Let a commit take some turns of the event loop, as one over a network does."""

    async def put(asked: Sequence[NewTask]) -> Sequence[TaskId]:
        for _ in range(5):
            await asyncio.sleep(0)
        return await store.tasks.put(asked)

    tasks.do_instead("put", put)


async def test_those_who_were_told_together_come_back_together(
    store: Store, tasks: Faulty, group: GroupCommit
) -> None:
    async def caller() -> None:
        for _ in range(5):
            await group.put(new(store))

    travelling(store, tasks)
    await asyncio.gather(*(caller() for _ in range(10)))
    # The first goes alone and the nine behind it together, round after round at the worst.
    assert tasks.calls["put"] <= 10
    # Had the first of the nine gone alone each time, there would be a commit more in every round.
    tasks.calls.clear()
    await asyncio.gather(*(group.put(new(store)) for _ in range(10)))
    await asyncio.gather(*(group.put(new(store)) for _ in range(10)))
    assert tasks.calls["put"] == 2


async def test_one_who_is_left_alone_does_not_wait_again(
    store: Store, tasks: Faulty, group: GroupCommit
) -> None:
    travelling(store, tasks)
    await asyncio.gather(*(group.put(new(store)) for _ in range(3)))
    await group.put(new(store))
    tasks.calls.clear()
    lone = asyncio.create_task(group.put(new(store)))
    await asyncio.sleep(0)
    assert tasks.calls["put"] == 1  # the store is asked in the very turn of the caller's
    await lone
