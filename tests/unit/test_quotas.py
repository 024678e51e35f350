"""A key with a quota stores as much as that says, and is told why not more."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import pytest

from taskscheduler import NewTask, Scheduler
from taskscheduler.application.client.api_keys import issue
from taskscheduler.application.client.quotas import COUNT_EVERY_S
from taskscheduler.application.client.tenant_scope import TenantScheduler
from taskscheduler.domain.access import Caller
from taskscheduler.domain.errors import Forbidden, InvalidKey, QuotaUsedUp, TooMuchWaiting
from taskscheduler.domain.quota import BIGGEST, Quota
from taskscheduler.domain.schedule import NewSchedule

if TYPE_CHECKING:
    from taskscheduler.testing import ManualClock

pytestmark = pytest.mark.anyio


@pytest.fixture
def scheduler(scheduler_in_memory: Scheduler) -> Scheduler:
    return scheduler_in_memory


def acting(scheduler: Scheduler, prefix: str | None = "a.", **limits: int) -> TenantScheduler:
    return TenantScheduler(
        scheduler, Caller(name="shop", queue_prefix=prefix, quota=Quota(**limits))
    )


def mail(scheduler: Scheduler, queue: str = "a.1", **fields: Any) -> NewTask:
    return NewTask(id=scheduler.store.new_task_id(), kind="mail", queue=queue, **fields)


async def test_so_many_tasks_may_wait(scheduler: Scheduler) -> None:
    shop = acting(scheduler, waiting=3)
    await scheduler.put(mail(scheduler, "b"))
    first = await shop.put(mail(scheduler))
    await shop.put_many([mail(scheduler), mail(scheduler)])
    with pytest.raises(TooMuchWaiting, match="3 tasks may wait"):
        await shop.put(mail(scheduler))
    with pytest.raises(TooMuchWaiting, match="5 at least"):
        await shop.put_many([mail(scheduler), mail(scheduler)])
    assert len(await shop.list()) == 3
    await shop.cancel(first)


async def test_room_is_found_again_when_some_have_gone(
    scheduler: Scheduler, manual_clock: ManualClock
) -> None:
    shop = acting(scheduler, waiting=1)
    first = await shop.put(mail(scheduler))
    with pytest.raises(TooMuchWaiting):
        await shop.put(mail(scheduler))
    await shop.cancel(first)
    manual_clock.advance(seconds=COUNT_EVERY_S)
    await shop.put(mail(scheduler))


async def test_payloads_that_wait_may_have_so_many_bytes(scheduler: Scheduler) -> None:
    shop = acting(scheduler, waiting_bytes=300)
    payload = b'"' + b"x" * 98 + b'"'
    for _ in range(3):
        await shop.put(mail(scheduler, payload_json=payload))
    with pytest.raises(TooMuchWaiting, match="300 bytes"):
        await shop.put(mail(scheduler, payload_json=payload))


async def test_so_many_queues_may_be_used(scheduler: Scheduler) -> None:
    shop = acting(scheduler, queues=2)
    await shop.put(mail(scheduler, "a.1"))
    await shop.put_many([mail(scheduler, "a.2"), mail(scheduler, "a.1")])
    with pytest.raises(QuotaUsedUp, match="2 queues") as refused:
        await shop.put(mail(scheduler, "a.3"))
    assert isinstance(refused.value, Forbidden)
    with pytest.raises(QuotaUsedUp):
        await shop.put_many([mail(scheduler, "a.1"), mail(scheduler, "a.4")])
    await shop.put(mail(scheduler, "a.2"))


async def test_so_many_schedules_may_be_kept(scheduler: Scheduler) -> None:
    shop = acting(scheduler, schedules=1)
    await scheduler.schedules.make(NewSchedule(name="other", kind="k", cron="0 3 * * *"))
    kept = NewSchedule(name="one", kind="k", cron="0 3 * * *", queue="a.1")
    await shop.schedules.make(kept)
    assert (await shop.schedules.put(kept))[1] is False
    second = NewSchedule(name="two", kind="k", cron="0 3 * * *", queue="a.1")
    for verb in (shop.schedules.make, shop.schedules.put):
        with pytest.raises(QuotaUsedUp, match="1 schedules"):
            await verb(second)
    await shop.schedules.delete("one")
    await shop.schedules.make(second)


async def test_what_a_schedule_is_triggered_for_counts_too(scheduler: Scheduler) -> None:
    shop = acting(scheduler, waiting=1)
    made = NewSchedule(name="one", kind="k", cron="0 3 * * *", queue="a.1")
    await shop.schedules.make(made)
    await shop.schedules.trigger("one")
    with pytest.raises(TooMuchWaiting):
        await shop.schedules.trigger("one")


async def test_a_key_that_reaches_all_queues_is_held_to_what_all_hold(
    scheduler: Scheduler,
) -> None:
    await scheduler.put(mail(scheduler, "b"))
    shop = acting(scheduler, prefix=None, waiting=1)
    with pytest.raises(TooMuchWaiting):
        await shop.put(mail(scheduler))


async def test_without_a_quota_nothing_is_counted(
    scheduler: Scheduler, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def usage(*_: object, **__: object) -> None:
        pytest.fail("it was counted")

    monkeypatch.setattr(scheduler.store.backlog_stats, "usage", usage)
    shop = TenantScheduler(scheduler, Caller(name="shop", queue_prefix="a."))
    await shop.put(mail(scheduler))
    await shop.schedules.make(NewSchedule(name="one", kind="k", cron="0 3 * * *", queue="a.1"))


async def test_a_key_keeps_its_quota(scheduler: Scheduler) -> None:
    for quota in (None, Quota(queues=1, waiting=0, waiting_bytes=2**40, schedules=3)):
        key = issue("shop", quota=quota).key
        kept = await scheduler.store.keys.add(key)
        assert kept.quota == quota
        assert {each.key.id: each.key.quota for each in await scheduler.store.keys.active()}[
            key.id
        ] == quota


@pytest.mark.parametrize("name", sorted(asdict(Quota())))
@pytest.mark.parametrize("limit", [-1, BIGGEST + 1, 1.5, True, "1"])
def test_what_is_no_number_is_no_quota(name: str, limit: Any) -> None:
    with pytest.raises(InvalidKey, match=f"{name}_max"):
        Quota(**{name: limit})
