"""What ``TaskRepository.change_all`` promises."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from taskscheduler.domain.bulk import ALLOWED, BulkVerb
from taskscheduler.domain.errors import TaskNotFound
from taskscheduler.domain.status import Event, TaskStatus
from taskscheduler.testing.contracts.steps import (
    Contract,
    bring,
    claim,
    end,
    join,
    lease_one,
    put,
    status_of,
)

if TYPE_CHECKING:
    from taskscheduler.application.store import Store
    from taskscheduler.testing.clock import ManualClock

HOUR = timedelta(hours=1)
PAIRS = [
    *((verb, status) for verb, statuses in ALLOWED.items() for status in statuses),
    (BulkVerb.DELETE, TaskStatus.IN_PROGRESS),
]
LAST = sorted(TaskStatus, key=lambda status: status is TaskStatus.PENDING)
"""What waits is stored last, lest it be claimed for others."""
AFTER = {BulkVerb.CANCEL: TaskStatus.CANCELLED, BulkVerb.RETRY: TaskStatus.PENDING}


class BulkContract(Contract):
    """Many tasks are changed as one would be."""

    @pytest.mark.parametrize(("verb", "status"), PAIRS)
    async def test_those_in_the_status_are_changed(
        self, store: Store, verb: BulkVerb, status: TaskStatus
    ) -> None:
        """And no others, known or not."""
        found = [(each, await bring(store, each)) for each in LAST for _ in range(3)]
        ids = [task_id for each, task_id in found if each is status]
        others = {each: task_id for each, task_id in found if each is not status}
        given = [*ids[:2], store.new_task_id(), *others.values()]
        assert set(await store.tasks.change_all(verb, status, given)) == set(ids[:2])
        assert set(await store.tasks.change_all(verb, status, ids[2:])) == {ids[2]}
        for task_id in ids:
            if verb is BulkVerb.DELETE:
                with pytest.raises(TaskNotFound):
                    await store.tasks.get(task_id)
                assert list(await store.board.attempts(task_id)) == []
            else:
                assert await status_of(store, task_id) is AFTER[verb]
        for other, task_id in others.items():
            assert await status_of(store, task_id) is other

    async def test_a_completed_task_is_not_run_again(self, store: Store) -> None:
        """Nor is anything else that cannot be retried."""
        for status in (TaskStatus.PENDING, TaskStatus.IN_PROGRESS, TaskStatus.COMPLETED):
            task_id = await bring(store, status)
            assert set(await store.tasks.change_all(BulkVerb.RETRY, status, [task_id])) == set()
            assert await status_of(store, task_id) is status

    async def test_no_tasks_are_changed_by_none(self, store: Store) -> None:
        """Whatever there is."""
        await put(store)
        nothing = await store.tasks.change_all(BulkVerb.DELETE, TaskStatus.PENDING, [])
        assert set(nothing) == set()

    @pytest.mark.parametrize("verb", [BulkVerb.CANCEL, BulkVerb.DELETE])
    async def test_holders_hear_of_it(self, store: Store, verb: BulkVerb) -> None:
        """Their leases are lost at once."""
        worker_id = await join(store)
        for _ in range(3):
            await put(store)
        leases = await claim(store, worker_id)
        ids = [lease.task_id for lease in leases]
        await store.tasks.change_all(verb, TaskStatus.IN_PROGRESS, ids[:2])
        told = await store.workers.heartbeat(worker_id)
        assert {each.task_id for each in told} == set(ids[:2])
        await end(store, leases[2])

    async def test_a_retry_grants_an_attempt_where_none_is_left(self, store: Store) -> None:
        """As that of a single task does."""
        lease = await lease_one(store, max_attempts=1)
        await end(store, lease, Event.FAIL)
        await store.tasks.change_all(BulkVerb.RETRY, TaskStatus.FAILED, [lease.task_id])
        task = await store.tasks.get(lease.task_id)
        assert (task.status, task.attempt, task.max_attempts) == (TaskStatus.PENDING, 1, 2)

    async def test_a_retry_tells_which_tasks_wait(self, store: Store, clock: ManualClock) -> None:
        """Those that were cancelled before their time come back to it; with a time, all do so."""
        at = clock.now() + HOUR
        later, due = await put(store, execute_at=at), await put(store)
        for moment, waits in ((None, {later: True, due: False}), (at, {later: True, due: True})):
            for task_id in (later, due):
                await store.tasks.cancel(task_id)
            changed = await store.tasks.change_all(
                BulkVerb.RETRY, TaskStatus.CANCELLED, [later, due], at=moment
            )
            assert dict(changed) == waits
            assert (await store.tasks.get(later)).process_at == at
        assert (await store.tasks.get(due)).execute_at == at
        clock.advance(2 * HOUR)
        assert dict(
            await store.tasks.change_all(BulkVerb.CANCEL, TaskStatus.PENDING, [later, due])
        ) == {later: False, due: False}

    async def test_deleting_lets_unique_keys_go(self, store: Store) -> None:
        """Those of the deleted tasks."""
        ids = [await put(store, unique_key=key) for key in ("a", "b")]
        await store.tasks.change_all(BulkVerb.DELETE, TaskStatus.PENDING, ids[:1])
        assert await put(store, unique_key="a") != ids[0]
        assert await put(store, unique_key="b") == ids[1]
