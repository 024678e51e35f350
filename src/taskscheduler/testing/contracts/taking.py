"""What ``ScheduleRepository`` promises of who is given schedules that are due."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from taskscheduler.domain.audit import Action
from taskscheduler.domain.fire import TAKE, Due
from taskscheduler.domain.schedule import GRACE, CatchUp, Overlap
from taskscheduler.testing.contracts.fires import MINUTE, ROUNDS, ZONES, add, made, take, wait
from taskscheduler.testing.contracts.steps import TICK, Contract

if TYPE_CHECKING:
    from datetime import datetime

    from taskscheduler.application.store import Store
    from taskscheduler.testing.clock import ManualClock

SOME: Final = 7


class TakingContract(Contract):
    """Schedules that are due are taken, some at a time, each by one worker."""

    async def test_the_store_tells_what_is_due(self, store: Store, clock: ManualClock) -> None:
        """To the microsecond, on its own clock."""
        assert await wait(store) is None
        await add(store, clock, "a")
        clock.jump(seconds=-1)
        await add(store, clock, "b")
        paused = await add(store, clock, "c")
        await store.schedules.replace(
            paused, paused.pause(now=clock.now()), action=Action.SCHEDULE_PAUSED
        )
        assert await wait(store) == MINUTE
        assert (await store.schedules.outlook(zone_data=ZONES)).now == clock.now()
        clock.advance(MINUTE - TICK)
        assert await wait(store) == TICK
        assert await take(store) == []
        clock.advance(TICK)
        assert await wait(store) == timedelta(0)
        assert await take(store) == ["b"]
        clock.advance(seconds=1)
        assert await wait(store) == timedelta(0)
        assert await take(store) == ["a"]
        assert await wait(store) is None, "what is taken is somebody's"

    async def test_what_is_taken_is_what_was_kept(self, store: Store, clock: ManualClock) -> None:
        """As far as a fire is reckoned from it."""
        every = await add(
            store,
            clock,
            cron=None,
            every=timedelta(days=2, microseconds=7),
            queue="letters",
            starts_at=clock.now() + TICK,
            ends_at=clock.now() + timedelta(days=900),
            catch_up=CatchUp.ALL,
        )
        cron = replace(
            made(clock, "other", time_zone="Europe/Berlin", overlap=Overlap.SKIP), zone_data="2020a"
        )
        await store.schedules.add(cron)
        page = await store.schedules.waiting("", 10)
        assert page == ([Due.of(every), Due.of(cron)], None)
        assert await store.schedules.waiting("", 1) == ([Due.of(every)], every.name)
        assert await store.schedules.waiting(every.name, 1) == ([Due.of(cron)], cron.name)
        clock.advance(MINUTE)
        taken = await store.schedules.take(10, zone_data=ZONES)
        assert taken is not None
        assert taken.now == clock.now()
        assert sorted(taken.due) == [Due.of(every), Due.of(cron)]
        assert taken.unread == {}
        assert await store.schedules.waiting("", 10) == ([], None)

    async def test_each_is_taken_by_one(self, store: Store, clock: ManualClock) -> None:
        """Of any number who take at once nobody waits, and nobody is given another's."""
        names = [f"s{number:02}" for number in range(40)]
        for name in names:
            await add(store, clock, name)
        clock.advance(MINUTE)
        found: list[str] = []
        for _ in range(ROUNDS * 2):
            for some in await asyncio.gather(*(take(store, SOME) for _ in range(4))):
                assert len(some) <= SOME
                found += some
        assert sorted(found) == names

    async def test_what_was_not_fired_is_given_to_others(
        self, store: Store, clock: ManualClock
    ) -> None:
        """Soon, for whoever took it may have died; at once if it was put aside or changed."""
        kept = await add(store, clock)
        clock.advance(MINUTE)
        assert await take(store) == ["nightly"]
        clock.advance(TAKE - TICK)
        assert await take(store) == []
        clock.advance(2 * TICK)
        assert await take(store) == ["nightly"]
        await store.schedules.put_aside({"nightly": "no zone", "gone": "no schedule"})
        assert (await store.schedules.get("nightly")).problem == "no zone"
        taken = await store.schedules.take(1, zone_data=ZONES)
        assert taken is not None
        assert taken.due[0].has_problem
        kept = await store.schedules.get("nightly")
        other = kept.redefine(
            replace(kept.definition, priority=1), now=clock.now(), next_fire_at=None
        )
        await store.schedules.replace(kept, other, action=Action.SCHEDULE_CHANGED)
        assert await take(store) == ["nightly"]
        clock.advance(MINUTE)
        assert await take(store) == ["nightly"]
        clock.jump(-2 * TAKE)
        assert await take(store) == ["nightly"], "the clock was set back since it was taken"

    async def test_what_is_left_out_keeps_no_other_waiting(
        self, store: Store, clock: ManualClock
    ) -> None:
        """What is put aside here, and what newer zones have reckoned."""
        for name in "abc":
            await add(store, clock, name)
        newer = replace(made(clock, "newer"), zone_data="2026b", next_fire_at=clock.now())
        await store.schedules.add(newer)
        clock.advance(MINUTE / 2)
        assert await wait(store, zone_data="2026a") == MINUTE / 2
        assert await wait(store, zone_data="2026b") == -MINUTE / 2
        assert await take(store, zone_data="2026a") == []
        clock.advance(MINUTE)
        assert await wait(store, zone_data="2026a", aside=["a", "b", "c"]) is None
        assert await take(store, zone_data="2026a", aside=["a", "c", "%s"]) == ["b"]
        assert await take(store, zone_data="2026b", aside=["a"]) == ["c", "newer"]

    async def test_a_backlog_is_not_in_the_way_of_what_is_punctual(
        self, store: Store, clock: ManualClock
    ) -> None:
        """Half of what is taken became due last."""
        for number in range(8):
            await add(store, clock, f"old{number}")
        clock.advance(MINUTE * 10)
        await add(store, clock, "new")
        clock.advance(MINUTE)
        some = set(await take(store, 2))
        assert "new" in some
        assert len(some - {"new"}) == 1

    async def test_it_is_known_since_when_schedules_are_watched(
        self, store: Store, clock: ManualClock
    ) -> None:
        """Whoever looks again after more than a minute ends an outage."""

        async def watched_since() -> datetime:
            taken = await store.schedules.take(1, zone_data=ZONES)
            assert taken is not None
            clock.advance(TAKE + TICK)
            return taken.watched_since

        await add(store, clock)
        clock.advance(GRACE + TICK)
        await store.schedules.watch()
        since = clock.now()
        assert await watched_since() == since
        for _ in range(5):
            clock.advance(GRACE - TAKE - TICK)
            await store.schedules.watch()
            assert (await store.schedules.outlook(zone_data=ZONES)).looked_at == clock.now()
            assert await watched_since() == since
        clock.jump(seconds=-40)
        await store.schedules.watch()
        assert (await store.schedules.outlook(zone_data=ZONES)).looked_at == clock.now()
        assert await watched_since() == since, "a clock that is set back begins no outage"
        clock.advance(GRACE + TICK)
        await store.schedules.watch()
        since = clock.now()
        assert await watched_since() == since
        clock.jump(-2 * GRACE)
        await store.schedules.watch()
        assert await watched_since() == since - 3 * GRACE + TAKE + TICK

    async def test_a_time_is_reckoned_anew(self, store: Store, clock: ManualClock) -> None:
        """If it is still the one that was looked at."""
        kept = await add(store, clock)
        assert await store.schedules.reckon(Due.of(kept), next_fire_at=None, zone_data=None)
        assert not await store.schedules.reckon(
            Due.of(kept), next_fire_at=clock.now(), zone_data=None
        )
        after = await store.schedules.get("nightly")
        assert (after.next_fire_at, after.zone_data) == (None, None)
        assert after.revision > kept.revision
        cron = await add(store, clock, "cron")
        assert await store.schedules.reckon(
            Due.of(cron), next_fire_at=clock.now() + TICK, zone_data="2026a"
        )
        after = await store.schedules.get("cron")
        assert (after.next_fire_at, after.zone_data) == (clock.now() + TICK, "2026a")
