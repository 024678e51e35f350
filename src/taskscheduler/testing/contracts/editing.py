"""What ``TaskRepository.edit`` promises."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from taskscheduler.domain.errors import IllegalTransition, TaskChanged, TaskNotFound
from taskscheduler.domain.query import TaskQuery
from taskscheduler.domain.status import Event, TaskStatus
from taskscheduler.domain.task_edit import TaskEdit
from taskscheduler.testing.contracts.steps import (
    ERROR,
    Contract,
    bring,
    claim,
    end,
    join,
    lease_again,
    put,
)

if TYPE_CHECKING:
    from taskscheduler.application.store import Store
    from taskscheduler.testing.clock import ManualClock

HOUR = timedelta(hours=1)
OTHER = TaskEdit(payload_json=b'{"a": [1, null]}')
ROUNDS = 20


class EditingContract(Contract):
    """A task that waits is changed whole; one that does not is left alone."""

    @pytest.mark.parametrize("seconds", [-3600, 0, 1, 7200])
    async def test_another_time(self, store: Store, clock: ManualClock, seconds: int) -> None:
        """One in the past means now."""
        task_id = await put(store, execute_at=clock.now() + HOUR)
        before = await store.tasks.get(task_id)
        clock.advance(seconds=3)
        edit = TaskEdit(execute_at=clock.now() + timedelta(seconds=seconds))
        edited = await store.tasks.edit(task_id, edit)
        assert edited == before.edit(edit, now=clock.now())
        assert await store.tasks.get(task_id) == edited
        clock.advance(seconds=max(seconds, 0))
        lease = await lease_again(store, await join(store))
        assert (lease.task_id, lease.process_at) == (task_id, edited.process_at)

    async def test_a_later_time_is_waited_for(self, store: Store, clock: ManualClock) -> None:
        """Also by a task that was due already."""
        task_id = await put(store)
        await store.tasks.edit(task_id, TaskEdit(execute_at=clock.now() + HOUR))
        worker_id = await join(store)
        assert list(await claim(store, worker_id)) == []
        clock.advance(HOUR)
        assert (await lease_again(store, worker_id)).task_id == task_id

    async def test_another_payload(self, store: Store, clock: ManualClock) -> None:
        """The task keeps its time, and is claimed with the new payload."""
        task_id = await put(store, payload_json=b"1")
        before = await store.tasks.get(task_id)
        clock.advance(seconds=3)
        edited = await store.tasks.edit(task_id, OTHER)
        assert edited == before.edit(OTHER, now=clock.now())
        assert edited.process_at == before.process_at
        assert (await lease_again(store, await join(store))).payload_json == OTHER.payload_json

    async def test_another_priority(self, store: Store) -> None:
        """It is claimed before those that were more urgent until then."""
        first, second = await put(store, priority=5), await put(store, priority=7)
        edited = await store.tasks.edit(second, TaskEdit(priority=0))
        assert edited.priority == 0
        assert await store.tasks.get(second) == edited
        leases = await claim(store, await join(store))
        assert [(each.task_id, each.priority) for each in leases] == [(second, 0), (first, 5)]
        assert list(await store.board.list(TaskQuery(limit=1))) == [await store.tasks.get(second)]

    async def test_a_task_that_was_tried_keeps_its_history(
        self, store: Store, clock: ManualClock
    ) -> None:
        """And its count of attempts."""
        worker_id = await join(store)
        task_id = await put(store, unique_key="k")
        await end(store, await lease_again(store, worker_id), Event.RETRY, error=ERROR, delay=HOUR)
        edited = await store.tasks.edit(task_id, TaskEdit(execute_at=clock.now(), priority=1))
        assert (edited.attempt, edited.unique_key) == (1, "k")
        assert len(await store.board.attempts(task_id)) == 1
        assert (await lease_again(store, worker_id)).attempt == 2  # noqa: PLR2004
        assert await put(store, unique_key="k") == task_id

    @pytest.mark.parametrize("status", sorted(set(TaskStatus) - {TaskStatus.PENDING}))
    async def test_a_task_that_does_not_wait_is_refused(
        self, store: Store, status: TaskStatus
    ) -> None:
        """Nothing changes, whatever was expected."""
        task_id = await bring(store, status)
        before = await store.tasks.get(task_id)
        for expected in (None, before, replace(before, priority=9)):
            with pytest.raises(IllegalTransition) as refused:
                await store.tasks.edit(task_id, OTHER, expected=expected)
            assert refused.value.status == status.value
            assert refused.value.event == Event.EDIT.value
        assert await store.tasks.get(task_id) == before

    async def test_a_task_that_is_not_there_is_not_found(self, store: Store) -> None:
        """Nor is one that was deleted."""
        gone = await put(store)
        await store.tasks.delete(gone)
        for task_id in (store.new_task_id(), gone):
            with pytest.raises(TaskNotFound):
                await store.tasks.edit(task_id, OTHER)

    async def test_only_what_was_expected_is_changed(
        self, store: Store, clock: ManualClock
    ) -> None:
        """After any other change it is something else."""
        task_id = await put(store)
        seen = await store.tasks.get(task_id)
        edited = await store.tasks.edit(task_id, OTHER, expected=seen)
        for edit in (TaskEdit(priority=3), TaskEdit(execute_at=clock.now() + HOUR), OTHER):
            with pytest.raises(TaskChanged) as refused:
                await store.tasks.edit(task_id, edit, expected=seen)
            assert refused.value.task_id == task_id
            assert await store.tasks.get(task_id) == edited
        again = await store.tasks.edit(task_id, TaskEdit(priority=3), expected=edited)
        assert again.priority == 3  # noqa: PLR2004
        clock.advance(seconds=1)
        await end(store, await lease_again(store, await join(store)), Event.RELEASE)
        with pytest.raises(TaskChanged):
            await store.tasks.edit(task_id, OTHER, expected=again)

    async def test_of_two_with_the_same_expectation_one_succeeds(self, store: Store) -> None:
        """At the same moment, too."""
        for _ in range(ROUNDS):
            task_id = await put(store)
            seen = await store.tasks.get(task_id)
            edits = [TaskEdit(payload_json=str(n).encode()) for n in range(3)]
            answers = await asyncio.gather(
                *(store.tasks.edit(task_id, edit, expected=seen) for edit in edits),
                return_exceptions=True,
            )
            (won,) = [each for each in answers if not isinstance(each, BaseException)]
            assert sum(isinstance(each, TaskChanged) for each in answers) == len(edits) - 1
            assert await store.tasks.get(task_id) == won

    async def test_a_claim_sees_all_of_an_edit_or_none(self, store: Store) -> None:
        """What was answered as changed is what is run; what was claimed before is refused."""
        worker_id = await join(store)
        for number in range(ROUNDS):
            task_id = await put(store, payload_json=b"0")
            edit = TaskEdit(payload_json=str(number + 1).encode(), priority=number % 10)
            edited, leases = await asyncio.gather(
                store.tasks.edit(task_id, edit), claim(store, worker_id), return_exceptions=True
            )
            assert not isinstance(leases, BaseException)
            lease = leases[0] if leases else await lease_again(store, worker_id)
            if isinstance(edited, BaseException):
                assert isinstance(edited, IllegalTransition)
                assert (lease.payload_json, lease.priority) == (b"0", 5)
            else:
                assert (lease.payload_json, lease.priority) == (edit.payload_json, edit.priority)
            await end(store, lease)
