"""What ``ScheduleRepository`` promises of schedules that are due."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

import pytest

from taskscheduler.domain.audit import Action
from taskscheduler.domain.fire import Due, Fire, Fired
from taskscheduler.domain.query import TaskQuery
from taskscheduler.domain.schedule import NewSchedule, Overlap, Schedule, due_at, key_of
from taskscheduler.domain.status import Event, TaskStatus
from taskscheduler.testing.contracts.steps import TICK, Contract, claim, end, join

if TYPE_CHECKING:
    from datetime import datetime

    from taskscheduler.application.store import Store
    from taskscheduler.domain.values import TaskId
    from taskscheduler.testing.clock import ManualClock

MINUTE: Final = timedelta(minutes=1)
ROUNDS: Final = 5
SOME: Final = 7
ZONES: Final = "2026f"


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


def fire_of(store: Store, schedule: Schedule) -> Fire:
    """Return a fire of ``schedule`` for its next time, after which it goes on a minute."""
    due = Due.of(schedule)
    at = due.next_fire_at
    return Fire(due, [(store.new_task_id(), at)], at, at + MINUTE)


async def fire(store: Store, schedule: Schedule) -> Fired | None:
    """Fire ``schedule`` for its next time, and let it go on a minute."""
    (fired,) = await store.schedules.fire([fire_of(store, schedule)])
    return fired


async def wait(store: Store, **options: Any) -> timedelta | None:
    """Return how long until a schedule is due."""
    return (await store.schedules.outlook(**{"zone_data": ZONES} | options)).wait


async def take(store: Store, limit: int = 10, **options: Any) -> list[str]:
    """Take up to ``limit`` schedules; return their names in order."""
    taken = await store.schedules.take(limit, **{"zone_data": ZONES} | options)
    return [] if taken is None else sorted(due.name for due in taken.due)


async def stored(store: Store) -> set[tuple[TaskId, datetime]]:
    """Return every task, by its id and the time that was asked for."""
    return {(task.id, task.execute_at) for task in await store.board.list(TaskQuery())}


class FiringContract(Contract):
    """What is fired stores its tasks, once."""

    async def test_a_fire_stores_its_task_and_goes_on(
        self, store: Store, clock: ManualClock
    ) -> None:
        """Both at once; the task's time is the fire's, and it is due."""
        schedule = await add(
            store,
            clock,
            payload_json=b'{"n":  1}',
            queue="letters",
            priority=2,
            max_attempts=4,
            timeout=MINUTE,
        )
        at = clock.now() + MINUTE
        clock.advance(MINUTE + TICK)
        made_of_it = fire_of(store, schedule)
        (fired,) = await store.schedules.fire([made_of_it])
        assert fired is not None
        assert (fired.fresh, fired.overlapped) == (1, False)
        task = await store.tasks.get(fired.task_ids[0])
        assert task.id == made_of_it.tasks[0][0]
        assert (task.kind, task.payload_json, task.queue) == ("mail", b'{"n":  1}', "letters")
        assert (task.execute_at, task.status) == (at, TaskStatus.PENDING)
        assert (task.priority, task.process_at) == (2, clock.now())
        assert (task.max_attempts, task.timeout) == (4, MINUTE)
        assert task.unique_key == f"nightly@{at:%FT%TZ}"
        after = await store.schedules.get("nightly")
        assert after == schedule.fire(made_of_it, fired.task_ids)
        assert (after.last_fire_at, after.last_task_id) == (at, task.id)
        assert await take(store) == []

    async def test_many_are_fired_at_once(self, store: Store, clock: ManualClock) -> None:
        """Each with tasks of its own, several or none, in lanes that are new or known."""
        schedules = [
            await add(store, clock, f"s{number}", queue=f"q{number % 3}", priority=number % 10)
            for number in range(12)
        ]
        fires: list[Fire] = []
        for number, schedule in enumerate(schedules):
            due = Due.of(schedule)
            times = [due.next_fire_at + TICK * index for index in range(number % 4)]
            tasks = [(store.new_task_id(), at) for at in times]
            fires.append(Fire(due, tasks, due.next_fire_at, None, "2026a"))
        answers = await store.schedules.fire(fires)
        for given, answer in zip(fires, answers, strict=True):
            ids = [task_id for task_id, _ in given.tasks]
            assert answer is not None
            assert (list(answer.task_ids), answer.fresh) == (ids, len(ids))
            after = await store.schedules.get(given.due.name)
            assert after.last_task_id == (ids[-1] if ids else None)
            assert (after.next_fire_at, after.zone_data) == (None, "2026a")
            for task_id, at in given.tasks:
                task = await store.tasks.get(task_id)
                assert (task.execute_at, task.queue) == (at, after.definition.queue)
                assert task.priority == after.definition.priority
        assert await store.schedules.fire([]) == []

    async def test_of_many_who_fire_one_does(self, store: Store, clock: ManualClock) -> None:
        """However they come, at once or after one another."""
        for number in range(ROUNDS):
            schedule = await add(store, clock, f"s{number}")
            answers = await asyncio.gather(*(fire(store, schedule) for _ in range(8)))
            (fired,) = [answer for answer in answers if answer is not None]
            assert await fire(store, schedule) is None
            after = await store.schedules.get(schedule.name)
            assert [after.last_task_id] == list(fired.task_ids)
        assert len(await stored(store)) == ROUNDS

    async def test_what_was_changed_meanwhile_is_not_fired(
        self, store: Store, clock: ManualClock
    ) -> None:
        """What was paused or deleted, or has another rule; others of the same call are."""
        schedule = await add(store, clock)
        paused = schedule.pause(now=clock.now())
        await store.schedules.replace(schedule, paused, action=Action.SCHEDULE_PAUSED)
        gone = await add(store, clock, "gone")
        await store.schedules.delete("gone")
        ruled = await add(store, clock, "ruled")
        clock.advance(MINUTE)
        other = ruled.redefine(
            replace(ruled.definition, cron="0 0 * * *"), now=clock.now(), next_fire_at=None
        )
        assert other.next_fire_at == ruled.next_fire_at, "what is due stays due"
        await store.schedules.replace(ruled, other, action=Action.SCHEDULE_CHANGED)
        right = await add(store, clock, "right")
        fires = [fire_of(store, each) for each in (schedule, gone, right, ruled)]
        answers = await store.schedules.fire(fires)
        assert [answer is not None for answer in answers] == [False, False, True, False]
        assert len(await stored(store)) == 1
        assert await store.schedules.get("nightly") == paused

    async def test_another_payload_does_not_stop_a_fire(
        self, store: Store, clock: ManualClock
    ) -> None:
        """It is what the task is stored with."""
        schedule = await add(store, clock, payload_json=b"1")
        changed = schedule.redefine(
            replace(schedule.definition, payload_json=b"2", priority=0),
            now=clock.now(),
            next_fire_at=None,
        )
        await store.schedules.replace(schedule, changed, action=Action.SCHEDULE_CHANGED)
        fired = await fire(store, schedule)
        assert fired is not None
        task = await store.tasks.get(fired.task_ids[0])
        assert (task.payload_json, task.priority) == (b"2", 0)

    async def test_nothing_to_store_goes_on_all_the_same(
        self, store: Store, clock: ManualClock
    ) -> None:
        """As when all that was missed is let go; a schedule may come to its end so."""
        schedule = await add(store, clock)
        due = Due.of(schedule)
        (fired,) = await store.schedules.fire([Fire(due, [], due.next_fire_at, None)])
        assert fired is not None
        assert (list(fired.task_ids), fired.fresh) == ([], 0)
        after = await store.schedules.get("nightly")
        assert (after.last_fire_at, after.last_task_id) == (due.next_fire_at, None)
        assert after.next_fire_at is None
        assert await wait(store) is None

    async def test_a_fire_is_not_stored_twice_by_another_schedule_of_the_name(
        self, store: Store, clock: ManualClock
    ) -> None:
        """One that was deleted and made again finds the task of the first, while its key lives."""
        first = await fire(store, await add(store, clock))
        assert first is not None
        await store.schedules.delete("nightly")
        again = await fire(store, await add(store, clock))
        assert again is not None
        assert (list(again.task_ids), again.fresh) == (list(first.task_ids), 0)
        kept = await store.schedules.get("nightly")
        assert kept.last_task_id == first.task_ids[0]
        assert len(await stored(store)) == 1
        await store.schedules.delete("nightly")
        third = await add(store, clock)
        clock.advance(days=1, seconds=1)
        anew = await fire(store, third)
        assert anew is not None
        assert anew.fresh == 1

    async def test_a_task_is_due_later_by_its_jitter(
        self, store: Store, clock: ManualClock
    ) -> None:
        """Its key keeps the time of the fire."""
        schedule = await add(store, clock, jitter=MINUTE)
        at = clock.now() + MINUTE
        due = due_at("nightly", at, MINUTE)
        assert at < due < at + MINUTE
        clock.advance(MINUTE)
        fired = await fire(store, schedule)
        assert fired is not None
        task = await store.tasks.get(fired.task_ids[0])
        assert (task.execute_at, task.process_at) == (due, due)
        assert task.unique_key == key_of("nightly", at)

    async def test_its_tasks_have_its_tags(self, store: Store, clock: ManualClock) -> None:
        """Those that it has stored itself; others of the same moment have their own, or none."""
        tagged = await add(store, clock, tags=("b", "a", "b"))
        assert (await store.schedules.get("nightly")).definition.tags == ("b", "a")
        plain = await add(store, clock, "plain")
        other = await add(store, clock, "other", tags=("c",))
        clock.advance(MINUTE)
        fires = [fire_of(store, each) for each in (plain, tagged, other)]
        fired = await store.schedules.fire(fires)
        tags = [
            (await store.tasks.get(each.task_ids[0])).tags for each in fired if each is not None
        ]
        assert tags == [(), ("b", "a"), ("c",)]
        (found,) = await store.board.list(TaskQuery(tag="a"))
        assert found.id == fires[1].tasks[0][0]
        assert found.kind == "mail"

    async def test_a_task_that_was_there_keeps_its_tags(
        self, store: Store, clock: ManualClock
    ) -> None:
        """A later schedule of the same name does not give its own to it."""
        schedule = await add(store, clock)
        clock.advance(MINUTE)
        first = await fire(store, schedule)
        await store.schedules.delete("nightly")
        again = replace(made(clock, tags=("a",)), next_fire_at=schedule.next_fire_at)
        await store.schedules.add(again)
        second = await fire(store, again)
        assert first is not None
        assert second is not None
        assert second.task_ids == first.task_ids
        assert (await store.tasks.get(first.task_ids[0])).tags == ()

    async def test_a_schedule_ends_with_its_last_task(
        self, store: Store, clock: ManualClock
    ) -> None:
        """Tasks are counted, and fires that come to none are not."""
        worker_id = await join(store)
        await add(store, clock, max_fires=2, overlap=Overlap.SKIP)
        first = clock.now() + MINUTE
        for count, is_left in ((1, True), (1, True), (2, False)):
            before = await store.schedules.get("nightly")
            assert await fire(store, before) is not None
            after = await store.schedules.get("nightly")
            assert (after.fire_count, after.next_fire_at is not None) == (count, is_left)
            if before.fire_count == after.fire_count:
                clock.advance(hours=1)
                (lease,) = await claim(store, worker_id)
                await end(store, lease, Event.COMPLETE)
        assert {at for _, at in await stored(store)} == {first, first + 2 * MINUTE}

    async def test_what_is_fired_is_no_problem_any_more(
        self, store: Store, clock: ManualClock
    ) -> None:
        """Whoever could not fire it, somebody could."""
        schedule = await add(store, clock)
        await store.schedules.put_aside({"nightly": "a\x00b"})
        assert (await store.schedules.get("nightly")).problem is not None
        assert await fire(store, schedule) is not None
        assert (await store.schedules.get("nightly")).problem is None

    @pytest.mark.parametrize("ending", [Event.COMPLETE, Event.FAIL, Event.CANCEL])
    async def test_while_the_last_task_lasts_an_overlap_is_skipped(
        self, store: Store, clock: ManualClock, ending: Event
    ) -> None:
        """Waiting, running or about to be tried again; and the next fire after its end is not."""
        worker_id = await join(store)
        await add(store, clock, overlap=Overlap.SKIP)

        async def fired() -> int:
            answer = await fire(store, await store.schedules.get("nightly"))
            assert answer is not None
            assert answer.overlapped == (answer.fresh == 0)
            return answer.fresh

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
