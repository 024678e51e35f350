"""What the ports promise of transactions, where the store has real ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from taskscheduler.domain.errors import LeaseLost, TaskExists, TaskNotFound
from taskscheduler.domain.status import TaskStatus
from taskscheduler.testing.contracts.settling import Interrupted
from taskscheduler.testing.contracts.steps import (
    Contract,
    claim,
    end,
    join,
    lease_one,
    new,
    put,
    status_of,
)

if TYPE_CHECKING:
    from taskscheduler.application.store import Store


class TransactionContract(Contract):
    """Proves ``put(transaction=…)`` and ``completing`` of a store with real transactions."""

    async def test_tasks_are_seen_at_the_commit(self, store: Store) -> None:
        """Neither read nor claimed before."""
        lease = await lease_one(store)
        worker_id = await join(store)
        asked = [new(store, unique_key="zoe"), new(store)]
        async with store.tasks.completing(lease) as transaction:
            ids = await store.tasks.put(asked, transaction=transaction)
            assert ids == [task.id for task in asked]
            with pytest.raises(TaskNotFound):
                await store.tasks.get(asked[0].id)
            assert list(await claim(store, worker_id)) == []
        leases = await claim(store, worker_id)
        assert {each.task_id for each in leases} == {task.id for task in asked}
        assert await status_of(store, lease.task_id) is TaskStatus.COMPLETED

    async def test_tasks_are_rolled_back(self, store: Store) -> None:
        """With everything that came with them, their keys among it."""
        lease = await lease_one(store)
        asked = [new(store, "never-seen", unique_key="zoe"), new(store, "never-seen")]
        with pytest.raises(Interrupted):  # noqa: PT012 - the block is what is tested
            async with store.tasks.completing(lease) as transaction:
                await store.tasks.put(asked, transaction=transaction)
                raise Interrupted
        for task in asked:
            with pytest.raises(TaskNotFound):
                await store.tasks.get(task.id)
        again = new(store, "never-seen", unique_key="zoe")
        assert await store.tasks.put([again]) == [again.id]
        await end(store, lease)

    async def test_a_lost_lease_rolls_back_what_was_written(self, store: Store) -> None:
        """So the effects of an attempt happen once."""
        lease = await lease_one(store)
        asked = new(store)
        with pytest.raises(LeaseLost):  # noqa: PT012 - the block is what is tested
            async with store.tasks.completing(lease) as transaction:
                await store.tasks.put([asked], transaction=transaction)
                await store.tasks.cancel(lease.task_id)
        with pytest.raises(TaskNotFound):
            await store.tasks.get(asked.id)
        assert await status_of(store, lease.task_id) is TaskStatus.CANCELLED

    async def test_a_refused_batch_leaves_the_transaction_open(self, store: Store) -> None:
        """The caller may go on in it, and nothing of the batch is there."""
        lease = await lease_one(store)
        taken = await put(store, payload_json=b"1")
        refused = [new(store), new(store)]
        kept = new(store)
        async with store.tasks.completing(lease) as transaction:
            await store.tasks.put([kept], transaction=transaction)
            contrary = type(kept)(id=taken, kind="mail", payload_json=b"2")
            with pytest.raises(TaskExists):
                await store.tasks.put([refused[0], contrary, refused[1]], transaction=transaction)
        assert await status_of(store, kept.id) is TaskStatus.PENDING
        for task in refused:
            with pytest.raises(TaskNotFound):
                await store.tasks.get(task.id)
