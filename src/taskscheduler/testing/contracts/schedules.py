"""What ``ScheduleRepository`` promises."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from taskscheduler.domain.access import Caller
from taskscheduler.domain.audit import Action, AuditQuery
from taskscheduler.domain.errors import ScheduleChanged, ScheduleExists, ScheduleNotFound
from taskscheduler.domain.fire import Due
from taskscheduler.domain.rule import Fold, Gap
from taskscheduler.domain.schedule import CatchUp, Overlap
from taskscheduler.testing.contracts.fires import MINUTE, ZONES, FiringContract, add, made
from taskscheduler.testing.contracts.ledger import LedgerContract
from taskscheduler.testing.contracts.overlaps import FailingContract, OverlappingContract
from taskscheduler.testing.contracts.steps import TICK, Contract
from taskscheduler.testing.contracts.taking import TakingContract

if TYPE_CHECKING:
    from taskscheduler.application.store import Store
    from taskscheduler.testing.clock import ManualClock


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
            payload_json='{"an": ["ü", null, 1.5], "b":  "%s{schema}"}'.encode(),
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
        several = await add(
            store,
            clock,
            "several",
            crons=("0 3 * * *", "*/5 9-17 * * MON-FRI"),
            gap=Gap.SKIP,
            fold=Fold.BOTH,
            jitter=timedelta(seconds=90, microseconds=1),
            max_fires=7,
            catch_up=CatchUp.ALL,
            overlap=Overlap.BUFFER_ALL,
            catch_up_window=timedelta(hours=1.5),
            catch_up_max=9,
            pause_after_failures=3,
            rrule="FREQ=DAILY",
            except_=("2026-12-25", "* * * 8 *"),
        )
        assert await store.schedules.get("several") == several
        fired = replace(several, fire_count=3, revision=2, pause_reason='it "fails"')
        await store.schedules.replace(several, fired, action=Action.SCHEDULE_CHANGED)
        assert await store.schedules.get("several") == fired
        clock.advance(MINUTE)
        taken = await store.schedules.take(10, zone_data=ZONES)
        assert taken is not None
        assert Due.of(fired) in taken.due

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


class ScheduleRepositoryContract(
    KeepingContract,
    TakingContract,
    FiringContract,
    LedgerContract,
    OverlappingContract,
    FailingContract,
):
    """Proves a ``ScheduleRepository``."""
