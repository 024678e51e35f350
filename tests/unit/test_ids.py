"""Ids that producers bring: of about now, or without a time, and then last in every list."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import TYPE_CHECKING
from uuid import RFC_4122, UUID, uuid4

import pytest

from taskscheduler import InvalidTask, NewTask, Scheduler, TaskId
from taskscheduler.adapters import system
from taskscheduler.adapters.system import new_task_id
from taskscheduler.application.client.change_feed import ChangeFeed, Watched
from taskscheduler.domain.change import WATCHED_MAX
from taskscheduler.domain.ids import AHEAD_MAX, BEHIND_MAX, HIGHEST, LOWEST, newest_of, spans

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.anyio

SECOND = timedelta(seconds=1)


def made(later: timedelta) -> TaskId:
    """Return an id of version 7 that was made so much later than now."""
    return TaskId(UUID(int=new_task_id().int + (int(later.total_seconds() * 1000) << 80)))


TAKEN: list[Callable[[], UUID]] = [
    new_task_id,
    uuid4,
    lambda: UUID(int=7),
    lambda: UUID("ffffffff-ffff-4fff-bfff-ffffffffffff"),
    lambda: made(AHEAD_MAX - 5 * SECOND),
    lambda: made(5 * SECOND - BEHIND_MAX),
]
REFUSED: list[Callable[[], UUID]] = [
    lambda: made(AHEAD_MAX + 5 * SECOND),
    lambda: made(timedelta(days=3)),
    lambda: made(timedelta(days=400)),
    lambda: made(-BEHIND_MAX - 5 * SECOND),
    lambda: UUID("ffffffff-ffff-7fff-bfff-ffffffffffff"),
    lambda: LOWEST,
    lambda: HIGHEST,
]


@pytest.mark.parametrize("make", TAKEN)
async def test_an_id_of_about_now_or_without_a_time_is_taken(make: Callable[[], UUID]) -> None:
    async with Scheduler.in_memory() as scheduler:
        given = make()
        assert await scheduler.schedule("mail", id=given) == given
        assert await scheduler.schedule("mail", id=given) == given
        other = TaskId(make())
        assert (await scheduler.schedule_many([NewTask(id=other, kind="mail")]))[0] == other


@pytest.mark.parametrize("make", REFUSED)
async def test_any_other_is_refused_whichever_way_it_comes(make: Callable[[], UUID]) -> None:
    async with Scheduler.in_memory() as scheduler:
        task = NewTask(id=TaskId(make()), kind="mail")
        good = NewTask(id=new_task_id(), kind="mail")
        for call, index in (
            (scheduler.schedule("mail", id=task.id), None),
            (scheduler.put(task), None),
            (scheduler.put_many([task]), None),
            (scheduler.put_many([good, task]), 1),
            (scheduler.schedule_many([("mail", 1), task]), 1),
        ):
            with pytest.raises(InvalidTask, match="within the last 7 days") as refused:
                await call
            assert (refused.value.field, refused.value.index) == ("id", index)
        assert await scheduler.list() == []


async def test_a_thousand_ids_that_bear_no_time_blind_no_watcher() -> None:
    async with Scheduler.in_memory() as scheduler:
        before = await scheduler.schedule("mail")
        strange = [
            NewTask(id=TaskId(UUID(int=0xFFFF << 112 | 4 << 76 | 2 << 62 | number)), kind="noise")
            for number in range(WATCHED_MAX + 1)
        ]
        await scheduler.schedule_many(strange)
        watch = ChangeFeed(scheduler.store, Watched())
        await watch.begin()
        await scheduler.cancel(before)
        after = await scheduler.schedule("mail")
        assert {state.id for state in (await watch.look()).changed} == {before, after}
        assert [task.id for task in await scheduler.list()][:2] == [after, before]


def test_after_a_clock_that_was_ahead_ids_are_of_today_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What makes them remembers the latest time that it has seen."""
    stuck = UUID(int=new_task_id().int + (40 * 86_400_000 << 80))
    monkeypatch.setattr(system, "uuid7", lambda: stuck)
    before_ms = time.time_ns() // 1_000_000
    ids = [new_task_id() for _ in range(100)]
    assert len(set(ids)) == len(ids)
    for each in ids:
        assert before_ms <= each.int >> 80 <= time.time_ns() // 1_000_000
        assert (each.version, each.variant) == (7, RFC_4122)


def test_spans_go_through_all_ids_once() -> None:
    newest = newest_of(new_task_id())
    (low, high), (beyond, last) = spans(None, newest)
    assert (low, high, last) == (LOWEST, newest, HIGHEST)
    assert beyond.int == high.int + 1
    assert list(spans(HIGHEST, newest)) == [(low, high), (beyond, last)]
    assert list(spans(LOWEST, newest)) == []
    for before in (newest, UUID(int=1), UUID(int=newest.int - 9)):
        assert list(spans(before, newest)) == [
            (LOWEST, UUID(int=before.int - 1)),
            (beyond, HIGHEST),
        ]
    for before in (UUID(int=newest.int + 2), UUID(int=HIGHEST.int - 1)):
        assert list(spans(before, newest)) == [(beyond, UUID(int=before.int - 1))]
