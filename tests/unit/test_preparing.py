"""Tasks that are prepared when somebody comes to them."""

from __future__ import annotations

import gc
from itertools import islice

import pytest

from taskscheduler import NewTask, Scheduler
from taskscheduler.application.preparing import SLICE, Prepared
from taskscheduler.domain.errors import InvalidTask


@pytest.fixture
def made() -> list[int]:
    return []


@pytest.fixture
def tasks(made: list[int], scheduler_in_memory: Scheduler) -> Prepared:
    def prepare(index: int) -> NewTask:
        made.append(index)
        assert not gc.isenabled()
        return scheduler_in_memory.prepare("mail", index)

    return Prepared(3 * SLICE + 1, prepare)


def test_nobody_looks_and_none_is_made(tasks: Prepared, made: list[int]) -> None:
    assert len(tasks) == 3 * SLICE + 1
    assert made == []


def test_only_those_that_somebody_came_to_are_made(tasks: Prepared, made: list[int]) -> None:
    first = list(islice(tasks, SLICE + 1))
    assert made == list(range(2 * SLICE))
    assert [task.payload for task in first] == [b"%d" % index for index in range(SLICE + 1)]


def test_each_is_made_once(tasks: Prepared, made: list[int]) -> None:
    assert list(tasks) == list(tasks) == tasks[:]
    assert tasks[-1] is list(tasks)[-1]
    assert made == list(range(3 * SLICE + 1))


@pytest.mark.parametrize("was_on", [True, False])
def test_the_garbage_collector_is_left_as_it_was(was_on: bool) -> None:  # noqa: FBT001
    def refuse(index: int) -> NewTask:
        assert not gc.isenabled()
        raise InvalidTask("kind", f"no {index}")

    before = gc.isenabled()
    try:
        (gc.enable if was_on else gc.disable)()
        with pytest.raises(InvalidTask) as refused:
            list(Prepared(2, refuse))
        assert gc.isenabled() is was_on
        assert refused.value.index == 0
    finally:
        (gc.enable if before else gc.disable)()
