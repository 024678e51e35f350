"""Tasks that are made when somebody comes to them."""

from __future__ import annotations

import gc
from datetime import UTC, datetime
from itertools import islice
from typing import TYPE_CHECKING, Final

import pytest

from taskscheduler import NewTask, Scheduler
from taskscheduler.application.client import task_batch
from taskscheduler.application.client.task_batch import IDS_AT_ONCE, LazyBatch, times_of
from taskscheduler.domain.errors import InvalidTask
from taskscheduler.testing import in_memory

if TYPE_CHECKING:
    from taskscheduler.application.client.task_batch import TaskSpec
    from taskscheduler.domain.values import TaskId

LATER: Final = datetime(2124, 1, 1, tzinfo=UTC)


@pytest.fixture
def given(scheduler_in_memory: Scheduler) -> NewTask:
    return scheduler_in_memory.prepare("fax", 1, queue="letters", execute_at=LATER)


@pytest.fixture
def specs(given: NewTask) -> list[TaskSpec]:
    return [("mail", 0), ("mail", 1, LATER), given, ("mail", 3, None)]


@pytest.fixture
def ids() -> list[TaskId]:
    return []


@pytest.fixture
def tasks(specs: list[TaskSpec], ids: list[TaskId], scheduler_in_memory: Scheduler) -> LazyBatch:
    def new_task_id() -> TaskId:
        ids.append(scheduler_in_memory.store.new_task_id())
        return ids[-1]

    return LazyBatch(specs, new_task_id)


def test_nobody_looks_and_none_is_made(tasks: LazyBatch, ids: list[TaskId]) -> None:
    assert len(tasks) == 4
    assert ids == []


def test_only_those_that_somebody_came_to_are_made(tasks: LazyBatch, ids: list[TaskId]) -> None:
    first = list(islice(tasks, 2))
    assert [task.id for task in first] == ids[:2]
    assert [(task.payload_json, task.execute_at) for task in first] == [(b"0", None), (b"1", LATER)]


def test_each_is_the_same_whenever_somebody_comes_to_it(
    tasks: LazyBatch, ids: list[TaskId], given: NewTask
) -> None:
    assert list(islice(tasks, 1)) == list(tasks)[:1]
    assert list(tasks) == list(tasks) == tasks[:]
    assert tasks[2] is given
    assert tasks[-1].payload_json == b"3"
    assert [task.id for task in tasks if task is not given] == [ids[0], ids[1], ids[3]]


@pytest.mark.parametrize("was_on", [True, False])
def test_the_garbage_collector_is_left_as_it_was(was_on: bool) -> None:  # noqa: FBT001
    def refuse() -> TaskId:
        assert not gc.isenabled()
        raise RuntimeError

    before = gc.isenabled()
    try:
        (gc.enable if was_on else gc.disable)()
        with pytest.raises(RuntimeError):
            list(LazyBatch([("mail", 1)], refuse))
        assert gc.isenabled() is was_on
    finally:
        (gc.enable if before else gc.disable)()


def test_ids_are_made_for_some_at_a_time(scheduler_in_memory: Scheduler) -> None:
    made: list[TaskId] = []

    def new_task_id() -> TaskId:
        made.append(scheduler_in_memory.store.new_task_id())
        return made[-1]

    tasks = LazyBatch([("mail", None)] * (IDS_AT_ONCE + 5), new_task_id)
    next(iter(tasks))
    assert len(made) == IDS_AT_ONCE
    assert [task.id for task in tasks] == made
    assert len(set(made)) == IDS_AT_ONCE + 5


def test_times_are_known_before_the_tasks(
    tasks: LazyBatch, specs: list[TaskSpec], ids: list[TaskId]
) -> None:
    expected = [("default", None), ("default", LATER), ("letters", LATER), ("default", None)]
    assert list(times_of(tasks)) == expected
    assert ids == []
    assert len(specs) == len(expected)
    assert list(times_of(list(tasks))) == expected


def test_a_wish_that_cannot_be_granted_is_named(scheduler_in_memory: Scheduler) -> None:
    specs: list[TaskSpec] = [("mail", 0), ("no kind", 1), ("mail", 2)]
    tasks = LazyBatch(specs, scheduler_in_memory.store.new_task_id)
    assert [task.payload_json for task in islice(tasks, 1)] == [b"0"]
    for _ in range(2):
        with pytest.raises(InvalidTask) as refused:
            list(tasks)
        assert refused.value.index == 1


@pytest.mark.anyio
async def test_a_long_batch_in_memory_is_made_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """And not again for each of its tasks."""
    made: list[object] = []
    encode = task_batch.encode_payload

    def counted(payload: object) -> bytes:
        made.append(payload)
        return encode(payload)

    monkeypatch.setattr(task_batch, "encode_payload", counted)
    async with in_memory() as scheduler:
        await scheduler.schedule_many([("job", number) for number in range(500)])
    assert len(made) <= 2 * 500
