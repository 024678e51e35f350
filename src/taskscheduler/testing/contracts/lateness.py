"""A due task is found, whatever else is claimed: what ``claim`` and ``next_due`` promise of time.

A task may become visible long after the time from which it waits: its transaction took long to
commit, or somebody changed it. By then tasks of later times may have been claimed before it.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final

import pytest

from taskscheduler.testing.contracts.steps import Contract, claim, join, new, put, subscribed

if TYPE_CHECKING:
    from taskscheduler.application.store import Store
    from taskscheduler.domain.values import TaskId, WorkerId
    from taskscheduler.testing.clock import ManualClock

POLL_INTERVAL: Final = timedelta(seconds=1)
LATE: Final = timedelta(minutes=10)
NUMBER: Final = 700


async def put_late(
    store: Store, clock: ManualClock, worker_id: WorkerId, number: int = NUMBER
) -> set[TaskId]:
    """Store tasks whose time came before that of a task which was claimed already."""
    await put(store)
    assert len(await claim(store, worker_id)) == 1
    clock.jump(-LATE)
    tasks = [new(store) for _ in range(number)]
    await store.tasks.put(tasks)
    clock.jump(LATE)
    return {task.id for task in tasks}


class LatenessContract(Contract):
    """Tasks that come late are found at once by who is idle, and within an interval by all."""

    async def test_who_finds_nothing_else_finds_all_that_came_late(
        self, store: Store, clock: ManualClock
    ) -> None:
        """At one moment, as fast as it can claim: no look may have to wait for another time."""
        worker_id = await join(store)
        late = await put_late(store, clock, worker_id)
        found: set[TaskId] = set()
        while leases := await claim(store, worker_id, limit=50):
            found |= {lease.task_id for lease in leases}
        assert found == late

    async def test_what_came_late_is_due(self, store: Store, clock: ManualClock) -> None:
        """Until the last of it was claimed, and at every moment."""
        worker_id = await join(store)
        late = await put_late(store, clock, worker_id, number=3)
        for _ in late:
            assert await store.tasks.next_due(subscribed()) == -LATE
            assert len(await claim(store, worker_id, limit=1)) == 1
        assert await store.tasks.next_due(subscribed()) is None

    @pytest.mark.parametrize("limit", [1, 4])
    async def test_within_a_poll_interval_while_other_work_goes_on(
        self, store: Store, clock: ManualClock, limit: int
    ) -> None:
        """Whether each claim finds as many as it may, or fewer."""
        worker_id = await join(store)
        late = await put_late(store, clock, worker_id, number=1)
        waited = timedelta(0)
        found: set[TaskId] = set()
        while late - found:
            assert waited <= POLL_INTERVAL
            await store.tasks.put([new(store) for _ in range(2)])
            found |= {lease.task_id for lease in await claim(store, worker_id, limit=limit)}
            clock.advance(POLL_INTERVAL / 20)
            waited += POLL_INTERVAL / 20

    async def test_once_found_all_that_came_late_comes_before_the_rest(
        self, store: Store, clock: ManualClock
    ) -> None:
        """It has waited longer. It is not taken in one portion for each look."""
        worker_id = await join(store)
        late = await put_late(store, clock, worker_id)
        await store.tasks.put([new(store) for _ in range(NUMBER)])
        # The work that is known may be claimed first, for a while.
        clock.advance(POLL_INTERVAL)
        for _ in range(3):
            await claim(store, worker_id, limit=1)
        found: set[TaskId] = set()
        for _ in range(NUMBER // 50 + 1):
            found |= {lease.task_id for lease in await claim(store, worker_id, limit=50)}
        assert len(late - found) <= 3  # noqa: PLR2004 - those of the first claims

    async def test_a_lane_that_is_new_is_found_while_another_is_busy(
        self, store: Store, clock: ManualClock
    ) -> None:
        """Within a poll interval its more urgent tasks come first."""
        worker_id = await join(store)
        await store.tasks.put([new(store, priority=5) for _ in range(NUMBER)])
        assert len(await claim(store, worker_id, limit=1)) == 1
        urgent = await put(store, priority=0)
        for _ in range(20):
            clock.advance(POLL_INTERVAL / 20)
            (lease,) = await claim(store, worker_id, limit=1)
            if lease.task_id == urgent:
                break
        else:
            pytest.fail("an urgent task waited for the whole interval")
