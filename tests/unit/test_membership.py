"""A worker that cannot renew its lease stops before others take its tasks."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from taskscheduler.application.membership import Membership
from taskscheduler.domain.errors import StoreUnavailable
from taskscheduler.domain.worker import Cancellation, WorkerProfile
from taskscheduler.testing.contracts.steps import TICK, claim, put
from taskscheduler.testing.faults import AWAY, Faulty

if TYPE_CHECKING:
    from collections.abc import Sequence

    from taskscheduler import Scheduler
    from taskscheduler.application.store import Store
    from taskscheduler.testing import ManualClock

pytestmark = pytest.mark.anyio

LEASE = timedelta(seconds=30)
PROFILE = WorkerProfile(
    name="test",
    queues=frozenset({"default"}),
    kinds={"mail": 3},
    concurrency=1,
    lease=LEASE,
)


class Bench:
    """A membership, and what it said."""

    def __init__(self, store: Store, clock: ManualClock) -> None:
        self.store = store
        self.clock = clock
        self.workers = Faulty(store.workers)
        self.cancelled: list[Cancellation] = []
        self.fenced = 0
        self.membership = Membership(
            self.workers,  # pyright: ignore[reportArgumentType]
            clock,
            PROFILE,
            on_cancelled=self.on_cancelled,
            on_fenced=self.on_fenced,
        )

    def on_cancelled(self, cancelled: Sequence[Cancellation]) -> None:
        self.cancelled += cancelled

    def on_fenced(self) -> None:
        self.fenced += 1

    async def fail_to_beat(self) -> None:
        self.workers.refuse("beat")
        with pytest.raises(StoreUnavailable):
            await self.membership.beat()


@pytest.fixture
def bench(scheduler_in_memory: Scheduler, manual_clock: ManualClock) -> Bench:
    return Bench(scheduler_in_memory.store, manual_clock)


async def test_it_joins_once(bench: Bench) -> None:
    assert bench.membership.worker_id is None
    worker_id = await bench.membership.join()
    assert await bench.membership.join() == worker_id == bench.membership.worker_id
    await bench.membership.beat()
    (seen,) = await bench.store.workers.sightings()
    assert (seen.id, seen.beats) == (worker_id, 1)


async def test_it_beats_three_times_before_it_would_fence_itself(bench: Bench) -> None:
    assert bench.membership.interval_s * 3 == pytest.approx(LEASE.total_seconds() * 2 / 3)


async def test_it_fences_itself_after_two_thirds_of_its_lease(bench: Bench) -> None:
    await bench.membership.join()
    bench.clock.advance(LEASE * 2 / 3)
    await bench.fail_to_beat()
    assert (bench.membership.is_fenced, bench.fenced) == (False, 0)
    bench.clock.advance(TICK)
    await bench.fail_to_beat()
    assert (bench.membership.is_fenced, bench.fenced) == (True, 1)
    # The store gives its tasks to others only later.
    assert [seen.expired for seen in await bench.store.workers.sightings()] == [False]
    await bench.fail_to_beat()
    assert bench.fenced == 1
    await bench.membership.beat()
    assert not bench.membership.is_fenced


async def test_a_beat_whose_answer_is_lost_does_not_count(bench: Bench) -> None:
    await bench.membership.join()
    bench.clock.advance(LEASE / 2)
    bench.workers.lose_answer("beat", AWAY)
    with pytest.raises(StoreUnavailable):
        await bench.membership.beat()
    bench.clock.advance(LEASE / 2)
    bench.membership.check()
    assert bench.membership.is_fenced


async def test_the_lease_counts_from_before_the_call(bench: Bench) -> None:
    await bench.membership.join()
    beat = bench.store.workers.beat

    async def slow(worker_id: int, **how: int) -> object:
        answer = await beat(worker_id, **how)  # pyright: ignore[reportArgumentType]
        bench.clock.advance(LEASE * 2 / 3)
        return answer

    bench.workers.do_instead("beat", slow)
    await bench.membership.beat()
    bench.membership.check()
    assert not bench.membership.is_fenced
    bench.clock.advance(TICK)
    bench.membership.check()
    assert bench.membership.is_fenced


async def test_the_stores_clock_does_not_fence(bench: Bench) -> None:
    await bench.membership.join()
    for hours in (1, -2):
        bench.clock.jump(hours=hours)
        bench.membership.check()
    assert not bench.membership.is_fenced


async def test_a_worker_that_was_struck_out_joins_anew(bench: Bench) -> None:
    before = await bench.membership.join()
    bench.clock.advance(LEASE + TICK)
    await bench.store.workers.bury(before, 0)
    await bench.membership.beat()
    assert bench.fenced == 1
    assert not bench.membership.is_fenced
    assert bench.membership.worker_id not in {None, before}


async def test_it_hands_on_what_was_taken_away(bench: Bench) -> None:
    worker_id = await bench.membership.join()
    await put(bench.store)
    (lease,) = await claim(bench.store, worker_id)
    await bench.store.tasks.cancel(lease.task_id)
    await bench.membership.beat()
    assert bench.cancelled == [Cancellation(lease.task_id, lease.token)]


async def test_who_never_joined_is_not_fenced_and_need_not_leave(bench: Bench) -> None:
    bench.clock.advance(LEASE * 5)
    bench.membership.check()
    await bench.membership.leave()
    assert (bench.fenced, bench.workers.calls["leave"]) == (0, 0)


async def test_leaving_is_leaving(bench: Bench) -> None:
    await bench.membership.join()
    await bench.membership.leave()
    assert bench.membership.worker_id is None
    assert list(await bench.store.workers.sightings()) == []
