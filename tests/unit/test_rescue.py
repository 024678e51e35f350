"""Only the dead are buried, whatever the clocks do."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from taskscheduler.application.maintenance.rescuer import Rescuer
from taskscheduler.domain.status import TaskStatus
from taskscheduler.testing.contracts.steps import LEASE, claim, join, lease_one, put, status_of

if TYPE_CHECKING:
    from taskscheduler import Scheduler
    from taskscheduler.application.store import Store
    from taskscheduler.testing import ManualClock

pytestmark = pytest.mark.anyio

BEAT = LEASE * 2 / 9


@pytest.fixture
def store(scheduler_in_memory: Scheduler) -> Store:
    return scheduler_in_memory.store


@pytest.fixture
def rescue(store: Store, manual_clock: ManualClock) -> Rescuer:
    return Rescuer(store.workers, manual_clock)


async def test_a_silent_worker_is_buried_within_two_leases(
    store: Store, rescue: Rescuer, manual_clock: ManualClock
) -> None:
    lease = await lease_one(store)
    rescued = await rescue.turn()
    waited = timedelta(0)
    while not rescued:
        manual_clock.advance(LEASE / 4)
        waited += LEASE / 4
        rescued = await rescue.turn()
    assert LEASE < waited <= LEASE * 2
    assert rescued == 1
    assert await status_of(store, lease.task_id) is TaskStatus.PENDING


async def test_who_has_just_come_must_watch_for_a_whole_lease_first(
    store: Store, rescue: Rescuer, manual_clock: ManualClock
) -> None:
    await lease_one(store)
    manual_clock.advance(LEASE * 10)
    assert await rescue.turn() == 0
    manual_clock.advance(LEASE)
    assert await rescue.turn() == 1


@pytest.mark.parametrize("hours", [1, -1, 24 * 365])
async def test_a_jump_of_the_stores_clock_buries_no_living_worker(
    store: Store, rescue: Rescuer, manual_clock: ManualClock, hours: int
) -> None:
    worker_id = await join(store)
    await put(store)
    (lease,) = await claim(store, worker_id)
    for number in range(40):
        if number == 20:
            manual_clock.jump(hours=hours)
        assert await rescue.turn() == 0
        manual_clock.advance(BEAT)
        assert await rescue.turn() == 0
        await store.workers.heartbeat(worker_id)
    assert await status_of(store, lease.task_id) is TaskStatus.IN_PROGRESS


async def test_a_worker_that_beats_late_is_spared(
    store: Store, rescue: Rescuer, manual_clock: ManualClock
) -> None:
    lease = await lease_one(store)
    (seen,) = await store.workers.registered()
    await rescue.turn()
    manual_clock.advance(LEASE - BEAT)
    await store.workers.heartbeat(seen.id)
    manual_clock.advance(LEASE)
    assert await rescue.turn() == 0
    assert await status_of(store, lease.task_id) is TaskStatus.IN_PROGRESS


async def test_a_dead_worker_is_buried_although_the_clock_was_set_back(
    store: Store, rescue: Rescuer, manual_clock: ManualClock
) -> None:
    await lease_one(store)
    manual_clock.jump(hours=-1)
    await rescue.turn()
    manual_clock.advance(timedelta(hours=1) + LEASE * 2)
    assert await rescue.turn() == 1


async def test_of_two_who_watch_one_rescues(store: Store, manual_clock: ManualClock) -> None:
    await lease_one(store)
    watchers = [Rescuer(store.workers, manual_clock) for _ in range(2)]
    for rescue in watchers:
        await rescue.turn()
    manual_clock.advance(LEASE * 2)
    assert [await rescue.turn() for rescue in watchers] == [1, 0]
