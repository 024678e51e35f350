"""Callers at the same moment share a commit, and no one's fault is another's."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from taskscheduler.application.group_commit import BATCH_MAX, GroupCommit
from taskscheduler.domain.errors import StoreUnavailable, TaskExists
from taskscheduler.domain.query import TaskQuery
from taskscheduler.testing.contracts.steps import new
from taskscheduler.testing.faults import AWAY, Faulty

if TYPE_CHECKING:
    from taskscheduler import Scheduler
    from taskscheduler.application.store import Store

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
    taken = new(store, payload=b"1")
    await store.tasks.put([taken])
    contrary = type(taken)(id=taken.id, kind="mail", payload=b"2")
    asked = [new(store), new(store), contrary, new(store)]
    let_go = tasks.hold("put")
    callers = [asyncio.create_task(group.put(task)) for task in asked]
    await asyncio.sleep(0)
    let_go()
    answers = await asyncio.gather(*callers, return_exceptions=True)
    assert isinstance(answers[2], TaskExists)
    assert [answers[0], answers[1], answers[3]] == [asked[0].id, asked[1].id, asked[3].id]


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
