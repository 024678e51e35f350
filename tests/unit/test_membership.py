"""A worker that cannot renew its lease stops before others take its tasks."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from taskscheduler.application.worker.registration import Registration
from taskscheduler.domain.errors import StoreUnavailable
from taskscheduler.domain.worker import Cancellation, WorkerProfile
from taskscheduler.testing.contracts.steps import TICK, claim, put
from tests.support.faults import AWAY, Faulty

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
        self.registration = Registration(
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
        self.workers.refuse("heartbeat")
        with pytest.raises(StoreUnavailable):
            await self.registration.heartbeat()


@pytest.fixture
def bench(scheduler_in_memory: Scheduler, manual_clock: ManualClock) -> Bench:
    return Bench(scheduler_in_memory.store, manual_clock)


async def test_it_joins_once(bench: Bench) -> None:
    assert bench.registration.worker_id is None
    worker_id = await bench.registration.register()
    assert await bench.registration.register() == worker_id == bench.registration.worker_id
    await bench.registration.heartbeat()
    (seen,) = await bench.store.workers.registered()
    assert (seen.id, seen.beats) == (worker_id, 1)


async def test_it_beats_three_times_before_it_would_fence_itself(bench: Bench) -> None:
    assert bench.registration.interval_s * 3 == pytest.approx(LEASE.total_seconds() * 2 / 3)


async def test_it_fences_itself_after_two_thirds_of_its_lease(bench: Bench) -> None:
    await bench.registration.register()
    bench.clock.advance(LEASE * 2 / 3)
    await bench.fail_to_beat()
    assert (bench.registration.is_fenced, bench.fenced) == (False, 0)
    bench.clock.advance(TICK)
    await bench.fail_to_beat()
    assert (bench.registration.is_fenced, bench.fenced) == (True, 1)
    # The store gives its tasks to others only later.
    assert [seen.expired for seen in await bench.store.workers.registered()] == [False]
    await bench.fail_to_beat()
    assert bench.fenced == 1
    await bench.registration.heartbeat()
    assert not bench.registration.is_fenced


async def test_a_beat_whose_answer_is_lost_does_not_count(bench: Bench) -> None:
    await bench.registration.register()
    bench.clock.advance(LEASE / 2)
    bench.workers.lose_answer("heartbeat", AWAY)
    with pytest.raises(StoreUnavailable):
        await bench.registration.heartbeat()
    bench.clock.advance(LEASE / 2)
    bench.registration.check()
    assert bench.registration.is_fenced


async def test_the_lease_counts_from_before_the_call(bench: Bench) -> None:
    await bench.registration.register()
    heartbeat = bench.store.workers.heartbeat

    async def slow(worker_id: int, **how: int) -> object:
        answer = await heartbeat(worker_id, **how)  # pyright: ignore[reportArgumentType]
        bench.clock.advance(LEASE * 2 / 3)
        return answer

    bench.workers.do_instead("heartbeat", slow)
    await bench.registration.heartbeat()
    bench.registration.check()
    assert not bench.registration.is_fenced
    bench.clock.advance(TICK)
    bench.registration.check()
    assert bench.registration.is_fenced


async def test_the_stores_clock_does_not_fence(bench: Bench) -> None:
    await bench.registration.register()
    for hours in (1, -2):
        bench.clock.jump(hours=hours)
        bench.registration.check()
    assert not bench.registration.is_fenced


async def test_a_worker_that_was_struck_out_joins_anew(bench: Bench) -> None:
    before = await bench.registration.register()
    bench.clock.advance(LEASE + TICK)
    await bench.store.workers.declare_dead(before, 0)
    await bench.registration.heartbeat()
    assert bench.fenced == 1
    assert not bench.registration.is_fenced
    assert bench.registration.worker_id not in {None, before}


async def test_it_hands_on_what_was_taken_away(bench: Bench) -> None:
    worker_id = await bench.registration.register()
    await put(bench.store)
    (lease,) = await claim(bench.store, worker_id)
    await bench.store.tasks.cancel(lease.task_id)
    await bench.registration.heartbeat()
    assert bench.cancelled == [Cancellation(lease.task_id, lease.token)]


async def test_who_never_joined_is_not_fenced_and_need_not_leave(bench: Bench) -> None:
    bench.clock.advance(LEASE * 5)
    bench.registration.check()
    await bench.registration.deregister()
    assert (bench.fenced, bench.workers.calls["deregister"]) == (0, 0)


async def test_leaving_is_leaving(bench: Bench) -> None:
    await bench.registration.register()
    await bench.registration.deregister()
    assert bench.registration.worker_id is None
    assert list(await bench.store.workers.registered()) == []
