"""Suspects: tasks that were there when workers went down."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from taskscheduler.domain.lease import SUSPECT_AFTER, Suspects
from taskscheduler.domain.status import Event, TaskStatus
from taskscheduler.domain.worker import Subscription
from taskscheduler.testing.contracts.steps import (
    LEASE,
    TICK,
    Contract,
    claim,
    end,
    join,
    outcome,
    put,
    status_of,
    subscribed,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from taskscheduler.application.store import Store
    from taskscheduler.domain.lease import Lease
    from taskscheduler.domain.values import TaskId, WorkerId
    from taskscheduler.testing.clock import ManualClock

UNSUSPECTED = Subscription(queues=subscribed().queues, kinds=subscribed().kinds, suspects=False)


async def crash(store: Store, clock: ManualClock, *, begun: int | None = None) -> Sequence[Lease]:
    """Let a worker claim all that is due, begin the first ``begun``, and fall silent."""
    worker_id = await join(store)
    leases = await claim(store, worker_id)
    for lease in leases[:begun]:
        assert await store.tasks.begin(lease)
    clock.advance(LEASE + TICK)
    await store.workers.declare_dead(worker_id, 0)
    return leases


async def make_suspect(store: Store, clock: ManualClock, number: int, crashes: int) -> set[TaskId]:
    """Store tasks and let workers go down with them."""
    ids = {await put(store) for _ in range(number)}
    for _ in range(crashes):
        assert {lease.task_id for lease in await crash(store, clock)} >= ids
    return ids


async def claim_suspects(
    store: Store, worker_id: WorkerId, excused: int = SUSPECT_AFTER, limit: int = 100
) -> Sequence[Lease]:
    """Claim suspects of the default queue."""
    return await store.tasks.claim_suspects(worker_id, UNSUSPECTED, excused, limit)


class SuspectsContract(Contract):
    """They are claimed when they are asked for, and by whoever does not care."""

    async def test_suspects_are_passed_over(self, store: Store, clock: ManualClock) -> None:
        """Whoever wants none finds what comes behind them, and is told when that is due."""
        ids = await make_suspect(store, clock, 3, SUSPECT_AFTER)
        assert await store.tasks.next_due(UNSUSPECTED) is None
        worker_id = await join(store)
        assert list(await store.tasks.claim(worker_id, UNSUSPECTED, 10)) == []
        other = await put(store, execute_at=clock.now() + timedelta(minutes=1))
        assert await store.tasks.next_due(UNSUSPECTED) == timedelta(minutes=1)
        clock.advance(minutes=1)
        (lease,) = await store.tasks.claim(worker_id, UNSUSPECTED, 10)
        assert lease.task_id == other
        assert {lease.task_id for lease in await claim(store, worker_id)} == ids

    async def test_those_of_one_crash_are_no_suspects(
        self, store: Store, clock: ManualClock
    ) -> None:
        """One crash is bad luck."""
        ids = await make_suspect(store, clock, 2, SUSPECT_AFTER - 1)
        assert await store.tasks.suspects(UNSUSPECTED) is None
        leases = await store.tasks.claim(await join(store), UNSUSPECTED, 10)
        assert {lease.task_id for lease in leases} == ids

    async def test_the_least_suspect_are_told_of(self, store: Store, clock: ManualClock) -> None:
        """With their number; not those of other kinds, of paused queues, or of later."""
        assert await store.tasks.suspects(UNSUSPECTED) is None
        await make_suspect(store, clock, 2, SUSPECT_AFTER)
        assert await store.tasks.suspects(UNSUSPECTED) == Suspects(SUSPECT_AFTER, 2)
        await crash(store, clock)
        assert await store.tasks.suspects(UNSUSPECTED) == Suspects(SUSPECT_AFTER + 1, 2)
        await store.queues.pause("default")
        assert await store.tasks.suspects(UNSUSPECTED) is None
        await store.queues.resume("default")
        others = Subscription(queues=UNSUSPECTED.queues, kinds=frozenset({"other"}))
        assert await store.tasks.suspects(others) is None
        for lease in await claim(store, await join(store)):
            await end(store, lease, Event.RETRY, delay=timedelta(minutes=1))
        assert await store.tasks.suspects(UNSUSPECTED) is None
        clock.advance(minutes=1)
        assert await store.tasks.suspects(UNSUSPECTED) == Suspects(SUSPECT_AFTER + 1, 2)

    async def test_suspects_are_claimed_by_how_suspect_they_are(
        self, store: Store, clock: ManualClock
    ) -> None:
        """Up to so many, each once, and by registered workers only."""
        ids = await make_suspect(store, clock, 3, SUSPECT_AFTER)
        worker_id = await join(store)
        assert list(await claim_suspects(store, worker_id, SUSPECT_AFTER + 1)) == []
        first = await claim_suspects(store, worker_id, limit=2)
        second = await claim_suspects(store, worker_id, limit=2)
        assert (len(first), len(second)) == (2, 1)
        leases = [*first, *second]
        assert {lease.task_id for lease in leases} == ids
        assert {(lease.excused, lease.attempt) for lease in leases} == {(2, 3)}
        assert len({lease.token for lease in leases}) == len(ids)
        assert set(await store.tasks.settle([outcome(lease) for lease in leases])) == set()
        await make_suspect(store, clock, 1, SUSPECT_AFTER)
        await store.workers.deregister(worker_id)
        assert list(await claim_suspects(store, worker_id)) == []

    async def test_of_several_the_one_that_had_begun_is_to_blame(
        self, store: Store, clock: ManualClock
    ) -> None:
        """It has used up an attempt; what had not begun is as if it had never been claimed."""
        ids = {await put(store, max_attempts=1) for _ in range(3)}
        await crash(store, clock)
        before = {task_id: await store.tasks.get(task_id) for task_id in ids}
        guilty, *others = await crash(store, clock, begun=1)
        assert await status_of(store, guilty.task_id) is TaskStatus.FAILED
        for lease in others:
            task = await store.tasks.get(lease.task_id)
            assert (task.attempt, task.excused) == (1, 1)
            assert task.status is before[task.id].status is TaskStatus.PENDING
            assert len(await store.board.attempts(task.id)) == 1

    async def test_where_nothing_had_begun_nothing_is_to_blame(
        self, store: Store, clock: ManualClock
    ) -> None:
        """However often it happens."""
        ids = await make_suspect(store, clock, 2, 1)
        for _ in range(3):
            await crash(store, clock, begun=0)
        for task_id in ids:
            task = await store.tasks.get(task_id)
            assert (task.status, task.attempt, task.excused) == (TaskStatus.PENDING, 1, 1)

    async def test_an_attempt_begins_under_its_own_lease(
        self, store: Store, clock: ManualClock
    ) -> None:
        """Twice is once; what an earlier lease had begun is over."""
        await make_suspect(store, clock, 2, 1)
        worker_id = await join(store)
        old = await claim(store, worker_id)
        for lease in old:
            assert await store.tasks.begin(lease)
            assert await store.tasks.begin(lease)
        assert await store.workers.deregister(worker_id) is None
        assert [await store.tasks.begin(lease) for lease in old] == [False, False]
        for lease in await crash(store, clock, begun=0):
            task = await store.tasks.get(lease.task_id)
            assert (task.attempt, task.excused) == (1, 1)

    async def test_a_worker_tells_of_its_abandoned_threads(self, store: Store) -> None:
        """With its beat."""
        worker_id = await join(store)
        told: list[int] = []
        for abandoned in (0, 3, 0):
            await store.workers.heartbeat(worker_id, abandoned=abandoned)
            told += [seen.abandoned for seen in await store.workers.registered()]
        assert told == [0, 3, 0]
