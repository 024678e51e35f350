"""What ``TaskRepository.claim``, ``next_due`` and ``reconcile`` promise."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from taskscheduler.domain.lease import Lease
from taskscheduler.domain.status import Event, TaskStatus
from taskscheduler.domain.values import WorkerId
from taskscheduler.testing.contracts.steps import (
    TICK,
    Contract,
    bring,
    claim,
    end,
    join,
    lease_again,
    lease_one,
    new,
    outcome,
    put,
    status_of,
    subscribed,
)

if TYPE_CHECKING:
    from taskscheduler.application.store import Store
    from taskscheduler.testing.clock import ManualClock

STRANGER = WorkerId(987_654_321)
HOUR = timedelta(hours=1)


class ClaimingContract(Contract):
    """Tasks are leased when they are due, to one worker at a time, the most urgent first."""

    async def test_a_lease_says_when_the_tasks_time_was_up(
        self, store: Store, clock: ManualClock
    ) -> None:
        """At ``expires_at`` itself it is."""
        for seconds, expired in ((1, True), (2, False)):
            until = clock.now() + timedelta(seconds=seconds)
            task_id = await put(store, expires_at=until)
            assert (await store.tasks.get(task_id)).expires_at == until
            clock.advance(seconds=1)
            (lease,) = await claim(store, await join(store))
            assert (lease.task_id, lease.expired) == (task_id, expired)

    async def test_a_lease_carries_what_a_handler_needs(
        self, store: Store, clock: ManualClock
    ) -> None:
        """And the task is in progress from then on."""
        worker_id = await join(store)
        asked = new(
            store,
            payload_json=b"[1]",
            queue="letters",
            priority=2,
            max_attempts=7,
            timeout=timedelta(seconds=9),
            execute_at=clock.now() + HOUR,
        )
        await store.tasks.put([asked])
        before = await store.tasks.get(asked.id)
        clock.advance(HOUR * 2)
        wanted = subscribed(queues=["letters"])
        (lease,) = await store.tasks.claim(worker_id, wanted, 5)
        assert lease == Lease(
            task_id=asked.id,
            token=lease.token,
            kind="mail",
            queue="letters",
            priority=2,
            attempt=1,
            max_attempts=7,
            process_at=before.process_at,
            timeout=timedelta(seconds=9),
            payload_json=b"[1]",
        )
        expected = before.claim(worker_id=worker_id, token=lease.token, now=clock.now())
        assert await store.tasks.get(asked.id) == expected

    async def test_never_before_its_time(self, store: Store, clock: ManualClock) -> None:
        """On the store's clock, to the microsecond."""
        worker_id = await join(store)
        task_id = await put(store, execute_at=clock.now() + HOUR)
        clock.advance(HOUR - TICK)
        assert list(await claim(store, worker_id)) == []
        due = await put(store)
        assert [lease.task_id for lease in await claim(store, worker_id)] == [due]
        clock.advance(TICK)
        assert [lease.task_id for lease in await claim(store, worker_id)] == [task_id]

    async def test_not_before_its_time_when_the_clock_was_set_back(
        self, store: Store, clock: ManualClock
    ) -> None:
        """The store's clock alone decides, wherever it goes."""
        worker_id = await join(store)
        await put(store)
        clock.jump(hours=-1)
        assert list(await claim(store, worker_id)) == []
        clock.jump(hours=1)
        assert len(await claim(store, worker_id)) == 1

    async def test_only_kinds_and_queues_subscribed_to(self, store: Store) -> None:
        """Both must fit."""
        worker_id = await join(store, "mail", "fax")
        wanted = {
            await put(store, kind, queue=queue)
            for kind in ("mail", "fax")
            for queue in ("default", "letters")
        }
        for kind, queue in (("mail", "parcels"), ("pigeon", "default"), ("Mail", "default")):
            await put(store, kind, queue=queue)
        subscription = subscribed("mail", "fax", queues=["default", "letters"])
        leases = await store.tasks.claim(worker_id, subscription, 100)
        assert {lease.task_id for lease in leases} == wanted

    async def test_a_subscription_to_nothing_claims_nothing(self, store: Store) -> None:
        """Neither to kinds never seen nor to none at all."""
        worker_id = await join(store)
        await put(store)
        for subscription in (subscribed("pigeon"), subscribed(queues=[])):
            assert list(await store.tasks.claim(worker_id, subscription, 10)) == []

    async def test_a_worker_that_is_not_registered_claims_nothing(self, store: Store) -> None:
        """Neither one never seen nor one that has left."""
        worker_id = await join(store)
        task_id = await put(store)
        await store.workers.deregister(worker_id)
        for nobody in (STRANGER, worker_id):
            assert list(await claim(store, nobody)) == []
        assert await status_of(store, task_id) is TaskStatus.PENDING

    async def test_no_more_than_the_limit(self, store: Store) -> None:
        """What is over stays for others."""
        worker_id = await join(store)
        await store.tasks.put([new(store) for _ in range(5)])
        counts = [len(await claim(store, worker_id, limit=limit)) for limit in (0, 2, 2, 2, 2)]
        assert counts == [0, 2, 2, 1, 0]

    @pytest.mark.parametrize("status", sorted(set(TaskStatus) - {TaskStatus.PENDING}))
    async def test_only_pending_tasks(
        self, store: Store, clock: ManualClock, status: TaskStatus
    ) -> None:
        """However long ago the others were due."""
        await bring(store, status)
        worker_id = await join(store)
        clock.advance(days=30)
        assert list(await claim(store, worker_id)) == []
        due = await put(store)
        assert [lease.task_id for lease in await claim(store, worker_id)] == [due]

    async def test_more_urgent_priorities_first(self, store: Store, clock: ManualClock) -> None:
        """Across kinds and queues, and however long the others have been due."""
        worker_id = await join(store, "mail", "fax")
        urgent_last = [9, 5, 7, 0, 3, 5, 0, 9]
        for number, priority in enumerate(urgent_last):
            kind, queue = ("mail", "fax")[number % 2], ("default", "letters")[number // 4]
            await put(store, kind, queue=queue, priority=priority)
            clock.advance(seconds=1)
        wanted = subscribed("mail", "fax", queues=["default", "letters"])
        together = await store.tasks.claim(worker_id, wanted, 3)
        assert len(together) == 3  # noqa: PLR2004
        one_by_one = [
            lease for _ in urgent_last for lease in await store.tasks.claim(worker_id, wanted, 1)
        ]
        found = [lease.priority for lease in (*together, *one_by_one)]
        assert found == sorted(urgent_last)

    async def test_the_earliest_first(self, store: Store, clock: ManualClock) -> None:
        """Within one kind, queue and priority, by the time from which each may run."""
        worker_id = await join(store)
        minutes = [5, 1, 4, 2, 3, 0]
        tasks = [new(store, execute_at=clock.now() + timedelta(minutes=each)) for each in minutes]
        await store.tasks.put(tasks)
        clock.advance(HOUR)
        leases = [*await claim(store, worker_id, limit=3)]
        leases += [lease for _ in range(3) for lease in await claim(store, worker_id, limit=1)]
        expected = sorted(tasks, key=lambda task: str(task.execute_at))
        assert [lease.task_id for lease in leases] == [task.id for task in expected]

    async def test_a_task_put_behind_the_last_claim_is_found(
        self, store: Store, clock: ManualClock
    ) -> None:
        """Tasks become due in any order, also before those that were claimed already."""
        worker_id = await join(store)
        await put(store, execute_at=clock.now() + HOUR)
        clock.advance(HOUR)
        await lease_again(store, worker_id)
        clock.jump(-HOUR / 2)
        task_id = await put(store)
        assert (await lease_again(store, worker_id)).task_id == task_id

    async def test_no_task_is_leased_twice(self, store: Store) -> None:
        """Many claims at once share what there is, until nothing is left."""
        workers = [await join(store) for _ in range(4)]
        tasks = [new(store, priority=number % 3) for number in range(60)]
        await store.tasks.put(tasks)
        leases: list[Lease] = []
        while len(leases) < len(tasks):
            claims = [claim(store, worker_id, limit=4) for worker_id in workers * 2]
            found = [lease for each in await asyncio.gather(*claims) for lease in each]
            assert found, f"{len(leases)} of {len(tasks)} tasks were found"
            leases += found
        assert sorted(lease.task_id for lease in leases) == sorted(task.id for task in tasks)
        assert len({lease.token for lease in leases}) == len(leases)

    async def test_every_lease_has_a_larger_token(self, store: Store) -> None:
        """Larger than that of any earlier lease of the task."""
        lease = await lease_one(store)
        worker_id = await join(store)
        tokens = [lease.token]
        for event in (Event.RELEASE, Event.SNOOZE, Event.RETRY):
            await end(store, lease, event)
            lease = await lease_again(store, worker_id)
            tokens.append(lease.token)
        assert tokens == sorted(set(tokens))

    async def test_attempts_are_counted(self, store: Store) -> None:
        """Those that count."""
        lease = await lease_one(store)
        worker_id = await join(store)
        attempts: list[int] = []
        for event in (Event.RELEASE, Event.RETRY, Event.SNOOZE, Event.RETRY, Event.COMPLETE):
            attempts.append(lease.attempt)
            await end(store, lease, event)
            if event is not Event.COMPLETE:
                lease = await lease_again(store, worker_id)
        assert attempts == [1, 1, 2, 2, 3]

    # -- next_due --------------------------------------------------------------------------------

    async def test_nothing_is_due_where_nothing_is_pending(self, store: Store) -> None:
        """Tasks in progress, ended, or of others do not count."""
        assert await store.tasks.next_due(subscribed()) is None
        for status in sorted(set(TaskStatus) - {TaskStatus.PENDING}):
            await bring(store, status)
        await put(store, "pigeon")
        await put(store, queue="letters")
        assert await store.tasks.next_due(subscribed()) is None

    async def test_how_long_until_the_next_is_due(self, store: Store, clock: ManualClock) -> None:
        """The earliest of all priorities, kinds and queues subscribed to."""
        now = clock.now()
        await put(store, execute_at=now + HOUR * 3, priority=0)
        await put(store, execute_at=now + HOUR * 2, priority=9)
        await put(store, "fax", execute_at=now + HOUR)
        assert await store.tasks.next_due(subscribed()) == HOUR * 2
        assert await store.tasks.next_due(subscribed("mail", "fax")) == HOUR
        clock.advance(HOUR * 2)
        assert await store.tasks.next_due(subscribed()) == timedelta(0)
        clock.advance(seconds=1)
        assert await store.tasks.next_due(subscribed()) == -timedelta(seconds=1)

    async def test_the_next_is_due_after_the_last_was_claimed(
        self, store: Store, clock: ManualClock
    ) -> None:
        """What was claimed is not due any more."""
        worker_id = await join(store)
        for hours in (1, 2):
            await put(store, execute_at=clock.now() + HOUR * hours)
        clock.advance(HOUR)
        await lease_again(store, worker_id)
        assert await store.tasks.next_due(subscribed()) == HOUR

    # -- reconcile -------------------------------------------------------------------------------

    async def test_leases_that_nobody_knows_of_are_given_back(
        self, store: Store, clock: ManualClock
    ) -> None:
        """They are due at once, and do not count."""
        worker_id = await join(store)
        task_ids = [await put(store) for _ in range(3)]
        leases = {lease.task_id: lease for lease in await claim(store, worker_id)}
        before = await store.tasks.get(task_ids[0])
        clock.advance(seconds=5)
        known = leases[task_ids[1]]
        assert await store.tasks.reconcile(worker_id, [known.token, 0]) == 2  # noqa: PLR2004
        assert await store.tasks.get(task_ids[0]) == before.release(now=clock.now())
        assert list(await store.board.attempts(task_ids[0])) == []
        lost = [outcome(leases[task_ids[0]]), outcome(leases[task_ids[2]]), outcome(known)]
        assert set(await store.tasks.settle(lost)) == {task_ids[0], task_ids[2]}
        again = await claim(store, worker_id)
        assert {(lease.task_id, lease.attempt) for lease in again} == {
            (task_ids[0], 1),
            (task_ids[2], 1),
        }

    async def test_reconciling_leaves_others_alone(self, store: Store) -> None:
        """Other workers' leases, and those of nobody."""
        lease = await lease_one(store)
        worker_id = await join(store)
        for nobody in (worker_id, STRANGER):
            assert await store.tasks.reconcile(nobody, []) == 0
        await end(store, lease)

    async def test_a_worker_with_nothing_to_reconcile_claims_on(self, store: Store) -> None:
        """However often it asks."""
        worker_id = await join(store)
        for _ in range(3):
            assert await store.tasks.reconcile(worker_id, [1, 2, 3]) == 0
        await put(store)
        assert len(await claim(store, worker_id)) == 1

    async def test_claiming_while_reconciling_leaves_no_stray(self, store: Store) -> None:
        """What the claim returns is leased, and nothing else is."""
        worker_id = await join(store)
        tasks = [new(store) for _ in range(10)]
        await store.tasks.put(tasks)
        leases, _ = await asyncio.gather(
            claim(store, worker_id, limit=5), store.tasks.reconcile(worker_id, [])
        )
        lost = await store.tasks.settle([outcome(lease) for lease in leases])
        # The two may have come in either order; a lease given back in between is lost, whole.
        assert len(lost) in {0, len(leases)}
        statuses = [await status_of(store, task.id) for task in tasks]
        assert TaskStatus.IN_PROGRESS not in statuses
