"""What ``ScheduleRepository`` promises of fires that overlap, and of tasks that fail."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from taskscheduler.domain.audit import Action
from taskscheduler.domain.fire import Due, Fire, Fired
from taskscheduler.domain.ledger import HAS_WAITED, Outcome
from taskscheduler.domain.policies import BUFFERED_MAX, Overlap
from taskscheduler.domain.status import Event
from taskscheduler.testing.contracts.fires import MINUTE, ZONES, add, fire, stored
from taskscheduler.testing.contracts.ledger import told
from taskscheduler.testing.contracts.steps import Contract, claim, end, join

if TYPE_CHECKING:
    from collections.abc import Sequence

    from taskscheduler.application.store import Store
    from taskscheduler.domain.lease import Lease
    from taskscheduler.domain.schedule import Schedule
    from taskscheduler.domain.values import TaskId, WorkerId
    from taskscheduler.testing.clock import ManualClock

STORED, BUFFERED, SKIPPED = Outcome.STORED, Outcome.BUFFERED, Outcome.SKIPPED


async def fire_again(store: Store, count: int = 1) -> Fired:
    """Fire the schedule for its next time and ``count`` minutes from there on."""
    due = Due.of(await store.schedules.get("nightly"))
    times = [due.next_fire_at + number * MINUTE for number in range(count)]
    tasks = [(store.new_task_id(), at) for at in times]
    fires = [Fire(due, tasks, times[-1], times[-1] + MINUTE, reason="so it is")]
    (fired,) = await store.schedules.fire(fires)
    assert fired is not None
    return fired


async def released(store: Store, count: int = 10) -> Sequence[str]:
    """Release up to ``count`` fires; return their queues."""
    return await store.schedules.release([store.new_task_id() for _ in range(count)])


async def waits(store: Store) -> bool:
    """Tell whether fires wait."""
    return (await store.schedules.outlook(zone_data=ZONES)).buffered


async def outcomes(store: Store) -> list[Outcome]:
    """Return what became of the fires, the earliest first, as it was written down."""
    entries = sorted(await told(store), key=lambda entry: entry.number)
    return [entry.outcome for entry in entries]


async def run_next(store: Store, clock: ManualClock, worker_id: WorkerId) -> Lease:
    """Claim the only task that is due."""
    clock.advance(hours=1)
    (lease,) = await claim(store, worker_id)
    return lease


class OverlappingContract(Contract):
    """Fires that overlap wait, as many as may, and are stored one after another."""

    async def test_one_fire_waits_and_the_next_is_skipped(
        self, store: Store, clock: ManualClock
    ) -> None:
        """Until the task before has ended, however."""
        worker_id = await join(store)
        await add(store, clock, overlap=Overlap.BUFFER_ONE, queue="default", priority=3)
        first = await fire_again(store)
        assert (first.fresh, first.overlapped, first.buffered) == (1, False, 0)
        assert not await waits(store)
        second = await fire_again(store)
        assert (second.fresh, second.overlapped, second.buffered) == (0, True, 1)
        third = await fire_again(store)
        assert (third.fresh, third.overlapped, third.buffered) == (0, True, 0)
        assert await waits(store)
        assert await released(store) == []
        lease = await run_next(store, clock, worker_id)
        assert await released(store) == []
        await end(store, lease, Event.FAIL)
        assert await released(store, 0) == []
        assert await released(store) == ["default"]
        assert await released(store) == []
        assert not await waits(store)
        kept = await store.schedules.get("nightly")
        begin = clock.now() - timedelta(hours=1)
        task = await store.tasks.get(kept.last_task_id or lease.task_id)
        assert (task.execute_at, task.priority) == (begin + 2 * MINUTE, 3)
        assert task.unique_key == f"nightly@{begin + 2 * MINUTE:%FT%TZ}"
        assert await outcomes(store) == [STORED, BUFFERED, SKIPPED, STORED]
        entries = sorted(await told(store), key=lambda entry: entry.number)
        reason = f"the task of the last fire had not ended: {lease.task_id}"
        assert [entry.reason for entry in entries] == [
            "so it is",
            reason,
            "as many fires as may wait did: 1",
            HAS_WAITED,
        ]
        assert (entries[3].task_id, entries[3].late) == (task.id, clock.now() - task.execute_at)

    async def test_all_wait_for_their_turn(self, store: Store, clock: ManualClock) -> None:
        """In order, also those that come while others wait and no task runs."""
        worker_id = await join(store)
        await add(store, clock, overlap=Overlap.BUFFER_ALL)
        begin = clock.now() + MINUTE
        for _ in range(4):
            await fire_again(store)
        for number in range(6):
            lease = await run_next(store, clock, worker_id)
            task = await store.tasks.get(lease.task_id)
            assert task.execute_at == begin + number * MINUTE
            await end(store, lease)
            if number in {0, 1}:
                assert (await fire_again(store)).buffered == 1
            if number != 5:  # noqa: PLR2004 - the last one
                assert len(await released(store)) == 1
        assert not await waits(store)
        assert (await fire_again(store)).fresh == 1

    async def test_of_several_at_once_the_first_need_not_wait(
        self, store: Store, clock: ManualClock
    ) -> None:
        """And of the others as many wait as may."""
        await add(store, clock, overlap=Overlap.BUFFER_ALL, max_fires=5)
        fired = await fire_again(store, 3)
        assert (fired.fresh, fired.overlapped, fired.buffered) == (1, False, 2)
        kept = await store.schedules.get("nightly")
        assert (kept.fire_count, kept.last_task_id) == (3, fired.task_ids[0])
        fired = await fire_again(store, 2)
        assert (fired.fresh, fired.overlapped, fired.buffered) == (0, True, 2)
        kept = await store.schedules.get("nightly")
        assert (kept.fire_count, kept.next_fire_at) == (5, None), "what waits counts"
        assert await outcomes(store) == [STORED, *[BUFFERED] * 4]
        reasons = {entry.reason for entry in await told(store)}
        assert "the fire before was stored at the same moment" in reasons
        await add(store, clock, "one", overlap=Overlap.BUFFER_ONE)
        due = Due.of(await store.schedules.get("one"))
        times = [due.next_fire_at + number * MINUTE for number in range(4)]
        tasks = [(store.new_task_id(), at) for at in times]
        (answer,) = await store.schedules.fire([Fire(due, tasks, times[-1], None)])
        assert answer is not None
        assert (answer.fresh, answer.overlapped, answer.buffered) == (1, False, 1)

    async def test_so_many_wait_at_most(self, store: Store, clock: ManualClock) -> None:
        """What comes then is skipped, and says why."""
        await add(store, clock, overlap=Overlap.BUFFER_ALL)
        await fire_again(store, BUFFERED_MAX)
        assert (await fire_again(store, 3)).buffered == 1
        newest = (await told(store))[0]
        assert newest.outcome is SKIPPED
        assert newest.reason == f"as many fires as may wait did: {BUFFERED_MAX}"

    async def test_of_many_who_release_one_does(self, store: Store, clock: ManualClock) -> None:
        """Each fire that waits is stored once."""
        worker_id = await join(store)
        await add(store, clock, overlap=Overlap.BUFFER_ALL)
        await fire_again(store, 4)
        lease = await run_next(store, clock, worker_id)
        await end(store, lease)
        answers = await asyncio.gather(*(released(store) for _ in range(6)))
        assert sum(len(queues) for queues in answers) == 1
        assert len(await stored(store)) == 2  # noqa: PLR2004 - the first, and the one

    async def test_a_pause_holds_what_waits_and_a_deletion_drops_it(
        self, store: Store, clock: ManualClock
    ) -> None:
        """And the schedule is what it is by then when it is stored."""
        worker_id = await join(store)
        await add(store, clock, overlap=Overlap.BUFFER_ONE)
        await fire_again(store, 2)
        await end(store, await run_next(store, clock, worker_id))
        kept = await store.schedules.get("nightly")
        paused = kept.pause(now=clock.now())
        await store.schedules.replace(kept, paused, action=Action.SCHEDULE_PAUSED)
        assert await released(store) == []
        resumed = paused.resume(now=clock.now(), next_fire_at=clock.now() + MINUTE)
        changed = replace(resumed, definition=replace(kept.definition, payload_json=b"7"))
        await store.schedules.replace(paused, changed, action=Action.SCHEDULE_RESUMED)
        assert await released(store) == ["default"]
        lease = await run_next(store, clock, worker_id)
        assert lease.payload_json == b"7"
        assert (await fire_again(store)).buffered == 1
        await store.schedules.delete("nightly")
        assert not await waits(store)
        assert await released(store) == []

    async def test_a_fire_that_was_backfilled_while_it_waited(
        self, store: Store, clock: ManualClock
    ) -> None:
        """Its task is there already."""
        worker_id = await join(store)
        schedule = await add(store, clock, overlap=Overlap.BUFFER_ONE)
        await fire_again(store, 2)
        at = clock.now() + 2 * MINUTE
        (task_id,) = await store.schedules.backfill(schedule, [(store.new_task_id(), at)])
        clock.advance(hours=1)
        for lease in await claim(store, worker_id):
            if lease.task_id != task_id:
                await end(store, lease)
        assert len(await released(store)) == 1
        entry = max(await told(store), key=lambda entry: entry.number)
        assert (entry.task_id, entry.reason) == (task_id, "its task was there already")
        assert (await store.schedules.get("nightly")).last_task_id == task_id

    async def test_one_that_cancels_stores_all_the_same(
        self, store: Store, clock: ManualClock
    ) -> None:
        """Who fires it has cancelled the last task."""
        await add(store, clock, overlap=Overlap.CANCEL_RUNNING)
        for _ in range(2):
            assert (await fire_again(store)).fresh == 1


class FailingContract(Contract):
    """A schedule whose tasks fail is paused."""

    async def failing(self, store: Store, schedule: Schedule) -> Sequence[str]:
        """Ask whether the schedule as it is now fails."""
        due = Due.of(await store.schedules.get(schedule.name))
        return await store.schedules.pause_failing([due])

    async def ended(
        self, store: Store, clock: ManualClock, worker_id: WorkerId, *events: Event
    ) -> None:
        """Fire, and let the task end so, again and again."""
        for event in events:
            assert await fire(store, await store.schedules.get("nightly")) is not None
            await end(store, await run_next(store, clock, worker_id), event)

    async def test_it_is_paused_after_so_many_in_a_row(
        self, store: Store, clock: ManualClock
    ) -> None:
        """One that completed begins the row anew; one that was cancelled is none."""
        worker_id = await join(store)
        schedule = await add(store, clock, pause_after_failures=2)
        fail, cancel, complete = Event.FAIL, Event.CANCEL, Event.COMPLETE
        assert await self.failing(store, schedule) == []
        await self.ended(store, clock, worker_id, fail, complete, fail, cancel)
        assert await self.failing(store, schedule) == []
        await self.ended(store, clock, worker_id, fail)
        before = await store.schedules.get("nightly")
        assert await self.failing(store, schedule) == ["nightly"]
        paused = await store.schedules.get("nightly")
        assert paused == before.pause(now=clock.now(), reason="the last 2 tasks failed")
        entry = (await told(store))[0]
        assert (entry.at, entry.outcome) == (before.next_fire_at, SKIPPED)
        assert entry.reason == "the schedule was paused: the last 2 tasks failed"
        assert await store.schedules.pause_failing([Due.of(before)]) == []

    async def test_a_resumed_one_has_another_chance(self, store: Store, clock: ManualClock) -> None:
        """Tasks from before do not count; one that is deleted does not either."""
        worker_id = await join(store)
        schedule = await add(store, clock, pause_after_failures=1)
        await self.ended(store, clock, worker_id, Event.FAIL)
        assert await self.failing(store, schedule) == ["nightly"]
        paused = await store.schedules.get("nightly")
        assert paused.pause_reason == "the last task failed"
        clock.advance(MINUTE)
        resumed = paused.resume(now=clock.now(), next_fire_at=clock.now() + MINUTE)
        assert resumed.pause_reason is None
        await store.schedules.replace(paused, resumed, action=Action.SCHEDULE_RESUMED)
        assert await self.failing(store, schedule) == []
        await self.ended(store, clock, worker_id, Event.FAIL)
        last: TaskId | None = (await store.schedules.get("nightly")).last_task_id
        assert last is not None
        await store.tasks.delete(last)
        assert await self.failing(store, schedule) == []

    @pytest.mark.parametrize("count", [1, 3])
    async def test_each_is_looked_at_by_itself(
        self, store: Store, clock: ManualClock, count: int
    ) -> None:
        """Some of many fail."""
        worker_id = await join(store)
        for number in range(6):
            await add(store, clock, f"s{number}", pause_after_failures=count)
        for _ in range(count):
            for number in range(6):
                assert await fire(store, await store.schedules.get(f"s{number}")) is not None
            clock.advance(hours=1)
            for lease in await claim(store, worker_id):
                key = (await store.tasks.get(lease.task_id)).unique_key or ""
                event = Event.FAIL if key < "s3" else Event.COMPLETE
                await end(store, lease, event)
        dues = [Due.of(await store.schedules.get(f"s{number}")) for number in range(6)]
        assert sorted(await store.schedules.pause_failing(dues)) == ["s0", "s1", "s2"]
        assert await store.schedules.pause_failing([]) == []
