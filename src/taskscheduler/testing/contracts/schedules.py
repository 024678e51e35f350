"""What ``ScheduleRepository`` promises."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

import pytest

from taskscheduler.domain.access import Caller
from taskscheduler.domain.audit import Action, AuditQuery
from taskscheduler.domain.errors import (
    ScheduleChanged,
    ScheduleExists,
    ScheduleNotFound,
    TaskExists,
)
from taskscheduler.domain.query import TaskQuery
from taskscheduler.domain.schedule import CatchUp, NewSchedule, Overlap, Schedule
from taskscheduler.domain.status import Event, TaskStatus
from taskscheduler.testing.contracts.steps import TICK, Contract, claim, end, join, new

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from taskscheduler.application.store import Store
    from taskscheduler.domain.task import TaskId
    from taskscheduler.testing.clock import ManualClock

MINUTE: Final = timedelta(minutes=1)
ROUNDS: Final = 5


def made(clock: ManualClock, name: str = "nightly", **fields: Any) -> Schedule:
    """Return a schedule that fires each minute, for the first time in one."""
    given: dict[str, Any] = {"kind": "mail", "cron": "* * * * *"} | fields
    definition = NewSchedule(name=name, **given)
    return Schedule.make(definition, now=clock.now(), next_fire_at=clock.now() + MINUTE)


async def add(store: Store, clock: ManualClock, name: str = "nightly", **fields: Any) -> Schedule:
    """Keep a schedule that fires each minute; return it."""
    schedule = made(clock, name, **fields)
    await store.schedules.add(schedule)
    return schedule


async def fire(store: Store, schedule: Schedule) -> Sequence[TaskId] | None:
    """Fire ``schedule`` for its next time, and let it go on a minute."""
    at = schedule.next_fire_at
    assert at is not None
    task = schedule.definition.task(store.new_task_id(), at)
    return await store.schedules.fire(schedule, [task], fired_at=at, next_fire_at=at + MINUTE)


async def stored(store: Store) -> set[tuple[TaskId, datetime]]:
    """Return every task, by its id and the time that was asked for."""
    return {(task.id, task.execute_at) for task in await store.board.list(TaskQuery())}


class KeepingContract(Contract):
    """Schedules are kept, listed and changed."""

    async def test_a_schedule_is_kept_as_it_was_given(
        self, store: Store, clock: ManualClock
    ) -> None:
        """In each of its fields."""
        assert await store.schedules.now() == clock.now()
        plain = await add(store, clock)
        assert await store.schedules.get("nightly") == plain
        full = await add(
            store,
            clock,
            "a:Full_one.2",
            kind="fax",
            cron=None,
            every=timedelta(days=2, microseconds=7),
            time_zone="Europe/Berlin",
            payload='{"an": ["ü", null, 1.5], "b":  "%s{schema}"}'.encode(),
            queue="letters",
            priority=0,
            max_attempts=7,
            timeout=timedelta(seconds=1.5),
            starts_at=clock.now() + TICK,
            ends_at=clock.now() + timedelta(days=900),
            catch_up=CatchUp.ALL,
            overlap=Overlap.ALLOW,
        )
        assert await store.schedules.get(full.name) == full
        other = await add(store, clock, "other", overlap=Overlap.SKIP, catch_up=CatchUp.NONE)
        assert await store.schedules.get("other") == other

    async def test_a_name_is_taken_once(self, store: Store, clock: ManualClock) -> None:
        """By whoever comes first, of any number at once."""
        several = [made(clock, priority=priority) for priority in range(6)]
        answers = await asyncio.gather(
            *(store.schedules.add(each) for each in several), return_exceptions=True
        )
        refused = [error for error in answers if error is not None]
        assert [type(error) for error in refused] == [ScheduleExists] * 5
        first = several[answers.index(None)]
        assert await store.schedules.get("nightly") == first
        assert await store.schedules.list(limit=10) == [first]

    async def test_they_are_listed_by_name(self, store: Store, clock: ManualClock) -> None:
        """A page at a time, by bytes; with a prefix, those of such queues alone."""
        names = ["B", "Z", "a", "a.", "a1", "b"]
        for name in reversed(names):
            await add(store, clock, name, queue="shop.a" if name in "BZ" else "shops")
        page = await store.schedules.list(limit=4)
        assert [schedule.name for schedule in page] == names[:4]
        page = await store.schedules.list(after=page[-1].name, limit=4)
        assert [schedule.name for schedule in page] == names[4:]
        page = await store.schedules.list(limit=10, queue_prefix="shop.")
        assert [schedule.name for schedule in page] == ["B", "Z"]
        assert list(await store.schedules.list(limit=10, queue_prefix="%")) == []

    async def test_a_change_is_made_to_what_was_looked_at(
        self, store: Store, clock: ManualClock
    ) -> None:
        """Of two the second is refused, for the revision is another by then."""
        old = await add(store, clock)
        paused = old.pause(now=clock.now())
        other = old.redefine(
            replace(old.definition, cron=None, every=MINUTE), now=clock.now(), next_fire_at=None
        )
        await store.schedules.replace(old, paused, action=Action.SCHEDULE_PAUSED)
        assert await store.schedules.get("nightly") == paused
        with pytest.raises(ScheduleChanged):
            await store.schedules.replace(old, other, action=Action.SCHEDULE_CHANGED)
        assert await store.schedules.get("nightly") == paused
        resumed = paused.resume(now=clock.now(), next_fire_at=clock.now())
        await store.schedules.replace(paused, resumed, action=Action.SCHEDULE_RESUMED)
        assert await store.schedules.get("nightly") == resumed

    @pytest.mark.parametrize("name", ["weekly", "", "nightly ", "' OR true --", "%s{schema}"])
    async def test_what_is_not_there_is_not_found(
        self, store: Store, clock: ManualClock, name: str
    ) -> None:
        """Whatever its name looks like; the others stay."""
        kept = await add(store, clock)
        with pytest.raises(ScheduleNotFound):
            await store.schedules.get(name)
        with pytest.raises(ScheduleNotFound):
            await store.schedules.delete(name)
        gone = await add(store, clock, "gone")
        await store.schedules.delete("gone")
        with pytest.raises(ScheduleNotFound):
            await store.schedules.replace(
                gone, gone.pause(now=clock.now()), action=Action.SCHEDULE_PAUSED
            )
        assert await store.schedules.list(limit=10) == [kept]

    async def test_what_is_done_by_somebody_is_on_record(
        self, store: Store, clock: ManualClock
    ) -> None:
        """And what was refused is not."""
        anna = Caller(name="anna")
        schedule = made(clock)
        await store.schedules.add(schedule, by=anna)
        with pytest.raises(ScheduleExists):
            await store.schedules.add(schedule, by=anna)
        paused = schedule.pause(now=clock.now())
        await store.schedules.replace(schedule, paused, action=Action.SCHEDULE_PAUSED, by=anna)
        with pytest.raises(ScheduleChanged):
            await store.schedules.replace(schedule, paused, action=Action.SCHEDULE_PAUSED, by=anna)
        await store.schedules.delete("nightly", by=anna)
        with pytest.raises(ScheduleNotFound):
            await store.schedules.delete("nightly", by=anna)
        entries = await store.audit.list(AuditQuery(target="nightly"))
        assert [(entry.action, entry.actor) for entry in reversed(entries)] == [
            (Action.SCHEDULE_ADDED, "anna"),
            (Action.SCHEDULE_PAUSED, "anna"),
            (Action.SCHEDULE_DELETED, "anna"),
        ]


class FiringContract(Contract):
    """A schedule that is due stores its tasks, once."""

    async def test_the_store_tells_what_is_due(self, store: Store, clock: ManualClock) -> None:
        """To the microsecond, on its own clock, the earliest first."""
        assert await store.schedules.next_fire_in() is None
        later = await add(store, clock, "a")
        clock.jump(seconds=-1)
        sooner = await add(store, clock, "b")
        paused = await add(store, clock, "c")
        await store.schedules.replace(
            paused, paused.pause(now=clock.now()), action=Action.SCHEDULE_PAUSED
        )
        assert await store.schedules.next_fire_in() == MINUTE
        clock.advance(MINUTE - TICK)
        assert await store.schedules.next_fire_in() == TICK
        assert list(await store.schedules.due(10)) == []
        clock.advance(TICK)
        assert await store.schedules.next_fire_in() == timedelta(0)
        assert await store.schedules.due(10) == [sooner]
        clock.advance(seconds=2)
        assert await store.schedules.next_fire_in() == timedelta(seconds=-2)
        assert await store.schedules.due(10) == [sooner, later]
        assert await store.schedules.due(1) == [sooner]

    async def test_a_fire_stores_its_task_and_goes_on(
        self, store: Store, clock: ManualClock
    ) -> None:
        """Both at once; the task's time is the fire's, and it is due."""
        schedule = await add(store, clock, payload=b'{"n": 1}', queue="letters", priority=2)
        at = clock.now() + MINUTE
        clock.advance(MINUTE + TICK)
        ids = await fire(store, schedule)
        assert ids is not None
        task = await store.tasks.get(ids[0])
        assert (task.kind, task.payload, task.queue) == ("mail", b'{"n": 1}', "letters")
        assert (task.execute_at, task.status) == (at, TaskStatus.PENDING)
        assert (task.priority, task.process_at) == (2, clock.now())
        after = await store.schedules.get("nightly")
        assert after == schedule.fire(fired_at=at, next_fire_at=at + MINUTE, task_ids=ids)
        assert (after.last_fire_at, after.last_task_id) == (at, ids[0])
        assert list(await store.schedules.due(10)) == []

    async def test_of_many_who_fire_one_does(self, store: Store, clock: ManualClock) -> None:
        """However they come, at once or after one another."""
        for number in range(ROUNDS):
            schedule = await add(store, clock, f"s{number}")
            answers = await asyncio.gather(*(fire(store, schedule) for _ in range(8)))
            (ids,) = [answer for answer in answers if answer is not None]
            assert await fire(store, schedule) is None
            assert (await store.schedules.get(schedule.name)).last_task_id == ids[0]
        assert len(await stored(store)) == ROUNDS

    async def test_what_was_changed_meanwhile_is_not_fired(
        self, store: Store, clock: ManualClock
    ) -> None:
        """Nor what was paused, or deleted."""
        schedule = await add(store, clock)
        paused = schedule.pause(now=clock.now())
        await store.schedules.replace(schedule, paused, action=Action.SCHEDULE_PAUSED)
        assert await fire(store, schedule) is None
        gone = await add(store, clock, "gone")
        await store.schedules.delete("gone")
        assert await fire(store, gone) is None
        assert await stored(store) == set()
        assert await store.schedules.get("nightly") == paused

    async def test_what_cannot_be_stored_moves_nothing(
        self, store: Store, clock: ManualClock
    ) -> None:
        """A fire is its tasks and the next time, or neither."""
        (taken,) = await store.tasks.put([new(store, payload=b"1")])
        schedule = await add(store, clock)
        at = schedule.next_fire_at
        tasks = [schedule.definition.task(task_id, at) for task_id in (store.new_task_id(), taken)]
        tasks = [task.but(unique_key=None) for task in tasks]
        with pytest.raises(TaskExists):
            await store.schedules.fire(schedule, tasks, fired_at=at, next_fire_at=None)
        assert {task_id for task_id, _ in await stored(store)} == {taken}
        assert await store.schedules.get("nightly") == schedule

    async def test_nothing_to_store_goes_on_all_the_same(
        self, store: Store, clock: ManualClock
    ) -> None:
        """As when all that was missed is let go; a schedule may come to its end so."""
        schedule = await add(store, clock)
        at = schedule.next_fire_at
        ids = await store.schedules.fire(schedule, [], fired_at=at, next_fire_at=None)
        assert ids is not None
        assert list(ids) == []
        after = await store.schedules.get("nightly")
        assert (after.last_fire_at, after.last_task_id, after.next_fire_at) == (at, None, None)
        assert await store.schedules.next_fire_in() is None

    async def test_a_fire_is_not_stored_twice_by_another_schedule_of_the_name(
        self, store: Store, clock: ManualClock
    ) -> None:
        """One that was deleted and made again finds the task of the first."""
        first = await add(store, clock)
        ids = await fire(store, first)
        await store.schedules.delete("nightly")
        again = await add(store, clock)
        assert await fire(store, again) == ids
        assert len(await stored(store)) == 1

    @pytest.mark.parametrize("ending", [Event.COMPLETE, Event.FAIL, Event.CANCEL])
    async def test_while_the_last_task_lasts_an_overlap_is_skipped(
        self, store: Store, clock: ManualClock, ending: Event
    ) -> None:
        """Waiting, running or about to be tried again; and the next fire after its end is not."""
        worker_id = await join(store)
        await add(store, clock, overlap=Overlap.SKIP)

        async def fired() -> int:
            ids = await fire(store, await store.schedules.get("nightly"))
            assert ids is not None
            return len(ids)

        assert (await fired(), await fired()) == (1, 0)
        first = (await store.schedules.get("nightly")).last_task_id
        clock.advance(hours=1)
        (lease,) = await claim(store, worker_id)
        assert await fired() == 0
        await end(store, lease, Event.RETRY)
        assert await fired() == 0
        (lease,) = await claim(store, worker_id)
        await end(store, lease, ending)
        after = await store.schedules.get("nightly")
        assert after.last_task_id == lease.task_id == first
        assert after.next_fire_at == clock.now() - timedelta(hours=1) + 5 * MINUTE
        assert (await fired(), await fired()) == (1, 0)

    async def test_overlaps_are_allowed_otherwise(self, store: Store, clock: ManualClock) -> None:
        """Each fire stores its task, and each has a time of its own."""
        await add(store, clock)
        for _ in range(3):
            assert await fire(store, await store.schedules.get("nightly"))
        times = sorted(at for _, at in await stored(store))
        assert times == [clock.now() + MINUTE * number for number in (1, 2, 3)]


class ScheduleRepositoryContract(KeepingContract, FiringContract):
    """Proves a ``ScheduleRepository``."""
