"""What ``WorkerRegistry`` promises."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from taskscheduler.domain.errors import WorkerLost
from taskscheduler.domain.lease import SUSPECT_AFTER
from taskscheduler.domain.retry import MAX_ATTEMPTS_DEFAULT
from taskscheduler.domain.status import Event, TaskStatus
from taskscheduler.domain.values import WorkerId
from taskscheduler.domain.worker import Cancellation, RegisteredWorker, WorkerProfile
from taskscheduler.testing.contracts.steps import (
    ERROR,
    LEASE,
    TICK,
    Contract,
    claim,
    end,
    join,
    lease_again,
    lease_one,
    new,
    outcome,
    put,
    status_of,
)

if TYPE_CHECKING:
    from taskscheduler.application.store import Store
    from taskscheduler.domain.lease import Lease
    from taskscheduler.testing.clock import ManualClock

STRANGER = WorkerId(987_654_321)


async def leased(store: Store, worker_id: WorkerId, count: int = 1) -> list[Lease]:
    """Store ``count`` tasks and lease them to the worker."""
    await store.tasks.put([new(store) for _ in range(count)])
    return [*await claim(store, worker_id)]


async def holder_of(store: Store, lease: Lease) -> WorkerId:
    """Return the worker that holds ``lease``."""
    worker_id = (await store.tasks.get(lease.task_id)).worker_id
    assert worker_id is not None
    return worker_id


class MembershipContract(Contract):
    """Workers join, beat and leave."""

    async def test_a_worker_is_seen_as_it_introduced_itself(
        self, store: Store, clock: ManualClock
    ) -> None:
        """From the moment it joined."""
        profile = WorkerProfile(
            name="Zoë's machine:42",
            queues=frozenset({"default", "letters"}),
            kinds={"mail": 3, "fax": 1},
            concurrency=7,
            lease=timedelta(seconds=12.5),
        )
        worker_id = await store.workers.register(profile)
        joined_at = clock.now()
        clock.advance(seconds=1)
        assert await store.workers.registered() == [
            RegisteredWorker(
                id=worker_id,
                name=profile.name,
                queues=profile.queues,
                kinds=frozenset(profile.kinds),
                concurrency=7,
                started_at=joined_at,
                seen_at=joined_at,
                lease=profile.lease,
                beats=0,
                expired=False,
            )
        ]

    async def test_every_worker_has_an_id_of_its_own(self, store: Store) -> None:
        """Ids are never given again."""
        first = await join(store)
        await store.workers.deregister(first)
        others = [await join(store) for _ in range(3)]
        assert len({first, *others}) == 4  # noqa: PLR2004
        assert {seen.id for seen in await store.workers.registered()} == set(others)

    async def test_joining_makes_its_kinds_known(self, store: Store) -> None:
        """At once."""
        await join(store, "mail", "fax")
        assert await store.kinds.known() == {"mail", "fax"}

    async def test_a_beat_extends_the_lease(self, store: Store, clock: ManualClock) -> None:
        """From the store's now; the count of beats rises."""
        worker_id = await join(store)
        for beats in (1, 2, 3):
            clock.advance(LEASE)
            assert list(await store.workers.heartbeat(worker_id)) == []
            (seen,) = await store.workers.registered()
            assert (seen.beats, seen.seen_at, seen.expired) == (beats, clock.now(), False)

    async def test_a_worker_is_expired_after_more_than_its_lease(
        self, store: Store, clock: ManualClock
    ) -> None:
        """A late beat mends it."""
        worker_id = await join(store)
        clock.advance(LEASE)
        assert [seen.expired for seen in await store.workers.registered()] == [False]
        clock.advance(TICK)
        assert [seen.expired for seen in await store.workers.registered()] == [True]
        await store.workers.heartbeat(worker_id)
        assert [seen.expired for seen in await store.workers.registered()] == [False]

    async def test_a_worker_that_is_not_registered_is_told(self, store: Store) -> None:
        """Whether it left or never was."""
        worker_id = await join(store)
        await store.workers.deregister(worker_id)
        for nobody in (worker_id, STRANGER):
            with pytest.raises(WorkerLost) as lost:
                await store.workers.heartbeat(nobody)
            assert lost.value.worker_id == nobody

    @pytest.mark.parametrize("verb", ["cancel", "delete"])
    async def test_a_beat_tells_of_leases_taken_away(self, store: Store, verb: str) -> None:
        """To the worker concerned, and to no other."""
        lease, other = await lease_one(store), await lease_one(store)
        concerned, bystander = await holder_of(store, lease), await holder_of(store, other)
        if verb == "cancel":
            await store.tasks.cancel(lease.task_id)
        else:
            await store.tasks.delete(lease.task_id, force=True)
        assert list(await store.workers.heartbeat(bystander)) == []
        taken = Cancellation(lease.task_id, lease.token)
        assert list(await store.workers.heartbeat(concerned)) == [taken]

    async def test_a_beat_does_not_tell_for_ever(self, store: Store, clock: ManualClock) -> None:
        """Nor of tasks that were not in progress."""
        worker_id = await join(store)
        await store.tasks.cancel(await put(store))
        assert list(await store.workers.heartbeat(worker_id)) == []
        (lease,) = await leased(store, worker_id)
        await store.tasks.cancel(lease.task_id)
        assert len(await store.workers.heartbeat(worker_id)) == 1
        clock.advance(LEASE + TICK)
        await store.workers.heartbeat(worker_id)
        assert list(await store.workers.heartbeat(worker_id)) == []

    async def test_who_leaves_gives_back_what_it_holds(
        self, store: Store, clock: ManualClock
    ) -> None:
        """Those attempts do not count."""
        lease = await lease_one(store, max_attempts=1)
        before = await store.tasks.get(lease.task_id)
        other = await lease_one(store)
        clock.advance(seconds=3)
        await store.workers.deregister(await holder_of(store, lease))
        assert await store.tasks.get(lease.task_id) == before.release(now=clock.now())
        assert list(await store.board.attempts(lease.task_id)) == []
        assert set(await store.tasks.settle([outcome(lease)])) == {lease.task_id}
        assert (await lease_again(store, await join(store))).attempt == 1
        await end(store, other)

    async def test_leaving_twice_is_leaving_once(self, store: Store) -> None:
        """And nobody may leave."""
        worker_id = await join(store)
        for nobody in (worker_id, worker_id, STRANGER):
            await store.workers.deregister(nobody)
        assert list(await store.workers.registered()) == []


