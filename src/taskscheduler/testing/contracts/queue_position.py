"""What ``TaskReader.queue_position`` promises."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from taskscheduler.domain.queue import Count
from taskscheduler.domain.status import TaskStatus
from taskscheduler.domain.why import GroupTurn, QueuePosition
from taskscheduler.testing.contracts.steps import Contract, bring, claim, join, new, put

if TYPE_CHECKING:
    from taskscheduler.application.store import Store
    from taskscheduler.testing.clock import ManualClock


class QueuePositionContract(Contract):
    """A task that waits has a place in its queue."""

    @pytest.mark.parametrize("status", [each for each in TaskStatus if each != TaskStatus.PENDING])
    async def test_only_a_pending_task_stands_anywhere(
        self, store: Store, status: TaskStatus
    ) -> None:
        """Nor does one that is not there."""
        assert await store.board.queue_position(await bring(store, status), 10) is None
        assert await store.board.queue_position(store.new_task_id(), 10) is None

    async def test_a_task_is_due_on_the_stores_clock(
        self, store: Store, clock: ManualClock
    ) -> None:
        """At its time, not before."""
        task_id = await put(store, execute_at=clock.now() + timedelta(seconds=1))
        assert await store.board.queue_position(task_id, 10) == QueuePosition(
            is_due=False, before=Count(0)
        )
        clock.advance(seconds=1)
        assert await store.board.queue_position(task_id, 10) == QueuePosition(
            is_due=True, before=Count(0)
        )

    async def test_what_comes_before_is_counted(self, store: Store, clock: ManualClock) -> None:
        """The more urgent that are due, and the earlier of the same priority, of any kind."""
        later = clock.now() + timedelta(hours=1)
        earlier = await put(store)
        await put(store, "fax")
        clock.advance(seconds=1)
        task_id = await put(store)
        clock.advance(seconds=1)
        await put(store)  # after it
        await put(store, priority=1)  # more urgent
        await put(store, "fax", priority=0)  # more urgent
        await put(store, priority=0, execute_at=later)  # not due
        await put(store, priority=9)  # less urgent
        await put(store, queue="letters", priority=0)  # elsewhere
        assert await store.board.queue_position(task_id, 10) == QueuePosition(
            is_due=True, before=Count(4)
        )
        assert await store.board.queue_position(earlier, 10) == QueuePosition(
            is_due=True, before=Count(2)
        )
        worker_id = await join(store, "fax")
        claimed = await claim(store, worker_id, "fax")
        assert [lease.kind for lease in claimed] == ["fax", "fax"]
        assert await store.board.queue_position(task_id, 10) == QueuePosition(
            is_due=True, before=Count(2)
        )

    async def test_it_is_counted_so_far(self, store: Store) -> None:
        """And no further."""
        await store.tasks.put([new(store) for _ in range(5)])
        task_id = await put(store)
        assert await store.board.queue_position(task_id, 6) == QueuePosition(
            is_due=True, before=Count(5)
        )
        expected = QueuePosition(is_due=True, before=Count(5, exact=False))
        assert await store.board.queue_position(task_id, 5) == expected

    async def test_a_due_task_waits_for_the_turn_of_its_group(
        self, store: Store, clock: ManualClock
    ) -> None:
        """Of its group what comes before it is counted, and whether others take turns with it."""
        first = await put(store, group="a")
        await put(store, "fax", group="a")
        await put(store, group="a", priority=1)  # another priority takes other turns
        clock.advance(seconds=1)
        task_id = await put(store, group="a")
        later = await put(store, group="a", execute_at=clock.now() + timedelta(hours=1))
        assert await store.board.group_turn(first, 10) == GroupTurn(0, has_rivals=False)
        assert await store.board.group_turn(task_id, 10) == GroupTurn(2, has_rivals=False)
        assert await store.board.group_turn(task_id, 1) == GroupTurn(1, has_rivals=False)
        assert await store.board.group_turn(later, 10) is None
        await put(store, group="b")
        assert await store.board.group_turn(task_id, 10) == GroupTurn(2, has_rivals=True)
