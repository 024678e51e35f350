"""What ``ScheduleRepository`` promises of the ledger."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING

from taskscheduler.domain.access import Caller
from taskscheduler.domain.audit import Action, AuditQuery
from taskscheduler.domain.fire import Due, Fire
from taskscheduler.domain.ledger import NewEntry, Outcome, Place, Untaken
from taskscheduler.domain.retention import RetentionPolicy
from taskscheduler.domain.schedule import Overlap, key_of
from taskscheduler.testing.contracts.fires import MINUTE, add, fire
from taskscheduler.testing.contracts.steps import TICK, Contract

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from taskscheduler.application.store import Store
    from taskscheduler.domain.ledger import LedgerEntry
    from taskscheduler.domain.values import TaskId
    from taskscheduler.testing.clock import ManualClock


async def told(store: Store, name: str = "nightly", limit: int = 100) -> Sequence[LedgerEntry]:
    """Return the ledger of a schedule."""
    return await store.schedules.fires(name, limit=limit)


class LedgerContract(Contract):
    """It is written down what became of each fire."""

    async def test_what_is_stored_is_written_down(self, store: Store, clock: ManualClock) -> None:
        """With its task, and how late it was stored."""
        schedule = await add(store, clock)
        at = clock.now() + MINUTE
        clock.advance(MINUTE + TICK)
        fired = await fire(store, schedule)
        assert fired is not None
        (entry,) = await told(store)
        assert entry == (
            at,
            entry.number,
            clock.now(),
            Outcome.STORED,
            None,
            fired.task_ids[0],
            TICK,
        )
        assert await told(store, "weekly") == []
        assert await fire(store, schedule) is None
        assert await told(store) == [entry], "what happened once is told once"

    async def test_what_comes_to_no_task_is_written_down_with_its_reason(
        self, store: Store, clock: ManualClock
    ) -> None:
        """What is known beforehand, and what the store finds."""
        schedule = await add(store, clock, overlap=Overlap.SKIP)
        due = Due.of(schedule)
        first = due.next_fire_at
        untaken = [
            Untaken(first, Outcome.MISSED, "no worker"),
            Untaken(first + 2 * TICK, Outcome.SKIPPED, 'at "once"'),
        ]
        tasks = [(store.new_task_id(), first + TICK)]
        some = Fire(due, tasks, first + 2 * TICK, first + MINUTE, None, untaken)
        (answer,) = await store.schedules.fire([some])
        assert answer is not None
        assert await fire(store, await store.schedules.get("nightly")) is not None
        entries = await told(store)
        assert [(entry.at - first, entry.outcome, entry.late is None) for entry in entries] == [
            (MINUTE, Outcome.SKIPPED, True),
            (2 * TICK, Outcome.SKIPPED, True),
            (TICK, Outcome.STORED, False),
            (timedelta(0), Outcome.MISSED, True),
        ]
        reasons = [entry.reason for entry in entries]
        assert reasons[0] == f"the task of the last fire had not ended: {answer.task_ids[0]}"
        assert reasons[1:] == ['at "once"', None, "no worker"]

    async def test_a_task_that_was_there_already_is_told_of(
        self, store: Store, clock: ManualClock
    ) -> None:
        """The ledger outlives its schedule."""
        first = await fire(store, await add(store, clock))
        assert first is not None
        await store.schedules.delete("nightly")
        await fire(store, await add(store, clock))
        entries = await told(store)
        assert [entry.task_id for entry in entries] == [first.task_ids[0]] * 2
        assert [entry.reason for entry in entries] == ["its task was there already", None]

    async def test_a_backfill_stores_what_has_no_task(
        self, store: Store, clock: ManualClock
    ) -> None:
        """Each fire once, however often it is asked for, also when no key lives any more."""
        schedule = await add(store, clock, queue="letters", priority=2, overlap=Overlap.SKIP)
        last = clock.now() + MINUTE
        assert await fire(store, schedule) is not None
        kept = await store.schedules.get("nightly")
        missed = [Untaken(last - MINUTE, Outcome.MISSED, "no worker")]
        due = Due.of(kept)
        await store.schedules.fire([Fire(due, [], last, last + 2 * MINUTE, None, missed)])
        kept = await store.schedules.get("nightly")
        clock.advance(2 * MINUTE)

        async def backfill(*times: datetime) -> Sequence[TaskId]:
            asked = [(store.new_task_id(), at) for at in times]
            anna = Caller(name="anna")
            return await store.schedules.backfill(kept, asked, reason="by anna", by=anna)

        span = [last - 2 * MINUTE, last - MINUTE, last]
        ids = await backfill(*span)
        assert len(ids) == len(span) - 1
        for task_id, at in zip(ids, span, strict=False):
            task = await store.tasks.get(task_id)
            assert (task.queue, task.priority, task.execute_at) == ("letters", 2, at)
            assert (task.process_at, task.unique_key) == (clock.now(), key_of("nightly", at))
        assert await backfill(*span) == []
        clock.advance(days=2)
        assert await backfill(*span) == []
        assert len(await backfill(*span, last + MINUTE)) == 1
        assert await backfill() == []
        entries = await told(store)
        assert [(entry.at - last, entry.outcome) for entry in entries] == [
            (MINUTE, Outcome.BACKFILLED),
            (timedelta(0), Outcome.STORED),
            (-MINUTE, Outcome.BACKFILLED),
            (-MINUTE, Outcome.MISSED),
            (-2 * MINUTE, Outcome.BACKFILLED),
        ]
        entry = entries[2]
        assert (entry.task_id, entry.reason, entry.late) == (ids[1], "by anna", 2 * MINUTE)
        assert await store.schedules.get("nightly") == kept, "it stays as it is"
        trail = await store.audit.list(AuditQuery(target="nightly"))
        assert [(each.action, each.actor) for each in trail] == [
            (Action.SCHEDULE_BACKFILLED, "anna")
        ] * 5

    async def test_of_many_backfills_at_once_one_stores(
        self, store: Store, clock: ManualClock
    ) -> None:
        """Each fire has one task."""
        schedule = await add(store, clock)
        span = [clock.now() - number * MINUTE for number in range(20)]
        stored = await asyncio.gather(
            *(
                store.schedules.backfill(schedule, [(store.new_task_id(), at) for at in span])
                for _ in range(4)
            )
        )
        assert sum(len(ids) for ids in stored) == len(span)
        entries = await told(store)
        assert [entry.at for entry in entries] == span

    async def test_it_is_read_a_page_at_a_time(self, store: Store, clock: ManualClock) -> None:
        """The latest fires first; those of one time by when they were written."""
        schedule = await add(store, clock)
        for number in range(7):
            at = clock.now() + number // 2 * MINUTE
            await store.schedules.note(schedule, NewEntry(at, Outcome.TRIGGERED, str(number)))
        found: list[str | None] = []
        before: Place | None = None
        while page := await store.schedules.fires("nightly", before=before, limit=2):
            found += [entry.reason for entry in page]
            before = Place(page[-1].at, page[-1].number)
        assert found == ["6", "5", "4", "3", "2", "1", "0"]

    async def test_a_tenant_reads_what_was_his(self, store: Store, clock: ManualClock) -> None:
        """A name that somebody else had before tells nothing of then."""
        await fire(store, await add(store, clock, queue="a.x"))
        await store.schedules.delete("nightly")
        clock.advance(MINUTE)
        await fire(store, await add(store, clock, queue="b.x"))
        for prefix, count in (("a.", 1), ("b.", 1), ("c.", 0), (None, 2), ("%", 0)):
            found = await store.schedules.fires("nightly", queue_prefix=prefix, limit=10)
            assert len(found) == count

    async def test_it_is_kept_as_long_as_tasks_are(self, store: Store, clock: ManualClock) -> None:
        """Those of no special kind."""
        schedule = await add(store, clock)
        task_id = store.new_task_id()
        await store.schedules.note(
            schedule, NewEntry(clock.now(), Outcome.BACKFILLED, "old", task_id)
        )
        await fire(store, schedule)
        (_, noted) = await told(store)
        assert (noted.outcome, noted.task_id, noted.late) == (
            Outcome.BACKFILLED,
            task_id,
            timedelta(0),
        )
        clock.advance(days=2)
        await store.schedules.note(schedule, NewEntry(clock.now(), Outcome.TRIGGERED, "new"))
        for policy, left in ((["kind:other=1d"], 3), (["3d"], 3), (["1d"], 1)):
            await store.archive.expire(RetentionPolicy.parse(policy))
            assert len(await told(store)) == left
