"""What ``TaskRepository.settle``, ``outcomes_of`` and ``completing`` promise."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from taskscheduler.domain.errors import IllegalTransition, LeaseLost
from taskscheduler.domain.lease import SETTLING
from taskscheduler.domain.status import Event, TaskStatus
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
    status_of,
)

if TYPE_CHECKING:
    from taskscheduler.application.store import Store
    from taskscheduler.domain.lease import Lease
    from taskscheduler.domain.task import Task
    from taskscheduler.testing.clock import ManualClock

EVENTS = sorted(SETTLING)
RECORDED = [Event.CANCEL, Event.COMPLETE, Event.EXPIRE, Event.FAIL, Event.RETRY]
"""Events of which there is a record: those that end an attempt which counts, or the task."""
DELAY = timedelta(minutes=5)


class Interrupted(Exception):
    """What a handler may raise."""


def after(task: Task, event: Event, clock: ManualClock) -> Task:  # noqa: PLR0911 - one each
    """Return what the domain makes of ``task``."""
    now = clock.now()
    match event:
        case Event.COMPLETE:
            return task.complete(now=now)
        case Event.EXPIRE:
            return task.expire(now=now)
        case Event.FAIL:
            return task.fail(now=now)
        case Event.CANCEL:
            return task.cancel(now=now)
        case Event.RELEASE:
            return task.release(now=now)
        case Event.RETRY:
            return task.retry(now=now, delay=DELAY)
        case _:
            return task.snooze(now=now, delay=DELAY)


def delay_of(event: Event) -> timedelta:
    """Return the delay that goes with ``event``."""
    return DELAY if event in {Event.RETRY, Event.SNOOZE} else timedelta(0)


class SettlingContract(Contract):
    """A lease is ended once, by its holder, and never by anybody else."""

    @pytest.mark.parametrize("event", EVENTS)
    async def test_a_lease_is_ended(self, store: Store, clock: ManualClock, event: Event) -> None:
        """The task becomes what the domain says."""
        lease = await lease_one(store)
        before = await store.tasks.get(lease.task_id)
        clock.advance(seconds=3)
        await end(store, lease, event, delay=delay_of(event), error=ERROR)
        assert await store.tasks.get(lease.task_id) == after(before, event, clock)

    @pytest.mark.parametrize("event", [Event.RETRY, Event.SNOOZE])
    async def test_a_delay_counts_from_the_stores_now(
        self, store: Store, clock: ManualClock, event: Event
    ) -> None:
        """The task is not claimed before."""
        lease = await lease_one(store)
        worker_id = await join(store)
        clock.advance(seconds=3)
        await end(store, lease, event, delay=DELAY)
        clock.advance(DELAY - TICK)
        assert list(await claim(store, worker_id)) == []
        clock.advance(TICK)
        assert (await lease_again(store, worker_id)).task_id == lease.task_id

    async def test_many_leases_are_ended_at_once(self, store: Store, clock: ManualClock) -> None:
        """Each by its own event."""
        worker_id = await join(store)
        await store.tasks.put([new(store) for _ in range(4 * len(EVENTS))])
        leases = await claim(store, worker_id)
        events = EVENTS * 4
        before = [await store.tasks.get(lease.task_id) for lease in leases]
        settlements = [
            outcome(lease, event, delay=delay_of(event), error=ERROR)
            for lease, event in zip(leases, events, strict=True)
        ]
        assert list(await store.tasks.settle(settlements)) == []
        for task, event in zip(before, events, strict=True):
            assert await store.tasks.get(task.id) == after(task, event, clock)

    async def test_nothing_to_settle_is_settled(self, store: Store) -> None:
        """An empty batch is no error."""
        assert list(await store.tasks.settle([])) == []
        assert list(await store.tasks.outcomes_of([])) == []

    async def test_one_that_does_not_hold_leaves_the_others_alone(self, store: Store) -> None:
        """Only its id comes back."""
        lost, held = await lease_one(store), await lease_one(store)
        await store.tasks.cancel(lost.task_id)
        not_held = await store.tasks.settle([outcome(lost), outcome(held)])
        assert set(not_held) == {lost.task_id}
        assert await status_of(store, held.task_id) is TaskStatus.COMPLETED

    @pytest.mark.parametrize("event", EVENTS)
    async def test_settling_again_changes_nothing(
        self, store: Store, clock: ManualClock, event: Event
    ) -> None:
        """The lease is said not to hold."""
        lease = await lease_one(store)
        await end(store, lease, event)
        before = await store.tasks.get(lease.task_id)
        clock.advance(seconds=3)
        for second in EVENTS:
            assert set(await store.tasks.settle([outcome(lease, second)])) == {lease.task_id}
        assert await store.tasks.get(lease.task_id) == before

    async def test_a_completed_task_is_not_run_again(self, store: Store) -> None:
        """Not by any settlement that comes late."""
        lease = await lease_one(store)
        worker_id = await join(store)
        await end(store, lease)
        for event in (Event.RETRY, Event.SNOOZE, Event.RELEASE):
            await store.tasks.settle([outcome(lease, event)])
        assert list(await claim(store, worker_id)) == []

    @pytest.mark.parametrize("event", EVENTS)
    async def test_a_stale_worker_changes_nothing(
        self, store: Store, clock: ManualClock, event: Event
    ) -> None:
        """Its task was rescued, and is another's now."""
        stale, fresh = await self.rescued_and_claimed_again(store, clock)
        before = await store.tasks.get(fresh.task_id)
        not_held = await store.tasks.settle([outcome(stale, event, error=ERROR)])
        assert set(not_held) == {stale.task_id}
        assert await store.tasks.get(fresh.task_id) == before
        await end(store, fresh)
        assert set(await store.tasks.settle([outcome(stale, event)])) == {stale.task_id}
        assert await status_of(store, fresh.task_id) is TaskStatus.COMPLETED

    @pytest.mark.parametrize("event", EVENTS)
    async def test_a_stale_worker_changes_nothing_while_the_task_waits(
        self, store: Store, clock: ManualClock, event: Event
    ) -> None:
        """Its task was rescued, and nobody's yet."""
        stale = await lease_one(store)
        await self.bury_all(store, clock)
        before = await store.tasks.get(stale.task_id)
        assert set(await store.tasks.settle([outcome(stale, event)])) == {stale.task_id}
        assert await store.tasks.get(stale.task_id) == before

    async def test_a_token_opens_its_own_task_only(self, store: Store) -> None:
        """Nor does it open one that is not there."""
        one, two = await lease_one(store), await lease_one(store)
        crossed = [
            outcome(one._replace(token=two.token)),
            outcome(two._replace(token=one.token)),
            outcome(one._replace(task_id=store.new_task_id())),
        ]
        assert set(await store.tasks.settle(crossed)) == {each.task_id for each in crossed}
        for lease in (one, two):
            assert await status_of(store, lease.task_id) is TaskStatus.IN_PROGRESS

    # -- outcomes_of -----------------------------------------------------------------------------

    @pytest.mark.parametrize("event", RECORDED)
    async def test_what_was_settled_is_on_record(self, store: Store, event: Event) -> None:
        """Also when the lease does not hold any more."""
        lease = await lease_one(store)
        made = outcome(lease, event, error=ERROR)
        assert set(await store.tasks.outcomes_of([made])) == set()
        await store.tasks.settle([made])
        assert set(await store.tasks.settle([made])) == {lease.task_id}
        assert set(await store.tasks.outcomes_of([made])) == {lease.task_id}

    @pytest.mark.parametrize("made", RECORDED)
    @pytest.mark.parametrize("asked", RECORDED)
    async def test_another_outcome_is_not_on_record(
        self, store: Store, made: Event, asked: Event
    ) -> None:
        """That the lease was ended does not say by what."""
        lease = await lease_one(store)
        await end(store, lease, made, error=ERROR)
        expected = {lease.task_id} if made is asked else set[object]()
        assert set(await store.tasks.outcomes_of([outcome(lease, asked)])) == expected

    async def test_what_others_did_is_not_on_record_as_made(
        self, store: Store, clock: ManualClock
    ) -> None:
        """A task that was cancelled, or rescued, was not completed."""
        cancelled, rescued = await lease_one(store), await lease_one(store)
        await store.tasks.cancel(cancelled.task_id)
        await self.bury_all(store, clock)
        asked = [outcome(cancelled), outcome(rescued), outcome(rescued, Event.FAIL)]
        assert set(await store.tasks.settle(asked)) == {cancelled.task_id, rescued.task_id}
        assert set(await store.tasks.outcomes_of(asked)) == set()

    async def test_the_record_is_by_lease(self, store: Store, clock: ManualClock) -> None:
        """Another worker's completion of the same task is not this worker's."""
        stale, fresh = await self.rescued_and_claimed_again(store, clock)
        await end(store, fresh)
        assert set(await store.tasks.outcomes_of([outcome(stale)])) == set()
        assert set(await store.tasks.outcomes_of([outcome(fresh)])) == {fresh.task_id}

    # -- completing ------------------------------------------------------------------------------

    async def test_completing_completes_at_the_end(self, store: Store, clock: ManualClock) -> None:
        """Not before."""
        lease = await lease_one(store)
        before = await store.tasks.get(lease.task_id)
        async with store.tasks.completing(lease):
            assert await store.tasks.get(lease.task_id) == before
        assert await store.tasks.get(lease.task_id) == before.complete(now=clock.now())
        assert set(await store.tasks.settle([outcome(lease)])) == {lease.task_id}
        assert set(await store.tasks.outcomes_of([outcome(lease)])) == {lease.task_id}

    async def test_completing_does_not_complete_what_was_raised_in(self, store: Store) -> None:
        """The lease holds on."""
        lease = await lease_one(store)
        before = await store.tasks.get(lease.task_id)
        with pytest.raises(Interrupted):
            async with store.tasks.completing(lease):
                raise Interrupted
        assert await store.tasks.get(lease.task_id) == before
        await end(store, lease)

    async def test_completing_a_lost_lease_is_refused(
        self, store: Store, clock: ManualClock
    ) -> None:
        """Whether it was lost before or meanwhile."""
        stale, fresh = await self.rescued_and_claimed_again(store, clock)
        with pytest.raises(LeaseLost) as lost:
            async with store.tasks.completing(stale):
                pass
        assert lost.value.task_id == stale.task_id
        with pytest.raises(LeaseLost):
            async with store.tasks.completing(fresh):
                await store.tasks.cancel(fresh.task_id)
        assert await status_of(store, fresh.task_id) is TaskStatus.CANCELLED

    # -- races -----------------------------------------------------------------------------------

    async def test_of_two_outcomes_at_once_one_counts(self, store: Store) -> None:
        """The other is told that its lease did not hold."""
        for _ in range(5):
            lease = await lease_one(store)
            both = [[outcome(lease)], [outcome(lease, Event.FAIL, error=ERROR)]]
            lost = await asyncio.gather(*(store.tasks.settle(each) for each in both))
            assert sorted(len(each) for each in lost) == [0, 1]
            ended = TaskStatus.COMPLETED if not lost[0] else TaskStatus.FAILED
            assert await status_of(store, lease.task_id) is ended

    async def test_of_an_outcome_and_a_cancellation_at_once_one_counts(self, store: Store) -> None:
        """Either the task was cancelled, or it had ended."""
        for _ in range(5):
            lease = await lease_one(store)
            lost, cancelled = await asyncio.gather(
                store.tasks.settle([outcome(lease)]),
                store.tasks.cancel(lease.task_id),
                return_exceptions=True,
            )
            if isinstance(cancelled, IllegalTransition):
                assert lost in (set(), [])
                assert await status_of(store, lease.task_id) is TaskStatus.COMPLETED
            else:
                assert lost in ({lease.task_id}, [lease.task_id])
                assert await status_of(store, lease.task_id) is TaskStatus.CANCELLED

    # -- pieces ----------------------------------------------------------------------------------

    async def bury_all(self, store: Store, clock: ManualClock) -> None:
        """Let every worker fall silent, and strike it out."""
        clock.advance(LEASE + TICK)
        for seen in await store.workers.registered():
            await store.workers.declare_dead(seen.id, seen.beats)

    async def rescued_and_claimed_again(
        self, store: Store, clock: ManualClock
    ) -> tuple[Lease, Lease]:
        """Return a lease that was lost with its worker, and the same task's lease after it."""
        stale = await lease_one(store)
        await self.bury_all(store, clock)
        fresh = await lease_again(store, await join(store))
        assert fresh.task_id == stale.task_id
        assert fresh.token > stale.token
        return stale, fresh
