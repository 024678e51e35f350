"""Backfills: the tasks of a span of fires, each once, a bounded number at a time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from taskscheduler import NewSchedule, Scheduler, TaskQuery
from taskscheduler.application.client.schedules import BACKFILLED_AT_ONCE, Schedules
from taskscheduler.application.client.tenant_scope import TenantScheduler
from taskscheduler.application.maintenance.schedule_runner import ScheduleRunner
from taskscheduler.domain.access import Caller
from taskscheduler.domain.errors import InvalidTask, ScheduleNotFound, TooMuchWaiting
from taskscheduler.domain.ledger import Outcome
from taskscheduler.domain.quota import Quota
from taskscheduler.domain.schedule import CatchUp, Overlap

if TYPE_CHECKING:
    from taskscheduler.testing import ManualClock

pytestmark = pytest.mark.anyio

HOUR = timedelta(hours=1)
LONG_AGO = datetime(2024, 3, 31, tzinfo=UTC)


@pytest.fixture
def schedules(scheduler_in_memory: Scheduler) -> Schedules:
    return scheduler_in_memory.schedules


def hourly(**fields: Any) -> NewSchedule:
    given: dict[str, Any] = {"name": "hourly", "kind": "mail", "cron": "0 * * * *"} | fields
    return NewSchedule(**given)


async def test_a_span_before_it_was_made(schedules: Schedules, scheduler_in_memory: Scheduler):
    """Both ends included; what the clocks leave out is left out."""
    fields: dict[str, Any] = {"time_zone": "Europe/Berlin", "overlap": Overlap.SKIP}
    await schedules.put(hourly(max_fires=1, **fields))
    step = await schedules.backfill("hourly", LONG_AGO, LONG_AGO + 3 * HOUR)
    assert (step.looked_at, len(step.task_ids), step.present, step.next_from) == (4, 4, 0, None)
    tasks = await scheduler_in_memory.list(TaskQuery())
    assert sorted(task.execute_at for task in tasks) == [LONG_AGO + n * HOUR for n in range(4)]
    again = await schedules.backfill("hourly", LONG_AGO - HOUR, LONG_AGO + HOUR)
    assert (again.looked_at, len(again.task_ids), again.present) == (3, 1, 2)
    entries = await schedules.fires("hourly")
    assert {entry.outcome for entry in entries} == {Outcome.BACKFILLED}
    kept = await schedules.get("hourly")
    assert (kept.fire_count, kept.last_task_id) == (0, None), "its own tasks are counted"


async def test_what_is_between_two_fires_is_none(schedules: Schedules):
    await schedules.put(hourly())
    tick = timedelta(microseconds=1)
    step = await schedules.backfill("hourly", LONG_AGO + tick, LONG_AGO + HOUR - tick)
    assert step == (0, [], 0, None)


async def test_an_interval_is_counted_back_from_its_anchor(
    schedules: Schedules, manual_clock: ManualClock
):
    now = manual_clock.now()
    await schedules.put(hourly(cron=None, every=HOUR))
    step = await schedules.backfill("hourly", now - 3 * HOUR, now - HOUR / 2)
    assert step.looked_at == 3
    bounded = hourly(name="bounded", starts_at=now - HOUR)
    await schedules.put(bounded)
    assert (await schedules.backfill("bounded", now - 9 * HOUR, now)).looked_at == 2


async def test_a_long_span_goes_on_where_it_got_to(schedules: Schedules):
    await schedules.put(hourly(cron="* * * * *"))
    first, last = LONG_AGO, LONG_AGO + timedelta(minutes=BACKFILLED_AT_ONCE + 10)
    step = await schedules.backfill("hourly", first, last)
    assert len(step.task_ids) == BACKFILLED_AT_ONCE
    assert step.next_from is not None
    assert step.next_from == first + timedelta(minutes=BACKFILLED_AT_ONCE)
    rest = await schedules.backfill("hourly", step.next_from, last)
    assert (len(rest.task_ids), rest.next_from) == (11, None)
    exactly = await schedules.backfill("hourly", first, step.next_from - HOUR / 60)
    assert (exactly.present, exactly.next_from) == (BACKFILLED_AT_ONCE, None)


async def test_what_it_fires_itself_is_left_alone(
    schedules: Schedules, scheduler_in_memory: Scheduler, manual_clock: ManualClock
):
    """Before or after: the task of a fire is there once."""
    await schedules.put(hourly(catch_up=CatchUp.ALL))
    firing = ScheduleRunner(scheduler_in_memory.store)
    start = manual_clock.now()
    manual_clock.advance(2 * HOUR)
    assert len((await schedules.backfill("hourly", start + HOUR, start + HOUR)).task_ids) == 1
    await firing.turn()
    step = await schedules.backfill("hourly", start + HOUR, start + 2 * HOUR)
    assert (step.looked_at, step.present) == (2, 2)
    assert len(await scheduler_in_memory.list(TaskQuery())) == 2


@pytest.mark.parametrize(
    ("first", "last", "field"),
    [
        (LONG_AGO, LONG_AGO - HOUR, "to"),
        (LONG_AGO, datetime(2090, 1, 1, tzinfo=UTC), "to"),
        (LONG_AGO.replace(tzinfo=None), LONG_AGO, "from"),
        (LONG_AGO, LONG_AGO.replace(tzinfo=None), "to"),
        (datetime(1, 1, 1, tzinfo=UTC), LONG_AGO, "from"),
    ],
)
async def test_a_span_that_makes_no_sense(
    schedules: Schedules, first: datetime, last: datetime, field: str
):
    await schedules.put(hourly())
    with pytest.raises(InvalidTask) as caught:
        await schedules.backfill("hourly", first, last)
    assert caught.value.field == field
    with pytest.raises(ScheduleNotFound):
        await schedules.backfill("weekly", LONG_AGO, LONG_AGO)


async def test_a_tenant_backfills_its_own_within_its_quota(scheduler_in_memory: Scheduler):
    bob = Caller(name="bob", queue_prefix="bob.", quota=Quota(waiting=3))
    view = TenantScheduler(scheduler_in_memory, bob).schedules
    await scheduler_in_memory.schedules.put(hourly(name="other"))
    with pytest.raises(ScheduleNotFound):
        await view.backfill("other", LONG_AGO, LONG_AGO)
    await view.put(hourly(queue="bob.x"))
    with pytest.raises(TooMuchWaiting):
        await view.backfill("hourly", LONG_AGO, LONG_AGO + 3 * HOUR)
    assert len((await view.backfill("hourly", LONG_AGO, LONG_AGO + 2 * HOUR)).task_ids) == 3
    (entry, *_) = await view.fires("hourly")
    assert entry.reason == "by bob"
