"""What ``TaskRepository.cancel``, ``retry``, ``run_now`` and ``delete`` promise."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from taskscheduler.domain.errors import IllegalTransition, TaskNotFound
from taskscheduler.domain.query import TaskQuery
from taskscheduler.domain.status import TRANSITIONS, Event, TaskStatus
from taskscheduler.domain.task_edit import TaskEdit
from taskscheduler.testing.contracts.steps import (
    ERROR,
    Contract,
    bring,
    claim,
    end,
    join,
    lease_again,
    lease_one,
    new,
    outcome,
    put,
    status_of,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from taskscheduler.application.store import Store
    from taskscheduler.domain.task import Task
    from taskscheduler.domain.values import TaskId
    from taskscheduler.testing.clock import ManualClock

HOUR = timedelta(hours=1)
VERBS = {"cancel": Event.CANCEL, "retry": Event.REVIVE, "run_now": Event.EDIT}
ILLEGAL = [
    (verb, status)
    for verb, event in VERBS.items()
    for status in TaskStatus
    if (status, event) not in TRANSITIONS
]
GRANTED = 3
"""What the kind of these tests grants; see ``join``."""


def change(store: Store, verb: str, task_id: TaskId) -> Awaitable[Task]:
    """Do what ``verb`` says."""
    method: Any = getattr(store.tasks, verb)
    return method(task_id)


class ChangingContract(Contract):
    """A task is changed by hand where the table of transitions allows it."""

    @pytest.mark.parametrize(("verb", "status"), ILLEGAL)
    async def test_an_illegal_change_is_refused(
        self, store: Store, clock: ManualClock, verb: str, status: TaskStatus
    ) -> None:
        """And nothing changes."""
        task_id = await bring(store, status)
        before = await store.tasks.get(task_id)
        clock.advance(seconds=3)
        with pytest.raises(IllegalTransition) as refused:
            await change(store, verb, task_id)
        assert refused.value.status == status.value
        assert refused.value.event == VERBS[verb].value
        assert await store.tasks.get(task_id) == before

    @pytest.mark.parametrize("verb", [*VERBS, "delete"])
    async def test_a_task_that_is_not_there_cannot_be_changed(
        self, store: Store, verb: str
    ) -> None:
        """Nor is one that was deleted."""
        gone = await put(store)
        await store.tasks.delete(gone)
        for task_id in (store.new_task_id(), gone):
            with pytest.raises(TaskNotFound) as missing:
                await change(store, verb, task_id)
            assert missing.value.task_id == task_id

    # -- cancel ----------------------------------------------------------------------------------

    @pytest.mark.parametrize("status", [TaskStatus.PENDING, TaskStatus.IN_PROGRESS])
    async def test_a_cancelled_task_has_ended(
        self, store: Store, clock: ManualClock, status: TaskStatus
    ) -> None:
        """At once, even one in progress."""
        task_id = await bring(store, status)
        before = await store.tasks.get(task_id)
        clock.advance(seconds=3)
        cancelled = await store.tasks.cancel(task_id)
        assert cancelled == before.cancel(now=clock.now())
        assert await store.tasks.get(task_id) == cancelled
        assert list(await claim(store, await join(store))) == []

    async def test_a_task_cancelled_in_progress_loses_its_lease(self, store: Store) -> None:
        """Whatever its worker makes of it does not count."""
        lease = await lease_one(store)
        await store.tasks.cancel(lease.task_id)
        for event in (Event.COMPLETE, Event.RETRY, Event.FAIL):
            assert set(await store.tasks.settle([outcome(lease, event)])) == {lease.task_id}
        assert await status_of(store, lease.task_id) is TaskStatus.CANCELLED

    # -- retry -----------------------------------------------------------------------------------

    @pytest.mark.parametrize("status", [TaskStatus.FAILED, TaskStatus.CANCELLED])
    async def test_a_retried_task_that_had_begun_is_due(
        self, store: Store, clock: ManualClock, status: TaskStatus
    ) -> None:
        """It is claimed with its next attempt."""
        task_id = await bring(store, status)
        before = await store.tasks.get(task_id)
        clock.advance(seconds=3)
        retried = await store.tasks.retry(task_id)
        assert retried == before.revive(now=clock.now(), max_attempts=GRANTED)
        assert retried.process_at == clock.now()
        assert await store.tasks.get(task_id) == retried
        lease = await lease_again(store, await join(store))
        assert (lease.task_id, lease.attempt) == (task_id, 2)

    async def test_a_task_cancelled_before_its_time_comes_back_to_it(
        self, store: Store, clock: ManualClock
    ) -> None:
        """It is not due before that, however often it is called off and brought back."""
        at = clock.now() + HOUR
        task_id = await put(store, execute_at=at)
        for _ in range(2):
            before = await store.tasks.cancel(task_id)
            retried = await store.tasks.retry(task_id)
            assert retried == before.revive(now=clock.now(), max_attempts=GRANTED)
            assert (retried.execute_at, retried.process_at) == (at, at)
        worker_id = await join(store)
        assert list(await claim(store, worker_id)) == []
        clock.advance(HOUR)
        assert (await lease_again(store, worker_id)).attempt == 1

    async def test_a_cancelled_task_whose_time_has_passed_is_due_when_retried(
        self, store: Store, clock: ManualClock
    ) -> None:
        """And it remembers what was asked for."""
        at = clock.now() + HOUR
        task_id = await put(store, execute_at=at)
        await store.tasks.cancel(task_id)
        clock.advance(2 * HOUR)
        retried = await store.tasks.retry(task_id)
        assert (retried.execute_at, retried.process_at) == (at, clock.now())

    async def test_a_time_given_by_an_edit_is_come_back_to(
        self, store: Store, clock: ManualClock
    ) -> None:
        """Although an attempt had begun before it was given."""
        lease = await lease_one(store)
        await end(store, lease, Event.RETRY, error=ERROR)
        at = clock.now() + HOUR
        await store.tasks.edit(lease.task_id, TaskEdit(execute_at=at))
        await store.tasks.cancel(lease.task_id)
        assert (await store.tasks.retry(lease.task_id)).process_at == at

    async def test_a_failed_task_that_was_run_early_is_due_when_retried(
        self, store: Store, clock: ManualClock
    ) -> None:
        """Somebody asked for that already."""
        task_id = await put(store, execute_at=clock.now() + HOUR)
        await store.tasks.run_now(task_id)
        await end(store, await lease_again(store, await join(store)), Event.FAIL, error=ERROR)
        assert (await store.tasks.retry(task_id)).process_at == clock.now()

    @pytest.mark.parametrize("status", [TaskStatus.FAILED, TaskStatus.CANCELLED])
    @pytest.mark.parametrize("hours", [-1, 0, 3])
    async def test_a_task_is_retried_at_the_time_that_is_asked_for(
        self, store: Store, clock: ManualClock, status: TaskStatus, hours: int
    ) -> None:
        """In the past, that is now. It is the time to come back to from then on."""
        task_id = await bring(store, status)
        before = await store.tasks.get(task_id)
        clock.advance(seconds=3)
        at = clock.now() + hours * HOUR
        retried = await store.tasks.retry(task_id, at=at)
        assert retried == before.revive(now=clock.now(), max_attempts=GRANTED, at=at)
        assert retried.execute_at == retried.process_at == max(at, clock.now())
        assert await store.tasks.get(task_id) == retried
        await store.tasks.cancel(task_id)
        assert (await store.tasks.retry(task_id)).process_at == max(at, clock.now())

    @pytest.mark.parametrize(
        ("own", "granted", "tried", "expected"),
        [(1, 3, 1, 2), (2, 1, 1, 2), (None, 1, 1, 2), (None, 2, 2, 3), (None, 3, 1, None)],
    )
    async def test_a_retried_task_has_at_least_one_more_attempt(
        self, store: Store, own: int | None, granted: int, tried: int, expected: int | None
    ) -> None:
        """Its own number holds before the kind's."""
        worker_id = await join(store, attempts=granted)
        task_id = await put(store, max_attempts=own)
        for number in range(1, tried + 1):
            event = Event.FAIL if number == tried else Event.RETRY
            await end(store, await lease_again(store, worker_id), event, error=ERROR)
        assert (await store.tasks.retry(task_id)).max_attempts == expected
        lease = await lease_again(store, worker_id)
        assert (lease.attempt, lease.max_attempts) == (tried + 1, expected)

    # -- run_now ---------------------------------------------------------------------------------

    async def test_a_task_run_now_is_due(self, store: Store, clock: ManualClock) -> None:
        """The time that was asked for is remembered."""
        task_id = await put(store, execute_at=clock.now() + HOUR)
        before = await store.tasks.get(task_id)
        task = await store.tasks.run_now(task_id)
        assert task == replace(before, process_at=clock.now())
        assert (await lease_again(store, await join(store))).task_id == task_id

    async def test_a_task_that_is_due_is_not_moved(self, store: Store, clock: ManualClock) -> None:
        """It keeps its place."""
        task_id = await put(store)
        before = await store.tasks.get(task_id)
        clock.advance(HOUR)
        assert await store.tasks.run_now(task_id) == before

    # -- delete ----------------------------------------------------------------------------------

    @pytest.mark.parametrize("force", [False, True])
    @pytest.mark.parametrize("status", sorted(TaskStatus))
    async def test_a_deleted_task_leaves_no_trace(
        self, store: Store, status: TaskStatus, *, force: bool
    ) -> None:
        """Unless it is in progress and nobody forces it: then nothing happens."""
        task_id = await bring(store, status)
        before = await store.tasks.get(task_id)
        if status is TaskStatus.IN_PROGRESS and not force:
            with pytest.raises(IllegalTransition) as refused:
                await store.tasks.delete(task_id, force=force)
            assert refused.value.status == status.value
            assert await store.tasks.get(task_id) == before
            return
        await store.tasks.delete(task_id, force=force)
        with pytest.raises(TaskNotFound):
            await store.tasks.get(task_id)
        assert list(await store.board.list(TaskQuery())) == []
        assert list(await store.board.attempts(task_id)) == []
        assert list(await claim(store, await join(store))) == []

    async def test_a_task_deleted_in_progress_loses_its_lease(self, store: Store) -> None:
        """Its outcome does not bring it back."""
        lease = await lease_one(store)
        await store.tasks.delete(lease.task_id, force=True)
        for event in (Event.COMPLETE, Event.RETRY):
            assert set(await store.tasks.settle([outcome(lease, event)])) == {lease.task_id}
        with pytest.raises(TaskNotFound):
            await store.tasks.get(lease.task_id)

    async def test_the_id_of_a_deleted_task_is_free(self, store: Store) -> None:
        """For anything."""
        asked = new(store)
        await store.tasks.put([asked])
        await store.tasks.delete(asked.id)
        other = asked.but(kind="fax", payload_json=b"2")
        assert await store.tasks.put([other]) == [asked.id]
        assert (await store.tasks.get(asked.id)).kind == "fax"

    async def test_deleting_leaves_the_others(self, store: Store) -> None:
        """Whatever they have in common."""
        one, two = await lease_one(store), await lease_one(store)
        kept = await put(store, unique_key="kept")
        await end(store, one, Event.RETRY, error=ERROR, delay=HOUR)
        await end(store, two, Event.RETRY, error=ERROR, delay=HOUR)
        await store.tasks.delete(one.task_id)
        assert len(await store.board.attempts(two.task_id)) == 1
        assert await put(store, unique_key="kept") == kept