class BurialContract(Contract):
    """Tasks of silent workers run again; those of live ones are left alone."""

    async def test_a_silent_workers_tasks_are_rescued(
        self, store: Store, clock: ManualClock
    ) -> None:
        """They are due at once; any of them may be to blame, so all are excused."""
        worker_id = await join(store)
        leases = await leased(store, worker_id, 3)
        before = {lease.task_id: await store.tasks.get(lease.task_id) for lease in leases}
        clock.advance(LEASE + TICK)
        assert set(await store.workers.declare_dead(worker_id, 0)) == before.keys()
        for task_id, task in before.items():
            rescued = task.rescue(now=clock.now(), max_attempts=3, alone=False)
            assert rescued.status is TaskStatus.PENDING
            assert await store.tasks.get(task_id) == rescued
            (attempt,) = await store.board.attempts(task_id)
            assert (attempt.outcome, attempt.worker_id) == (Event.RESCUE, worker_id)
            assert attempt.error is not None
            assert attempt.error.type == "WorkerLost"
        assert list(await store.workers.registered()) == []
        with pytest.raises(WorkerLost):
            await store.workers.heartbeat(worker_id)
        again = await claim(store, await join(store))
        assert {(lease.task_id, lease.attempt) for lease in again} == {(i, 2) for i in before}
        assert {lease.excused for lease in again} == {1}

    async def test_crashes_in_company_use_up_no_attempts(
        self, store: Store, clock: ManualClock
    ) -> None:
        """Although they are more than the task has; after two of them it is a suspect."""
        ids = {await put(store, max_attempts=1) for _ in range(2)}
        for crash in range(4):
            worker_id = await join(store)
            leases = await claim(store, worker_id)
            assert {lease.task_id for lease in leases} == ids
            assert [lease.is_suspect for lease in leases] == [crash >= SUSPECT_AFTER] * 2
            assert [await store.tasks.begin(lease) for lease in leases] == [True] * 2
            clock.advance(LEASE + TICK)
            await store.workers.declare_dead(worker_id, 0)
        worker_id = await join(store)
        (alone,) = await claim(store, worker_id, limit=1)
        assert await store.tasks.begin(alone)
        clock.advance(LEASE + TICK)
        await store.workers.declare_dead(worker_id, 0)
        assert (await store.tasks.get(alone.task_id)).status is TaskStatus.FAILED
        (other,) = ids - {alone.task_id}
        assert (await store.tasks.get(other)).status is TaskStatus.PENDING
        revived = await store.tasks.retry(alone.task_id)
        assert (revived.max_attempts, revived.excused) == (2, 4)

    async def test_an_excused_attempt_brings_the_end_no_nearer(
        self, store: Store, clock: ManualClock
    ) -> None:
        """After a crash in company a task has as many attempts left as before it."""
        task_id, other_id = await put(store, max_attempts=2), await put(store)
        statuses: list[TaskStatus] = []
        for alone in (False, True, True):
            worker_id = await join(store)
            for lease in await claim(store, worker_id):
                if alone and lease.task_id == other_id:
                    await end(store, lease)
                else:
                    assert await store.tasks.begin(lease)
            clock.advance(LEASE + TICK)
            await store.workers.declare_dead(worker_id, 0)
            statuses.append(await status_of(store, task_id))
        assert statuses == [TaskStatus.PENDING, TaskStatus.PENDING, TaskStatus.FAILED]

    async def test_a_living_worker_is_not_buried(self, store: Store, clock: ManualClock) -> None:
        """Exactly a lease ago is not yet too long ago."""
        lease = await lease_one(store)
        worker_id = await holder_of(store, lease)
        for _ in range(3):
            assert list(await store.workers.declare_dead(worker_id, 0)) == []
            clock.advance(LEASE / 2)
        clock.jump(-LEASE / 2)
        assert [seen.expired for seen in await store.workers.registered()] == [False]
        assert list(await store.workers.declare_dead(worker_id, 0)) == []
        await end(store, lease)

    async def test_a_worker_that_has_beaten_since_is_not_buried(
        self, store: Store, clock: ManualClock
    ) -> None:
        """Although it is expired again."""
        lease = await lease_one(store)
        worker_id = await holder_of(store, lease)
        await store.workers.heartbeat(worker_id)
        clock.advance(LEASE + TICK)
        assert list(await store.workers.declare_dead(worker_id, 0)) == []
        await end(store, lease)
        assert list(await store.workers.declare_dead(worker_id, 1)) == []
        assert list(await store.workers.registered()) == []

    async def test_nobody_is_buried(self, store: Store) -> None:
        """Nor is one buried twice."""
        assert list(await store.workers.declare_dead(STRANGER, 0)) == []

    @pytest.mark.parametrize(
        ("own", "granted", "last"), [(1, 3, True), (2, 1, False), (None, 1, True), (None, 2, False)]
    )
    async def test_the_last_attempt_is_final(
        self, store: Store, clock: ManualClock, own: int | None, granted: int, *, last: bool
    ) -> None:
        """The task's own number holds before the kind's; the error says what happened."""
        worker_id = await join(store, attempts=granted)
        task_id = await put(store, max_attempts=own)
        await lease_again(store, worker_id)
        before = await store.tasks.get(task_id)
        clock.advance(LEASE + TICK)
        assert set(await store.workers.declare_dead(worker_id, 0)) == {task_id}
        after = before.rescue(now=clock.now(), max_attempts=granted)
        assert after.status is (TaskStatus.FAILED if last else TaskStatus.PENDING)
        assert await store.tasks.get(task_id) == after
        (attempt,) = await store.board.attempts(task_id)
        assert attempt.outcome is (Event.FAIL if last else Event.RESCUE)
        assert attempt.error is not None
        assert attempt.error.type == "WorkerLost"

    async def test_a_kind_that_nobody_registered_grants_the_default(
        self, store: Store, clock: ManualClock
    ) -> None:
        """A worker may claim kinds that it did not introduce itself with."""
        worker_id = await join(store, "fax")
        task_id = await put(store)
        for _ in range(MAX_ATTEMPTS_DEFAULT - 1):
            await end(store, await lease_again(store, worker_id), Event.RETRY, error=ERROR)
        await lease_again(store, worker_id)
        clock.advance(LEASE + TICK)
        await store.workers.declare_dead(worker_id, 0)
        assert await status_of(store, task_id) is TaskStatus.FAILED

    async def test_others_are_left_alone(self, store: Store, clock: ManualClock) -> None:
        """Other workers' tasks, and those that had ended or waited."""
        worker_id = await join(store)
        ended, given_back = await leased(store, worker_id, 2)
        await end(store, ended)
        await end(store, given_back, Event.SNOOZE, delay=timedelta(days=1))
        clock.advance(LEASE + TICK)
        lease = await lease_one(store)
        assert list(await store.workers.declare_dead(worker_id, 0)) == []
        assert list(await store.workers.registered()) != []
        assert await status_of(store, ended.task_id) is TaskStatus.COMPLETED
        await end(store, lease)

    async def test_of_many_who_bury_one_rescues(self, store: Store, clock: ManualClock) -> None:
        """Each task is rescued once."""
        worker_id = await join(store)
        leases = await leased(store, worker_id, 10)
        clock.advance(LEASE + TICK)
        buried = await asyncio.gather(*(store.workers.declare_dead(worker_id, 0) for _ in range(4)))
        rescued = [task_id for each in buried for task_id in each]
        assert sorted(rescued) == sorted(lease.task_id for lease in leases)

    @pytest.mark.parametrize("verb", ["declare_dead", "deregister"])
    async def test_a_claim_under_way_leaves_no_stray(
        self, store: Store, clock: ManualClock, verb: str
    ) -> None:
        """No task stays leased to a worker that was struck out; a burial waits for no claim."""
        for _ in range(5):
            worker_id = await join(store)
            clock.advance(LEASE + TICK)
            tasks = [new(store) for _ in range(5)]
            await store.tasks.put(tasks)
            gone = (
                store.workers.declare_dead(worker_id, 0)
                if verb == "declare_dead"
                else store.workers.deregister(worker_id)
            )
            await asyncio.gather(claim(store, worker_id), gone)
            # What the claim committed after the burial is found by the next one, as a watcher's is.
            await store.workers.declare_dead(worker_id, 0)
            assert worker_id not in {seen.id for seen in await store.workers.registered()}
            statuses = {await status_of(store, task.id) for task in tasks}
            assert statuses == {TaskStatus.PENDING}
            for task in tasks:
                await store.tasks.delete(task.id)
