"""What ``Followers`` promises, and ``TaskRepository`` of tasks that come after others."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

import pytest

from taskscheduler.domain.after import AFTER_MAX, WAITING_AT, After, Otherwise, Wait, When
from taskscheduler.domain.bulk import BulkVerb
from taskscheduler.domain.errors import TaskExists, TaskNotFound
from taskscheduler.domain.idempotency import Idempotency
from taskscheduler.domain.lease import Settlement
from taskscheduler.domain.retention import RetentionPolicy
from taskscheduler.domain.status import Event, TaskStatus
from taskscheduler.domain.task_edit import TaskEdit
from taskscheduler.testing.contracts.steps import (
    ERROR,
    Contract,
    bring,
    claim,
    end,
    join,
    lease_one,
    new,
    put,
    status_of,
)

if TYPE_CHECKING:
    from uuid import UUID

    from taskscheduler.application.store import Store
    from taskscheduler.domain.lease import Lease
    from taskscheduler.domain.values import TaskId, WorkerId
    from taskscheduler.testing.clock import ManualClock

HOUR: Final = timedelta(hours=1)
ENDS: Final = {
    TaskStatus.COMPLETED: Event.COMPLETE,
    TaskStatus.FAILED: Event.FAIL,
    TaskStatus.CANCELLED: Event.CANCEL,
}


def after(*task_ids: UUID, when: str = "succeeded", otherwise: str = "cancel") -> After:
    """Return what comes after the tasks."""
    found = After.of(task_ids, when, otherwise)
    assert found is not None
    return found


async def follow(store: Store, *task_ids: UUID, when: str = "succeeded", **fields: Any) -> TaskId:
    """Store a task that comes after others."""
    otherwise = fields.pop("otherwise", "cancel")
    return await put(store, after=after(*task_ids, when=when, otherwise=otherwise), **fields)


async def run(store: Store, worker_id: WorkerId, event: Event = Event.COMPLETE) -> list[TaskId]:
    """Claim all that is due, end it, and let go what waited for it; return what it was."""
    leases = await claim(store, worker_id)
    error = None if event is Event.COMPLETE else ERROR
    await store.tasks.settle(
        [Settlement(each.task_id, each.token, event, error=error) for each in leases]
    )
    await store.followers.release()
    return [each.task_id for each in leases]


async def is_waiting(store: Store, task_id: TaskId, left: int, total: int | None = None) -> bool:
    """Tell whether the task is Pending and waits for so many."""
    task = await store.tasks.get(task_id)
    wait = await store.followers.wait(task_id)
    return (
        task.status is TaskStatus.PENDING
        and task.process_at == WAITING_AT
        and wait is not None
        and wait.left == left
        and wait.total == (left if total is None else total)
    )


async def is_due(store: Store, task_id: TaskId) -> bool:
    """Tell whether the task is Pending and waits for nobody."""
    task = await store.tasks.get(task_id)
    return (
        task.status is TaskStatus.PENDING
        and task.process_at < WAITING_AT
        and await store.followers.wait(task_id) is None
    )


async def last_error(store: Store, task_id: TaskId) -> tuple[str, str]:
    """Return the type and the message of the last error of the task."""
    error = (await store.board.attempts(task_id))[-1].error
    assert error is not None
    return error.type, error.message


class WaitingContract(Contract):
    """A task that comes after others waits for them, and costs nobody else anything."""

    async def test_a_task_waits_until_the_last_has_succeeded(self, store: Store) -> None:
        """Two of them, one after the other."""
        worker_id = await join(store)
        first, second = await put(store), await put(store)
        child = await follow(store, first, second)
        assert await is_waiting(store, child, 2)
        one, two = await claim(store, worker_id)
        await end(store, one)
        await store.followers.release()
        assert await is_waiting(store, child, 1, 2)
        assert await claim(store, worker_id) == []
        await end(store, two)
        await store.followers.release()
        assert await is_due(store, child)
        assert await run(store, worker_id) == [child]
        assert await status_of(store, child) is TaskStatus.COMPLETED

    async def test_it_tells_whom_it_waits_for(self, store: Store) -> None:
        """And goes on telling what it came after when it does not wait any more."""
        parents = sorted([await put(store) for _ in range(3)])
        child = await follow(store, *parents, otherwise="hold", when="ended")
        assert await store.followers.wait(child) == Wait(3, 3, tuple(parents))
        await store.tasks.delete(parents[0])
        assert await store.followers.wait(child) == Wait(2, 3, tuple(parents[1:]))
        await store.tasks.run_now(child)
        assert await store.followers.wait(child) is None
        assert await store.followers.after(child) == After(
            tuple(parents), When.ENDED, Otherwise.HOLD
        )
        assert await store.followers.after(parents[1]) is None

    async def test_what_has_ended_before_counts_at_once(self, store: Store) -> None:
        """No worker is needed for that."""
        ended = await bring(store, TaskStatus.COMPLETED)
        child = await follow(store, ended)
        assert await is_due(store, child)
        alive = await put(store)
        assert await is_waiting(store, await follow(store, ended, alive), 1, 2)

    async def test_what_has_ended_otherwise_counts_at_once(self, store: Store) -> None:
        """As it would have later."""
        failed = await bring(store, TaskStatus.FAILED)
        assert await status_of(store, await follow(store, failed)) is TaskStatus.CANCELLED
        assert await is_due(store, await follow(store, failed, when="ended"))
        assert await is_due(store, await follow(store, failed, otherwise="run"))
        assert await is_waiting(store, await follow(store, failed, otherwise="hold"), 1)

    async def test_an_id_that_nobody_knows_is_refused(self, store: Store) -> None:
        """And nothing is stored, nor for the others of the call."""
        known = await put(store)
        unknown, other = store.new_task_id(), new(store)
        child = new(store, after=after(known, unknown))
        with pytest.raises(TaskNotFound, match=str(unknown)):
            await store.tasks.put([other, child])
        for task in (other, child):
            with pytest.raises(TaskNotFound):
                await store.tasks.get(task.id)
        request = Idempotency("k", b"f")
        with pytest.raises(TaskNotFound, match=str(unknown)):
            await store.tasks.put([child], idempotency=request)
        assert await store.followers.after(child.id) is None

    async def test_tasks_of_one_call_may_follow_one_another(self, store: Store) -> None:
        """In whatever order they come."""
        worker_id = await join(store)
        first, second = new(store), new(store)
        third = new(store, after=after(first.id, second.id))
        await store.tasks.put([third, second.but(after=after(first.id)), first])
        ran = [await run(store, worker_id) for _ in range(4)]
        assert ran == [[first.id], [second.id], [third.id], []]

    async def test_its_own_time_counts_afterwards(self, store: Store, clock: ManualClock) -> None:
        """No task begins before the time that was asked for."""
        worker_id = await join(store)
        at = clock.now() + HOUR
        parent = await put(store)
        child = await follow(store, parent, execute_at=at)
        assert await run(store, worker_id) == [parent]
        assert (await store.tasks.get(child)).process_at == at
        assert await run(store, worker_id) == []
        clock.advance(hours=1)
        assert await run(store, worker_id) == [child]

    async def test_storing_again_changes_nothing(self, store: Store) -> None:
        """Unless it is to come after others."""
        parent, other = await put(store), await put(store)
        child = new(store, after=after(parent))
        await store.tasks.put([child])
        assert await store.tasks.put([child]) == [child.id]
        assert await is_waiting(store, child.id, 1)
        for different in (after(other), after(parent, when="ended"), after(parent, other)):
            with pytest.raises(TaskExists):
                await store.tasks.put([child.but(after=different)])
        lease = (await claim(store, await join(store), limit=1))[0]
        assert lease.task_id == parent
        await end(store, lease)
        await store.followers.release()
        assert await store.tasks.put([child]) == [child.id]
        assert await is_due(store, child.id)

    async def test_the_holder_of_a_key_is_waited_for(self, store: Store) -> None:
        """In place of a task of the same call that is not stored, for there is a holder."""
        worker_id = await join(store)
        holder = await put(store, unique_key="k", execute_at=None)
        double = new(store, unique_key="k")
        child = new(store, after=after(double.id))
        assert await store.tasks.put([double, child]) == [holder, child.id]
        assert await is_waiting(store, child.id, 1)
        twice = new(store, unique_key="k", after=after(child.id))
        assert await store.tasks.put([twice]) == [holder]
        assert await run(store, worker_id) == [holder]
        assert await run(store, worker_id) == [child.id]

    async def test_a_hundred_parents(self, store: Store) -> None:
        """Settled at once, and the last alone."""
        worker_id = await join(store)
        parents = await store.tasks.put([new(store) for _ in range(AFTER_MAX)])
        child = await follow(store, *parents)
        leases = await claim(store, worker_id)
        assert len(leases) == AFTER_MAX
        last = leases[-1]
        await store.tasks.settle(
            [Settlement(each.task_id, each.token, Event.COMPLETE) for each in leases[:-1]]
        )
        await store.followers.release()
        assert await is_waiting(store, child, 1, AFTER_MAX)
        await end(store, last)
        await store.followers.release()
        assert await run(store, worker_id) == [child]

    async def test_many_followers_of_one(self, store: Store) -> None:
        """More than one statement lets go."""
        worker_id = await join(store)
        parent = await put(store)
        children = await store.tasks.put([new(store, after=after(parent)) for _ in range(2_300)])
        assert await run(store, worker_id) == [parent]
        due = [each for each in children if not (await store.tasks.get(each)).waits]
        assert len(due) == len(children)

    async def test_a_diamond(self, store: Store) -> None:
        """The last begins once."""
        worker_id = await join(store)
        top = await put(store)
        left, right = await follow(store, top), await follow(store, top)
        bottom = await follow(store, left, right)
        assert await run(store, worker_id) == [top]
        assert sorted(await run(store, worker_id)) == sorted([left, right])
        assert await run(store, worker_id) == [bottom]
        assert await run(store, worker_id) == []

    async def test_it_is_not_due_and_not_lost_to_others(self, store: Store) -> None:
        """Nobody is told that it is due soon, and it counts as waiting."""
        parent = await put(store, queue="other")
        await follow(store, parent)
        queue = await store.queues.get("default")
        assert (queue.due.number, queue.later.number) == (0, 1)


class EndingContract(Contract):
    """Whatever way a task ends, those that wait for it come to something."""

    @pytest.mark.parametrize("status", sorted(ENDS))
    @pytest.mark.parametrize("otherwise", sorted(Otherwise))
    @pytest.mark.parametrize("when", sorted(When))
    async def test_what_an_attempt_comes_to(
        self, store: Store, status: TaskStatus, when: When, otherwise: Otherwise
    ) -> None:
        """Every event, every condition."""
        worker_id = await join(store)
        parent, other = await put(store), await put(store, execute_at=None, queue="other")
        child = await follow(store, parent, other, when=when, otherwise=otherwise)
        (lease,) = await claim(store, worker_id)
        error = None if status is TaskStatus.COMPLETED else ERROR
        await end(store, lease, ENDS[status], error=error)
        await store.followers.release()
        fits = status is TaskStatus.COMPLETED or when is When.ENDED or otherwise is Otherwise.RUN
        if fits:
            assert await is_waiting(store, child, 1, 2)
        elif otherwise is Otherwise.HOLD:
            assert await store.followers.wait(child) == Wait(
                2, 2, tuple(sorted([parent, other])), parent
            )
        else:
            assert await status_of(store, child) is TaskStatus.CANCELLED
            how = "failed" if status is TaskStatus.FAILED else "was cancelled"
            assert await last_error(store, child) == (
                "ParentFailed" if status is TaskStatus.FAILED else "ParentCancelled",
                f"task {parent}, which it waited for, {how}",
            )
            ending = (await store.notes.endings([child]))[child]
            assert ending is not None
            assert ending.error is not None
            assert ending.error.type.startswith("Parent")

    async def test_a_result_comes_with_it(self, store: Store) -> None:
        """As it does for others."""
        lease = await lease_one(store)
        child = await follow(store, lease.task_id)
        settlement = Settlement(lease.task_id, lease.token, Event.COMPLETE, result=b"[1]")
        assert list(await store.tasks.settle([settlement])) == []
        await store.followers.release()
        assert await is_due(store, child)

    async def test_the_handlers_own_transaction(self, store: Store) -> None:
        """What completes by it lets go, too."""
        lease = await lease_one(store)
        child = await follow(store, lease.task_id)
        async with store.tasks.completing(lease):
            pass
        await store.followers.release()
        assert await is_due(store, child)

    async def test_going_on_is_no_end(self, store: Store) -> None:
        """A retry, a snooze, a release, and an edit of who is waited for."""
        worker_id = await join(store)
        parent = await put(store)
        child = await follow(store, parent)
        for event in (Event.RETRY, Event.SNOOZE, Event.RELEASE):
            (lease,) = await claim(store, worker_id)
            await end(store, lease, event, error=ERROR if event is Event.RETRY else None)
            await store.followers.release()
            assert await is_waiting(store, child, 1)
        await store.tasks.edit(parent, TaskEdit(payload_json=b"2"))
        await store.tasks.edit(parent, TaskEdit(priority=1))
        await store.followers.release()
        assert await is_waiting(store, child, 1)
        assert await run(store, worker_id) == [parent]
        assert await is_due(store, child)

    async def test_time_that_is_up(self, store: Store, clock: ManualClock) -> None:
        """A task that expires has not succeeded."""
        worker_id = await join(store)
        parent = await put(store, expires_at=clock.now() + HOUR)
        child, other = await follow(store, parent), await follow(store, parent, when="ended")
        clock.advance(hours=1)
        assert await run(store, worker_id, Event.EXPIRE) == [parent]
        assert await status_of(store, child) is TaskStatus.CANCELLED
        assert await is_due(store, other)

    @pytest.mark.parametrize("running", [False, True])
    async def test_cancelled_by_hand(self, store: Store, *, running: bool) -> None:
        """Waiting or running, and nothing is needed but the call."""
        parent = (await lease_one(store)).task_id if running else await put(store)
        child, other = await follow(store, parent), await follow(store, parent, when="ended")
        await store.tasks.cancel(parent)
        assert await status_of(store, child) is TaskStatus.CANCELLED
        assert await is_due(store, other)

    @pytest.mark.parametrize("running", [False, True])
    async def test_deleted(self, store: Store, *, running: bool) -> None:
        """It has ended without success."""
        parent = (await lease_one(store)).task_id if running else await put(store)
        child, other = await follow(store, parent), await follow(store, parent, when="ended")
        await store.tasks.delete(parent, force=True)
        assert await status_of(store, child) is TaskStatus.CANCELLED
        assert await last_error(store, child) == (
            "ParentDeleted",
            f"task {parent}, which it waited for, was deleted",
        )
        assert await is_due(store, other)

    async def test_what_is_deleted_later_does_not_matter(self, store: Store) -> None:
        """It had succeeded."""
        parent, other = await bring(store, TaskStatus.COMPLETED), await put(store)
        child = await follow(store, parent, other)
        await store.tasks.delete(parent)
        await store.followers.release()
        assert await is_waiting(store, child, 1, 2)

    @pytest.mark.parametrize("verb", [BulkVerb.CANCEL, BulkVerb.DELETE])
    @pytest.mark.parametrize("status", [TaskStatus.PENDING, TaskStatus.IN_PROGRESS])
    async def test_many_at_once(self, store: Store, verb: BulkVerb, status: TaskStatus) -> None:
        """By an operator."""
        worker_id = await join(store)
        parents = [await put(store) for _ in range(3)]
        if status is TaskStatus.IN_PROGRESS:
            await claim(store, worker_id)
        child, other = await follow(store, *parents), await follow(store, *parents, when="ended")
        await store.tasks.change_all(verb, status, parents)
        assert await status_of(store, child) is TaskStatus.CANCELLED
        assert await is_due(store, other)

    async def test_a_worker_that_dies(self, store: Store, clock: ManualClock) -> None:
        """With the last attempt."""
        worker_id = await join(store, attempts=1)
        parent = await put(store, max_attempts=1)
        child, other = await follow(store, parent), await follow(store, parent, when="ended")
        assert len(await claim(store, worker_id)) == 1
        (seen,) = [each for each in await store.workers.registered() if each.id == worker_id]
        clock.advance(seconds=60)
        await store.workers.declare_dead(worker_id, seen.beats)
        await store.followers.release()
        assert await status_of(store, parent) is TaskStatus.FAILED
        assert await status_of(store, child) is TaskStatus.CANCELLED
        assert await is_due(store, other)

    async def test_a_long_chain_goes_with_its_head(self, store: Store) -> None:
        """What is cancelled cancels what waits for it, and so on."""
        head = await put(store)
        links = [head]
        for _ in range(30):
            links.append(await follow(store, links[-1]))
        await store.tasks.cancel(head)
        statuses = {await status_of(store, each) for each in links}
        assert statuses == {TaskStatus.CANCELLED}
        assert (await last_error(store, links[-1]))[0] == "ParentCancelled"

    async def test_no_more_than_once(self, store: Store) -> None:
        """Whoever is told of an end twice does nothing the second time."""
        worker_id = await join(store)
        parent = await put(store)
        child = await follow(store, parent)
        (lease,) = await claim(store, worker_id)
        settlement = Settlement(lease.task_id, lease.token, Event.COMPLETE)
        assert list(await store.tasks.settle([settlement])) == []
        assert list(await store.tasks.settle([settlement])) == [parent]
        await asyncio.gather(*(store.followers.release() for _ in range(5)))
        assert await run(store, worker_id) == [child]
        await asyncio.gather(*(store.followers.release() for _ in range(5)))
        assert await run(store, worker_id) == []
        assert await status_of(store, child) is TaskStatus.COMPLETED

    async def test_two_last_ones_at_once(self, store: Store) -> None:
        """Whoever is last, the follower begins, and once."""
        worker_id = await join(store)
        for _ in range(20):
            parents = [await put(store) for _ in range(4)]
            child = await follow(store, *parents)
            leases = await claim(store, worker_id)
            await asyncio.gather(*(_end_and_release(store, each) for each in leases))
            assert await run(store, worker_id) == [child]

    async def test_stored_while_the_other_ends(self, store: Store) -> None:
        """Before it or after it, the follower begins."""
        worker_id = await join(store)
        for _ in range(20):
            parents = [await put(store) for _ in range(2)]
            leases = await claim(store, worker_id)
            child, *_ = await asyncio.gather(
                follow(store, *parents), *(_end_and_release(store, each) for each in leases)
            )
            await store.followers.release()
            assert await run(store, worker_id) == [child]


class ChangedByHandContract(Contract):
    """What an operator does to a task that waits, or to one that is waited for."""

    async def test_run_ends_the_wait(self, store: Store) -> None:
        """And nothing happens to it when the others end."""
        worker_id = await join(store, "mail")
        parent = await put(store, queue="other")
        child = await follow(store, parent)
        await store.tasks.run_now(child)
        assert await is_due(store, child)
        (lease,) = await claim(store, worker_id)
        await store.tasks.cancel(parent)
        assert await status_of(store, child) is TaskStatus.IN_PROGRESS
        await end(store, lease, Event.SNOOZE, delay=HOUR)
        await store.followers.release()
        assert (await store.tasks.get(child)).process_at < WAITING_AT

    async def test_a_change_does_not(self, store: Store, clock: ManualClock) -> None:
        """Its new time counts when the wait is over."""
        parent = await put(store)
        child = await follow(store, parent)
        at = clock.now() + HOUR
        edit = TaskEdit(execute_at=at, priority=2, payload_json=b"7")
        edited = await store.tasks.edit(child, edit)
        assert (edited.execute_at, edited.priority) == (at, 2)
        assert await is_waiting(store, child, 1)
        await run(store, await join(store))
        assert (await store.tasks.get(child)).process_at == at

    async def test_cancelled_while_it_waits(self, store: Store) -> None:
        """It stays so."""
        worker_id = await join(store)
        parent = await put(store)
        child = await follow(store, parent)
        grandchild = await follow(store, child)
        cancelled = await store.tasks.cancel(child)
        assert cancelled.status is TaskStatus.CANCELLED
        assert await status_of(store, grandchild) is TaskStatus.CANCELLED
        assert await run(store, worker_id) == [parent]
        assert await status_of(store, child) is TaskStatus.CANCELLED
        assert await store.followers.wait(child) is None

    async def test_brought_back_it_waits_again(self, store: Store) -> None:
        """For those that have not ended: calling off and bringing back never runs a task early."""
        worker_id = await join(store)
        first, second = await put(store), await put(store, execute_at=None, queue="other")
        child = await follow(store, first, second)
        assert await run(store, worker_id) == [first]
        await store.tasks.cancel(child)
        assert (await store.tasks.retry(child)).waits
        assert await is_waiting(store, child, 1, 2)
        await store.tasks.cancel(child)
        changed = await store.tasks.change_all(BulkVerb.RETRY, TaskStatus.CANCELLED, [child])
        assert changed == {child: True}
        assert await is_waiting(store, child, 1, 2)
        await store.tasks.cancel(second)
        assert await status_of(store, child) is TaskStatus.CANCELLED
        # All have ended: what they came to is known to whoever retries.
        assert not (await store.tasks.retry(child)).waits
        assert await run(store, worker_id) == [child]

    async def test_what_failed_and_is_tried_again(self, store: Store) -> None:
        """Who is held for it waits again, and goes on when it succeeds."""
        worker_id = await join(store)
        parent = await put(store)
        held = await follow(store, parent, otherwise="hold")
        assert await run(store, worker_id, Event.FAIL) == [parent]
        assert await store.followers.wait(held) == Wait(1, 1, (parent,), parent)
        await store.tasks.retry(parent)
        assert await store.followers.wait(held) == Wait(1, 1, (parent,))
        assert await run(store, worker_id, Event.FAIL) == [parent]
        assert await store.followers.wait(held) == Wait(1, 1, (parent,), parent)
        await store.tasks.change_all(BulkVerb.RETRY, TaskStatus.FAILED, [parent])
        assert await store.followers.wait(held) == Wait(1, 1, (parent,))
        assert await run(store, worker_id) == [parent]
        assert await run(store, worker_id) == [held]

    async def test_held_until_somebody_runs_it(self, store: Store) -> None:
        """Or cancels it."""
        worker_id = await join(store)
        parent = await put(store)
        one, two = [await follow(store, parent, otherwise="hold") for _ in range(2)]
        assert await run(store, worker_id, Event.FAIL) == [parent]
        await store.tasks.run_now(one)
        await store.tasks.cancel(two)
        assert await run(store, worker_id) == [one]
        assert await status_of(store, two) is TaskStatus.CANCELLED

    async def test_deleted_while_it_waits(self, store: Store) -> None:
        """Nothing of it is left."""
        worker_id = await join(store)
        parent = await put(store)
        child = await follow(store, parent)
        await store.tasks.delete(child)
        assert await run(store, worker_id) == [parent]
        assert await store.followers.after(child) is None
        with pytest.raises(TaskNotFound):
            await store.tasks.get(child)

    async def test_who_waits_is_kept(self, store: Store, clock: ManualClock) -> None:
        """However old it is, and whatever is dropped of what it waited for."""
        worker_id = await join(store)
        first, second = await put(store), await put(store, execute_at=None, queue="other")
        child = await follow(store, first, second)
        assert await run(store, worker_id) == [first]
        clock.advance(days=400)
        policy = RetentionPolicy.parse(["1d"])
        await store.archive.expire(policy)
        assert await is_waiting(store, child, 1, 2)


class FollowersContract(WaitingContract, EndingContract, ChangedByHandContract):
    """Proves ``Followers``."""


async def _end_and_release(store: Store, lease: Lease) -> None:
    await end(store, lease)
    await store.followers.release()
