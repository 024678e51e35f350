"""What ``Batches`` promises."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from taskscheduler.domain.access import Caller
from taskscheduler.domain.after import After
from taskscheduler.domain.audit import Action, AuditQuery
from taskscheduler.domain.batch import BatchId, NewBatch
from taskscheduler.domain.bulk import BulkVerb
from taskscheduler.domain.errors import BatchNotFound, BatchSealed, InvalidTask, TaskNotFound
from taskscheduler.domain.lease import Settlement
from taskscheduler.domain.retention import RetentionPolicy
from taskscheduler.domain.status import Event, TaskStatus
from taskscheduler.testing.contracts.followers import is_due, last_error, run
from taskscheduler.testing.contracts.steps import (
    ERROR,
    Contract,
    claim,
    join,
    lease_one,
    new,
    put,
    status_of,
    subscribed,
)

if TYPE_CHECKING:
    from taskscheduler.application.store import Store
    from taskscheduler.domain.batch import Batch
    from taskscheduler.domain.values import TaskId
    from taskscheduler.testing.clock import ManualClock


async def make(store: Store, name: str | None = None, **then: Any) -> Batch:
    """Make a batch, with a task that comes after it if anything is said of that."""
    batch_id = BatchId(store.new_task_id())
    follower = None
    if then:
        after = After.of([batch_id], then.get("when"), then.get("otherwise"))
        follower = new(store, after=after, queue=then.get("queue", "default"))
    return await store.batches.make(NewBatch(batch_id, name, follower))


async def counts(store: Store, batch: Batch) -> tuple[int, int, int, int, int]:
    """Return how many there are, wait, are Completed, Failed, Cancelled."""
    now = await store.batches.get(batch.id)
    return now.total, now.pending, now.completed, now.failed, now.cancelled


class BatchesContract(Contract):
    """Tasks that are counted together, and one that comes after all of them."""

    async def test_it_is_open_until_it_is_sealed(self, store: Store, clock: ManualClock) -> None:
        """And takes tasks until then."""
        batch = await make(store, "import")
        assert (batch.name, batch.created_at, batch.sealed_at) == ("import", clock.now(), None)
        assert (batch.ended_at, batch.then, batch.total) == (None, None, 0)
        await store.tasks.put([new(store, batch=batch.id) for _ in range(3)])
        await put(store, batch=batch.id)
        await put(store)
        assert await counts(store, batch) == (4, 4, 0, 0, 0)
        clock.advance(seconds=5)
        sealed = await store.batches.seal(batch.id)
        assert (sealed.sealed_at, sealed.ended_at, sealed.total) == (clock.now(), None, 4)
        clock.advance(seconds=5)
        assert await store.batches.seal(batch.id) == sealed
        late = new(store, batch=batch.id)
        with pytest.raises(BatchSealed):
            await store.tasks.put([new(store), late])
        with pytest.raises(TaskNotFound):
            await store.tasks.get(late.id)
        assert await counts(store, batch) == (4, 4, 0, 0, 0)

    async def test_one_that_is_not_there(self, store: Store) -> None:
        """Nobody can ask for it, and nothing is stored for it."""
        nobodys = BatchId(store.new_task_id())
        for asked in (store.batches.get(nobodys), store.batches.seal(nobodys)):
            with pytest.raises(BatchNotFound):
                await asked
        lost = new(store, batch=nobodys)
        with pytest.raises(BatchNotFound):
            await store.tasks.put([lost])
        with pytest.raises(TaskNotFound):
            await store.tasks.get(lost.id)
        assert await store.batches.members(nobodys, limit=10) == []

    async def test_storing_again_counts_once(self, store: Store) -> None:
        """Also after it was sealed."""
        batch = await make(store)
        task = new(store, batch=batch.id)
        for _ in range(2):
            assert await store.tasks.put([task]) == [task.id]
        await store.batches.seal(batch.id)
        assert await store.tasks.put([task]) == [task.id]
        assert await counts(store, batch) == (1, 1, 0, 0, 0)
        assert (await store.notes.of(task.id)).batch == batch.id

    async def test_whatever_tasks_come_to_is_counted(self, store: Store) -> None:
        """By workers, by operators, in bulk."""
        worker_id = await join(store)
        batch = await make(store)
        ids = await store.tasks.put([new(store, batch=batch.id) for _ in range(9)])
        await store.tasks.cancel(ids[0])
        await store.tasks.delete(ids[1])
        await store.tasks.change_all(BulkVerb.CANCEL, TaskStatus.PENDING, ids[2:4])
        await store.tasks.change_all(BulkVerb.DELETE, TaskStatus.PENDING, ids[4:5])
        assert await counts(store, batch) == (9, 4, 0, 0, 5)
        leases = await claim(store, worker_id)
        events = [Event.COMPLETE, Event.COMPLETE, Event.FAIL, Event.RETRY]
        settled = [
            Settlement(x.task_id, x.token, event, error=ERROR, result=None)
            for x, event in zip(leases, events, strict=True)
        ]
        assert list(await store.tasks.settle(settled)) == []
        assert await counts(store, batch) == (9, 1, 2, 1, 5)
        assert await run(store, worker_id) == [leases[3].task_id]
        assert await counts(store, batch) == (9, 0, 3, 1, 5)
        assert (await store.batches.get(batch.id)).ended_at is None
        assert (await store.batches.seal(batch.id)).ended_at is not None

    async def test_what_is_retried_has_not_ended(self, store: Store) -> None:
        """And is counted anew when it has."""
        worker_id = await join(store)
        batch = await make(store)
        task_id = await put(store, batch=batch.id)
        await store.batches.seal(batch.id)
        await run(store, worker_id, Event.FAIL)
        ended = await store.batches.get(batch.id)
        assert (ended.failed, ended.ended_at is None) == (1, False)
        await store.tasks.retry(task_id)
        again = await store.batches.get(batch.id)
        assert (again.pending, again.failed, again.ended_at) == (1, 0, None)
        await run(store, worker_id)
        assert await counts(store, batch) == (1, 0, 1, 0, 0)
        await store.tasks.delete(task_id)
        assert await counts(store, batch) == (1, 0, 1, 0, 0)

    async def test_the_follower_begins_when_the_last_has_ended(self, store: Store) -> None:
        """Not before it is sealed, and once."""
        worker_id = await join(store)
        batch = await make(store, otherwise="cancel")
        assert batch.then is not None
        assert (await store.tasks.get(batch.then)).waits
        ids = await store.tasks.put([new(store, batch=batch.id) for _ in range(30)])
        wait = await store.followers.wait(batch.then)
        assert wait is not None
        assert (wait.left, wait.total, wait.batch) == (30, 30, batch.id)
        assert len(await run(store, worker_id)) == len(ids)
        assert (await store.tasks.get(batch.then)).waits
        await store.batches.seal(batch.id)
        assert await is_due(store, batch.then)
        assert await run(store, worker_id) == [batch.then]
        assert await run(store, worker_id) == []
        assert await counts(store, batch) == (30, 0, 30, 0, 0)

    async def test_the_last_end_lets_it_begin(self, store: Store) -> None:
        """Where it was sealed before."""
        worker_id = await join(store)
        batch = await make(store, otherwise="cancel")
        assert batch.then is not None
        await store.tasks.put([new(store, batch=batch.id) for _ in range(4)])
        await store.batches.seal(batch.id)
        leases = await claim(store, worker_id)
        for each in leases:
            assert (await store.tasks.get(batch.then)).waits
            settlement = Settlement(each.task_id, each.token, Event.COMPLETE)
            assert list(await store.tasks.settle([settlement])) == []
            await store.followers.release()
        assert await run(store, worker_id) == [batch.then]

    async def test_an_empty_batch_ends_when_it_is_sealed(self, store: Store) -> None:
        """There is nothing to wait for."""
        batch = await make(store, otherwise="cancel")
        assert batch.then is not None
        sealed = await store.batches.seal(batch.id)
        assert (sealed.total, sealed.ended_at) == (0, sealed.sealed_at)
        assert await is_due(store, batch.then)

    @pytest.mark.parametrize("event", [Event.FAIL, Event.CANCEL])
    async def test_what_follows_a_batch_that_did_not_succeed(
        self, store: Store, event: Event
    ) -> None:
        """Is asked for with it."""
        worker_id = await join(store)
        batches = [
            await make(store, when="succeeded", otherwise="cancel"),
            await make(store, when="ended", otherwise="cancel"),
            await make(store, when="succeeded", otherwise="run"),
            await make(store, when="succeeded", otherwise="hold"),
        ]
        then = [each.then for each in batches if each.then is not None]
        for each in batches:
            await put(store, batch=each.id)
        await run(store, worker_id, event)
        for each in batches:
            await put(store, batch=each.id, queue="other")
            await store.batches.seal(each.id)
        assert all([(await store.tasks.get(each)).waits for each in then])
        await store.tasks.change_all(
            BulkVerb.CANCEL,
            TaskStatus.PENDING,
            [x for each in batches for x in await store.batches.members(each.id, limit=10)],
        )
        assert await status_of(store, then[0]) is TaskStatus.CANCELLED
        kind, message = await last_error(store, then[0])
        assert kind == ("ParentFailed" if event is Event.FAIL else "ParentCancelled")
        assert str(batches[0].id) in message
        assert await is_due(store, then[1])
        assert await is_due(store, then[2])
        assert (await store.tasks.get(then[3])).waits
        wait = await store.followers.wait(then[3])
        assert wait is not None
        assert wait.failed == batches[3].id
        held = await store.batches.members(batches[3].id, limit=10)
        for each in held:
            await store.tasks.retry(each)
        assert (await store.tasks.get(then[3])).waits
        for task_id in held:
            await store.tasks.run_now(task_id)
        leases = await store.tasks.claim(worker_id, subscribed(queues=("default", "other")), 100)
        settled = [
            Settlement(x.task_id, x.token, Event.COMPLETE) for x in leases if x.task_id in held
        ]
        assert len(settled) == len(held)
        await store.tasks.settle(settled)
        await store.followers.release()
        assert await is_due(store, then[3])

    async def test_nobody_waits_for_his_own_batch(self, store: Store) -> None:
        """Not by way of others either."""
        batch = await make(store, otherwise="cancel")
        assert batch.then is not None
        for parents in ([batch.id], [batch.then], [await put(store), batch.then]):
            after = After.of(parents, None, None)
            with pytest.raises(InvalidTask, match="batch"):
                await store.tasks.put([new(store, after=after, batch=batch.id)])
        await put(store, batch=batch.id, after=After.of([await put(store)], None, None))
        assert await counts(store, batch) == (1, 1, 0, 0, 0)

    async def test_tasks_are_read_in_pages(self, store: Store) -> None:
        """The smallest id first."""
        batch = await make(store)
        ids = sorted(await store.tasks.put([new(store, batch=batch.id) for _ in range(5)]))
        first = await store.batches.members(batch.id, limit=3)
        assert [*first, *await store.batches.members(batch.id, after=first[-1], limit=3)] == ids

    async def test_batches_are_listed(self, store: Store) -> None:
        """The newest first, page by page."""
        made = [await make(store, str(number)) for number in range(3)]
        await put(store, batch=made[0].id)
        listed = await store.batches.list(limit=2)
        assert [each.name for each in listed] == ["2", "1"]
        (last,) = await store.batches.list(before=listed[-1].id, limit=2)
        assert (last.name, last.total) == ("0", 1)

    async def test_adding_and_sealing_at_once(self, store: Store) -> None:
        """Each task is in, and counted, or refused."""
        worker_id = await join(store)
        for _ in range(8):
            batch = await make(store, otherwise="cancel")
            assert batch.then is not None
            tasks = [new(store, batch=batch.id) for _ in range(6)]
            answers = await asyncio.gather(
                *(store.tasks.put([each]) for each in tasks[:3]),
                store.batches.seal(batch.id),
                *(store.tasks.put([each]) for each in tasks[3:]),
                return_exceptions=True,
            )
            refused = [each for each in answers if isinstance(each, BatchSealed)]
            assert await counts(store, batch) == (6 - len(refused), 6 - len(refused), 0, 0, 0)
            ran: list[TaskId] = []
            while found := await run(store, worker_id):
                ran += found
            assert len(ran) == 7 - len(refused)
            assert ran[-1] == batch.then

    async def test_what_is_dropped_counts_as_it_ended(
        self, store: Store, clock: ManualClock
    ) -> None:
        """A batch may be open for long."""
        worker_id = await join(store)
        batch = await make(store)
        await put(store, batch=batch.id)
        await run(store, worker_id)
        clock.advance(days=400)
        await store.archive.expire(RetentionPolicy.parse(["1d"]))
        assert await counts(store, batch) == (1, 0, 1, 0, 0)

    async def test_who_made_and_sealed_it_is_written_down(self, store: Store) -> None:
        """Once each."""
        by = Caller(name="ops", key_id="k", address="192.0.2.7")
        batch = NewBatch(BatchId(store.new_task_id()))
        for _ in range(2):
            await store.batches.make(batch, by=by)
            await store.batches.seal(batch.id, by=by)
        entries = await store.audit.list(AuditQuery(target=str(batch.id)))
        assert [each.action for each in entries] == [Action.BATCH_SEALED, Action.BATCH_ADDED]

    async def test_a_lease_that_is_lost_counts_once(self, store: Store) -> None:
        """Deleting by force counts as cancelling."""
        batch = await make(store)
        lease = await lease_one(store, batch=batch.id)
        await store.tasks.delete(lease.task_id, force=True)
        await store.tasks.settle([Settlement(lease.task_id, lease.token, Event.COMPLETE)])
        assert await counts(store, batch) == (1, 0, 0, 0, 1)
