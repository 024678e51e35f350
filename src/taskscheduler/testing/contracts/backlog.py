"""What ``BacklogStats`` promises."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from taskscheduler.domain.queue import QueueDepth
from taskscheduler.domain.quota import Quota
from taskscheduler.domain.schedule import NewSchedule, Schedule
from taskscheduler.domain.status import Event
from taskscheduler.testing.clock import START
from taskscheduler.testing.contracts.steps import Contract, end, join, lease_one, put

if TYPE_CHECKING:
    from taskscheduler.application.store import Store
    from taskscheduler.testing.clock import ManualClock

PLENTY = 1_000
ALL = Quota(queues=PLENTY, waiting=PLENTY, waiting_bytes=PLENTY, schedules=PLENTY)


def _nightly(name: str, *, queue: str) -> Schedule:
    definition = NewSchedule(name=name, kind="mail", cron="0 3 * * *", queue=queue)
    return Schedule.make(definition, now=START, next_fire_at=START)


class BacklogStatsContract(Contract):
    """Proves a ``BacklogStats``."""

    async def test_an_empty_store_has_nothing_to_do(self, store: Store, clock: ManualClock) -> None:
        """And the store's time is told."""
        backlog = await store.backlog_stats.backlog(exact_up_to=PLENTY)
        assert backlog.now == clock.now()
        assert backlog.queues == {}

    async def test_what_is_due_and_what_is_not(self, store: Store, clock: ManualClock) -> None:
        """Queue by queue, over all kinds and priorities."""
        for kind, priority in (("mail", 0), ("mail", 9), ("fax", 5)):
            await put(store, kind, priority=priority)
        await put(store, "mail", queue="letters", execute_at=clock.now() + timedelta(hours=1))
        clock.advance(timedelta(seconds=90))
        await put(store, "mail")
        backlog = await store.backlog_stats.backlog(exact_up_to=PLENTY)
        assert backlog.queues == {
            "default": QueueDepth(due=4, scheduled=0, oldest_due=timedelta(seconds=90)),
            "letters": QueueDepth(due=0, scheduled=1, oldest_due=None),
        }

    async def test_what_runs_or_has_ended_does_not_wait(self, store: Store) -> None:
        """Its queue is still told of."""
        await join(store, "mail")
        await put(store, "mail")
        lease = await lease_one(store)
        empty = {"default": QueueDepth(due=0, scheduled=0, oldest_due=None)}
        assert (await store.backlog_stats.backlog(exact_up_to=PLENTY)).queues == empty
        await end(store, lease, Event.COMPLETE)
        assert (await store.backlog_stats.backlog(exact_up_to=PLENTY)).queues == empty

    async def test_of_few_queues_none_is_left_out(self, store: Store) -> None:
        """However many tasks they hold."""
        for number in range(9):
            await put(store, queue=f"queue{number}", priority=number)
        backlog = await store.backlog_stats.backlog(exact_up_to=PLENTY)
        assert len(backlog.queues) == 9  # noqa: PLR2004
        assert not backlog.left_out

    async def test_the_queues_of_one_prefix_hold_what_they_hold(self, store: Store) -> None:
        """Queues by all their tasks, the rest by those that wait."""
        await join(store, "mail")
        await put(store, "mail", queue="a.1", payload_json=b'"' + b"x" * 98 + b'"')
        await put(store, "fax", queue="a.1", priority=1)
        await put(store, queue="a", payload_json=b"1")
        await put(store, queue="b.1")
        ended = await put(store, queue="a.2")
        await store.tasks.cancel(ended)
        await store.schedules.add(_nightly("one", queue="a.1"))
        await store.schedules.add(_nightly("two", queue="b"))
        usage = await store.backlog_stats.usage("a.", up_to=ALL)
        assert usage.queues == {"a.1", "a.2"}
        assert (usage.waiting, usage.schedules) == (2, 1)
        assert 104 <= usage.waiting_bytes <= 120  # noqa: PLR2004 - 4 bytes or so for each length
        usage = await store.backlog_stats.usage("", up_to=ALL)
        assert usage.queues == {"a", "a.1", "a.2", "b.1"}
        assert (usage.waiting, usage.schedules) == (4, 2)

    async def test_usage_is_counted_as_far_as_is_asked(self, store: Store) -> None:
        """One more than that says that there are more."""
        for number in range(5):
            await put(store, queue=f"queue{number}")
        few = Quota(queues=2, waiting=3, schedules=0)
        usage = await store.backlog_stats.usage("queue", up_to=few)
        assert len(usage.queues) >= 3  # noqa: PLR2004
        assert usage.waiting >= 4  # noqa: PLR2004
        assert usage.schedules == 0

    async def test_many_are_at_least_as_many_as_were_counted(self, store: Store) -> None:
        """An estimate is never below what was seen."""
        for _ in range(5):
            await put(store, "mail")
        depth = (await store.backlog_stats.backlog(exact_up_to=2)).queues["default"]
        assert depth.due >= (3 if depth.estimated else 5)
        assert depth.scheduled == 0
