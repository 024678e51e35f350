"""What ``QueueRegistry`` promises."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING

from taskscheduler.domain.queue import COUNT_MAX, Count, Queue
from taskscheduler.domain.status import Event
from taskscheduler.testing.contracts.steps import (
    Contract,
    claim,
    end,
    join,
    new,
    put,
    subscribed,
)

if TYPE_CHECKING:
    from taskscheduler.application.store import Store
    from taskscheduler.domain.values import WorkerId
    from taskscheduler.testing.clock import ManualClock

NONE = Count(0)


async def names_of(store: Store) -> list[str]:
    """Return the names of the queues that are listed."""
    return [queue.name for queue in await store.queues.list(limit=100)]


class QueueRegistryContract(Contract):
    """Queues are counted, paused and resumed."""

    async def test_a_queue_that_nobody_named_is_empty(self, store: Store) -> None:
        """And is not listed."""
        assert list(await store.queues.list(limit=100)) == []
        assert await store.queues.get("letters") == Queue(
            name="letters", paused_at=None, due=NONE, later=NONE, running=NONE, oldest_due_at=None
        )

    async def test_a_queue_tells_what_it_holds(self, store: Store, clock: ManualClock) -> None:
        """By what is due, later, and in progress; what has ended is no part of it."""
        worker_id = await join(store, "mail", "fax")
        oldest = clock.now()
        for kind, priority in (("mail", 9), ("fax", 0), ("fax", 3)):
            await put(store, kind, priority=priority, queue="letters")
            clock.advance(seconds=1)
        await put(store, queue="letters", execute_at=clock.now() + timedelta(days=1))
        for _ in range(3):
            await put(store)
        (first, second, _) = await claim(store, worker_id)
        await end(store, first)
        await end(store, second, Event.RETRY, delay=timedelta(hours=1))
        default, letters = await store.queues.list(limit=100)
        assert letters == Queue(
            name="letters",
            paused_at=None,
            due=Count(3),
            later=Count(1),
            running=NONE,
            oldest_due_at=oldest,
        )
        assert (default.name, default.due, default.later) == ("default", NONE, Count(1))
        assert (default.running, default.oldest_due_at) == (Count(1), None)
        assert await store.queues.get("letters") == letters
        assert await store.queues.running() == ({worker_id: 1}, True)

    async def test_a_queue_that_a_worker_listens_to_is_listed(self, store: Store) -> None:
        """Before any task names it."""
        await join(store, queues=["letters", "default"])
        assert await names_of(store) == [
            "default",
            "letters",
        ]

    async def test_a_queue_goes_with_its_last_task(self, store: Store, clock: ManualClock) -> None:
        """Some time later, by upkeep; tasks may be stored into it again at every moment."""
        held = await put(store, queue="held")
        task_id = await put(store, queue="letters", priority=2)
        await store.upkeep.turn()
        clock.advance(hours=1)
        for number in range(3):
            assert await names_of(store) == [
                "held",
                "letters",
            ]
            await store.tasks.delete(task_id)
            clock.advance(hours=1)
            await store.upkeep.turn()
            assert await names_of(store) == ["held"]
            task_id = await put(store, queue="letters", priority=number)
        await store.tasks.cancel(task_id)
        clock.advance(hours=1)
        await store.upkeep.turn()
        assert await names_of(store) == ["held", "letters"]
        assert (await store.tasks.get(task_id)).queue == "letters"
        assert (await store.tasks.get(held)).queue == "held"

    async def test_queues_are_listed_page_by_page(self, store: Store) -> None:
        """By name, whoever names them; none is left out and none comes twice."""
        for number in range(3):
            await put(store, queue=f"b{number}", priority=number)
            await put(store, "fax", queue=f"b{number}")
        await store.queues.pause("a")
        await join(store, queues=["c", "b1", "B"])
        names = ["B", "a", "b0", "b1", "b2", "c"]
        for limit in (1, 2, 3, 6, 7):
            found: list[str] = []
            while page := await store.queues.list(after=found[-1] if found else "", limit=limit):
                assert len(page) <= limit
                found += [queue.name for queue in page]
            assert found == names
        assert await names_of(store) == names

    async def test_long_queues_are_counted_so_far(self, store: Store) -> None:
        """Of one that is long it is said at least how much it holds."""
        for _ in range(4):
            await store.tasks.put([new(store) for _ in range(COUNT_MAX // 4)])
        await put(store, priority=0)
        count = (await store.queues.get("default")).due
        assert count in {Count(COUNT_MAX + 1), Count(COUNT_MAX, exact=False)}

    async def test_nothing_of_a_paused_queue_is_claimed(
        self, store: Store, clock: ManualClock
    ) -> None:
        """Under any kind and priority; other queues go on, and so does what is leased."""
        worker_id = await join(store, "mail", "fax", queues=["default", "letters"])
        both = subscribed("mail", "fax", queues=["default", "letters"])
        await put(store, queue="letters")
        (held,) = await store.tasks.claim(worker_id, both, 100)
        paused_at = clock.now()
        await store.queues.pause("letters")
        clock.advance(seconds=1)
        await store.queues.pause("letters")
        assert (await store.queues.get("letters")).paused_at == paused_at
        await put(store, queue="letters")
        await put(store, "fax", queue="letters", priority=0)
        assert list(await store.tasks.claim(worker_id, both, 100)) == []
        assert await store.tasks.next_due(both) is None
        task_id = await put(store)
        assert await store.tasks.next_due(both) == timedelta(0)
        leases = await store.tasks.claim(worker_id, both, 100)
        assert [lease.task_id for lease in leases] == [task_id]
        await end(store, held)
        queue = await store.queues.get("letters")
        assert (queue.is_paused, queue.due, queue.running) == (True, Count(2), NONE)

    async def test_a_resumed_queue_goes_on(self, store: Store) -> None:
        """In its order; resuming one that is not paused changes nothing."""
        worker_id = await join(store)
        await store.queues.pause("default")
        ids = [await put(store, priority=priority) for priority in (5, 1)]
        assert list(await claim(store, worker_id)) == []
        for _ in range(2):
            await store.queues.resume("default")
        assert (await store.queues.get("default")).paused_at is None
        assert [lease.task_id for lease in await claim(store, worker_id)] == ids[::-1]

    async def test_a_paused_queue_takes_tasks_and_is_listed(self, store: Store) -> None:
        """Also one that was paused before anybody named it."""
        await store.queues.pause("letters")
        (queue,) = await store.queues.list(limit=100)
        assert (queue.name, queue.is_paused, queue.due) == ("letters", True, NONE)
        await put(store, queue="letters")
        assert (await store.queues.get("letters")).due == Count(1)

    async def test_no_task_begins_once_a_pause_has_returned(self, store: Store) -> None:
        """Whatever claims are under way while it is asked for."""
        workers = [await join(store) for _ in range(4)]
        for _ in range(10):
            await store.tasks.put([new(store) for _ in range(40)])
            paused = asyncio.Event()
            late: list[int] = []

            async def work(worker_id: WorkerId, paused: asyncio.Event, late: list[int]) -> None:
                for _ in range(8):
                    began_after = paused.is_set()
                    leases = await claim(store, worker_id, limit=1)
                    late.append(len(leases) if began_after else 0)
                    for lease in leases:
                        await end(store, lease, Event.RELEASE)

            async def pause(paused: asyncio.Event) -> None:
                await asyncio.sleep(0)
                await store.queues.pause("default")
                paused.set()

            await asyncio.gather(
                *(work(worker_id, paused, late) for worker_id in workers), pause(paused)
            )
            assert sum(late) == 0
            assert list(await claim(store, workers[0])) == []
            await store.queues.resume("default")
